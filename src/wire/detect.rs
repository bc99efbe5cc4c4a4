//! Which wire format a request speaks, from its method and its target (relative to the upstream's base, or
//! with any prefix before the known path). Neither the query nor a body is asked.

use crate::model::call::Dialect;

/// The format, and `gen_ai.operation.name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detected {
    pub dialect: Dialect,
    pub operation: &'static str,
}

/// Looks at an answer that was asked for earlier; its tokens belong to whoever asked (OpenTelemetry's name).
pub(super) const FETCH: &str = "fetch_response";

pub fn detect(method: &str, target: &str) -> Detected {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut segments = path.rsplit('/').filter(|segment| !segment.is_empty());
    let tail: [&str; 5] = std::array::from_fn(|_| segments.next().unwrap_or_default());
    let (dialect, operation) = match method {
        "POST" => posted(tail),
        "GET" => got(tail),
        _ => None,
    }
    .unwrap_or((Dialect::Http, None));
    Detected { dialect, operation: operation.unwrap_or(dialect.operation()) }
}

type Found = Option<(Dialect, Option<&'static str>)>;

/// `tail`: the path's segments from its end.
fn posted(tail: [&str; 5]) -> Found {
    let dialect = match tail {
        // Mistral's agents answer chat requests at a path of their own; Azure's deployments end in it too.
        ["completions", "chat" | "agents", ..] => Dialect::ChatCompletions,
        ["completions", ..] => Dialect::Completions,
        ["compact", "responses", ..] => return Some((Dialect::Responses, Some("compact"))),
        ["cancel", _, "responses", ..] => return Some((Dialect::Responses, Some(FETCH))),
        ["responses", ..] => Dialect::Responses,
        ["embeddings", ..] => Dialect::Embeddings,
        ["count_tokens", "messages", ..] | ["input_tokens", "responses", ..] => Dialect::TokenCount,
        ["batches", "messages", ..] | ["cancel", _, "batches", ..] | ["batches", ..] => Dialect::Batches,
        // `/threads/{id}/messages` stores a message of the Assistants API; no model answers there.
        ["messages", _, "threads", ..] => return None,
        ["messages", ..] => Dialect::Messages,
        ["moderations", ..] => Dialect::Moderations,
        ["generations" | "edits" | "variations", "images", ..] => Dialect::Images,
        ["videos", ..] | ["edits" | "extensions", "videos", ..] | ["remix", _, "videos", ..] => {
            Dialect::Videos
        }
        ["speech", "audio", ..] => Dialect::Speech,
        ["transcriptions" | "translations", "audio", ..] => Dialect::Transcriptions,
        ["rerank", ..] => Dialect::Rerank,
        ["files", ..] if !is_holder(tail) => Dialect::Files,
        _ => return None,
    };
    Some((dialect, None))
}

fn got(tail: [&str; 5]) -> Found {
    match tail {
        ["realtime", ..] => Some((Dialect::Realtime, None)),
        // The WebSocket form; a list of responses does not exist.
        ["responses", ..] => Some((Dialect::Realtime, Some("chat"))),
        [_, "responses", ..] => Some((Dialect::Responses, Some(FETCH))),
        ["results", _, "batches", ..] | [_, "batches", ..] => Some((Dialect::Batches, None)),
        [_, "videos", ..] => Some((Dialect::Videos, None)),
        ["content", _, "files", _, holder] if holder != "containers" => Some((Dialect::Files, None)),
        _ => None,
    }
}

/// Files of vector stores, containers and environments are links or working copies, not uploads.
fn is_holder(tail: [&str; 5]) -> bool {
    matches!(tail, ["files", _, "vector_stores" | "containers" | "environments", ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_their_path() {
        use Dialect as D;
        for (method, path, dialect, operation) in [
            ("POST", "/chat/completions", D::ChatCompletions, "chat"),
            (
                "POST",
                "/openai/deployments/d/chat/completions?api-version=2024-10-21",
                D::ChatCompletions,
                "chat",
            ),
            ("POST", "//v1//chat/completions/", D::ChatCompletions, "chat"),
            ("POST", "/v1/agents/completions", D::ChatCompletions, "chat"),
            ("POST", "/v1/completions", D::Completions, "text_completion"),
            ("POST", "/v1/responses?beta=true", D::Responses, "chat"),
            ("POST", "/v1/responses/compact", D::Responses, "compact"),
            ("POST", "/v1/responses/input_tokens", D::TokenCount, "count_tokens"),
            ("POST", "/v1/responses/r1/cancel", D::Responses, FETCH),
            ("GET", "/v1/responses/r1?stream=true", D::Responses, FETCH),
            ("GET", "/v1/responses/r1/input_items", D::Http, "http"),
            ("GET", "/v1/responses", D::Realtime, "chat"),
            ("GET", "/v1/realtime?model=gpt-realtime", D::Realtime, "realtime"),
            ("POST", "/v1/realtime/client_secrets", D::Http, "http"),
            ("POST", "/compatible-mode/v1/embeddings", D::Embeddings, "embeddings"),
            ("POST", "/v1/messages?beta=true", D::Messages, "chat"),
            ("POST", "/v1/messages/count_tokens", D::TokenCount, "count_tokens"),
            ("POST", "/v1/messages/batches", D::Batches, "batch"),
            ("GET", "/v1/messages/batches/b1/results", D::Batches, "batch"),
            ("POST", "/v1/threads/t1/messages", D::Http, "http"),
            ("POST", "/v1/moderations", D::Moderations, "moderation"),
            ("POST", "/v1/images/generations", D::Images, "image_generation"),
            ("POST", "/openai/deployments/d/images/edits", D::Images, "image_generation"),
            ("POST", "/v1/videos", D::Videos, "video_generation"),
            ("POST", "/v1/videos/video_1/remix", D::Videos, "video_generation"),
            ("GET", "/v1/videos/video_1", D::Videos, "video_generation"),
            ("GET", "/v1/videos/video_1/content", D::Http, "http"),
            ("GET", "/v1/videos", D::Http, "http"),
            ("POST", "/v1/audio/speech", D::Speech, "speech"),
            ("POST", "/v1/audio/translations", D::Transcriptions, "transcription"),
            ("POST", "/v1/audio/voices", D::Http, "http"),
            ("POST", "/v2/rerank", D::Rerank, "rerank"),
            ("POST", "/v1/batches", D::Batches, "batch"),
            ("GET", "/v1/batches/b1", D::Batches, "batch"),
            ("GET", "/v1/batches", D::Http, "http"),
            ("POST", "/v1/files", D::Files, "file"),
            ("GET", "/v1/files/f1/content", D::Files, "file"),
            ("GET", "/v1/files/f1", D::Http, "http"),
            ("POST", "/v1/vector_stores/v1/files", D::Http, "http"),
            ("GET", "/v1/containers/c1/files/f1/content", D::Http, "http"),
            ("POST", "/v1/xcompletions", D::Http, "http"),
            ("POST", "/v1/models?x=/chat/completions", D::Http, "http"),
            ("GET", "/v1/chat/completions", D::Http, "http"),
            ("DELETE", "/v1/responses/r1", D::Http, "http"),
            ("POST", "", D::Http, "http"),
        ] {
            assert_eq!(detect(method, path), Detected { dialect, operation }, "{method} {path}");
        }
    }
}
