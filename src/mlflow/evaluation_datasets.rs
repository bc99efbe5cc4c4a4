//! Evaluation datasets: made, tagged, shared between experiments, and filled with records. Tags and records
//! travel as JSON in text.

use std::collections::BTreeMap;

use axum::routing::{MethodFilter, MethodRouter};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    State,
    encode::{Nothing, millis},
    endpoint,
    error::{Code, Failure},
    request::Fields,
};
use crate::model::{
    ErrorCode,
    evaluation_dataset::{EvaluationDataset, EvaluationRecord, NewEvaluationRecord, RecordSource},
};

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<State>)> {
    vec![
        ("/datasets/create", endpoint(MethodFilter::POST, create)),
        (
            "/datasets/{dataset_id}",
            endpoint(MethodFilter::GET, get).merge(endpoint(MethodFilter::DELETE, delete)),
        ),
        ("/datasets/{dataset_id}/tags", endpoint(MethodFilter::PATCH, set_tags)),
        ("/datasets/{dataset_id}/tags/{key}", endpoint(MethodFilter::DELETE, delete_tag)),
        (
            "/datasets/{dataset_id}/records",
            endpoint(MethodFilter::POST, upsert_records)
                .merge(endpoint(MethodFilter::GET, get_records))
                .merge(endpoint(MethodFilter::DELETE, delete_records)),
        ),
        ("/datasets/{dataset_id}/experiment-ids", endpoint(MethodFilter::GET, experiment_ids)),
        ("/datasets/{dataset_id}/add-experiments", endpoint(MethodFilter::POST, add_experiments)),
        ("/datasets/{dataset_id}/remove-experiments", endpoint(MethodFilter::POST, remove_experiments)),
    ]
}

#[derive(Serialize)]
struct OneDataset {
    dataset: EvaluationDatasetJson,
}

impl OneDataset {
    /// Clients ask for the experiments by themselves; only a dataset that was just made tells them.
    fn without_experiments(dataset: EvaluationDataset) -> Self {
        Self { dataset: EvaluationDatasetJson::without_experiments(dataset) }
    }
}

async fn create(state: State, fields: Fields) -> Result<OneDataset, Failure> {
    let name = fields.required("name")?;
    let experiments = fields.strings("experiment_ids")?;
    let tags = match fields.text("tags")? {
        text if text.is_empty() => BTreeMap::new(),
        text => tags(&text)?,
    };
    let dataset = state.store.create_evaluation_dataset(name, tags, experiments, (state.now)()).await?;
    Ok(OneDataset { dataset: dataset.into() })
}

/// Tags as a JSON object in text; those that are null are not there.
fn tags(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let map: Map<String, Value> = read_json("tags", text)?;
    let words = map.into_iter().filter_map(|(key, value)| match value {
        Value::Null => None,
        Value::String(text) => Some((key, text)),
        other => Some((key, other.to_string())),
    });
    Ok(words.collect())
}

fn read_json<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::invalid(format!(
            "Invalid value for parameter '{name}' supplied: not the JSON that is expected: {error}"
        ))
    })
}

async fn get(state: State, fields: Fields) -> Result<OneDataset, Failure> {
    let dataset = state.store.evaluation_dataset(fields.in_path("dataset_id")).await?;
    Ok(OneDataset::without_experiments(dataset))
}

async fn delete(state: State, fields: Fields) -> Result<Nothing, Failure> {
    state.store.delete_evaluation_dataset(fields.in_path("dataset_id")).await?;
    Ok(Nothing {})
}

async fn set_tags(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let tags = tags(&fields.required("tags")?)?;
    state.store.set_evaluation_dataset_tags(fields.in_path("dataset_id"), tags).await?;
    Ok(Nothing {})
}

async fn delete_tag(state: State, fields: Fields) -> Result<Nothing, Failure> {
    state.store.delete_evaluation_dataset_tag(fields.in_path("dataset_id"), fields.in_path("key")).await?;
    Ok(Nothing {})
}

#[derive(Serialize)]
struct Upserted {
    inserted_count: u64,
    updated_count: u64,
}

async fn upsert_records(state: State, fields: Fields) -> Result<Upserted, Failure> {
    let all: Vec<Map<String, Value>> = read_json("records", &fields.required("records")?)?;
    let records = all.into_iter().enumerate().map(|(at, json)| record(at, json)).collect::<Result<_, _>>()?;
    let upserted =
        state.store.upsert_evaluation_records(fields.in_path("dataset_id"), records, (state.now)()).await;
    match upserted {
        Ok((inserted_count, updated_count)) => Ok(Upserted { inserted_count, updated_count }),
        // MLflow has its database refuse the records of a dataset that is not there.
        Err(error) if error.code == ErrorCode::NotFound => Err(Failure::new(Code::BadRequest, error.message)),
        Err(error) => Err(error.into()),
    }
}

fn record(at: usize, mut json: Map<String, Value>) -> Result<NewEvaluationRecord, Failure> {
    let mut object = |name: &str| match json.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(other) => Err(Failure::invalid(format!(
            "Invalid value {other} for parameter 'records[{at}].{name}' supplied: an object is expected."
        ))),
    };
    let (inputs, expectations, tags) = (object("inputs")?, object("expectations")?, object("tags")?);
    let source = object("source")?;
    let source = if source.is_empty() { None } else { Some(record_source(at, source)?) };
    Ok(NewEvaluationRecord { inputs, outputs: json.remove("outputs"), expectations, tags, source })
}

fn record_source(at: usize, mut json: Map<String, Value>) -> Result<RecordSource, Failure> {
    let source_type = json.get("source_type").and_then(Value::as_str).unwrap_or_default().to_uppercase();
    if !RecordSource::TYPES.contains(&source_type.as_str()) {
        let valid: Vec<String> = RecordSource::TYPES.iter().map(|known| format!("'{known}'")).collect();
        return Err(Failure::invalid(format!(
            "Invalid dataset record source type: {source_type}. Valid source types: [{}]",
            valid.join(", ")
        )));
    }
    match json.remove("source_data") {
        None | Some(Value::Null) => Ok(RecordSource { source_type, source_data: Map::new() }),
        Some(Value::Object(source_data)) => Ok(RecordSource { source_type, source_data }),
        Some(other) => Err(Failure::invalid(format!(
            "Invalid value {other} for parameter 'records[{at}].source.source_data' supplied: an object is expected."
        ))),
    }
}

const RECORDS_OF_A_PAGE: i64 = 1000;

#[derive(Serialize)]
struct Records {
    records: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn get_records(state: State, fields: Fields) -> Result<Records, Failure> {
    let limit = fields.integer("max_results")?.filter(|limit| *limit > 0).unwrap_or(RECORDS_OF_A_PAGE);
    let after = match fields.text("page_token")? {
        token if token.is_empty() => 0,
        token => place(&token)?,
    };
    let dataset = fields.in_path("dataset_id");
    let (records, next) =
        state.store.evaluation_records(dataset.clone(), after, limit.unsigned_abs()).await?;
    let records: Vec<RecordJson> =
        records.into_iter().map(|record| RecordJson::of(&dataset, record)).collect();
    let records = serde_json::to_string(&records)
        .map_err(|error| Failure::new(Code::InternalError, error.to_string()))?;
    Ok(Records { records, next_page_token: next.map(|place| STANDARD.encode(place.to_string())) })
}

fn place(token: &str) -> Result<i64, Failure> {
    let bytes = STANDARD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::invalid("Invalid page token: not the 'next_page_token' of an earlier page"))
}

#[derive(Serialize)]
struct Deleted {
    deleted_count: u64,
}

async fn delete_records(state: State, fields: Fields) -> Result<Deleted, Failure> {
    let records = fields.strings("dataset_record_ids")?;
    let deleted_count = state.store.delete_evaluation_records(fields.in_path("dataset_id"), records).await?;
    Ok(Deleted { deleted_count })
}

#[derive(Serialize)]
struct ExperimentIds {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    experiment_ids: Vec<String>,
}

/// A dataset that is not there is in no experiment.
async fn experiment_ids(state: State, fields: Fields) -> Result<ExperimentIds, Failure> {
    match state.store.evaluation_dataset(fields.in_path("dataset_id")).await {
        Ok(dataset) => Ok(ExperimentIds { experiment_ids: dataset.experiment_ids }),
        Err(error) if error.code == ErrorCode::NotFound => Ok(ExperimentIds { experiment_ids: Vec::new() }),
        Err(error) => Err(error.into()),
    }
}

async fn add_experiments(state: State, fields: Fields) -> Result<OneDataset, Failure> {
    let experiments = fields.strings("experiment_ids")?;
    let dataset =
        state.store.add_evaluation_dataset(fields.in_path("dataset_id"), experiments, (state.now)()).await?;
    Ok(OneDataset::without_experiments(dataset))
}

async fn remove_experiments(state: State, fields: Fields) -> Result<OneDataset, Failure> {
    let experiments = fields.strings("experiment_ids")?;
    let dataset = state
        .store
        .remove_evaluation_dataset(fields.in_path("dataset_id"), experiments, (state.now)())
        .await?;
    Ok(OneDataset::without_experiments(dataset))
}

#[derive(Serialize)]
pub(super) struct EvaluationDatasetJson {
    dataset_id: String,
    name: String,
    /// A JSON object in text.
    tags: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    created_time: i64,
    last_update_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated_by: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    experiment_ids: Vec<String>,
}

impl EvaluationDatasetJson {
    pub(super) fn without_experiments(dataset: EvaluationDataset) -> Self {
        EvaluationDataset { experiment_ids: Vec::new(), ..dataset }.into()
    }
}

impl From<EvaluationDataset> for EvaluationDatasetJson {
    fn from(dataset: EvaluationDataset) -> Self {
        let tags: Map<String, Value> =
            dataset.tags.into_iter().map(|(key, value)| (key, value.into())).collect();
        Self {
            dataset_id: dataset.id,
            name: dataset.name,
            tags: Value::Object(tags).to_string(),
            schema: dataset.schema,
            profile: dataset.profile,
            digest: dataset.digest,
            created_time: millis(dataset.created_at),
            last_update_time: millis(dataset.updated_at),
            created_by: dataset.created_by,
            last_updated_by: dataset.updated_by,
            experiment_ids: dataset.experiment_ids,
        }
    }
}

#[derive(Serialize)]
struct RecordJson {
    dataset_record_id: String,
    dataset_id: String,
    inputs: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    expectations: Map<String, Value>,
    tags: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<RecordSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_type: Option<String>,
    created_time: i64,
    last_update_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated_by: Option<String>,
}

impl RecordJson {
    fn of(dataset: &str, record: EvaluationRecord) -> Self {
        Self {
            dataset_record_id: record.id,
            dataset_id: dataset.to_owned(),
            inputs: record.inputs,
            outputs: record.outputs,
            expectations: record.expectations,
            tags: record.tags,
            source_id: record.source.as_ref().and_then(|source| source.id()).map(str::to_owned),
            source_type: record.source.as_ref().map(|source| source.source_type.clone()),
            source: record.source,
            created_time: millis(record.created_at),
            last_update_time: millis(record.updated_at),
            created_by: record.created_by,
            last_updated_by: record.updated_by,
        }
    }
}
