//! MLflow's JSON as our nouns: leniently, since servers of many versions wrote it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{
    UnixNanos,
    dataset::{Dataset, DatasetInput},
    logged_model::{LoggedModel, LoggedModelStatus, ModelMetric},
    metric::{LoggedMetric, Metric},
    run::{Experiment, ModelOutput, Param, Run, RunStatus, RunWhole, Tag},
};

fn text(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn maybe(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn time(value: &Value) -> Option<UnixNanos> {
    integer(value).map(nanos)
}

pub(super) fn nanos(millis: i64) -> UnixNanos {
    UnixNanos(millis.saturating_mul(1_000_000))
}

/// A double, or the word for one that JSON lacks.
fn double(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(f64::NAN)
}

fn items<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value[name].as_array().into_iter().flatten()
}

fn tags(value: &Value) -> BTreeMap<String, String> {
    items(value, "tags").map(|tag| (text(tag, "key"), text(tag, "value"))).collect()
}

/// Something that is marked as deleted without a time was so at the epoch.
fn deleted(value: &Value) -> Option<UnixNanos> {
    (value["lifecycle_stage"] == "deleted").then_some(UnixNanos(0))
}

pub(super) fn experiment(value: &Value) -> Experiment {
    Experiment {
        id: text(value, "experiment_id"),
        name: text(value, "name"),
        artifact_location: text(value, "artifact_location"),
        created_at: time(&value["creation_time"]).unwrap_or(UnixNanos(0)),
        updated_at: time(&value["last_update_time"]).unwrap_or(UnixNanos(0)),
        deleted_at: deleted(value),
        tags: tags(value),
    }
}

pub(super) fn metric(value: &Value) -> Metric {
    Metric {
        key: text(value, "key"),
        value: double(&value["value"]),
        timestamp: integer(&value["timestamp"]).unwrap_or(0),
        step: integer(&value["step"]).unwrap_or(0),
    }
}

pub(super) fn run(value: &Value) -> RunWhole {
    let (info, data) = (&value["info"], &value["data"]);
    let (inputs, outputs) = (&value["inputs"], &value["outputs"]);
    RunWhole {
        run: Run {
            id: text(info, "run_id"),
            experiment_id: text(info, "experiment_id"),
            name: text(info, "run_name"),
            user: text(info, "user_id"),
            status: RunStatus::parse(&text(info, "status")).unwrap_or(RunStatus::Finished),
            started_at: time(&info["start_time"]).unwrap_or(UnixNanos(0)),
            ended_at: time(&info["end_time"]),
            deleted_at: deleted(info),
            artifact_uri: text(info, "artifact_uri"),
            tags: tags(data),
        },
        metrics: items(data, "metrics").map(metric).collect(),
        params: items(data, "params").map(param).collect(),
        datasets: items(inputs, "dataset_inputs").map(dataset_input).collect(),
        model_inputs: items(inputs, "model_inputs").map(|input| text(input, "model_id")).collect(),
        model_outputs: items(outputs, "model_outputs")
            .map(|output| ModelOutput {
                model_id: text(output, "model_id"),
                step: integer(&output["step"]).unwrap_or(0),
            })
            .collect(),
    }
}

fn param(value: &Value) -> Param {
    Param { key: text(value, "key"), value: text(value, "value") }
}

fn dataset_input(value: &Value) -> DatasetInput {
    let dataset = &value["dataset"];
    DatasetInput {
        dataset: Dataset {
            name: text(dataset, "name"),
            digest: text(dataset, "digest"),
            source_type: text(dataset, "source_type"),
            source: text(dataset, "source"),
            schema: maybe(dataset, "schema"),
            profile: maybe(dataset, "profile"),
        },
        tags: items(value, "tags")
            .map(|tag| Tag { key: text(tag, "key"), value: text(tag, "value") })
            .collect(),
    }
}

pub(super) fn model(value: &Value) -> LoggedModel {
    let (info, data) = (&value["info"], &value["data"]);
    let id = text(info, "model_id");
    LoggedModel {
        experiment_id: text(info, "experiment_id"),
        name: text(info, "name"),
        artifact_uri: text(info, "artifact_uri"),
        model_type: text(info, "model_type"),
        source_run_id: text(info, "source_run_id"),
        status: model_status(&text(info, "status")),
        status_message: maybe(info, "status_message"),
        created_at: time(&info["creation_timestamp_ms"]).unwrap_or(UnixNanos(0)),
        updated_at: time(&info["last_updated_timestamp_ms"]).unwrap_or(UnixNanos(0)),
        deleted_at: None,
        params: items(data, "params").map(param).collect(),
        tags: tags(info),
        metrics: items(data, "metrics")
            .map(|point| ModelMetric {
                run_id: text(point, "run_id"),
                metric: LoggedMetric {
                    metric: metric(point),
                    model_id: Some(id.clone()),
                    dataset_name: maybe(point, "dataset_name"),
                    dataset_digest: maybe(point, "dataset_digest"),
                },
            })
            .collect(),
        id,
    }
}

fn model_status(word: &str) -> LoggedModelStatus {
    match word {
        "LOGGED_MODEL_PENDING" => LoggedModelStatus::Pending,
        "LOGGED_MODEL_READY" => LoggedModelStatus::Ready,
        "LOGGED_MODEL_UPLOAD_FAILED" => LoggedModelStatus::Failed,
        _ => LoggedModelStatus::Unspecified,
    }
}

/// Points as the store keeps them: in the order of time, each once, infinities as the largest numbers.
pub(super) fn unique(points: &mut Vec<Metric>) {
    for point in points.iter_mut().filter(|point| !point.value.is_nan()) {
        point.value = point.value.clamp(f64::MIN, f64::MAX);
    }
    let key = |point: &Metric| (point.timestamp, point.step, point.value);
    points.sort_by(|one, other| {
        let ((t, s, v), (ot, os, ov)) = (key(one), key(other));
        (t, s).cmp(&(ot, os)).then_with(|| v.total_cmp(&ov))
    });
    points.dedup_by(|one, other| {
        let same = one.value == other.value || (one.value.is_nan() && other.value.is_nan());
        (one.timestamp, one.step) == (other.timestamp, other.step) && same
    });
}
