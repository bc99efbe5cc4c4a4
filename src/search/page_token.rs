//! Page tokens as MLflow's clients pass them back: base64 of a small JSON object. Opaque to them; one that
//! another server made is understood.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::model::Error;

/// Where the next page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageToken {
    /// Rows before it.
    pub offset: usize,
    /// The id of the row before it, where the place in the order follows from that row alone: what came in
    /// since then moves no page.
    pub after: Option<String>,
}

impl PageToken {
    /// An empty or absent token is the beginning.
    pub fn decode(token: &str) -> Result<Self, Error> {
        if token.is_empty() {
            return Ok(Self::default());
        }
        let value = decoded(token)?;
        let Some(offset) = offset(&value) else {
            return Err(Error::invalid(format!("Invalid page token, parsed value={value}")));
        };
        let after = value.get("after").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { offset, after })
    }

    pub fn encode(&self) -> String {
        // The spacing is Python's, so that a token without `after` is the very text that MLflow's server gives.
        let text = match &self.after {
            None => format!("{{\"offset\": {}}}", self.offset),
            Some(after) => format!("{{\"offset\": {}, \"after\": {}}}", self.offset, json!(after)),
        };
        STANDARD.encode(text)
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
    pub fn token(&self, offset: usize) -> String {
        let Self { experiments, filter, order_by } = self;
        let token = json!({
            "experiment_ids": experiments, "filter_string": filter, "order_by": order_by, "offset": offset,
        });
        STANDARD.encode(token.to_string())
    }

    /// Rows before the page.
    pub fn offset(&self, token: &str) -> Result<usize, Error> {
        if token.is_empty() {
            return Ok(0);
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
        offset(&value).ok_or_else(|| Error::invalid(format!("Invalid page token: {value}")))
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

/// At least 1, as a number or as text.
fn offset(value: &Value) -> Option<usize> {
    let offset = value.get("offset")?;
    let number = offset.as_u64().or_else(|| offset.as_str()?.parse().ok())?;
    usize::try_from(number).ok().filter(|offset| *offset > 0)
}
