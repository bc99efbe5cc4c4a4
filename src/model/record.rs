//! What crosses the wire, in the order it crossed: the records that a call leaves in the journal.
//!
//! A call is `Opened`, any number of `Sent`, at most one `Answered`, any number of `Received`, and one
//! `Closed`. Records of different calls interleave. `Restarted` marks where a new process took over:
//! every call that is open at that point ended as `Outcome::Interrupted`.
//! Secrets are masked before a record is built (invariant 7); bodies are the bytes as they crossed.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{CallId, SpanId, TraceId, UnixNanos};

/// The header under which a recorded response says that its usage was asked for on the client's behalf. It crossed
/// no wire; it is taken off again when the call is settled.
pub const ASKED: &str = "x-tapline-usage";
/// Asked; what answers it is taken out of what the client gets.
pub const ASKED_DONE: &str = "asked";
/// Asked, refused, and sent again as the client had sent it.
pub const ASKED_REFUSED: &str = "refused";

#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Opened(Box<Opened>),
    /// Bytes of the request body.
    Sent {
        call: CallId,
        bytes: Bytes,
    },
    Answered(Box<Answered>),
    /// Bytes of the response body, as one frame arrived.
    Received {
        call: CallId,
        at: UnixNanos,
        bytes: Bytes,
    },
    Closed(Box<Closed>),
    Restarted {
        at: UnixNanos,
    },
}

/// A header line: the name in lower case, the value with each byte as one `char` (ISO 8859-1), so that
/// any value survives exactly.
pub type Header = (String, String);

/// The lines of a head, shared by whoever looks at the same call.
pub type Head = Arc<[Header]>;

/// The intent: everything that is known before the first byte goes upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    pub call: CallId,
    pub trace: TraceId,
    pub span: SpanId,
    /// The caller's span, from a valid `traceparent`.
    pub parent_span: Option<SpanId>,
    pub at: UnixNanos,
    pub method: String,
    /// Path and query as they go upstream, relative to the upstream's base (`/chat/completions?x=1`),
    /// secrets in the query masked.
    pub target: String,
    /// The upstream's configured name, its provider in OpenTelemetry's spelling, and where it is.
    pub upstream: String,
    pub provider: String,
    pub server_address: String,
    pub server_port: u16,
    /// What the path scopes said (`/run/<id>/…`, `/exp/<name>/…`, `/s/<session>/…`), percent-decoded.
    pub scope: Scope,
    /// Request headers, masked; hop-by-hop ones and tapline's own (`x-tapline-…`) included.
    pub headers: Vec<Header>,
    /// The client's address, `ip:port`.
    pub peer: Option<String>,
    /// Salted fingerprint of the API key; never the key.
    pub key_fingerprint: Option<String>,
}

/// Where a call goes: the upstream's configured name, its provider in OpenTelemetry's spelling, its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub upstream: String,
    pub provider: String,
    pub server_address: String,
    pub server_port: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub run: Option<String>,
    pub experiment: Option<String>,
    pub session: Option<String>,
}

/// The response's head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    pub call: CallId,
    pub at: UnixNanos,
    pub status: u16,
    pub headers: Vec<Header>,
}

/// The end of a call: exactly one (invariant 3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    pub call: CallId,
    pub at: UnixNanos,
    pub outcome: Outcome,
    /// Set when the outcome is a failure: who is to blame, a stable code, a sentence.
    pub failure: Option<Failure>,
    /// Bytes that crossed, and of those the bytes that are in the journal (less when a body outgrew
    /// its limit or the journal was full).
    pub sent_bytes: u64,
    pub sent_recorded: u64,
    pub received_bytes: u64,
    pub received_recorded: u64,
    /// Of the received bytes those that came after the client had left, where the upstream is then drained.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drained_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How a call ended, seen from the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The response ended as its framing says (whatever its status).
    Completed,
    /// The client left before the end.
    ClientGone,
    /// The client's request itself was broken or could not be routed; tapline answered.
    ClientError,
    /// No response, or one that broke off: refused, reset, short, timed out.
    UpstreamFailed,
    /// tapline shut down and cut the call.
    Shutdown,
    /// The process died with the call in flight; found at the next start.
    Interrupted,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientGone => "client_gone",
            Self::ClientError => "client_error",
            Self::UpstreamFailed => "upstream_failed",
            Self::Shutdown => "shutdown",
            Self::Interrupted => "interrupted",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "completed" => Self::Completed,
            "client_gone" => Self::ClientGone,
            "client_error" => Self::ClientError,
            "upstream_failed" => Self::UpstreamFailed,
            "shutdown" => Self::Shutdown,
            "interrupted" => Self::Interrupted,
            _ => return None,
        })
    }
}

/// Who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Client,
    Upstream,
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub source: Source,
    /// Low-cardinality, for `error.type`: `connection_refused`, `connection_reset`, `dns`, `tls`,
    /// `timeout`, `upstream_eof`, `client_disconnect`, …
    pub code: String,
    pub message: String,
}

impl Record {
    /// The call that a record belongs to; `None` for `Restarted`.
    pub fn call(&self) -> Option<CallId> {
        match self {
            Self::Opened(opened) => Some(opened.call),
            Self::Sent { call, .. } | Self::Received { call, .. } => Some(*call),
            Self::Answered(answered) => Some(answered.call),
            Self::Closed(closed) => Some(closed.call),
            Self::Restarted { .. } => None,
        }
    }
}
