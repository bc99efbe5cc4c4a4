//! What is logged to runs: metrics, params, tags, inputs and outputs.

use axum::routing::{MethodFilter, MethodRouter};

use super::{
    State,
    encode::Nothing,
    endpoint,
    error::Failure,
    limits,
    request::{Fields, missing, wrong_type},
};
use crate::model::{
    dataset::{Dataset, DatasetInput},
    metric::{LoggedMetric, Metric},
    run::{Batch, ModelOutput, Param, Tag},
};

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<State>)> {
    vec![
        ("/runs/log-metric", endpoint(MethodFilter::POST, log_metric)),
        ("/runs/log-parameter", endpoint(MethodFilter::POST, log_param)),
        ("/runs/set-tag", endpoint(MethodFilter::POST, set_tag)),
        ("/runs/delete-tag", endpoint(MethodFilter::POST, delete_tag)),
        ("/runs/log-batch", endpoint(MethodFilter::POST, log_batch)),
        ("/runs/log-inputs", endpoint(MethodFilter::POST, log_inputs)),
        ("/runs/outputs", endpoint(MethodFilter::POST, log_outputs)),
        ("/runs/log-model", endpoint(MethodFilter::POST, log_model)),
    ]
}

async fn log_metric(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    let key = fields.required("key")?;
    let value = fields.double("value")?.ok_or_else(|| missing("value"))?;
    let timestamp = fields.integer("timestamp")?.ok_or_else(|| missing("timestamp"))?;
    let logged =
        logged_metric(&fields, Metric { key, value, timestamp, step: fields.integer("step")?.unwrap_or(0) })?;
    limits::metric("", &logged.metric)?;
    state.store.log_metric(id, logged).await?;
    Ok(Nothing {})
}

/// Adds to a point what it says of its model and its data.
fn logged_metric(fields: &Fields, metric: Metric) -> Result<LoggedMetric, Failure> {
    let some = |name: &str| Ok::<_, Failure>(fields.string(name)?.filter(|text| !text.is_empty()));
    let logged = LoggedMetric {
        metric,
        model_id: some("model_id")?,
        dataset_name: some("dataset_name")?,
        dataset_digest: some("dataset_digest")?,
    };
    if logged.dataset_name.is_some() != logged.dataset_digest.is_some() {
        return Err(Failure::invalid(
            "Both dataset_name and dataset_digest must be provided if one is provided",
        ));
    }
    Ok(logged)
}

async fn log_param(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    let mut param = Param { key: fields.required("key")?, value: fields.text("value")? };
    limits::param("", &mut param)?;
    state.store.log_param(id, param).await?;
    Ok(Nothing {})
}

async fn set_tag(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    let mut tag = Tag { key: fields.required("key")?, value: fields.text("value")? };
    limits::tag("", &mut tag)?;
    state.store.set_run_tag(id, tag).await?;
    Ok(Nothing {})
}

async fn delete_tag(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    let key = fields.required("key")?;
    state.store.delete_run_tag(id, key).await?;
    Ok(Nothing {})
}

async fn log_batch(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    let metrics = fields
        .objects("metrics")?
        .iter()
        .enumerate()
        .map(|(at, point)| batch_metric(at, point))
        .collect::<Result<Vec<_>, _>>()?;
    let mut params = fields.params("params")?;
    let mut tags = fields.tags("tags")?;
    for (what, keys) in [
        ("params", params.iter().map(|param| &param.key).collect::<Vec<_>>()),
        ("tags", tags.iter().map(|tag| &tag.key).collect()),
    ] {
        if let Some(at) = keys.iter().position(|key| key.is_empty()) {
            return Err(missing(&format!("{what}[{at}].key")));
        }
    }
    limits::run_id(&id)?;
    limits::batch(&metrics, &mut params, &mut tags)?;
    state.store.log_batch(id, Batch { metrics, params, tags }).await?;
    Ok(Nothing {})
}

fn batch_metric(at: usize, point: &Fields) -> Result<LoggedMetric, Failure> {
    let absent = |field: &str| missing(&format!("metrics[{at}].{field}"));
    let key = point.text("key")?;
    if key.is_empty() {
        return Err(absent("key"));
    }
    let metric = Metric {
        key,
        value: point.double("value")?.ok_or_else(|| absent("value"))?,
        timestamp: point.integer("timestamp")?.ok_or_else(|| absent("timestamp"))?,
        step: point.integer("step")?.unwrap_or(0),
    };
    logged_metric(point, metric)
}

async fn log_inputs(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    let mut datasets = Vec::new();
    for input in fields.objects("datasets")? {
        let dataset = input.object("dataset")?.unwrap_or_default();
        let input = DatasetInput {
            dataset: Dataset {
                name: dataset.text("name")?,
                digest: dataset.text("digest")?,
                source_type: dataset.text("source_type")?,
                source: dataset.text("source")?,
                schema: dataset.string("schema")?,
                profile: dataset.string("profile")?,
            },
            tags: input.tags("tags")?,
        };
        limits::dataset_input(&input)?;
        datasets.push(input);
    }
    let models =
        fields.objects("models")?.iter().map(|model| model.text("model_id")).collect::<Result<_, _>>()?;
    limits::run_id(&id)?;
    state.store.log_inputs(id, datasets, models).await?;
    Ok(Nothing {})
}

async fn log_outputs(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    if !fields.has("models")? {
        return Err(missing("models"));
    }
    let models = fields
        .objects("models")?
        .iter()
        .map(|model| {
            Ok(ModelOutput { model_id: model.text("model_id")?, step: model.integer("step")?.unwrap_or(0) })
        })
        .collect::<Result<_, Failure>>()?;
    state.store.log_outputs(id, models).await?;
    Ok(Nothing {})
}

/// The tag that lists the models that old clients logged to a run.
const LOGGED_MODELS_TAG: &str = "mlflow.log-model.history";

async fn log_model(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    let text = fields.required("model_json")?;
    let model: serde_json::Value = serde_json::from_str(&text)
        .map_err(|_| Failure::invalid(format!("Malformed model info. \n {text} \n is not a valid JSON.")))?;
    let Some(model) = model.as_object() else {
        return Err(wrong_type("model_json", &model));
    };
    let absent: Vec<String> = ["artifact_path", "flavors", "run_id", "utc_time_created"]
        .into_iter()
        .filter(|field| !model.contains_key(*field))
        .map(|field| format!("'{field}'"))
        .collect();
    if !absent.is_empty() {
        return Err(Failure::invalid(format!(
            "Model json is missing mandatory fields: {{{}}}",
            absent.join(", ")
        )));
    }
    let mut models = match state.store.run_whole(id.clone()).await?.run.tags.get(LOGGED_MODELS_TAG) {
        Some(text) => serde_json::from_str::<Vec<serde_json::Value>>(text).unwrap_or_default(),
        None => Vec::new(),
    };
    models.push(serde_json::Value::Object(model.clone()));
    let mut tag =
        Tag { key: LOGGED_MODELS_TAG.to_owned(), value: serde_json::Value::from(models).to_string() };
    limits::tag("", &mut tag)?;
    state.store.set_run_tag(id, tag).await?;
    Ok(Nothing {})
}
