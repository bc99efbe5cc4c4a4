//! Page tokens as MLflow's clients pass them back: base64 of a small JSON object. Opaque to them. Ours say where the
//! row before the page stands, so that what comes or goes meanwhile moves no page; one of MLflow's own server,
//! which counts rows, is understood.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::model::{
    Error,
    filter::search::{self as filter, Position, Rank, Start},
};

/// The token of a page of runs, experiments or datasets. It belongs to one order.
#[derive(Debug, Clone, Copy)]
pub struct PageToken<'s> {
    /// The orders as they were sent.
    pub order_by: &'s [String],
}

impl PageToken<'_> {
    /// Of the page that begins behind `position`.
    pub fn encode(&self, position: &Position) -> String {
        STANDARD.encode(json!({ "behind": ranks(position), "order_by": self.order_by }).to_string())
    }

    /// An empty or absent token is the beginning.
    pub fn decode(&self, token: &str) -> Result<Start, Error> {
        if token.is_empty() {
            return Ok(Start::Top);
        }
        let value = decoded(token)?;
        let Some(start) = start(&value) else {
            return Err(Error::invalid(format!("Invalid page token, parsed value={value}")));
        };
        let expected = json!(self.order_by);
        match value.get("order_by") {
            Some(found) if *found != expected && matches!(start, Start::Behind(_)) => {
                Err(Error::invalid(format!(
                    "Invalid page token, it belongs to a search with the order {found}. Expected: {expected}"
                )))
            }
            _ => Ok(start),
        }
    }
}

/// The token of a search of logged models: it says which search it belongs to, and is refused by another.
#[derive(Debug, Clone, Copy)]
pub struct LoggedModelSearch<'s> {
    pub experiments: &'s [String],
    pub filter: Option<&'s str>,
    /// The objects as they were sent; null where there was none.
    pub order_by: &'s Value,
}

impl LoggedModelSearch<'_> {
    /// Of the page that begins behind `position`.
    pub fn encode(&self, position: &Position) -> String {
        let Self { experiments, filter, order_by } = self;
        let token = json!({
            "experiment_ids": experiments, "filter_string": filter, "order_by": order_by,
            "behind": ranks(position),
        });
        STANDARD.encode(token.to_string())
    }

    /// An empty or absent token is the beginning.
    pub fn decode(&self, token: &str) -> Result<Start, Error> {
        if token.is_empty() {
            return Ok(Start::Top);
        }
        let value = decoded(token)?;
        let parts = [
            ("Experiment IDs", "experiment IDs", "experiment_ids", json!(self.experiments)),
            ("Filter string", "filter string", "filter_string", json!(self.filter)),
            ("Order by", "order by", "order_by", self.order_by.clone()),
        ];
        for (what, requested, name, expected) in parts {
            let found = value.get(name).cloned().unwrap_or(Value::Null);
            if found != expected {
                let verb = if name == "experiment_ids" { "do" } else { "does" };
                return Err(Error::invalid(format!(
                    "{what} in the page token {verb} not match the requested {requested}. \
                     Expected: {expected}. Found: {found}"
                )));
            }
        }
        start(&value).ok_or_else(|| Error::invalid(format!("Invalid page token: {value}")))
    }
}

/// Python's way of reading base64 skips what is none.
fn decoded(token: &str) -> Result<Value, Error> {
    let letters: String =
        token.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')).collect();
    let bytes = STANDARD
        .decode(letters)
        .map_err(|_| Error::invalid("Invalid page token, could not base64-decode"))?;
    serde_json::from_slice(&bytes)
        .map_err(|_| Error::invalid(format!("Invalid page token, decoded value=b'{}'", bytes.escape_ascii())))
}

/// MLflow's own server counts the rows before a page, from 1, as a number or as text.
fn start(value: &Value) -> Option<Start> {
    if let Some(behind) = value.get("behind") {
        return Some(Start::Behind(position(behind)?));
    }
    let offset = value.get("offset")?;
    let number = offset.as_u64().or_else(|| offset.as_str()?.parse().ok())?;
    usize::try_from(number).ok().filter(|offset| *offset > 0).map(Start::Skip)
}

/// Null is what is missing, an empty list what is not a number.
fn ranks(position: &Position) -> Vec<Value> {
    let rank = |rank: &Rank| match rank {
        Rank::Value(filter::Value::Text(text)) => json!(text),
        Rank::Value(filter::Value::Integer(number)) => json!(number),
        Rank::Value(filter::Value::Number(number)) => json!(number),
        Rank::Nan => json!([]),
        Rank::Missing => Value::Null,
    };
    position.0.iter().map(rank).collect()
}

fn position(ranks: &Value) -> Option<Position> {
    let rank = |rank: &Value| match rank {
        Value::Null => Some(Rank::Missing),
        Value::Array(_) => Some(Rank::Nan),
        Value::String(text) => Some(Rank::Value(filter::Value::Text(text.clone()))),
        Value::Number(number) => Some(Rank::Value(match number.as_i64() {
            Some(number) => filter::Value::Integer(number),
            None => filter::Value::Number(number.as_f64()?),
        })),
        Value::Bool(_) | Value::Object(_) => None,
    };
    Some(Position(ranks.as_array()?.iter().map(rank).collect::<Option<_>>()?))
}
