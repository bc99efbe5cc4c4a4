//! Models that runs log: their making, their params and tags, and the metrics that runs log for them.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{experiments, read};
use crate::model::{
    Error, UnixNanos,
    logged_model::{LoggedModel, LoggedModelStatus, ModelMetric, NewLoggedModel},
    metric::{LoggedMetric, Metric},
    run::{Param, Tag},
};

/// What `read_model` reads, of `logged_models AS m`.
macro_rules! model_columns {
    () => {
        "m.number, m.id, m.experiment_id, m.name, m.artifact_uri, m.model_type, m.source_run_id, m.status,
         m.status_message, m.created_at, m.updated_at, m.deleted_at"
    };
}
pub(super) use model_columns;

/// A model's number and its head, without params, tags and metrics.
pub(super) fn read_model(row: &Row<'_>) -> Result<(i64, LoggedModel), Error> {
    let status: String = row.get(7)?;
    let model = LoggedModel {
        id: row.get(1)?,
        experiment_id: row.get(2)?,
        name: row.get(3)?,
        artifact_uri: row.get(4)?,
        model_type: row.get(5)?,
        source_run_id: row.get(6)?,
        status: LoggedModelStatus::parse(&status)
            .ok_or_else(|| Error::internal(format!("expected a model's status, found {status:?}")))?,
        status_message: row.get(8)?,
        created_at: UnixNanos(row.get(9)?),
        updated_at: UnixNanos(row.get(10)?),
        deleted_at: row.get::<_, Option<i64>>(11)?.map(UnixNanos),
        params: Vec::new(),
        tags: BTreeMap::new(),
        metrics: Vec::new(),
    };
    Ok((row.get(0)?, model))
}

const CREATE: &str = "
    INSERT INTO logged_models (
        id, experiment_id, name, artifact_uri, model_type, source_run_id, status, created_at, updated_at
    ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'PENDING', ?7, ?7)";

pub(super) fn create(
    connection: &Connection,
    model: NewLoggedModel,
    at: UnixNanos,
) -> Result<LoggedModel, Error> {
    let experiment = experiments::check_active(connection, &model.experiment_id)?;
    let location = experiments::get(connection, &experiment)?.artifact_location;
    let id = format!("m-{}", uuid::Uuid::new_v4().simple());
    let artifact_uri = read::under(&location, &format!("models/{id}/artifacts"));
    connection.prepare_cached(CREATE)?.execute(params![
        id,
        experiment,
        model.name,
        artifact_uri,
        model.model_type,
        model.source_run_id,
        at.0
    ])?;
    let number = connection.last_insert_rowid();
    add_params(connection, &id, number, &model.params)?;
    for tag in &model.tags {
        connection.prepare_cached(SET_TAG)?.execute(params![number, tag.key, tag.value])?;
    }
    get(connection, &id, false)
}

const ADD_PARAM: &str = "
    INSERT INTO logged_model_params (model, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
const SET_TAG: &str = "
    INSERT INTO logged_model_tags (model, key, value) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET value = excluded.value";

fn add_params(connection: &Connection, id: &str, model: i64, params: &[Param]) -> Result<(), Error> {
    for param in params {
        if connection.prepare_cached(ADD_PARAM)?.execute(params![model, param.key, param.value])? == 0 {
            return Err(Error::invalid(format!(
                "Changing param values is not allowed. Param with key='{}' was already logged for model ID='{id}'.",
                param.key
            )));
        }
    }
    Ok(())
}

const BY_ID: &str = concat!("SELECT ", model_columns!(), " FROM logged_models AS m WHERE m.id = ?1");
const PARAMS: &str = "SELECT key, value FROM logged_model_params WHERE model = ?1";
const TAGS: &str = "SELECT key, value FROM logged_model_tags WHERE model = ?1";
const METRICS: &str = "
    SELECT r.id, m.key, m.value, m.timestamp, m.step, m.dataset_name, m.dataset_digest
    FROM logged_model_metrics AS m JOIN runs AS r ON r.number = m.run WHERE m.model = ?1";

pub(super) fn get(connection: &Connection, id: &str, deleted_too: bool) -> Result<LoggedModel, Error> {
    let (number, model) = head(connection, id)?;
    if model.deleted_at.is_some() && !deleted_too {
        return Err(missing(id));
    }
    fill(connection, number, model)
}

fn head(connection: &Connection, id: &str) -> Result<(i64, LoggedModel), Error> {
    let found = connection.prepare_cached(BY_ID)?.query_row([id], |row| Ok(read_model(row))).optional()?;
    found.unwrap_or_else(|| Err(missing(id)))
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("Logged model with ID '{id}' not found."))
}

/// Reads what belongs to a model.
pub(super) fn fill(
    connection: &Connection,
    number: i64,
    mut model: LoggedModel,
) -> Result<LoggedModel, Error> {
    model.params = connection
        .prepare_cached(PARAMS)?
        .query_map([number], |row| Ok(Param { key: row.get(0)?, value: row.get(1)? }))?
        .collect::<Result<_, _>>()?;
    model.tags = connection
        .prepare_cached(TAGS)?
        .query_map([number], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    model.metrics = connection
        .prepare_cached(METRICS)?
        .query_map([number], |row| {
            Ok(ModelMetric {
                run_id: row.get(0)?,
                metric: LoggedMetric {
                    metric: Metric {
                        key: row.get(1)?,
                        value: row.get::<_, Option<f64>>(2)?.unwrap_or(f64::NAN),
                        timestamp: row.get(3)?,
                        step: row.get(4)?,
                    },
                    model_id: Some(model.id.clone()),
                    dataset_name: row.get(5)?,
                    dataset_digest: row.get(6)?,
                },
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(model)
}

const FINALIZE: &str = "UPDATE logged_models SET status = ?2, updated_at = ?3 WHERE number = ?1";

pub(super) fn finalize(
    connection: &Connection,
    id: &str,
    status: LoggedModelStatus,
    at: UnixNanos,
) -> Result<LoggedModel, Error> {
    let (number, mut model) = head(connection, id)?;
    connection.prepare_cached(FINALIZE)?.execute(params![number, status.as_str(), at.0])?;
    (model.status, model.updated_at) = (status, at);
    fill(connection, number, model)
}

const DELETE: &str = "UPDATE logged_models SET deleted_at = ?2, updated_at = ?2 WHERE number = ?1";

pub(super) fn delete(connection: &Connection, id: &str, at: UnixNanos) -> Result<(), Error> {
    let (number, _) = head(connection, id)?;
    connection.prepare_cached(DELETE)?.execute(params![number, at.0])?;
    Ok(())
}

pub(super) fn log_params(connection: &Connection, id: &str, params: &[Param]) -> Result<(), Error> {
    let (number, _) = head(connection, id)?;
    add_params(connection, id, number, params)
}

pub(super) fn set_tags(connection: &Connection, id: &str, tags: &[Tag]) -> Result<(), Error> {
    let (number, _) = head(connection, id)?;
    for tag in tags {
        connection.prepare_cached(SET_TAG)?.execute(params![number, tag.key, tag.value])?;
    }
    Ok(())
}

const DELETE_TAG: &str = "DELETE FROM logged_model_tags WHERE model = ?1 AND key = ?2";

pub(super) fn delete_tag(connection: &Connection, id: &str, key: &str) -> Result<(), Error> {
    let (number, _) = head(connection, id)?;
    if connection.prepare_cached(DELETE_TAG)?.execute(params![number, key])? == 0 {
        return Err(Error::not_found(format!("No tag with key '{key}' found for model with ID '{id}'.")));
    }
    Ok(())
}

const NUMBER: &str = "SELECT number FROM logged_models WHERE id = ?1";
const ADD_METRIC: &str = "
    INSERT INTO logged_model_metrics (model, key, timestamp, step, run, value, dataset_name, dataset_digest)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";

/// Writes those points that say which model they are of.
pub(super) fn log_metrics(connection: &Connection, run: i64, metrics: &[LoggedMetric]) -> Result<(), Error> {
    for logged in metrics {
        let Some(model_id) = &logged.model_id else { continue };
        let model: Option<i64> =
            connection.prepare_cached(NUMBER)?.query_row([model_id], |row| row.get(0)).optional()?;
        let Some(model) = model else { return Err(missing(model_id)) };
        let metric = &logged.metric;
        let value = (!metric.value.is_nan()).then(|| metric.value.clamp(f64::MIN, f64::MAX));
        connection.prepare_cached(ADD_METRIC)?.execute(params![
            model,
            metric.key,
            metric.timestamp,
            metric.step,
            run,
            value,
            logged.dataset_name,
            logged.dataset_digest
        ])?;
    }
    Ok(())
}
