//! What is served, by method and path; which models each takes, and whose errors it speaks in.

use super::SMALL;

/// Azure's spelling of a path, as OpenAI's; and the deployment that it names.
pub(super) fn without_azure<'a>(path: &[&'a str]) -> (Vec<&'a str>, Option<&'a str>) {
    let (rest, deployment) = match path {
        ["openai", "deployments", deployment, rest @ ..] => (rest, Some(*deployment)),
        ["openai", "v1", rest @ ..] => (rest, None),
        _ => return (path.to_vec(), None),
    };
    ([&["v1"], rest].concat(), deployment)
}

/// What is served, by method and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    Models(Option<&'a str>),
    Chat,
    Completions,
    Embeddings,
    Responses,
    ResponseTokens,
    Compact,
    Videos,
    Video(&'a str),
    FetchResponse(&'a str),
    CancelResponse(&'a str),
    Messages,
    MessageTokens,
    MessageBatches,
    MessageBatchResults(&'a str),
    Moderations,
    Images,
    ImageEdits,
    Speech,
    Transcriptions,
    Rerank,
    Files,
    File(&'a str),
    FileContent(&'a str),
    Batches,
    Batch(&'a str),
    CancelBatch(&'a str),
    Realtime,
    ResponsesSocket,
}

impl<'a> Endpoint<'a> {
    pub(super) fn of(method: &str, path: &[&'a str]) -> Option<Self> {
        Some(match (method, path) {
            ("GET", ["v1", "models"]) => Self::Models(None),
            ("GET", ["v1", "models", id]) => Self::Models(Some(id)),
            ("POST", ["v1", "chat", "completions"]) => Self::Chat,
            ("POST", ["v1", "completions"]) => Self::Completions,
            ("POST", ["v1", "embeddings"]) => Self::Embeddings,
            ("POST", ["v1", "responses"]) => Self::Responses,
            ("GET", ["v1", "responses"]) => Self::ResponsesSocket,
            ("POST", ["v1", "responses", "input_tokens"]) => Self::ResponseTokens,
            ("POST", ["v1", "responses", "compact"]) => Self::Compact,
            ("POST", ["v1", "videos"]) => Self::Videos,
            ("GET", ["v1", "videos", id]) => Self::Video(id),
            ("GET", ["v1", "responses", id]) => Self::FetchResponse(id),
            ("POST", ["v1", "responses", id, "cancel"]) => Self::CancelResponse(id),
            ("POST", ["v1", "messages"]) => Self::Messages,
            ("POST", ["v1", "messages", "count_tokens"]) => Self::MessageTokens,
            ("POST", ["v1", "messages", "batches"]) => Self::MessageBatches,
            ("GET", ["v1", "messages", "batches", id, "results"]) => Self::MessageBatchResults(id),
            ("GET", ["v1", "messages", "batches", id] | ["v1", "batches", id]) => Self::Batch(id),
            ("POST", ["v1", "messages", "batches", id, "cancel"] | ["v1", "batches", id, "cancel"]) => {
                Self::CancelBatch(id)
            }
            ("POST", ["v1", "moderations"]) => Self::Moderations,
            ("POST", ["v1", "images", "generations"]) => Self::Images,
            ("POST", ["v1", "images", "edits" | "variations"]) => Self::ImageEdits,
            ("POST", ["v1", "audio", "speech"]) => Self::Speech,
            ("POST", ["v1", "audio", "transcriptions" | "translations"]) => Self::Transcriptions,
            ("POST", ["v1" | "v2", "rerank"]) => Self::Rerank,
            ("POST", ["v1", "files"]) => Self::Files,
            ("GET", ["v1", "files", id]) => Self::File(id),
            ("GET", ["v1", "files", id, "content"]) => Self::FileContent(id),
            ("POST", ["v1", "batches"]) => Self::Batches,
            ("GET", ["v1", "realtime"]) => Self::Realtime,
            _ => return None,
        })
    }

    /// Whether requests of an OpenAI batch may be for it.
    pub(super) fn in_batches(&self) -> bool {
        matches!(self, Self::Chat | Self::Completions | Self::Embeddings | Self::Responses)
    }

    /// Whether it speaks as Anthropic's API does: errors have another shape there.
    pub(super) fn is_anthropic(&self) -> bool {
        match self {
            Self::Messages | Self::MessageTokens | Self::MessageBatches | Self::MessageBatchResults(_) => {
                true
            }
            Self::Batch(id) | Self::CancelBatch(id) => id.starts_with("msgbatch_"),
            _ => false,
        }
    }

    /// The model where none has to be named; `None` where one has to.
    pub(super) fn default_model(&self) -> Option<&'static str> {
        match self {
            Self::Moderations => Some("omni-moderation-latest"),
            Self::Images | Self::ImageEdits => Some("gpt-image-1"),
            Self::Videos => Some("sora-2"),
            Self::Chat | Self::Completions | Self::Embeddings | Self::Responses | Self::Messages => None,
            Self::ResponseTokens | Self::MessageTokens | Self::Speech | Self::Transcriptions => None,
            Self::Compact | Self::Rerank | Self::Realtime => None,
            // Nothing is asked of a model, or each request names its own.
            _ => Some(SMALL),
        }
    }

    /// Embedding models embed; other models do not.
    pub(super) fn serves(&self, model: &str) -> bool {
        match self {
            Self::Embeddings => model.contains("embed"),
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => !model.contains("embed"),
            _ => true,
        }
    }
}
