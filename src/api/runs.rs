//! Runs and experiments with the sums of their calls.

use axum::{
    Json,
    extract::{Path, State as Extract},
    response::Response,
};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};

use super::{
    State,
    error::{ErrorBody, Failure},
    format::{self, Format},
    params::Params,
};
use crate::{
    model::filter::search::{RunSearch, Slice},
    report::{ExperimentRow, RunRow, run as rows},
    search,
};

/// Runs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunList {
    pub runs: Vec<RunRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExperimentList {
    pub experiments: Vec<ExperimentRow>,
}

/// Runs, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/runs",
    tag = "runs",
    params(
        ("experiment" = Option<String>, Query, description = "Experiment id or name."),
        (
            "filter" = Option<String>,
            Query,
            description = "Conditions in MLflow's grammar: `metrics.acc > 0.9 AND params.model = 'gpt-4o'`. What \
                           tapline keeps of a run's calls are metrics too: `metrics.tapline/cost_usd < 1`."
        ),
        (
            "order_by" = Option<String>,
            Query,
            description = "A field and a direction: `metrics.acc DESC`. By start, newest first, if not given."
        ),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "50 if not given."),
        ("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default."),
    ),
    responses(
        (
            status = 200,
            description = "Runs.",
            content((RunList = "application/json"), (RunRow = "application/jsonl"), (String = "text/csv")),
        ),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
        (status = 404, description = "No such experiment.", body = ErrorBody),
    ),
)]
pub(super) async fn runs(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &["experiment", "filter", "order_by", "limit", "format"])?;
    let format = Format::of(&params, &headers)?;
    let order = |text: &str| search::run_order(&[text.to_owned()]);
    let search = RunSearch {
        clauses: params.parsed("filter", search::run_filter)?.unwrap_or_default(),
        order: params.parsed("order_by", order)?.unwrap_or_default(),
        page: Slice::first(params.limit()?),
        ..RunSearch::default()
    };
    let runs = state.store.runs(params.text("experiment"), search).await?;
    let whole = RunList { runs: runs.into_iter().map(RunRow::from).collect() };
    format::list(format, &whole, &whole.runs, rows::exact_runs, None)
}

/// Every experiment.
#[utoipa::path(
    get,
    path = "/api/v1/experiments",
    tag = "runs",
    params(("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default.")),
    responses(
        (
            status = 200,
            description = "Experiments.",
            content(
                (ExperimentList = "application/json"),
                (ExperimentRow = "application/jsonl"),
                (String = "text/csv"),
            ),
        ),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
    ),
)]
pub(super) async fn experiments(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &["format"])?;
    let format = Format::of(&params, &headers)?;
    let experiments = state.store.experiments().await?;
    let whole = ExperimentList { experiments: experiments.into_iter().map(ExperimentRow::from).collect() };
    format::list(format, &whole, &whole.experiments, rows::exact_experiments, None)
}

/// One experiment.
#[utoipa::path(
    get,
    path = "/api/v1/experiments/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "Experiment id or name.")),
    responses(
        (status = 200, description = "The experiment.", body = ExperimentRow),
        (status = 400, description = "A parameter is unknown.", body = ErrorBody),
        (status = 404, description = "No such experiment.", body = ErrorBody),
    ),
)]
pub(super) async fn experiment(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<ExperimentRow>, Failure> {
    Params::read(&uri, &[])?;
    Ok(Json(state.store.experiment(&id).await?.into()))
}
