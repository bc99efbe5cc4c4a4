//! Bytes ⇄ model, sans-IO: what crossed the wire, read as one [`Exchange`], and request bodies cut where
//! they repeat. Plain structs that are pushed bytes and give values and notes; no socket, no clock, no
//! error that stops a reading. Memory per call is bounded by [`Limits`], and any split of the byte
//! stream gives the same exchange apart from times.

mod anthropic;
pub mod ask;
mod batches;
mod decode;
mod detect;
mod error;
mod events;
mod extent;
pub mod flavour;
mod json;
mod multipart;
mod notes;
mod openai;
mod parts;
mod peek;
mod reader;
mod rerank;
mod split;
mod sse;
mod text;
mod token_count;
mod trace_context;
mod websocket;

#[cfg(test)]
mod tests;

#[cfg(doc)]
use crate::model::exchange::Exchange;

pub use detect::{Detected, detect};
pub use events::events;
pub use peek::{Peek, peek};
pub use reader::CallReader;
pub use split::split;
pub use text::{message, words};
pub use trace_context::TraceParent;

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
