//! The store itself: how large it is and what of, removing what has outlived its life, erasing, dictionaries.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, State as Extract},
};
use http::Uri;
use serde::{Deserialize, Serialize};

use super::{
    State,
    error::{ErrorBody, Failure},
    params::Params,
};
use crate::{
    model::{CallId, Error},
    report::figures::instant,
    store::Target,
    upkeep::{EraseReport, GcReport, TrainReport},
};

/// What the store takes on disk, and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StoreReport {
    /// The database and its log.
    pub bytes: u64,
    /// ⊂ bytes: the log that is not yet in the database.
    pub log_bytes: u64,
    /// ⊂ bytes: freed pages that new rows will use.
    pub free_bytes: u64,
    /// The index of texts, a file of its own.
    pub index_bytes: u64,
    /// Calls, contents and turns that were ever stored.
    pub calls: u64,
    pub contents: u64,
    pub turns: u64,
    /// Requests of a known dialect whose body could not be cut and is kept as it came.
    pub uncut_bodies: u64,
    /// Calls of which something cannot be read, so that the index does not have it: the file is damaged there.
    #[serde(default)]
    pub unread_calls: u64,
    pub dictionaries: Vec<DictionaryReport>,
    /// Bytes of each table and index.
    pub tables: BTreeMap<String, u64>,
}

/// A dictionary that stored bytes are packed with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DictionaryReport {
    pub id: i64,
    /// `content` or `response`.
    pub kind: String,
    pub trained_at: String,
    pub samples: u64,
    pub bytes: u64,
}

/// How large the store is, and what of.
#[utoipa::path(
    get,
    path = "/api/v1/db",
    tag = "store",
    responses((status = 200, description = "The store's sizes.", body = StoreReport)),
)]
pub(super) async fn report(Extract(state): Extract<State>, uri: Uri) -> Result<Json<StoreReport>, Failure> {
    Params::read(&uri, &[])?;
    let stats = state.store.stats().await?;
    let dictionaries = state.store.dictionaries().await?;
    Ok(Json(StoreReport {
        bytes: stats.bytes,
        log_bytes: stats.log_bytes,
        free_bytes: stats.free_bytes,
        index_bytes: stats.index_bytes,
        calls: stats.calls,
        contents: stats.contents,
        turns: stats.turns,
        uncut_bodies: stats.uncut_bodies,
        unread_calls: state.store.unread_calls().await?,
        dictionaries: dictionaries
            .into_iter()
            .map(|dictionary| DictionaryReport {
                id: dictionary.id,
                kind: dictionary.kind,
                trained_at: instant(dictionary.trained_at),
                samples: dictionary.samples,
                bytes: dictionary.bytes,
            })
            .collect(),
        tables: state.store.tables().await?,
    }))
}

/// Remove what has outlived its retention, and content that nothing refers to any more.
#[utoipa::path(
    post,
    path = "/api/v1/db/gc",
    tag = "store",
    params(("dry_run" = Option<bool>, Query, description = "Remove nothing; say what would go.")),
    responses(
        (status = 200, description = "What went, or would go.", body = GcReport),
        (status = 409, description = "The store is only read.", body = ErrorBody),
    ),
)]
pub(super) async fn gc(Extract(state): Extract<State>, uri: Uri) -> Result<Json<GcReport>, Failure> {
    let params = Params::read(&uri, &["dry_run"])?;
    let dry_run = params.parsed("dry_run", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Error::invalid(format!("expected true or false, found {other:?}"))),
    })?;
    Ok(Json(state.upkeep()?.gc(dry_run.unwrap_or(false)).await?))
}

/// Train dictionaries from what is stored, and pack everything with those that pay.
#[utoipa::path(
    post,
    path = "/api/v1/db/train",
    tag = "store",
    responses(
        (status = 200, description = "What the training found.", body = TrainReport),
        (status = 409, description = "The store is only read.", body = ErrorBody),
    ),
)]
pub(super) async fn train(Extract(state): Extract<State>, uri: Uri) -> Result<Json<TrainReport>, Failure> {
    Params::read(&uri, &[])?;
    Ok(Json(state.upkeep()?.train().await?))
}

/// Make the index of texts anew, in the background.
#[utoipa::path(
    post,
    path = "/api/v1/db/reindex",
    tag = "store",
    responses(
        (status = 202, description = "Indexing begins anew."),
        (status = 409, description = "The store is only read.", body = ErrorBody),
    ),
)]
pub(super) async fn reindex(Extract(state): Extract<State>, uri: Uri) -> Result<http::StatusCode, Failure> {
    Params::read(&uri, &[])?;
    state.upkeep()?.reindex().await?;
    Ok(http::StatusCode::ACCEPTED)
}

/// Erase one call.
#[utoipa::path(
    delete,
    path = "/api/v1/calls/{id}",
    tag = "store",
    params(("id" = String, Path, description = "As for the call itself.")),
    responses(
        (status = 200, description = "What was erased.", body = EraseReport),
        (status = 404, description = "No such call.", body = ErrorBody),
        (status = 409, description = "Several calls begin so, or the store is only read.", body = ErrorBody),
    ),
)]
pub(super) async fn erase_call(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<EraseReport>, Failure> {
    let id: CallId = state.store.call(&id).await?.id;
    erase(&state, &uri, Target::Call(id)).await
}

/// Erase the calls of a session.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    tag = "store",
    params(("id" = String, Path, description = "As for the session itself.")),
    responses(
        (status = 200, description = "What was erased.", body = EraseReport),
        (status = 404, description = "No call of this session is stored.", body = ErrorBody),
        (status = 409, description = "The store is only read.", body = ErrorBody),
    ),
)]
pub(super) async fn erase_session(
    Extract(state): Extract<State>,
    Path(session): Path<String>,
    uri: Uri,
) -> Result<Json<EraseReport>, Failure> {
    let session = state.store.session(&session).await?.id;
    erase(&state, &uri, Target::Session(session)).await
}

/// Erase a run with its calls.
#[utoipa::path(
    delete,
    path = "/api/v1/runs/{id}",
    tag = "store",
    params(("id" = String, Path, description = "As for the run itself.")),
    responses(
        (status = 200, description = "What was erased.", body = EraseReport),
        (status = 404, description = "No such run.", body = ErrorBody),
        (status = 409, description = "The store is only read.", body = ErrorBody),
    ),
)]
pub(super) async fn erase_run(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<EraseReport>, Failure> {
    erase(&state, &uri, Target::Run(id)).await
}

/// Erase an experiment with its runs and calls; the default one itself stays.
#[utoipa::path(
    delete,
    path = "/api/v1/experiments/{id}",
    tag = "store",
    params(("id" = String, Path, description = "As for the experiment itself.")),
    responses(
        (status = 200, description = "What was erased.", body = EraseReport),
        (status = 404, description = "No such experiment.", body = ErrorBody),
        (status = 409, description = "The store is only read.", body = ErrorBody),
    ),
)]
pub(super) async fn erase_experiment(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<EraseReport>, Failure> {
    erase(&state, &uri, Target::Experiment(id)).await
}

async fn erase(state: &State, uri: &Uri, target: Target) -> Result<Json<EraseReport>, Failure> {
    Params::read(uri, &[])?;
    Ok(Json(state.upkeep()?.erase(target).await?))
}
