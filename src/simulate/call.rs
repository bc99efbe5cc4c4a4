//! A request as the dialects see it, and what they make of it.

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::{form::File, script::Script};

/// Everything about a request that the dialects need.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) key: String,
    pub(super) model: String,
    /// Asked for by Azure's path of a deployment: answers have what its filters found.
    pub(super) azure: bool,
    /// The request's JSON; of a form its texts, of a GET its query.
    pub(super) body: Value,
    pub(super) files: Vec<File>,
    pub(super) raw: Bytes,
    pub(super) script: Script,
    /// Where the request was sent to: what absolute addresses begin with.
    pub(super) host: String,
}

impl Call {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }

    /// A flag, as JSON has it or as forms and queries do.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.body.get(name).is_some_and(|flag| *flag == Value::Bool(true) || *flag == "true")
    }
}

/// What a request turned out to be.
#[derive(Debug)]
pub(super) enum Reply {
    Plain(StatusCode, Value, Option<String>),
    Stream {
        events: Vec<Bytes>,
        error: Bytes,
    },
    /// Bytes that are no JSON: sound, text, lines.
    Raw(&'static str, Bytes),
}

pub(super) fn ok(value: Value) -> Reply {
    Reply::Plain(StatusCode::OK, value, None)
}

pub(super) const MID_STREAM_ERROR: &str =
    "The server had an error while processing your request. Sorry about that!";
