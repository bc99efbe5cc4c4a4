//! Experiments and runs, with MLflow's meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    UnixNanos,
    dataset::DatasetInput,
    filter::CostRow,
    id::{ExperimentId, RunId},
    latency::Latency,
    metric::Metric,
};

/// The name of the experiment that a call belongs to when nothing else was said; its id is `"0"`.
pub const DEFAULT_EXPERIMENT: &str = "Default";
pub const DEFAULT_EXPERIMENT_ID: &str = "0";

/// Where artifacts are when nobody said otherwise: behind the tracking server itself.
pub const ARTIFACT_ROOT: &str = "mlflow-artifacts:";
/// The tag that repeats a run's name, and the one that names the run it is nested in.
pub const RUN_NAME_TAG: &str = "mlflow.runName";
pub const PARENT_RUN_TAG: &str = "mlflow.parentRunId";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    pub id: ExperimentId,
    pub name: String,
    pub artifact_location: String,
    pub created_at: UnixNanos,
    pub updated_at: UnixNanos,
    /// Set while it is deleted, which hides it and can be undone.
    pub deleted_at: Option<UnixNanos>,
    pub tags: BTreeMap<String, String>,
}

/// MLflow's run states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    Running,
    Scheduled,
    Finished,
    Failed,
    Killed,
}

impl RunStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Scheduled => "SCHEDULED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "RUNNING" => Self::Running,
            "SCHEDULED" => Self::Scheduled,
            "FINISHED" => Self::Finished,
            "FAILED" => Self::Failed,
            "KILLED" => Self::Killed,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub experiment_id: ExperimentId,
    pub name: String,
    /// Who ran it, as the client says; empty where nobody said.
    pub user: String,
    pub status: RunStatus,
    pub started_at: UnixNanos,
    pub ended_at: Option<UnixNanos>,
    /// Set while it is deleted, which hides it and can be undone.
    pub deleted_at: Option<UnixNanos>,
    pub artifact_uri: String,
    pub tags: BTreeMap<String, String>,
}

/// What went into a run, written once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Param {
    pub key: String,
    pub value: String,
}

/// What is said about an experiment, a run or a model, and may be said anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// A model that a run wrote, and at which step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOutput {
    pub model_id: String,
    pub step: i64,
}

/// A run with everything that was logged to it; of each metric the latest point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunWhole {
    pub run: Run,
    /// The run's own, then those that tapline keeps of its calls (`metric::SYSTEM_PREFIX`).
    pub metrics: Vec<Metric>,
    pub params: Vec<Param>,
    pub datasets: Vec<DatasetInput>,
    pub model_inputs: Vec<String>,
    pub model_outputs: Vec<ModelOutput>,
}

/// A run to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    pub experiment_id: ExperimentId,
    pub name: String,
    pub user: String,
    pub started_at: UnixNanos,
    pub tags: Vec<Tag>,
}

/// What of a run's head changes; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunUpdate {
    pub status: Option<RunStatus>,
    pub ended_at: Option<UnixNanos>,
    pub name: Option<String>,
}

/// What is logged to a run at once: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub metrics: Vec<super::metric::LoggedMetric>,
    pub params: Vec<Param>,
    pub tags: Vec<Tag>,
}

/// Whether deleted runs and experiments are among the found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ViewType {
    #[default]
    ActiveOnly,
    DeletedOnly,
    All,
}

/// What the calls of a run come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunTotals {
    /// Its `key` is empty.
    pub sums: CostRow,
    /// The start of the earliest call, the end of the latest.
    pub first_call_at: Option<UnixNanos>,
    pub last_call_at: Option<UnixNanos>,
    /// `None` without calls, and where some were stored before durations were counted.
    pub latency_p50_ns: Option<i64>,
    pub latency_p95_ns: Option<i64>,
    pub latency_p99_ns: Option<i64>,
    pub latency: Latency,
}

/// How much was logged to a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunCounts {
    pub params: u64,
    pub metric_points: u64,
    pub datasets: u64,
}
