//! The nouns of the house (layer 0): plain data, no IO, no async, no SQL, no HTTP, no clock.
//!
//! Everything above speaks these types. One noun has one name everywhere: here, in the table, in the
//! URL, in the flag and on the page.

pub mod budget;
pub mod call;
pub mod content;
pub mod dataset;
pub mod duration;
pub mod error;
pub mod evaluation_dataset;
pub mod exchange;
pub mod filter;
pub mod glob;
pub mod id;
pub mod latency;
pub mod lineage;
pub mod logged_model;
pub mod metric;
pub mod money;
pub mod record;
pub mod run;
pub mod time;
pub mod usage;

pub use error::{Error, ErrorCode};
pub use glob::Glob;
pub use id::{CallId, RunId, SpanId, TraceId};
pub use money::NanoUsd;
pub use time::UnixNanos;
