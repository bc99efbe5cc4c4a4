//! Nouns as MLflow's JSON: its names, absent where it leaves out and present where it does not.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Serialize, Serializer};

use crate::model::{
    UnixNanos,
    dataset::DatasetInput,
    metric::{Metric, MetricOfRun},
    run::{Experiment, ModelOutput, Param, Run, RunWhole, Tag},
};

/// An answer of 200 with this body.
pub(super) fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let mut response = Response::new(bytes.into());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// `{}`.
#[derive(Debug, Serialize)]
pub(super) struct Nothing {}

/// A point in time in MLflow's milliseconds, and back.
pub(super) fn millis(at: UnixNanos) -> i64 {
    at.0.div_euclid(1_000_000)
}

pub(super) fn nanos(millis: i64) -> UnixNanos {
    UnixNanos(millis.saturating_mul(1_000_000))
}

/// JSON has no NaN: it goes as text.
pub(super) fn double<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_nan() { serializer.serialize_str("NaN") } else { serializer.serialize_f64(*value) }
}

pub(super) fn lifecycle_stage(deleted_at: Option<UnixNanos>) -> &'static str {
    if deleted_at.is_some() { "deleted" } else { "active" }
}

#[derive(Debug, Serialize)]
pub(super) struct TagJson {
    pub(super) key: String,
    pub(super) value: String,
}

impl From<Tag> for TagJson {
    fn from(tag: Tag) -> Self {
        Self { key: tag.key, value: tag.value }
    }
}

impl From<(String, String)> for TagJson {
    fn from((key, value): (String, String)) -> Self {
        Self { key, value }
    }
}

impl From<Param> for TagJson {
    fn from(param: Param) -> Self {
        Self { key: param.key, value: param.value }
    }
}

pub(super) fn pairs<T: Into<TagJson>>(all: impl IntoIterator<Item = T>) -> Vec<TagJson> {
    all.into_iter().map(Into::into).collect()
}

#[derive(Debug, Serialize)]
pub(super) struct ExperimentJson {
    experiment_id: String,
    name: String,
    artifact_location: String,
    lifecycle_stage: &'static str,
    last_update_time: i64,
    creation_time: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagJson>,
    /// There is one, of the name that MLflow gives it.
    workspace: &'static str,
}

impl From<Experiment> for ExperimentJson {
    fn from(experiment: Experiment) -> Self {
        Self {
            lifecycle_stage: lifecycle_stage(experiment.deleted_at),
            last_update_time: millis(experiment.updated_at),
            creation_time: millis(experiment.created_at),
            tags: pairs(experiment.tags),
            experiment_id: experiment.id,
            name: experiment.name,
            artifact_location: experiment.artifact_location,
            workspace: "default",
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RunInfoJson {
    run_uuid: String,
    experiment_id: String,
    run_name: String,
    user_id: String,
    status: &'static str,
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: String,
    lifecycle_stage: &'static str,
    run_id: String,
}

impl From<Run> for RunInfoJson {
    fn from(run: Run) -> Self {
        Self {
            run_uuid: run.id.clone(),
            experiment_id: run.experiment_id,
            run_name: run.name,
            user_id: run.user,
            status: run.status.as_str(),
            start_time: millis(run.started_at),
            // MLflow leaves out an end at the epoch as well.
            end_time: run.ended_at.map(millis).filter(|at| *at != 0),
            artifact_uri: run.artifact_uri,
            lifecycle_stage: lifecycle_stage(run.deleted_at),
            run_id: run.id,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct MetricJson {
    key: String,
    #[serde(serialize_with = "double")]
    value: f64,
    timestamp: i64,
    step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
}

impl From<Metric> for MetricJson {
    fn from(metric: Metric) -> Self {
        Self {
            key: metric.key,
            value: metric.value,
            timestamp: metric.timestamp,
            step: metric.step,
            run_id: None,
        }
    }
}

impl From<MetricOfRun> for MetricJson {
    fn from(of_run: MetricOfRun) -> Self {
        Self { run_id: Some(of_run.run_id), ..of_run.metric.into() }
    }
}

#[derive(Debug, Serialize)]
struct RunDataJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<TagJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagJson>,
}

#[derive(Debug, Serialize)]
struct DatasetJson {
    name: String,
    digest: String,
    source_type: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
}

#[derive(Debug, Serialize)]
struct DatasetInputJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagJson>,
    dataset: DatasetJson,
}

impl From<DatasetInput> for DatasetInputJson {
    fn from(DatasetInput { dataset, tags }: DatasetInput) -> Self {
        Self {
            tags: pairs(tags),
            dataset: DatasetJson {
                name: dataset.name,
                digest: dataset.digest,
                source_type: dataset.source_type,
                source: dataset.source,
                schema: dataset.schema,
                profile: dataset.profile,
            },
        }
    }
}

#[derive(Debug, Serialize)]
struct ModelInputJson {
    model_id: String,
}

#[derive(Debug, Serialize)]
struct ModelOutputJson {
    model_id: String,
    step: i64,
}

impl From<ModelOutput> for ModelOutputJson {
    fn from(output: ModelOutput) -> Self {
        Self { model_id: output.model_id, step: output.step }
    }
}

#[derive(Debug, Serialize)]
struct RunInputsJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dataset_inputs: Vec<DatasetInputJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_inputs: Vec<ModelInputJson>,
}

#[derive(Debug, Serialize)]
struct RunOutputsJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_outputs: Vec<ModelOutputJson>,
}

#[derive(Debug, Serialize)]
pub(super) struct RunJson {
    info: RunInfoJson,
    data: RunDataJson,
    inputs: RunInputsJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<RunOutputsJson>,
}

impl RunJson {
    /// A run that was just made: MLflow says nothing of its outputs.
    pub(super) fn new_run(run: RunWhole) -> Self {
        Self { outputs: None, ..run.into() }
    }
}

impl From<RunWhole> for RunJson {
    fn from(mut whole: RunWhole) -> Self {
        let tags = pairs(std::mem::take(&mut whole.run.tags));
        Self {
            info: whole.run.into(),
            data: RunDataJson {
                metrics: whole.metrics.into_iter().map(Into::into).collect(),
                params: pairs(whole.params),
                tags,
            },
            inputs: RunInputsJson {
                dataset_inputs: whole.datasets.into_iter().map(Into::into).collect(),
                model_inputs: whole
                    .model_inputs
                    .into_iter()
                    .map(|model_id| ModelInputJson { model_id })
                    .collect(),
            },
            outputs: Some(RunOutputsJson {
                model_outputs: whole.model_outputs.into_iter().map(Into::into).collect(),
            }),
        }
    }
}
