//! Experiments and runs: from names to ids, making what a call names for the first time, and their lists.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    rollups, totals,
    tracking::{self, experiment_columns, from_runs, run_columns},
};
use crate::model::{
    Error, RunId, UnixNanos,
    filter::{ExperimentSummary, RunSummary, search::RunSearch},
    id::ExperimentId,
    run::{Experiment, Run},
};

const EXPERIMENT_ID: &str =
    "SELECT id FROM experiments WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1";

/// The experiment with this id, else the one with this name.
pub(super) fn experiment_id(connection: &Connection, text: &str) -> Result<Option<ExperimentId>, Error> {
    Ok(connection.prepare_cached(EXPERIMENT_ID)?.query_row([text], |row| row.get(0)).optional()?)
}

const EXPERIMENT_NAME: &str = "SELECT name FROM experiments WHERE id = ?1";

pub(super) fn experiment_name(connection: &Connection, id: &str) -> Result<String, Error> {
    Ok(connection.prepare_cached(EXPERIMENT_NAME)?.query_row([id], |row| row.get(0))?)
}

const NEXT_NUMBER: &str = "SELECT coalesce(max(CAST(id AS INTEGER)), 0) + 1 FROM experiments";
const NAME_TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM experiments WHERE name = ?1)";
const CREATE_EXPERIMENT: &str =
    "INSERT INTO experiments (id, name, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)";

/// A new experiment, numbered on.
pub(super) fn create_experiment(
    connection: &Connection,
    name: &str,
    at: UnixNanos,
) -> Result<ExperimentId, Error> {
    let id = next_experiment_id(connection, name)?;
    connection.prepare_cached(CREATE_EXPERIMENT)?.execute(params![id, name, at.0])?;
    Ok(id)
}

/// The next number. One that is some experiment's name is skipped: since ids are looked up before names, it
/// would take over that experiment's calls.
pub(super) fn next_experiment_id(connection: &Connection, name: &str) -> Result<ExperimentId, Error> {
    let mut number: i64 = connection.prepare_cached(NEXT_NUMBER)?.query_row([], |row| row.get(0))?;
    loop {
        let id = number.to_string();
        let taken: bool = connection.prepare_cached(NAME_TAKEN)?.query_row([&id], |row| row.get(0))?;
        if !taken && id != name {
            return Ok(id);
        }
        number += 1;
    }
}

const RUN_EXPERIMENT: &str = "SELECT experiment_id FROM runs WHERE id = ?1";

/// The experiment of the run with this id, if there is such a run.
pub(super) fn experiment_of_run(connection: &Connection, id: &str) -> Result<Option<ExperimentId>, Error> {
    Ok(connection.prepare_cached(RUN_EXPERIMENT)?.query_row([id], |row| row.get(0)).optional()?)
}

const RUNS_NAMED: &str = "SELECT id FROM runs WHERE name = ?1";

/// The run with this id, else all runs with this name.
pub(super) fn run_ids(connection: &Connection, text: &str) -> Result<Vec<RunId>, Error> {
    if experiment_of_run(connection, text)?.is_some() {
        return Ok(vec![text.to_owned()]);
    }
    let mut statement = connection.prepare_cached(RUNS_NAMED)?;
    Ok(statement.query_map([text], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

const RUN_IN: &str = "
    SELECT id FROM runs WHERE name = ?1 AND experiment_id = ?2 AND deleted_at IS NULL
    ORDER BY status = 'RUNNING' DESC, started_at DESC, id LIMIT 1";

/// The run of this name in an experiment; of several the one that is running, then the newest. A deleted one
/// is not meant: its name makes another.
pub(super) fn run_in(connection: &Connection, experiment: &str, name: &str) -> Result<Option<RunId>, Error> {
    Ok(connection.prepare_cached(RUN_IN)?.query_row([name, experiment], |row| row.get(0)).optional()?)
}

const CREATE_RUN: &str = "
    INSERT INTO runs (id, experiment_id, name, status, started_at, implicit)
    VALUES (?1, ?2, ?3, 'RUNNING', ?4, 1) ON CONFLICT DO NOTHING";

/// A run that a call names for the first time. Its id follows from the experiment and the name, so that it
/// is the same wherever the calls are recorded again.
pub(super) fn create_run(
    connection: &Connection,
    experiment: &str,
    name: &str,
    at: UnixNanos,
) -> Result<RunId, Error> {
    // The id is only taken when its run was given another name since; then the next one is free.
    for attempt in 0..u32::MAX {
        let id = implicit_run_id(experiment, name, attempt);
        if connection.prepare_cached(CREATE_RUN)?.execute(params![id, experiment, name, at.0])? == 1 {
            tracking::name_run(connection, connection.last_insert_rowid(), name)?;
            return Ok(id);
        }
    }
    Err(Error::internal("expected a free run id, found none"))
}

/// 32 hex digits of a hash; NULs keep experiment `1`, run `2x` apart from experiment `12`, run `x`.
fn implicit_run_id(experiment: &str, name: &str, attempt: u32) -> RunId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"tapline run\0").update(experiment.as_bytes()).update(b"\0").update(name.as_bytes());
    if attempt > 0 {
        hasher.update(b"\0").update(&attempt.to_le_bytes());
    }
    hasher.finalize().to_hex().chars().take(32).collect()
}

const TOUCH: &str = "
    UPDATE runs SET
        last_call_at = max(coalesce(last_call_at, ?3), ?3),
        started_at = CASE implicit WHEN 1 THEN min(started_at, ?2) ELSE started_at END
    WHERE id = ?1 AND status = 'RUNNING'";

/// Notes that a running run had a call. Calls are stored as they end, so an earlier start may come later.
pub(super) fn touch(
    connection: &Connection,
    id: &str,
    started_at: UnixNanos,
    ended_at: UnixNanos,
) -> Result<(), Error> {
    connection.prepare_cached(TOUCH)?.execute(params![id, started_at.0, ended_at.0])?;
    Ok(())
}

macro_rules! listed_runs {
    () => {
        concat!("SELECT ", run_columns!(), ", e.name ", from_runs!())
    };
}

const RUN_NUMBERED: &str = concat!(listed_runs!(), "WHERE r.number = ?1");

/// The runs that a search finds, of one experiment where one is named. One that does not exist has no runs.
pub(super) fn list(
    connection: &Connection,
    experiment: Option<&str>,
    search: &RunSearch,
) -> Result<Vec<RunSummary>, Error> {
    let mut search = search.clone();
    if let Some(text) = experiment {
        search.experiments = Some(experiment_id(connection, text)?.into_iter().collect());
    }
    let mut summaries = Vec::new();
    for number in tracking::run_numbers(connection, &search)?.items {
        for run in rows(connection, RUN_NUMBERED, [number])? {
            summaries.push(summary(connection, run)?);
        }
    }
    Ok(summaries)
}

const RUN: &str = concat!(listed_runs!(), "WHERE r.id = ?1");
const RUN_NAMED: &str = concat!(listed_runs!(), "WHERE r.name = ?1 AND r.deleted_at IS NULL LIMIT 2");
const RUNS_OF_NAME: &str = "SELECT count(*) FROM runs WHERE name = ?1 AND deleted_at IS NULL";

/// By id, or by name when exactly one run that is not deleted has it.
pub(super) fn run(connection: &Connection, text: &str) -> Result<RunSummary, Error> {
    let mut found = rows(connection, RUN, [text])?;
    if found.is_empty() {
        found = rows(connection, RUN_NAMED, [text])?;
    }
    if found.len() > 1 {
        let all: i64 = connection.prepare_cached(RUNS_OF_NAME)?.query_row([text], |row| row.get(0))?;
        return Err(Error::conflict(format!(
            "expected {text:?} to name one run, found {all} of that name: give the run's id"
        )));
    }
    match found.pop() {
        Some(run) => summary(connection, run),
        None => Err(Error::not_found(format!("expected a run with the id or name {text:?}, found none"))),
    }
}

fn rows(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<(i64, Run, String)>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, run) = tracking::read_run(row)?;
        runs.push((number, run, row.get(tracking::RUN_COLUMNS)?));
    }
    Ok(runs)
}

fn summary(
    connection: &Connection,
    (number, mut run, experiment): (i64, Run, String),
) -> Result<RunSummary, Error> {
    run.tags = tracking::tags_of_run(connection, number)?;
    let totals = totals::sums_of_run(connection, &run.id)?;
    Ok(RunSummary { run, experiment, totals })
}

macro_rules! listed_experiments {
    () => {
        concat!(
            "SELECT ",
            experiment_columns!(),
            ", (SELECT count(*) FROM runs WHERE experiment_id = e.id AND deleted_at IS NULL) FROM experiments AS e "
        )
    };
}

const EXPERIMENTS: &str =
    concat!(listed_experiments!(), "WHERE e.deleted_at IS NULL ORDER BY CAST(e.id AS INTEGER), e.id");
const EXPERIMENT: &str = concat!(listed_experiments!(), "WHERE e.id = ?1");

/// In the order of their making; without deleted ones.
pub(super) fn experiments(connection: &Connection) -> Result<Vec<ExperimentSummary>, Error> {
    let mut statement = connection.prepare_cached(EXPERIMENTS)?;
    let found: Vec<_> = statement.query_map([], experiment_row)?.collect::<Result<_, _>>()?;
    found.into_iter().map(|row| experiment_summary(connection, row)).collect()
}

/// By id or by name.
pub(super) fn experiment(connection: &Connection, text: &str) -> Result<ExperimentSummary, Error> {
    let Some(id) = experiment_id(connection, text)? else {
        return Err(Error::not_found(format!(
            "expected an experiment with the id or name {text:?}, found none"
        )));
    };
    let row = connection.prepare_cached(EXPERIMENT)?.query_row([id], experiment_row)?;
    experiment_summary(connection, row)
}

fn experiment_row(row: &Row<'_>) -> rusqlite::Result<(Experiment, u64)> {
    Ok((tracking::read_experiment(row)?, row.get(tracking::EXPERIMENT_COLUMNS)?))
}

fn experiment_summary(
    connection: &Connection,
    (mut experiment, runs): (Experiment, u64),
) -> Result<ExperimentSummary, Error> {
    experiment.tags = tracking::tags_of_experiment(connection, &experiment.id)?;
    let totals = rollups::of_experiment(connection, &experiment.id)?;
    Ok(ExperimentSummary { experiment, runs, totals })
}
