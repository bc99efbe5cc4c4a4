//! Datasets of examples that models are evaluated on, with MLflow's meaning: records of inputs and what is
//! expected of them, shared between experiments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{UnixNanos, id::ExperimentId};

/// The tag that says who wrote a dataset or a record.
pub const USER_TAG: &str = "mlflow.user";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationDataset {
    /// `d-` and 32 hex digits.
    pub id: String,
    pub name: String,
    /// JSON, kept by the store from the records: which fields they have, and how many there are.
    pub schema: Option<String>,
    pub profile: Option<String>,
    pub digest: Option<String>,
    pub created_at: UnixNanos,
    pub updated_at: UnixNanos,
    pub created_by: Option<String>,
    pub updated_by: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub experiment_ids: Vec<ExperimentId>,
}

/// One example. Records of the same inputs are one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// `dr-` and 32 hex digits.
    pub id: String,
    pub inputs: Map<String, Value>,
    pub outputs: Option<Value>,
    pub expectations: Map<String, Value>,
    pub tags: Map<String, Value>,
    pub source: Option<RecordSource>,
    pub created_at: UnixNanos,
    pub updated_at: UnixNanos,
    pub created_by: Option<String>,
    pub updated_by: Option<String>,
}

/// A record on its way in: made, or merged into the one with the same inputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewEvaluationRecord {
    pub inputs: Map<String, Value>,
    /// `None` says nothing: what is there stays. `Some(Value::Null)` takes it away.
    pub outputs: Option<Value>,
    pub expectations: Map<String, Value>,
    pub tags: Map<String, Value>,
    pub source: Option<RecordSource>,
}

/// Where a record comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordSource {
    /// `TRACE`, `HUMAN`, `DOCUMENT`, `CODE` or `UNSPECIFIED`.
    pub source_type: String,
    pub source_data: Map<String, Value>,
}

impl RecordSource {
    pub const TYPES: [&str; 5] = ["UNSPECIFIED", "TRACE", "HUMAN", "DOCUMENT", "CODE"];

    /// What of the data names the source.
    pub fn id(&self) -> Option<&str> {
        let name = if self.source_type == "TRACE" { "trace_id" } else { "source_id" };
        self.source_data.get(name)?.as_str()
    }
}
