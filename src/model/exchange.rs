//! The decoded view of a call's bodies, the same shape for every dialect: what was asked, what came
//! back. Made by `wire` from bytes; shown by the faces; never stored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{UnixNanos, call::Dialect, usage::Usage};

/// A part of a message, in the spelling of OpenTelemetry's GenAI message schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessagePart {
    Text {
        content: String,
    },
    Reasoning {
        content: String,
    },
    Refusal {
        content: String,
    },
    ToolCall {
        id: Option<String>,
        name: String,
        arguments: Value,
    },
    ToolCallResponse {
        id: Option<String>,
        response: Value,
    },
    /// Inline media: what and how large, not the bytes themselves.
    Blob {
        modality: String,
        mime_type: Option<String>,
        bytes: u64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        extent: Option<Extent>,
        /// How closely an image is to be looked at, as it was asked.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        detail: Option<String>,
    },
    /// Media by reference.
    Uri {
        modality: String,
        uri: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        detail: Option<String>,
    },
    File {
        file_id: String,
    },
    /// Anything this version does not know, as it was.
    Other {
        value: Value,
    },
}

impl MessagePart {
    /// Inline media of which no more is known than how many bytes they are.
    pub fn blob(modality: &str, mime_type: Option<String>, bytes: u64) -> Self {
        Self::Blob { modality: modality.to_owned(), mime_type, bytes, extent: None, detail: None }
    }

    pub fn uri(modality: &str, uri: String) -> Self {
        Self::Uri { modality: modality.to_owned(), uri, detail: None }
    }
}

/// How large media are, in the terms in which they are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    Pixels { width: u32, height: u32 },
    Pages(u32),
    Milliseconds(u64),
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pixels { width, height } => write!(f, "{width} × {height}"),
            Self::Pages(1) => f.write_str("1 page"),
            Self::Pages(pages) => write!(f, "{pages} pages"),
            Self::Milliseconds(ms) => write!(f, "{}.{} s", ms / 1_000, ms % 1_000 / 100),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Message {
    pub role: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    pub parts: Vec<MessagePart>,
}

/// One alternative of the answer (`n > 1` gives several), in order of its index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Choice {
    pub index: u32,
    pub message: Message,
    /// The provider's word, verbatim; `None` when the stream was cut before it.
    pub finish_reason: Option<String>,
    /// Left whole, as the provider sent it (stream fragments concatenated).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub logprobs: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Request {
    pub model: Option<String>,
    pub stream: bool,
    /// Chat messages; `input` of responses and embeddings; `prompt` of completions.
    pub messages: Vec<Message>,
    /// Instructions sent apart from the messages (responses `instructions`, Anthropic `system`).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub system_instructions: Vec<MessagePart>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tools: Vec<Value>,
    /// Every other top-level field, as it was (`temperature`, `max_tokens`, `metadata`, …).
    pub parameters: Map<String, Value>,
}

/// An error the upstream reported, in a body or inside a stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpstreamError {
    /// `error.code` if it is a short string, else `error.type`, else the HTTP status.
    pub kind: String,
    pub message: String,
}

/// An answer that is made apart from the call that asked for it: a background response, a batch. Its usage
/// counts once, whoever fetches it and however often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Job {
    /// The provider's id.
    pub id: String,
    /// Other names under which its usage may come: a batch's output file.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub also: Vec<String>,
    /// True for the call that asked for it; others look how far it is.
    pub asked: bool,
}

/// Output that came after the last count that the upstream gave of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Uncounted {
    /// The count is of a part of the output that is there.
    Rest,
    /// All but the last choice are counted.
    LastChoice,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Response {
    pub id: Option<String>,
    pub model: Option<String>,
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
    /// What the usage lacks because the stream was cut before its last count.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uncounted: Option<Uncounted>,
    pub service_tier: Option<String>,
    /// Where the provider says that it processed the call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<String>,
    pub system_fingerprint: Option<String>,
    pub error: Option<UpstreamError>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<Job>,
    /// Why the provider says that its prompt cache was not read, in its word (`tools_changed`, `cache_hit`, …).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cache_diagnosis: Option<String>,
    /// True when the dialect's own end was seen (`[DONE]`, `response.completed`, a whole JSON body).
    pub complete: bool,
}

/// When things came, absolute. `None` where they never did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    pub first_event: Option<UnixNanos>,
    /// First event with content: text, refusal, reasoning, a tool call's piece, audio.
    pub first_token: Option<UnixNanos>,
    pub last_token: Option<UnixNanos>,
    /// Events seen (`data:` lines groups of a stream); 0 for a plain body.
    pub events: u64,
}

/// One call, understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    pub dialect: Dialect,
    /// `gen_ai.operation.name`.
    pub operation: String,
    pub request: Request,
    pub response: Response,
    /// True when the answer really came as an event stream.
    pub streamed: bool,
    pub timing: Timing,
    /// What could not be taken, in sentences.
    pub notes: Vec<String>,
}
