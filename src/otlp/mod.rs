//! OTLP out: calls in the store become OpenTelemetry spans at a collector (layer 4).
//!
//! `span` is a pure mapping from a call to a span, with `content` (message JSON), `attributes` and
//! `openinference` beside it; `export` reads the store from a cursor and delivers, with `send` on the wire. The
//! exporter only ever reads what is stored: it takes no part in the path of a call, so a collector that is
//! slow or down costs nothing but its own backlog.

mod attributes;
mod config;
mod content;
mod export;
mod openinference;
mod send;
mod span;
#[cfg(test)]
mod tests;

pub use config::{Compression, Conventions, ExportConfig, Headers, Protocol};
pub use export::{Exporter, Stats, run};
pub use span::{Options, resource, span};
