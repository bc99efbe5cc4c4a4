//! Models that runs log, with MLflow's meaning: a version-less thing with params, metrics and artifacts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    UnixNanos,
    id::{ExperimentId, RunId},
    metric::LoggedMetric,
    run::{Param, Tag},
};

/// How far the making of a model has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LoggedModelStatus {
    Unspecified,
    Pending,
    Ready,
    Failed,
}

impl LoggedModelStatus {
    pub const ALL: [Self; 4] = [Self::Unspecified, Self::Pending, Self::Ready, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Pending => "PENDING",
            Self::Ready => "READY",
            Self::Failed => "FAILED",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedModel {
    /// `m-` and 32 hex digits.
    pub id: String,
    pub experiment_id: ExperimentId,
    pub name: String,
    pub artifact_uri: String,
    pub model_type: String,
    pub source_run_id: String,
    pub status: LoggedModelStatus,
    pub status_message: Option<String>,
    pub created_at: UnixNanos,
    pub updated_at: UnixNanos,
    pub deleted_at: Option<UnixNanos>,
    pub params: Vec<Param>,
    pub tags: BTreeMap<String, String>,
    pub metrics: Vec<ModelMetric>,
}

/// A point that a run logged for a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelMetric {
    pub run_id: RunId,
    #[serde(flatten)]
    pub metric: LoggedMetric,
}

/// A model to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLoggedModel {
    pub experiment_id: ExperimentId,
    pub name: String,
    pub model_type: String,
    pub source_run_id: String,
    pub params: Vec<Param>,
    pub tags: Vec<Tag>,
}
