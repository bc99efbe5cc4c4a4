//! Bytes ⇄ model, sans-IO: what crossed the wire, read as one [`Exchange`], and request bodies cut where
//! they repeat. Plain structs that are pushed bytes and give values and notes; no socket, no clock, no
//! error that stops a reading. Memory per call is bounded by [`Limits`], and any split of the byte
//! stream gives the same exchange apart from times.

mod anthropic;
mod decode;
mod error;
mod events;
mod json;
mod notes;
mod openai;
mod parts;
mod reader;
mod split;
mod sse;
mod trace_context;

#[cfg(test)]
mod tests;

use crate::model::call::Dialect;
#[cfg(doc)]
use crate::model::exchange::Exchange;

pub use events::events;
pub use reader::CallReader;
pub use split::split;
pub use trace_context::TraceParent;

/// Which wire format a request speaks, from its method and its target (relative to the upstream's base,
/// or with any prefix before the known path). The query says nothing.
pub fn detect(method: &str, target: &str) -> Dialect {
    if method != "POST" {
        return Dialect::Http;
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut segments = path.rsplit('/').filter(|segment| !segment.is_empty());
    let (last, before, second) = (segments.next(), segments.next(), segments.next());
    match (last, before) {
        // Mistral's agents answer chat requests at a path of their own.
        (Some("completions"), Some("chat" | "agents")) => Dialect::ChatCompletions,
        (Some("completions"), _) => Dialect::Completions,
        (Some("responses"), _) => Dialect::Responses,
        (Some("embeddings"), _) => Dialect::Embeddings,
        // `/threads/{id}/messages` stores a message of the Assistants API; no model answers there.
        (Some("messages"), _) if second != Some("threads") => Dialect::Messages,
        _ => Dialect::Http,
    }
}

/// What a reader may spend.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest decoded (decompressed) body looked at, bytes.
    pub max_decoded: usize,
    /// Largest single event of a stream, bytes.
    pub max_event: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_decoded: 64 << 20, max_event: 16 << 20 }
    }
}
