//! Experiments as MLflow makes, renames, deletes and restores them. A deleted experiment keeps its name and
//! its runs, hidden.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    model::{
        Error, UnixNanos,
        id::ExperimentId,
        run::{ARTIFACT_ROOT, Experiment, Tag},
    },
    store::runs,
};

/// What `read_experiment` reads, of `experiments AS e`.
macro_rules! experiment_columns {
    () => {
        "e.id, e.name, e.artifact_location, e.created_at, e.updated_at, e.deleted_at"
    };
}
pub(in crate::store) use experiment_columns;

pub(in crate::store) const EXPERIMENT_COLUMNS: usize = 6;

/// An experiment without its tags.
pub(in crate::store) fn read_experiment(row: &Row<'_>) -> rusqlite::Result<Experiment> {
    let id: ExperimentId = row.get(0)?;
    let location: Option<String> = row.get(2)?;
    Ok(Experiment {
        artifact_location: artifact_location(&id, location),
        id,
        name: row.get(1)?,
        created_at: UnixNanos(row.get(3)?),
        updated_at: UnixNanos(row.get(4)?),
        deleted_at: row.get::<_, Option<i64>>(5)?.map(UnixNanos),
        tags: BTreeMap::new(),
    })
}

pub(super) fn artifact_location(id: &str, stored: Option<String>) -> String {
    stored.unwrap_or_else(|| format!("{ARTIFACT_ROOT}/{id}"))
}

const TAGS: &str = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?1";

pub(in crate::store) fn tags_of_experiment(
    connection: &Connection,
    id: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let mut statement = connection.prepare_cached(TAGS)?;
    Ok(statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

const BY_ID: &str = concat!("SELECT ", experiment_columns!(), " FROM experiments AS e WHERE e.id = ?1");
const BY_NAME: &str = concat!("SELECT ", experiment_columns!(), " FROM experiments AS e WHERE e.name = ?1");

pub(super) fn get(connection: &Connection, id: &str) -> Result<Experiment, Error> {
    let canonical = number(id)?;
    match find(connection, BY_ID, &canonical)? {
        Some(experiment) => Ok(experiment),
        None => Err(missing(&canonical)),
    }
}

pub(super) fn named(connection: &Connection, name: &str) -> Result<Experiment, Error> {
    find(connection, BY_NAME, name)?
        .ok_or_else(|| Error::not_found(format!("Could not find experiment with name '{name}'")))
}

fn find(connection: &Connection, sql: &str, value: &str) -> Result<Option<Experiment>, Error> {
    let found = connection.prepare_cached(sql)?.query_row([value], read_experiment).optional()?;
    found
        .map(|mut experiment| {
            experiment.tags = tags_of_experiment(connection, &experiment.id)?;
            Ok(experiment)
        })
        .transpose()
}

/// MLflow's ids are integers: ` 07` is `7`, and `x` is an error, not a missing experiment.
pub(super) fn number(id: &str) -> Result<ExperimentId, Error> {
    if id.is_empty() {
        return Ok(crate::model::run::DEFAULT_EXPERIMENT_ID.to_owned());
    }
    match id.trim().parse::<i64>() {
        Ok(number) => Ok(number.to_string()),
        Err(_) => Err(Error::invalid(format!(
            "Invalid experiment ID '{id}'. Experiment ID must be a valid integer."
        ))),
    }
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("No Experiment with id={id} exists"))
}

const NAME_TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM experiments WHERE name = ?1)";
const SET_LOCATION: &str = "UPDATE experiments SET artifact_location = ?2 WHERE id = ?1";

pub(super) fn create(
    connection: &Connection,
    name: &str,
    artifact_location: Option<&str>,
    tags: &[Tag],
    at: UnixNanos,
) -> Result<ExperimentId, Error> {
    if connection.prepare_cached(NAME_TAKEN)?.query_row([name], |row| row.get(0))? {
        return Err(taken(name));
    }
    let id = runs::create_experiment(connection, name, at)?;
    if let Some(location) = artifact_location {
        connection.prepare_cached(SET_LOCATION)?.execute([&id, location])?;
    }
    for tag in tags {
        connection.prepare_cached(SET_TAG)?.execute([&id, &tag.key, &tag.value])?;
    }
    Ok(id)
}

fn taken(name: &str) -> Error {
    Error::conflict(format!("Experiment(name={name}) already exists."))
}

const STATE: &str = "SELECT deleted_at IS NULL FROM experiments WHERE id = ?1";
const SET_DELETED: &str = "UPDATE experiments SET deleted_at = ?2, updated_at = ?3 WHERE id = ?1";
const DELETE_RUNS: &str = "UPDATE runs SET deleted_at = ?2 WHERE experiment_id = ?1";
const CLOSE_RUNS: &str = "
    UPDATE run_peers SET closed_at = ?2
    WHERE closed_at IS NULL AND run IN (SELECT number FROM runs WHERE experiment_id = ?1)";

pub(super) fn delete(connection: &Connection, id: &str, at: UnixNanos) -> Result<(), Error> {
    let id = in_state(connection, id, true)?;
    connection.prepare_cached(SET_DELETED)?.execute(params![id, at.0, at.0])?;
    connection.prepare_cached(DELETE_RUNS)?.execute(params![id, at.0])?;
    connection.prepare_cached(CLOSE_RUNS)?.execute(params![id, at.0])?;
    Ok(())
}

pub(super) fn restore(connection: &Connection, id: &str, at: UnixNanos) -> Result<(), Error> {
    let id = in_state(connection, id, false)?;
    connection.prepare_cached(SET_DELETED)?.execute(params![id, None::<i64>, at.0])?;
    connection.prepare_cached(DELETE_RUNS)?.execute(params![id, None::<i64>])?;
    Ok(())
}

/// The experiment, if it is active or deleted as asked; in the other state it does not exist for the caller.
fn in_state(connection: &Connection, id: &str, active: bool) -> Result<ExperimentId, Error> {
    let id = number(id)?;
    if state(connection, &id)? == Some(active) { Ok(id) } else { Err(missing(&id)) }
}

fn state(connection: &Connection, id: &str) -> Result<Option<bool>, Error> {
    Ok(connection.prepare_cached(STATE)?.query_row([id], |row| row.get(0)).optional()?)
}

pub(super) fn exists(connection: &Connection, id: &str) -> Result<bool, Error> {
    Ok(state(connection, id)?.is_some())
}

/// Says MLflow's word on an experiment that is not to be written to.
pub(super) fn check_active(connection: &Connection, id: &str) -> Result<ExperimentId, Error> {
    let id = number(id)?;
    match state(connection, &id)? {
        Some(true) => Ok(id),
        Some(false) => Err(Error::invalid(format!(
            "The experiment {id} must be in the 'active' state. Current state is deleted."
        ))),
        None => Err(missing(&id)),
    }
}

const RENAME: &str = "UPDATE experiments SET name = ?2, updated_at = ?3 WHERE id = ?1";
const NAME_OF_ANOTHER: &str = "SELECT EXISTS (SELECT 1 FROM experiments WHERE name = ?1 AND id <> ?2)";

pub(super) fn rename(connection: &Connection, id: &str, name: &str, at: UnixNanos) -> Result<(), Error> {
    let id = number(id)?;
    match state(connection, &id)? {
        Some(true) => {}
        Some(false) => return Err(Error::invalid("Cannot rename a non-active experiment.")),
        None => return Err(missing(&id)),
    }
    if connection.prepare_cached(NAME_OF_ANOTHER)?.query_row([name, &id], |row| row.get(0))? {
        return Err(taken(name));
    }
    connection.prepare_cached(RENAME)?.execute(params![id, name, at.0])?;
    Ok(())
}

const SET_TAG: &str = "
    INSERT INTO experiment_tags (experiment_id, key, value) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET value = excluded.value";

pub(super) fn set_tag(connection: &Connection, id: &str, tag: &Tag) -> Result<(), Error> {
    let id = check_active(connection, id)?;
    connection.prepare_cached(SET_TAG)?.execute([&id, &tag.key, &tag.value])?;
    Ok(())
}

const DELETE_TAG: &str = "DELETE FROM experiment_tags WHERE experiment_id = ?1 AND key = ?2";

pub(super) fn delete_tag(connection: &Connection, id: &str, key: &str) -> Result<(), Error> {
    let number = check_active(connection, id)?;
    if connection.prepare_cached(DELETE_TAG)?.execute([&number, key])? == 0 {
        return Err(Error::not_found(format!("No tag with name: {key} in experiment with id {id}")));
    }
    Ok(())
}
