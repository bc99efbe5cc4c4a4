//! What is logged to a run: metrics, params and tags, alone or as a batch that is written whole or not at all
//! (the writer undoes what a failed job did).

use rusqlite::{Connection, OptionalExtension, params};

use super::{keys, logged_models, metrics, read, runs};
use crate::model::{
    Error,
    metric::LoggedMetric,
    run::{Batch, Param, RUN_NAME_TAG, Tag},
};

const ACTIVE: &str = "SELECT number, deleted_at IS NULL FROM runs WHERE id = ?1";

/// The number of a run that may be written to.
pub(super) fn active(connection: &Connection, id: &str) -> Result<i64, Error> {
    let found: Option<(i64, bool)> = connection
        .prepare_cached(ACTIVE)?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((number, true)) => Ok(number),
        Some((_, false)) => Err(runs::not_active(id)),
        None => Err(read::missing(id)),
    }
}

pub(super) fn log(connection: &Connection, id: &str, batch: &Batch) -> Result<(), Error> {
    let run = active(connection, id)?;
    add_params(connection, id, run, &batch.params)?;
    metrics::log(connection, run, batch.metrics.iter().map(|logged| &logged.metric))?;
    logged_models::log_metrics(connection, run, &batch.metrics)?;
    for tag in &batch.tags {
        write_tag(connection, run, tag)?;
    }
    Ok(())
}

pub(super) fn log_metric(connection: &Connection, id: &str, logged: LoggedMetric) -> Result<(), Error> {
    let run = active(connection, id)?;
    metrics::log(connection, run, [&logged.metric])?;
    logged_models::log_metrics(connection, run, &[logged])
}

const ADD_PARAM: &str = "INSERT INTO params (run, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
const PARAM: &str = "SELECT value FROM params WHERE run = ?1 AND key = ?2";

/// Writes a param that is new; the value that is there already where it is another.
fn add_param(connection: &Connection, run: i64, param: &Param) -> Result<Option<String>, Error> {
    let key = keys::intern(connection, &param.key)?;
    if connection.prepare_cached(ADD_PARAM)?.execute(params![run, key, param.value])? == 1 {
        return Ok(None);
    }
    let there: String = connection.prepare_cached(PARAM)?.query_row([run, key], |row| row.get(0))?;
    Ok((there != param.value).then_some(there))
}

pub(super) fn log_param(connection: &Connection, id: &str, param: &Param) -> Result<(), Error> {
    let run = active(connection, id)?;
    match add_param(connection, run, param)? {
        None => Ok(()),
        Some(there) => Err(Error::invalid(format!(
            "Changing param values is not allowed. Param with key='{}' was already logged with value='{there}' \
             for run ID='{id}'. Attempted logging new value '{}'.",
            param.key, param.value
        ))),
    }
}

fn add_params(connection: &Connection, id: &str, run: i64, params: &[Param]) -> Result<(), Error> {
    let mut changed = Vec::new();
    for param in params {
        if let Some(there) = add_param(connection, run, param)? {
            changed.push(format!(
                "{{'key': {}, 'old_value': {}, 'new_value': {}}}",
                quoted(&param.key),
                quoted(&there),
                quoted(&param.value)
            ));
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Changing param values is not allowed. Params were already logged='[{}]' for run ID='{id}'.",
        changed.join(", ")
    )))
}

/// As MLflow's messages show text: in single quotes, or in double ones where it holds a single one.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
    if escaped.contains('\'') && !escaped.contains('"') {
        format!("\"{escaped}\"")
    } else {
        format!("'{}'", escaped.replace('\'', "\\'"))
    }
}

const SET_TAG: &str = "
    INSERT INTO run_tags (run, key, value) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET value = excluded.value";
const SET_NAME: &str = "UPDATE runs SET name = ?2 WHERE number = ?1";
const DELETE_TAG: &str = "DELETE FROM run_tags WHERE run = ?1 AND key = ?2";

pub(super) fn set_tag(connection: &Connection, run: i64, key: &str, value: &str) -> Result<(), Error> {
    let key = keys::intern(connection, key)?;
    connection.prepare_cached(SET_TAG)?.execute(params![run, key, value])?;
    Ok(())
}

pub(super) fn log_tag(connection: &Connection, id: &str, tag: &Tag) -> Result<(), Error> {
    write_tag(connection, active(connection, id)?, tag)
}

/// The tag that is a run's name names the run too; it cannot be made empty.
fn write_tag(connection: &Connection, run: i64, tag: &Tag) -> Result<(), Error> {
    if tag.key == RUN_NAME_TAG {
        if tag.value.is_empty() {
            return Ok(());
        }
        connection.prepare_cached(SET_NAME)?.execute(params![run, tag.value])?;
    }
    set_tag(connection, run, &tag.key, &tag.value)
}

pub(super) fn delete_tag(connection: &Connection, id: &str, key: &str) -> Result<(), Error> {
    let run = active(connection, id)?;
    let deleted = match keys::find(connection, key)? {
        Some(number) => connection.prepare_cached(DELETE_TAG)?.execute([run, number])?,
        None => 0,
    };
    if deleted == 0 {
        return Err(Error::not_found(format!("No tag with name: {key} in run with id {id}")));
    }
    Ok(())
}
