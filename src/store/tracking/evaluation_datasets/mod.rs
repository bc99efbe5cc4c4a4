//! Datasets of examples to evaluate on: their heads, tags, experiments and records.

mod records;
mod schema;

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest as _, Sha256};

pub(super) use self::records::{delete_records, records, upsert_records};
use super::experiments;
use crate::model::{
    Error, UnixNanos,
    evaluation_dataset::{EvaluationDataset, USER_TAG},
    id::ExperimentId,
};

/// What `read_head` reads, of `evaluation_datasets AS d`.
macro_rules! evaluation_dataset_columns {
    () => {
        "d.number, d.id, d.name, d.schema, d.profile, d.digest, d.created_at, d.updated_at, d.created_by, d.updated_by"
    };
}
pub(super) use evaluation_dataset_columns;

/// A dataset's number and its head, without tags and experiments.
pub(super) fn read_head(row: &Row<'_>) -> rusqlite::Result<(i64, EvaluationDataset)> {
    let dataset = EvaluationDataset {
        id: row.get(1)?,
        name: row.get(2)?,
        schema: row.get(3)?,
        profile: row.get(4)?,
        digest: row.get(5)?,
        created_at: UnixNanos(row.get(6)?),
        updated_at: UnixNanos(row.get(7)?),
        created_by: row.get(8)?,
        updated_by: row.get(9)?,
        tags: BTreeMap::new(),
        experiment_ids: Vec::new(),
    };
    Ok((row.get(0)?, dataset))
}

const BY_ID: &str =
    concat!("SELECT ", evaluation_dataset_columns!(), " FROM evaluation_datasets AS d WHERE d.id = ?1");

fn find(connection: &Connection, id: &str) -> Result<Option<(i64, EvaluationDataset)>, Error> {
    Ok(connection.prepare_cached(BY_ID)?.query_row([id], read_head).optional()?)
}

pub(super) fn get(connection: &Connection, id: &str) -> Result<EvaluationDataset, Error> {
    match find(connection, id)? {
        Some((number, dataset)) => fill(connection, number, dataset),
        None => Err(Error::not_found(format!("Evaluation dataset with id '{id}' not found"))),
    }
}

const TAGS: &str = "SELECT key, value FROM evaluation_dataset_tags WHERE dataset = ?1";
const EXPERIMENTS: &str = "
    SELECT experiment_id FROM evaluation_dataset_experiments WHERE dataset = ?1
    ORDER BY CAST(experiment_id AS INTEGER), experiment_id";

/// Reads what belongs to a dataset, records aside.
pub(super) fn fill(
    connection: &Connection,
    number: i64,
    mut dataset: EvaluationDataset,
) -> Result<EvaluationDataset, Error> {
    dataset.tags = connection
        .prepare_cached(TAGS)?
        .query_map([number], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    dataset.experiment_ids = connection
        .prepare_cached(EXPERIMENTS)?
        .query_map([number], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(dataset)
}

/// Changes with the dataset's name and every change of its records.
fn digest(name: &str, at: UnixNanos) -> String {
    let hash = Sha256::digest(format!("{name}:{}", at.0).as_bytes());
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

const CREATE: &str = "
    INSERT INTO evaluation_datasets (id, name, digest, created_at, updated_at, created_by, updated_by)
    VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?5)";
const SET_TAG: &str = "
    INSERT INTO evaluation_dataset_tags (dataset, key, value) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET value = excluded.value";
const ADD_EXPERIMENT: &str = "
    INSERT INTO evaluation_dataset_experiments (dataset, experiment_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";

pub(super) fn create(
    connection: &Connection,
    name: &str,
    tags: &BTreeMap<String, String>,
    experiments: &[ExperimentId],
    at: UnixNanos,
) -> Result<EvaluationDataset, Error> {
    let id = format!("d-{}", uuid::Uuid::new_v4().simple());
    let user = tags.get(USER_TAG);
    connection.prepare_cached(CREATE)?.execute(params![id, name, digest(name, at), at.0, user])?;
    let number = connection.last_insert_rowid();
    for (key, value) in tags {
        connection.prepare_cached(SET_TAG)?.execute(params![number, key, value])?;
    }
    for experiment in experiments {
        connection.prepare_cached(ADD_EXPERIMENT)?.execute(params![number, experiment])?;
    }
    get(connection, &id)
}

const DELETE: &str = "DELETE FROM evaluation_datasets WHERE id = ?1";

pub(super) fn delete(connection: &Connection, id: &str) -> Result<(), Error> {
    connection.prepare_cached(DELETE)?.execute([id])?;
    Ok(())
}

pub(super) fn set_tags(
    connection: &Connection,
    id: &str,
    tags: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let Some((number, _)) = find(connection, id)? else {
        return Err(Error::not_found(format!("Could not find evaluation dataset with ID {id}")));
    };
    for (key, value) in tags {
        connection.prepare_cached(SET_TAG)?.execute(params![number, key, value])?;
    }
    Ok(())
}

const DELETE_TAG: &str = "
    DELETE FROM evaluation_dataset_tags
    WHERE key = ?2 AND dataset = (SELECT number FROM evaluation_datasets WHERE id = ?1)";

/// A tag or a dataset that is not there is gone already.
pub(super) fn delete_tag(connection: &Connection, id: &str, key: &str) -> Result<(), Error> {
    connection.prepare_cached(DELETE_TAG)?.execute([id, key])?;
    Ok(())
}

const TOUCH: &str = "UPDATE evaluation_datasets SET updated_at = ?2 WHERE number = ?1";
const REMOVE_EXPERIMENT: &str = "
    DELETE FROM evaluation_dataset_experiments WHERE dataset = ?1 AND experiment_id = ?2";

fn existing(connection: &Connection, id: &str) -> Result<i64, Error> {
    match find(connection, id)? {
        Some((number, _)) => Ok(number),
        None => Err(Error::not_found(format!("Dataset '{id}' not found"))),
    }
}

pub(super) fn add(
    connection: &Connection,
    id: &str,
    experiment_ids: &[ExperimentId],
    at: UnixNanos,
) -> Result<EvaluationDataset, Error> {
    let number = existing(connection, id)?;
    for experiment in experiment_ids {
        if !experiments::exists(connection, experiment)? {
            return Err(Error::not_found(format!("No Experiment with id={experiment}")));
        }
        connection.prepare_cached(ADD_EXPERIMENT)?.execute(params![number, experiment])?;
    }
    connection.prepare_cached(TOUCH)?.execute(params![number, at.0])?;
    get(connection, id)
}

pub(super) fn remove(
    connection: &Connection,
    id: &str,
    experiment_ids: &[ExperimentId],
    at: UnixNanos,
) -> Result<EvaluationDataset, Error> {
    let number = existing(connection, id)?;
    let mut removed = 0;
    for experiment in experiment_ids {
        removed += connection.prepare_cached(REMOVE_EXPERIMENT)?.execute(params![number, experiment])?;
    }
    if removed > 0 {
        connection.prepare_cached(TOUCH)?.execute(params![number, at.0])?;
    }
    get(connection, id)
}
