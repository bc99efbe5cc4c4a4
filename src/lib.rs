//! tapline: a transparent recording proxy for LLM calls, and the server of what it recorded. The binary is a
//! shell around `cli`; the layers are in docs/ARCHITECTURE.md.

pub mod api;
pub mod app;
pub mod artifacts;
pub mod background;
pub mod billing;
pub mod capture;
pub mod chain;
pub mod cli;
pub mod config;
pub mod events;
pub mod journal;
pub mod mlflow;
pub mod model;
pub mod otlp;
pub mod pricing;
pub mod proxy;
pub mod report;
pub mod search;
pub mod simulate;
pub mod store;
pub mod telemetry;
pub mod tokens;
pub mod transfer;
pub mod ui;
pub mod upkeep;
pub mod upstream;
pub mod wire;
