//! The one integration binary: real sockets, real files, nothing mocked but the upstream, which a test
//! plays byte by byte.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test that panics has found something")]

mod billing;
mod chain;
mod cost_truth;
mod exact;
mod harness;
mod mlflow;
mod proxy;
mod sessions;
mod tidy;
mod whole;
