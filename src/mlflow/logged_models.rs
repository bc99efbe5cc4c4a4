//! Logged models: made, read, finished, tagged and deleted.

use axum::routing::{MethodFilter, MethodRouter};
use serde::Serialize;

use super::{
    State,
    encode::{Nothing, TagJson, double, millis, pairs},
    endpoint,
    error::Failure,
    limits, names,
    request::{Fields, missing, wrong_type},
};
use crate::model::logged_model::{LoggedModel, LoggedModelStatus, ModelMetric, NewLoggedModel};

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<State>)> {
    vec![
        ("/logged-models", endpoint(MethodFilter::POST, create)),
        (
            "/logged-models/{model_id}",
            endpoint(MethodFilter::GET, get)
                .merge(endpoint(MethodFilter::PATCH, finalize))
                .merge(endpoint(MethodFilter::DELETE, delete)),
        ),
        ("/logged-models/{model_id}/params", endpoint(MethodFilter::POST, log_params)),
        ("/logged-models/{model_id}/tags", endpoint(MethodFilter::PATCH, set_tags)),
        ("/logged-models/{model_id}/tags/{tag_key}", endpoint(MethodFilter::DELETE, delete_tag)),
    ]
}

#[derive(Serialize)]
struct OneModel {
    model: LoggedModelJson,
}

async fn create(state: State, fields: Fields) -> Result<OneModel, Failure> {
    let experiment_id = fields.required("experiment_id")?;
    let name = fields.text("name")?;
    let name = if name.is_empty() { names::random() } else { name };
    limits::model_name(&name)?;
    let model = NewLoggedModel {
        experiment_id,
        name,
        model_type: fields.text("model_type")?,
        source_run_id: fields.text("source_run_id")?,
        params: fields.params("params")?,
        tags: fields.tags("tags")?,
    };
    Ok(OneModel { model: state.store.create_logged_model(model, (state.now)()).await?.into() })
}

async fn get(state: State, fields: Fields) -> Result<OneModel, Failure> {
    let deleted_too =
        fields.in_query("allow_deleted").is_some_and(|allowed| allowed.eq_ignore_ascii_case("true"));
    Ok(OneModel { model: state.store.logged_model(fields.in_path("model_id"), deleted_too).await?.into() })
}

async fn finalize(state: State, fields: Fields) -> Result<OneModel, Failure> {
    fields.required("model_id")?;
    let status = match fields.word("status")? {
        None => return Err(missing("status")),
        Some(word) => status(&word).ok_or_else(|| wrong_type("status", &word.into()))?,
    };
    let model = state.store.finalize_logged_model(fields.in_path("model_id"), status, (state.now)()).await?;
    Ok(OneModel { model: model.into() })
}

/// A status by its name or its number.
fn status(word: &str) -> Option<LoggedModelStatus> {
    LoggedModelStatus::ALL
        .into_iter()
        .enumerate()
        .find(|(number, status)| word == number.to_string() || word == status_word(*status))
        .map(|(_, status)| status)
}

fn status_word(status: LoggedModelStatus) -> &'static str {
    match status {
        LoggedModelStatus::Unspecified => "LOGGED_MODEL_STATUS_UNSPECIFIED",
        LoggedModelStatus::Pending => "LOGGED_MODEL_PENDING",
        LoggedModelStatus::Ready => "LOGGED_MODEL_READY",
        LoggedModelStatus::Failed => "LOGGED_MODEL_UPLOAD_FAILED",
    }
}

async fn delete(state: State, fields: Fields) -> Result<Nothing, Failure> {
    state.store.delete_logged_model(fields.in_path("model_id"), (state.now)()).await?;
    Ok(Nothing {})
}

async fn log_params(state: State, fields: Fields) -> Result<Nothing, Failure> {
    fields.required("model_id")?;
    state.store.log_logged_model_params(fields.in_path("model_id"), fields.params("params")?).await?;
    Ok(Nothing {})
}

async fn set_tags(state: State, fields: Fields) -> Result<Nothing, Failure> {
    state.store.set_logged_model_tags(fields.in_path("model_id"), fields.tags("tags")?).await?;
    Ok(Nothing {})
}

async fn delete_tag(state: State, fields: Fields) -> Result<Nothing, Failure> {
    state.store.delete_logged_model_tag(fields.in_path("model_id"), fields.in_path("tag_key")).await?;
    Ok(Nothing {})
}

#[derive(Serialize)]
pub(super) struct LoggedModelJson {
    info: InfoJson,
    data: DataJson,
}

#[derive(Serialize)]
struct InfoJson {
    model_id: String,
    experiment_id: String,
    name: String,
    creation_timestamp_ms: i64,
    last_updated_timestamp_ms: i64,
    artifact_uri: String,
    status: &'static str,
    model_type: String,
    source_run_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagJson>,
}

#[derive(Serialize)]
struct DataJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<TagJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<ModelMetricJson>,
}

#[derive(Serialize)]
struct ModelMetricJson {
    key: String,
    #[serde(serialize_with = "double")]
    value: f64,
    timestamp: i64,
    step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<String>,
    run_id: String,
}

impl From<ModelMetric> for ModelMetricJson {
    fn from(ModelMetric { run_id, metric: logged }: ModelMetric) -> Self {
        Self {
            key: logged.metric.key,
            value: logged.metric.value,
            timestamp: logged.metric.timestamp,
            step: logged.metric.step,
            dataset_name: logged.dataset_name,
            dataset_digest: logged.dataset_digest,
            model_id: logged.model_id,
            run_id,
        }
    }
}

impl From<LoggedModel> for LoggedModelJson {
    fn from(model: LoggedModel) -> Self {
        Self {
            info: InfoJson {
                model_id: model.id,
                experiment_id: model.experiment_id,
                name: model.name,
                creation_timestamp_ms: millis(model.created_at),
                last_updated_timestamp_ms: millis(model.updated_at),
                artifact_uri: model.artifact_uri,
                status: status_word(model.status),
                model_type: model.model_type,
                source_run_id: model.source_run_id,
                status_message: model.status_message,
                tags: pairs(model.tags),
            },
            data: DataJson {
                params: pairs(model.params),
                metrics: model.metrics.into_iter().map(Into::into).collect(),
            },
        }
    }
}
