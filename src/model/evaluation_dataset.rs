//! Datasets of examples that models are evaluated on, with MLflow's meaning: records of inputs and what is
//! expected of them, shared between experiments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{UnixNanos, id::ExperimentId};

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
    pub inputs: Value,
    pub outputs: Option<Value>,
    pub expectations: Option<Map<String, Value>>,
    pub tags: Option<Map<String, Value>>,
    pub source: Option<Value>,
    pub source_id: Option<String>,
    pub source_type: Option<String>,
    pub created_at: UnixNanos,
    pub updated_at: UnixNanos,
    pub created_by: Option<String>,
    pub updated_by: Option<String>,
}
