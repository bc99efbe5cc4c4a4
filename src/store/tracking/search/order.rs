//! What rows are sorted by, and what is behind a position: a page begins at what the row before it was sorted by,
//! so rows that come, go or change meanwhile make no other row appear twice or never.

use rusqlite::{Row, types::ValueRef};

use super::sql::Sql;
use crate::model::{
    Error,
    filter::search::{Comparison, Position, Rank, Test, Value},
};

/// One respect in which rows are sorted: by class first, where not every row has a value, and then by value.
pub(super) struct Key {
    /// 0 where there is a value, 1 where it is not a number, 2 where there is none: ascending in any direction.
    /// `None`: there always is one.
    class: Option<String>,
    value: String,
    descending: bool,
}

const VALUE: u8 = 0;
const NAN: u8 = 1;
const MISSING: u8 = 2;

impl Key {
    /// Of an expression that is never NULL.
    pub(super) fn of(value: impl Into<String>) -> Self {
        Self { class: None, value: value.into(), descending: false }
    }

    /// Of an expression that may be NULL.
    pub(super) fn optional(value: impl Into<String>) -> Self {
        let value = value.into();
        Self { class: Some(format!("({MISSING} * (({value}) IS NULL))")), value, descending: false }
    }

    /// Of a column of a joined row that has `nan` beside it, and may be missing as a whole.
    pub(super) fn number(table: &str) -> Self {
        let class = format!("iif({table}.run IS NULL, {MISSING}, {table}.nan)");
        Self { class: Some(class), value: format!("{table}.value"), descending: false }
    }

    pub(super) fn directed(self, descending: bool) -> Self {
        Self { descending, ..self }
    }

    fn is(&self, sql: &mut Sql, comparison: &str, class: u8) {
        sql.push(self.class.as_deref().unwrap_or("0"));
        sql.push(comparison);
        sql.push(&class.to_string());
    }

    fn compare(&self, sql: &mut Sql, comparison: Comparison, value: &Value) {
        sql.number_test(&self.value, &Test::Compare(comparison, value.clone()));
    }

    fn onward(&self) -> Comparison {
        if self.descending { Comparison::Less } else { Comparison::Greater }
    }

    /// Whether a row comes later than a rank.
    fn later(&self, sql: &mut Sql, rank: &Rank) {
        match rank {
            Rank::Value(value) if self.class.is_none() => self.compare(sql, self.onward(), value),
            Rank::Value(value) => {
                self.is(sql, " > ", VALUE);
                sql.push(" OR ");
                self.is(sql, " = ", VALUE);
                sql.push(" AND ");
                self.compare(sql, self.onward(), value);
            }
            Rank::Nan => self.is(sql, " > ", NAN),
            Rank::Missing => self.is(sql, " > ", MISSING),
        }
    }

    fn level(&self, sql: &mut Sql, rank: &Rank) {
        match rank {
            Rank::Value(value) => {
                self.is(sql, " = ", VALUE);
                sql.push(" AND ");
                self.compare(sql, Comparison::Equal, value);
            }
            Rank::Nan => self.is(sql, " = ", NAN),
            Rank::Missing => self.is(sql, " = ", MISSING),
        }
    }
}

/// ` ORDER BY …`
pub(super) fn by(sql: &mut Sql, keys: &[Key]) {
    for (at, key) in keys.iter().enumerate() {
        sql.push(if at == 0 { " ORDER BY " } else { ", " });
        if let Some(class) = &key.class {
            sql.push(class);
            sql.push(", ");
        }
        sql.push(&key.value);
        sql.push(if key.descending { " DESC" } else { "" });
    }
}

/// ` AND …` for rows behind a position.
pub(super) fn behind(sql: &mut Sql, keys: &[Key], ranks: &[Rank]) -> Result<(), Error> {
    if keys.len() != ranks.len() {
        return Err(Error::invalid("Invalid page token, it belongs to a search with another order"));
    }
    // Said on its own, so that an index can be entered by it.
    if let (Some(key @ Key { class: None, .. }), Some(Rank::Value(value))) = (keys.first(), ranks.first()) {
        sql.push(" AND ");
        let onward = if key.descending { Comparison::LessOrEqual } else { Comparison::GreaterOrEqual };
        key.compare(sql, onward, value);
    }
    sql.push(" AND ");
    for (key, rank) in keys.iter().zip(ranks) {
        sql.push("(");
        key.later(sql, rank);
        sql.push(" OR ");
        key.level(sql, rank);
        sql.push(" AND ");
    }
    // No row is behind itself.
    sql.push("0");
    sql.push(&")".repeat(keys.len()));
    Ok(())
}

/// `, …` for the columns that `read` reads.
pub(super) fn columns(sql: &mut Sql, keys: &[Key]) {
    for key in keys {
        sql.push(", ");
        sql.push(key.class.as_deref().unwrap_or("0"));
        sql.push(", ");
        sql.push(&key.value);
    }
}

/// The position of a row, from the last columns of it.
pub(super) fn read(row: &Row<'_>, keys: usize) -> Result<Position, Error> {
    let first = row.as_ref().column_count().saturating_sub(2 * keys);
    let rank = |at: usize| -> Result<Rank, Error> {
        let value = match (row.get(at)?, row.get_ref(at + 1)?) {
            (VALUE, ValueRef::Integer(number)) => Value::Integer(number),
            (VALUE, ValueRef::Real(number)) => Value::Number(number),
            (VALUE, ValueRef::Text(text)) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            (NAN, _) => return Ok(Rank::Nan),
            _ => return Ok(Rank::Missing),
        };
        Ok(Rank::Value(value))
    };
    Ok(Position((0..keys).map(|key| rank(first + 2 * key)).collect::<Result<_, _>>()?))
}
