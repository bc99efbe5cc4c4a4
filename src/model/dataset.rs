//! Data that runs read, with MLflow's meaning: known by name and digest within an experiment.

use serde::{Deserialize, Serialize};

use super::{id::ExperimentId, run::Tag};

/// The tag of an input that says what the data was for (`training`, `eval`).
pub const CONTEXT_TAG: &str = "mlflow.data.context";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    pub name: String,
    pub digest: String,
    pub source_type: String,
    pub source: String,
    pub schema: Option<String>,
    pub profile: Option<String>,
}

/// A dataset as one run read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInput {
    pub dataset: Dataset,
    pub tags: Vec<Tag>,
}

/// A dataset as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSummary {
    pub experiment_id: ExperimentId,
    pub name: String,
    pub digest: String,
    pub context: Option<String>,
}
