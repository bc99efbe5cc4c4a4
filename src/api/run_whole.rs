//! One run whole: its sums, and what was logged to it through MLflow.

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
    model::{dataset::CONTEXT_TAG, metric::SYSTEM_PREFIX, run::RunWhole as Whole},
    report::{RunRow, figures::instant},
};

/// A run with everything that was logged to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunWhole {
    #[serde(flatten)]
    pub run: RunRow,
    /// Who ran it, as the client says; empty where nobody said.
    pub user: String,
    /// Set while it is deleted.
    pub deleted_at: Option<String>,
    pub artifact_uri: String,
    pub params: BTreeMap<String, String>,
    /// Of each metric the latest point, without those that are in the sums.
    pub metrics: BTreeMap<String, MetricPoint>,
    pub datasets: Vec<DatasetUse>,
    /// Ids of logged models.
    pub model_inputs: Vec<String>,
    pub model_outputs: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MetricPoint {
    /// Null where it is not a number.
    pub value: Option<f64>,
    pub step: i64,
    /// Milliseconds since the Unix epoch, as the client says.
    pub timestamp_ms: i64,
}

/// A dataset that the run read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DatasetUse {
    pub name: String,
    pub digest: String,
    /// What it was for: `training`, `eval`, …
    pub context: Option<String>,
}

/// One run, with params, metrics, datasets and models.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "Run id, or name when exactly one run has it.")),
    responses(
        (status = 200, description = "The run.", body = RunWhole),
        (status = 400, description = "A parameter is unknown.", body = ErrorBody),
        (status = 404, description = "No such run.", body = ErrorBody),
        (status = 409, description = "Several runs have this name.", body = ErrorBody),
    ),
)]
pub(super) async fn run(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<RunWhole>, Failure> {
    Params::read(&uri, &[])?;
    let summary = state.store.run(&id).await?;
    let whole = state.store.run_whole(summary.run.id.clone()).await?;
    Ok(Json(with(summary.into(), whole)))
}

fn with(run: RunRow, whole: Whole) -> RunWhole {
    let own = whole.metrics.into_iter().filter(|metric| !metric.key.starts_with(SYSTEM_PREFIX));
    RunWhole {
        run,
        user: whole.run.user,
        deleted_at: whole.run.deleted_at.map(instant),
        artifact_uri: whole.run.artifact_uri,
        params: whole.params.into_iter().map(|param| (param.key, param.value)).collect(),
        metrics: own
            .map(|metric| {
                let value = Some(metric.value).filter(|value| value.is_finite());
                (metric.key, MetricPoint { value, step: metric.step, timestamp_ms: metric.timestamp })
            })
            .collect(),
        datasets: whole
            .datasets
            .into_iter()
            .map(|input| DatasetUse {
                context: input.tags.into_iter().find(|tag| tag.key == CONTEXT_TAG).map(|tag| tag.value),
                name: input.dataset.name,
                digest: input.dataset.digest,
            })
            .collect(),
        model_inputs: whole.model_inputs,
        model_outputs: whole.model_outputs.into_iter().map(|output| output.model_id).collect(),
    }
}
