//! A settled call: the facts of one request/response exchange, as a row. Its bodies are kept apart
//! (`content`), and their decoded view is made when somebody looks (`wire::read`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    CallId, Glob, NanoUsd, RunId, SpanId, TraceId, UnixNanos,
    content::{Arrival, Body},
    exchange::Job,
    id::ExperimentId,
    lineage::Lineage,
    record::{Head, Outcome, Source},
    usage::{Usage, UsageSource},
};

/// The wire format of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    ChatCompletions,
    Responses,
    Completions,
    Embeddings,
    /// Anthropic's.
    Messages,
    Moderations,
    Images,
    /// Made apart from the call that asks, like batches.
    Videos,
    /// Text to sound.
    Speech,
    /// Sound to text, translations included.
    Transcriptions,
    Rerank,
    /// How many tokens a request would have; nothing is generated.
    TokenCount,
    /// Many requests answered later, OpenAI's and Anthropic's.
    Batches,
    /// Uploads, and the results of batches.
    Files,
    /// A WebSocket session of the Realtime or Responses API.
    Realtime,
    /// Anything else: forwarded, kept as a plain HTTP span.
    Http,
}

impl Dialect {
    pub const ALL: [Self; 16] = [
        Self::ChatCompletions,
        Self::Responses,
        Self::Completions,
        Self::Embeddings,
        Self::Messages,
        Self::Moderations,
        Self::Images,
        Self::Videos,
        Self::Speech,
        Self::Transcriptions,
        Self::Rerank,
        Self::TokenCount,
        Self::Batches,
        Self::Files,
        Self::Realtime,
        Self::Http,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Responses => "responses",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::Moderations => "moderations",
            Self::Images => "images",
            Self::Videos => "videos",
            Self::Speech => "speech",
            Self::Transcriptions => "transcriptions",
            Self::Rerank => "rerank",
            Self::TokenCount => "token_count",
            Self::Batches => "batches",
            Self::Files => "files",
            Self::Realtime => "realtime",
            Self::Http => "http",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == text)
    }

    /// `gen_ai.operation.name` of what the dialect asks for: OpenTelemetry's names where it has one.
    pub fn operation(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Responses | Self::Messages => "chat",
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderation",
            Self::Images => "image_generation",
            Self::Videos => "video_generation",
            Self::Speech => "speech",
            Self::Transcriptions => "transcription",
            Self::Rerank => "rerank",
            Self::TokenCount => "count_tokens",
            Self::Batches => "batch",
            Self::Files => "file",
            Self::Realtime => "realtime",
            Self::Http => "http",
        }
    }

    /// True where text goes in and text comes out, so that its tokens can be counted without the provider.
    pub fn is_text(self) -> bool {
        matches!(
            self,
            Self::ChatCompletions | Self::Responses | Self::Completions | Self::Embeddings | Self::Messages
        )
    }
}

/// OpenTelemetry's span status, reduced to what a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallStatus {
    /// Completed, and the upstream did not report an error.
    Ok,
    /// HTTP 4xx/5xx, an error inside the stream, or an upstream that failed.
    Error,
    /// The client left before the end.
    Cancelled,
    /// Cut by shutdown or crash; holds what had streamed.
    Interrupted,
}

impl CallStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ok" => Self::Ok,
            "error" => Self::Error,
            "cancelled" => Self::Cancelled,
            "interrupted" => Self::Interrupted,
            _ => return None,
        })
    }
}

/// Which rule placed the call in its experiment, run and session; `None` where nothing did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Rules {
    pub experiment: Option<String>,
    pub run: Option<String>,
    pub session: Option<String>,
}

/// One call, settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub id: CallId,
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent_span_id: Option<SpanId>,
    /// OpenTelemetry's span name: `{operation} {model}`, or `{METHOD} {path}` for plain HTTP.
    pub name: String,
    pub started_at: UnixNanos,
    pub ended_at: UnixNanos,

    pub experiment_id: ExperimentId,
    pub run_id: Option<RunId>,
    pub session: Option<String>,
    pub rules: Rules,
    pub user: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,

    pub upstream: String,
    pub provider: String,
    pub server_address: String,
    pub server_port: u16,
    pub dialect: Dialect,
    /// `gen_ai.operation.name`: `chat`, `embeddings`, `text_completion`, …; `http` for plain HTTP.
    pub operation: String,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    pub streamed: bool,
    pub method: String,
    pub target: String,
    pub peer: Option<String>,
    pub key_fingerprint: Option<String>,

    pub status: CallStatus,
    pub outcome: Outcome,
    pub http_status: Option<u16>,
    /// `error.type`, who is to blame, and the message; all set when `status` is not `ok`.
    pub error_type: Option<String>,
    pub error_source: Option<Source>,
    pub error_message: Option<String>,

    pub finish_reasons: Vec<String>,
    pub response_id: Option<String>,
    /// The upstream's `x-request-id` (or its like).
    pub request_id: Option<String>,
    /// `x-stainless-retry-count` as the client sent it.
    pub retry_count: Option<u32>,
    /// As served, not as asked.
    pub service_tier: Option<String>,
    /// Where it was processed, if the answer or the endpoint tells: it can move the price.
    pub region: Option<String>,
    pub tool_calls: u32,

    pub usage: Usage,
    pub usage_source: Option<UsageSource>,
    /// At list price, or as the provider reported it. `None` is unknown, never zero (invariant 6).
    pub cost: Option<NanoUsd>,
    /// The cost after discounts and margins; the same as `cost` where no rule holds.
    pub billed: Option<NanoUsd>,
    /// The price that made the cost, or `reported` where the provider named the amount; behind a `*` the
    /// rule that made of it what is billed.
    pub price_id: Option<String>,

    /// Nanoseconds from the start: response head, first event with content, last event with content.
    pub first_byte_ns: Option<i64>,
    pub first_token_ns: Option<i64>,
    pub last_token_ns: Option<i64>,
    /// Events of a stream (or frames, where it is not one).
    pub chunks: u64,

    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// False when a body is not whole in the store; `notes` says why.
    pub request_whole: bool,
    pub response_whole: bool,
    pub request_headers: Head,
    pub response_headers: Head,
    /// What the readers met and could not take: never an error, always kept.
    pub notes: Vec<String>,
}

impl Call {
    pub fn duration_ns(&self) -> i64 {
        self.ended_at.since(self.started_at)
    }

    /// True when the provider named the amount.
    pub fn is_cost_reported(&self) -> bool {
        self.price_id.as_deref().is_some_and(|id| id == "reported" || id.starts_with("reported*"))
    }

    /// The model a person means: what answered, else what was asked for.
    pub fn model(&self) -> Option<&str> {
        self.response_model.as_deref().or(self.request_model.as_deref())
    }
}

/// Where a call asks to be placed. The store turns names into ids, creating what does not exist, in
/// the transaction that writes the call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// An experiment by id (when one with this id exists) or by name.
    pub experiment: Option<String>,
    /// A run by id (when one with this id exists) or by name within the experiment.
    pub run: Option<String>,
    /// The caller's address, where the run may be found by it when none is named.
    pub peer: Option<String>,
}

/// What a rule makes of a cost, in the experiments whose name fits (`None`: in all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub experiment: Option<Glob>,
    pub billed: NanoUsd,
    pub rule: String,
}

impl Call {
    /// Settles what is billed: by the first charge that holds in the call's experiment.
    pub fn charge(&mut self, experiment: &str, charges: &[Charge]) {
        self.billed = self.cost;
        let holds = |charge: &&Charge| charge.experiment.as_ref().is_none_or(|glob| glob.matches(experiment));
        if let (Some(_), Some(charge)) = (self.cost, charges.iter().find(holds)) {
            self.billed = Some(charge.billed);
            if let Some(id) = &mut self.price_id {
                id.push('*');
                id.push_str(&charge.rule);
            }
        }
    }
}

/// A stored call's new cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repriced {
    /// Its place in the order of storing.
    pub sequence: i64,
    pub cost: Option<NanoUsd>,
    pub billed: Option<NanoUsd>,
    pub price_id: Option<String>,
}

/// A change of stored costs, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repricing {
    pub at: UnixNanos,
    /// What was asked for, as JSON.
    pub asked: String,
    pub calls: u64,
    pub changed_calls: u64,
    pub cost_before: NanoUsd,
    pub cost_after: NanoUsd,
    pub billed_before: NanoUsd,
    pub billed_after: NanoUsd,
    pub unknown_before: u64,
    pub unknown_after: u64,
}

/// What an input holds besides text; of several the one that is hardest to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Held {
    Text,
    Tools,
    Images,
    Sound,
    Documents,
}

/// How far tapline's own count of a call was from what the upstream reported: what estimates are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSample {
    pub model: String,
    pub held: Held,
    pub input_reported: u64,
    pub input_estimated: u64,
    /// Output without hidden reasoning, which nobody can count.
    pub output_reported: u64,
    pub output_estimated: u64,
}

/// A call on its way into the store: the row (whose `experiment_id` and `run_id` the store fills from
/// `placement`), and its bodies.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub call: Call,
    pub placement: Placement,
    /// Set when the answer is made apart from this call, or was.
    pub job: Option<Job>,
    /// What is billed, by experiment; empty where it is the cost.
    pub charges: Vec<Charge>,
    pub token_sample: Option<TokenSample>,
    pub request: Body,
    pub response: Body,
    pub arrivals: Vec<Arrival>,
    /// What it may be joined to other calls by.
    pub lineage: Lineage,
}
