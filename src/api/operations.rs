//! What an operator's tools ask: `/healthz` (is it well, and if not, what fails), `/readyz` (may traffic
//! come), `/metrics` (Prometheus). Answers from memory only: a broken store must not make these hang.

use std::{fmt, sync::Arc};

use axum::{Json, Router, extract::State as Extract, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use serde::Serialize;

use crate::telemetry::{self, Telemetry};

/// How the recording goes. Traffic is forwarded in every state but `stopping`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// `ok`, `degraded` (something below fails), or `stopping`.
    pub status: &'static str,
    pub version: &'static str,
    /// What fails, in sentences; empty when all is well.
    pub problems: Vec<String>,
    /// Calls settled into the store by this process, bytes of journal that are not in the store yet, and
    /// records that were dropped.
    pub settled_calls: u64,
    pub journal_lag_bytes: u64,
    pub journal_bytes: u64,
    pub dropped_records: u64,
    pub in_flight: u64,
}

/// What these routes need. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub telemetry: Telemetry,
    pub health: Arc<dyn Fn() -> Health + Send + Sync>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

pub fn router(state: State) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state)
}

/// 200 as long as the process answers: a degraded recording is no reason to restart a proxy that forwards.
async fn healthz(Extract(state): Extract<State>) -> impl IntoResponse {
    Json((state.health)())
}

/// 503 while stopping, or while calls could not be recorded: then a balancer may prefer another one.
async fn readyz(Extract(state): Extract<State>) -> impl IntoResponse {
    let health = (state.health)();
    let status = if health.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}

async fn metrics(Extract(state): Extract<State>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], state.telemetry.encode())
}
