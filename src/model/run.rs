//! Experiments and runs, with MLflow's meaning.

use serde::{Deserialize, Serialize};

use super::{
    UnixNanos,
    filter::CostRow,
    id::{ExperimentId, RunId},
    latency::Latency,
};

/// The name of the experiment that a call belongs to when nothing else was said; its id is `"0"`.
pub const DEFAULT_EXPERIMENT: &str = "Default";
pub const DEFAULT_EXPERIMENT_ID: &str = "0";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    pub id: ExperimentId,
    pub name: String,
    pub created_at: UnixNanos,
    pub updated_at: UnixNanos,
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
    pub status: RunStatus,
    pub started_at: UnixNanos,
    pub ended_at: Option<UnixNanos>,
    pub tags: std::collections::BTreeMap<String, String>,
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
