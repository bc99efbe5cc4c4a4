//! From a call on the wire to a row (layer 3): the one door for the proxy and for OTLP ingest. Ids,
//! parent, run, session, redaction, usage and cost are settled here and nowhere else.
//!
//! `recorder` is the near side, held by the proxy while a call runs; behind the journal, `projector`
//! reads the records back, assembles calls, has `wire` understand them, `group` place them and `settle`
//! make the row, and hands batches to the store.

pub mod assemble;
pub mod group;
pub mod projector;
pub mod recorder;
pub mod redact;
mod sample;
pub mod settle;
