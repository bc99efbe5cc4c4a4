//! Metrics: figures of a run over steps and time.

use serde::{Deserialize, Serialize};

use super::id::RunId;

/// What the metrics begin with that tapline keeps of a run's calls. Nobody else writes them.
pub const SYSTEM_PREFIX: &str = "tapline/";

/// One point. NaN is a value; infinities are kept as the largest finite numbers, which is MLflow's way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub key: String,
    pub value: f64,
    /// Milliseconds since the Unix epoch, as the client says.
    pub timestamp: i64,
    pub step: i64,
}

/// A point as it is logged: it may say which model it is of, and on which data it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedMetric {
    #[serde(flatten)]
    pub metric: Metric,
    pub model_id: Option<String>,
    pub dataset_name: Option<String>,
    pub dataset_digest: Option<String>,
}

/// A point and the run it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricOfRun {
    pub run_id: RunId,
    #[serde(flatten)]
    pub metric: Metric,
}

/// Where a page of a metric's history begins, and how long it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryPage {
    /// Points before it. Where `after` is known it leads, if the metric is kept point by point.
    pub offset: u64,
    /// The point before it.
    pub after: Option<HistoryPlace>,
    /// `None` for all.
    pub limit: Option<u64>,
}

/// A point's place in the history of its metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistoryPlace {
    /// Unix milliseconds.
    pub timestamp: i64,
    pub step: i64,
    pub value: f64,
}

impl From<&Metric> for HistoryPlace {
    fn from(point: &Metric) -> Self {
        Self { timestamp: point.timestamp, step: point.step, value: point.value }
    }
}

/// Which points of several runs' histories are sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleQuery {
    pub runs: Vec<RunId>,
    pub key: String,
    /// First and last step, both included.
    pub steps: Option<(i64, i64)>,
    /// Points of each run at most, spread evenly over its history.
    pub limit: u64,
}
