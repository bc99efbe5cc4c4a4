//! What an operator's tools ask: `/healthz` (is it well, and if not, what fails), `/readyz` (may traffic
//! come), `/metrics` (Prometheus). Answers from memory only: a broken store must not make these hang.

use std::{fmt, sync::Arc};

use axum::{Json, Router, extract::State as Extract, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::telemetry::{self, Telemetry};

/// How the recording goes. Traffic is forwarded in every state but `stopping`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, `degraded` (something below fails), or `stopping`.
    pub status: String,
    pub version: String,
    /// What fails, in sentences; empty when all is well.
    pub problems: Vec<String>,
    /// Calls settled into the store by this process, bytes of journal that are not in the store yet, and
    /// records that were dropped.
    pub settled_calls: u64,
    pub journal_lag_bytes: u64,
    pub journal_bytes: u64,
    pub dropped_records: u64,
    pub in_flight: u64,
    pub calls: CallBooks,
    pub records: RecordBooks,
}

/// Where every call of this process is: `sent + found = stored + journalled + dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallBooks {
    /// Calls that clients sent and that were forwarded or answered.
    pub sent: u64,
    /// Calls that a process before this one left in the journal, as far as they are read.
    pub found: u64,
    /// In the store.
    pub stored: u64,
    /// On the way there: running, waiting in memory or in the journal's files.
    pub journalled: u64,
    /// Not recorded, or recorded and lost: the journal was full or broken, somebody damaged or removed its files,
    /// or the store refused the call.
    pub dropped: u64,
    /// Answered with 503 instead of being sent, where `journal.when_full` says so.
    pub refused: u64,
}

/// Where every record of this process is: `appended = written + queued + dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBooks {
    pub appended: u64,
    /// In the journal's files, or already applied to the store.
    pub written: u64,
    pub queued: u64,
    pub dropped: u64,
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
