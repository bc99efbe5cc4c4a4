//! Runs as MLflow makes, updates, deletes and restores them.

use rusqlite::{Connection, params};

use super::{batch, experiments, peers, read};
use crate::model::{
    Error, UnixNanos,
    run::{NewRun, RUN_NAME_TAG, Run, RunStatus, RunUpdate, RunWhole},
};

const CREATE: &str = "
    INSERT INTO runs (id, experiment_id, name, status, started_at, implicit, user)
    VALUES (?1, ?2, ?3, 'RUNNING', ?4, 0, ?5)";

pub(super) fn create(
    connection: &Connection,
    run: NewRun,
    peer: Option<&str>,
    at: UnixNanos,
) -> Result<RunWhole, Error> {
    let experiment = experiments::check_active(connection, &run.experiment_id)?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    connection.prepare_cached(CREATE)?.execute(params![
        id,
        experiment,
        run.name,
        run.started_at.0,
        run.user
    ])?;
    let number = connection.last_insert_rowid();
    for tag in &run.tags {
        batch::set_tag(connection, number, &tag.key, &tag.value)?;
    }
    if let Some(peer) = peer {
        peers::open(connection, number, peer, at)?;
    }
    let (_, mut head) = read::head(connection, &id)?;
    head.tags = run.tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
    Ok(RunWhole {
        run: head,
        metrics: Vec::new(),
        params: Vec::new(),
        datasets: Vec::new(),
        model_inputs: Vec::new(),
        model_outputs: Vec::new(),
    })
}

const UPDATE: &str = "
    UPDATE runs SET status = coalesce(?2, status), ended_at = coalesce(?3, ended_at), name = coalesce(?4, name)
    WHERE number = ?1";

pub(super) fn update(
    connection: &Connection,
    id: &str,
    update: &RunUpdate,
    peer: Option<&str>,
    at: UnixNanos,
) -> Result<Run, Error> {
    let (number, mut run) = read::head(connection, id)?;
    check_active(&run)?;
    connection.prepare_cached(UPDATE)?.execute(params![
        number,
        update.status.map(RunStatus::as_str),
        update.ended_at.map(|at| at.0),
        update.name
    ])?;
    if let Some(name) = &update.name {
        batch::set_tag(connection, number, RUN_NAME_TAG, name)?;
        run.name.clone_from(name);
    }
    if let Some(status) = update.status {
        run.status = status;
        match (status, peer) {
            (RunStatus::Running, Some(peer)) => peers::open(connection, number, peer, at)?,
            (RunStatus::Running, None) => {}
            _ => peers::close(connection, number, at)?,
        }
    }
    run.ended_at = update.ended_at.or(run.ended_at);
    Ok(run)
}

pub(super) fn check_active(run: &Run) -> Result<(), Error> {
    if run.deleted_at.is_some() { Err(not_active(&run.id)) } else { Ok(()) }
}

pub(super) fn not_active(id: &str) -> Error {
    Error::invalid(format!("The run {id} must be in the 'active' state. Current state is deleted."))
}

const SET_DELETED: &str = "UPDATE runs SET deleted_at = ?2 WHERE number = ?1";

pub(super) fn delete(connection: &Connection, id: &str, at: UnixNanos) -> Result<(), Error> {
    let (number, _) = read::head(connection, id)?;
    connection.prepare_cached(SET_DELETED)?.execute(params![number, at.0])?;
    peers::close(connection, number, at)
}

pub(super) fn restore(connection: &Connection, id: &str) -> Result<(), Error> {
    let (number, _) = read::head(connection, id)?;
    connection.prepare_cached(SET_DELETED)?.execute(params![number, None::<i64>])?;
    Ok(())
}
