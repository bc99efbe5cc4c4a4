//! A statement as it grows: fixed fragments, and values that are bound. Nothing that anybody wrote in a filter
//! becomes part of the text.

use rusqlite::types::Value as Bound;

use crate::model::{
    Error,
    filter::search::{Comparison, Test, Value},
};

/// SQLite refuses longer patterns; MLflow's longest values are 8,000 characters.
const LONGEST_PATTERN: usize = 20_000;

#[derive(Debug, Clone, Default)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) bound: Vec<Bound>,
}

impl Sql {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn bind(&mut self, value: impl Into<Bound>) {
        self.text.push('?');
        self.bound.push(value.into());
    }

    pub(super) fn append(&mut self, other: Self) {
        self.text.push_str(&other.text);
        self.bound.extend(other.bound);
    }

    pub(super) fn limit(&mut self, rows: usize) {
        self.push(" LIMIT ");
        self.bind(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    /// Any of several texts: one value, whatever their number.
    pub(super) fn one_of(&mut self, expression: &str, values: &[String], not: bool) {
        self.push(expression);
        self.push(if not {
            " NOT IN (SELECT value FROM json_each("
        } else {
            " IN (SELECT value FROM json_each("
        });
        self.bind(serde_json::Value::from(values).to_string());
        self.push("))");
    }

    /// A test of a text. `Exists` is the business of who knows where the text is kept.
    pub(super) fn text_test(&mut self, expression: &str, test: &Test) -> Result<(), Error> {
        match test {
            Test::Compare(comparison, value) => {
                self.push(expression);
                self.push(operator(*comparison));
                self.bind(bound(value));
            }
            Test::Like { pattern, .. } if pattern.len() > LONGEST_PATTERN => {
                return Err(Error::invalid(format!(
                    "expected a pattern of at most {LONGEST_PATTERN} bytes, found {}",
                    pattern.len()
                )));
            }
            // SQLite's LIKE ignores the case of ASCII letters, its GLOB does not.
            Test::Like { pattern, any_case: true } => {
                self.push(expression);
                self.push(" LIKE ");
                self.bind(pattern.clone());
            }
            Test::Like { pattern, any_case: false } => {
                self.push(expression);
                self.push(" GLOB ");
                self.bind(glob(pattern));
            }
            Test::OneOf { values, not } => self.one_of(expression, values, *not),
            Test::Exists(true) => {
                self.push(expression);
                self.push(" IS NOT NULL");
            }
            Test::Exists(false) => {
                self.push(expression);
                self.push(" IS NULL");
            }
        }
        Ok(())
    }

    /// A test of a number. A text, which no grammar lets through, equals no number.
    pub(super) fn number_test(&mut self, expression: &str, test: &Test) {
        match test {
            Test::Compare(comparison, value) => {
                self.push(expression);
                self.push(operator(*comparison));
                self.bind(bound(value));
            }
            Test::Exists(there) => {
                self.push(expression);
                self.push(if *there { " IS NOT NULL" } else { " IS NULL" });
            }
            Test::Like { .. } | Test::OneOf { .. } => self.push("0"),
        }
    }

    /// A test of a time that is kept in nanoseconds by a value in milliseconds, so that an index on the time
    /// serves: a time counts as the millisecond that it lies in.
    pub(super) fn time_test(&mut self, column: &str, test: &Test) {
        let Test::Compare(comparison, value) = test else { return self.number_test(column, test) };
        // The millisecond itself, and whether the value is a whole one.
        let (floor, whole) = match value {
            Value::Integer(at) => (*at, true),
            #[expect(clippy::cast_possible_truncation, reason = "saturates, as it should")]
            Value::Number(at) => (at.floor() as i64, at.fract() == 0.0),
            Value::Text(_) => return self.push("0"),
        };
        let begins = floor.saturating_mul(NANOS);
        let ends = floor.saturating_add(1).saturating_mul(NANOS);
        match (comparison, whole) {
            (Comparison::Equal, true) => self.between(column, begins, ends, false),
            (Comparison::NotEqual, true) => self.between(column, begins, ends, true),
            (Comparison::Equal, false) => self.push("0"),
            (Comparison::NotEqual, false) => {
                self.push(column);
                self.push(" IS NOT NULL");
            }
            (Comparison::Less, true) => self.bounded(column, " < ", begins),
            (Comparison::GreaterOrEqual, true) => self.bounded(column, " >= ", begins),
            (Comparison::Less | Comparison::LessOrEqual, _) => self.bounded(column, " < ", ends),
            (Comparison::Greater | Comparison::GreaterOrEqual, _) => self.bounded(column, " >= ", ends),
        }
    }

    fn bounded(&mut self, column: &str, operator: &str, bound: i64) {
        self.push(column);
        self.push(operator);
        self.bind(bound);
    }

    fn between(&mut self, column: &str, from: i64, to: i64, outside: bool) {
        self.push("(");
        self.bounded(column, if outside { " < " } else { " >= " }, from);
        self.push(if outside { " OR " } else { " AND " });
        self.bounded(column, if outside { " >= " } else { " < " }, to);
        self.push(")");
    }
}

/// Nanoseconds of a millisecond.
const NANOS: i64 = 1_000_000;

pub(super) fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => " = ",
        Comparison::NotEqual => " <> ",
        Comparison::Less => " < ",
        Comparison::LessOrEqual => " <= ",
        Comparison::Greater => " > ",
        Comparison::GreaterOrEqual => " >= ",
    }
}

fn bound(value: &Value) -> Bound {
    match value {
        Value::Text(text) => Bound::Text(text.clone()),
        Value::Integer(number) => Bound::Integer(*number),
        Value::Number(number) => Bound::Real(*number),
    }
}

/// LIKE's pattern as GLOB's.
fn glob(pattern: &str) -> String {
    let mut glob = String::with_capacity(pattern.len());
    for character in pattern.chars() {
        match character {
            '%' => glob.push('*'),
            '_' => glob.push('?'),
            '*' | '?' | '[' => {
                glob.push('[');
                glob.push(character);
                glob.push(']');
            }
            other => glob.push(other),
        }
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_keeps_its_meaning() {
        assert_eq!(glob("%a_b*c?[d]%"), "*a?b[*]c[?][[]d]*");
    }

    #[test]
    fn times_count_as_their_millisecond() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let holds = |at: i64, comparison, value: Value| -> bool {
            let mut sql = Sql::default();
            sql.push("SELECT ");
            sql.time_test("(SELECT value FROM json_each(?))", &Test::Compare(comparison, value));
            let outer = sql.text.matches("json_each(?)").count();
            // Every mention of the column takes the time first, then its own bound.
            let mut values: Vec<Bound> = Vec::new();
            for bound in sql.bound {
                values.push(Bound::Text(at.to_string()));
                values.push(bound);
            }
            if values.is_empty() && outer == 1 {
                values.push(Bound::Text(at.to_string()));
            }
            connection.query_row(&sql.text, rusqlite::params_from_iter(values), |row| row.get(0)).unwrap()
        };
        for (value, expected) in [
            (Value::Integer(4), [false, true, false, false, true, true]),
            (Value::Integer(5), [true, false, false, true, false, true]),
            (Value::Integer(6), [false, true, true, true, false, false]),
            (Value::Number(4.5), [false, true, false, false, true, true]),
            (Value::Number(5.5), [false, true, true, true, false, false]),
            (Value::Number(1e300), [false, true, true, true, false, false]),
        ] {
            let found = [
                Comparison::Equal,
                Comparison::NotEqual,
                Comparison::Less,
                Comparison::LessOrEqual,
                Comparison::Greater,
                Comparison::GreaterOrEqual,
            ]
            .map(|comparison| holds(5_700_000, comparison, value.clone()));
            assert_eq!(found, expected, "5.7 ms and {value:?}");
        }
    }
}
