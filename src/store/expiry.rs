//! What has outlived its settings, and what somebody wants erased: found in slices beside the writer, removed
//! in slices of the writer that end in time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use rusqlite::{Connection, OptionalExtension};

use super::{
    calls, jobs, ledger, links,
    packing::Unpacker,
    payloads,
    rollups::Tally,
    runs, sessions,
    sweep::{self, Ids},
    tracking::{self, from_runs, run_columns},
    writer::Write,
};
use crate::model::{CallId, Error, UnixNanos};

/// Rows of one slice that reads.
const READ: i64 = 2_000;

/// What began before this has outlived its setting; `None` where everything is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cutoffs {
    pub general: Option<UnixNanos>,
    /// By experiment id or name, in place of the general one.
    pub of_experiment: BTreeMap<String, Option<UnixNanos>>,
}

impl Cutoffs {
    pub fn is_empty(&self) -> bool {
        self.general.is_none() && self.of_experiment.values().all(Option::is_none)
    }

    /// By experiment id alone; experiments that are not there have no calls.
    fn resolved(&self, connection: &Connection) -> Result<Resolved, Error> {
        let mut of_experiment = BTreeMap::new();
        for (experiment, cutoff) in &self.of_experiment {
            if let Some(id) = runs::experiment_id(connection, experiment)? {
                of_experiment.insert(id, *cutoff);
            }
        }
        Ok(Resolved { general: self.general, of_experiment })
    }
}

struct Resolved {
    general: Option<UnixNanos>,
    of_experiment: BTreeMap<String, Option<UnixNanos>>,
}

impl Resolved {
    fn past(&self, experiment: &str, started_at: i64) -> bool {
        let cutoff = self.of_experiment.get(experiment).copied().unwrap_or(self.general);
        cutoff.is_some_and(|cutoff| started_at < cutoff.0)
    }

    fn latest(&self) -> i64 {
        let all = self.of_experiment.values().copied().chain([self.general]);
        all.flatten().map(|cutoff| cutoff.0).max().unwrap_or(i64::MIN)
    }
}

/// A slice of what was looked for, and where the next begins; `None` at the end.
#[derive(Debug, Default)]
pub struct Found {
    pub sequences: Vec<i64>,
    pub next: Option<i64>,
}

const PAYLOADS: &str = "
    SELECT s.sequence, s.started_at, s.experiment_id
    FROM payloads AS p CROSS JOIN spans AS s ON s.sequence = p.sequence
    WHERE p.sequence > ?1 ORDER BY p.sequence LIMIT ?2";

/// Payloads that have outlived their setting, among those behind `after`.
pub(super) fn payloads(connection: &Connection, cutoffs: &Cutoffs, after: i64) -> Result<Found, Error> {
    let cutoffs = cutoffs.resolved(connection)?;
    let mut found = Found::default();
    let mut statement = connection.prepare_cached(PAYLOADS)?;
    let mut rows = statement.query([after, READ])?;
    while let Some(row) = rows.next()? {
        let sequence: i64 = row.get(0)?;
        found.next = Some(sequence);
        if cutoffs.past(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?, row.get(1)?) {
            found.sequences.push(sequence);
        }
    }
    Ok(found)
}

const CALLS: &str = "
    SELECT sequence, started_at, experiment_id FROM spans
    WHERE started_at < ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3";

/// Calls that have outlived their setting, among those behind `after`.
pub(super) fn calls(connection: &Connection, cutoffs: &Cutoffs, after: i64) -> Result<Found, Error> {
    let cutoffs = cutoffs.resolved(connection)?;
    let mut found = Found::default();
    let mut statement = connection.prepare_cached(CALLS)?;
    let mut rows = statement.query([cutoffs.latest(), after, READ])?;
    while let Some(row) = rows.next()? {
        let sequence: i64 = row.get(0)?;
        found.next = Some(sequence);
        if cutoffs.past(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?, row.get(1)?) {
            found.sequences.push(sequence);
        }
    }
    Ok(found)
}

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Call(CallId),
    Session(String),
    /// By id, or by name when exactly one run has it.
    Run(String),
    /// By id or name: its calls, its runs, and itself unless it is the default one.
    Experiment(String),
}

/// The calls of a target that are stored now.
pub(super) fn targeted(connection: &Connection, target: &Target) -> Result<Vec<(i64, CallId)>, Error> {
    let (column, value): (&str, Box<dyn rusqlite::ToSql>) = match target {
        Target::Call(call) => ("call_id", Box::new(call.0)),
        Target::Session(session) => ("session", Box::new(session.clone())),
        Target::Run(run) => ("run_id", Box::new(runs::run(connection, run)?.run.id)),
        Target::Experiment(experiment) => {
            ("experiment_id", Box::new(runs::experiment(connection, experiment)?.experiment.id))
        }
    };
    let mut statement =
        connection.prepare_cached(&format!("SELECT sequence, call_id FROM spans WHERE {column} = ?1"))?;
    let rows = statement.query_map([value], |row| Ok((row.get(0)?, CallId(row.get(1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Calls that stay and whose prompt is a step on from one that goes, among those behind `after`.
pub(super) fn dependents(connection: &Connection, going: &Ids, after: i64) -> Result<Found, Error> {
    let mut found = Found::default();
    for (sequence, base) in links::based(connection, after, READ)? {
        found.next = Some(sequence);
        if base.is_some_and(|base| going.contains(base)) && !going.contains(sequence) {
            found.sequences.push(sequence);
        }
    }
    Ok(found)
}

/// Keeps prompts whole whose beginning goes, for as long as a slice may last; returns how many are done.
pub(super) fn detach(write: &mut Write<'_>, sequences: &[i64]) -> Result<usize, Error> {
    let begun = Instant::now();
    for (done, sequence) in sequences.iter().enumerate() {
        if done > 0 && begun.elapsed() >= sweep::SLICE {
            return Ok(done);
        }
        links::detach(write.connection, *sequence)?;
    }
    Ok(sequences.len())
}

/// Ends the life of payloads for as long as a slice may last; returns how many of `sequences` are done.
pub(super) fn drop_payloads(write: &mut Write<'_>, sequences: &[i64]) -> Result<usize, Error> {
    let begun = Instant::now();
    for (done, sequence) in sequences.iter().enumerate() {
        if done > 0 && begun.elapsed() >= sweep::SLICE {
            return Ok(done);
        }
        payloads::delete(write.connection, *sequence)?;
    }
    Ok(sequences.len())
}

/// Removes calls with everything that hangs on them for as long as a slice may last; returns how many of
/// `sequences` are done. `erased`: they are taken out of every sum, too; else the sums outlive them.
pub(super) fn drop_calls(write: &mut Write<'_>, sequences: &[i64], erased: bool) -> Result<usize, Error> {
    let begun = Instant::now();
    let connection = write.connection;
    let mut tally = Tally::default();
    let mut unpacker = Unpacker::default();
    let mut all = sequences.len();
    let mut left = BTreeSet::new();
    for (done, sequence) in sequences.iter().enumerate() {
        if done > 0 && begun.elapsed() >= sweep::SLICE {
            all = done;
            break;
        }
        let Some(call) = calls::by_sequence(connection, &mut unpacker, *sequence)? else { continue };
        payloads::delete(connection, *sequence)?;
        if erased {
            tally.remove(&call);
            let missed = ledger::subtract(connection, *sequence, &call)?;
            sessions::subtract(connection, &call, missed)?;
            jobs::forget(connection, call.id)?;
        }
        left.extend(call.session);
        links::orphan(connection, *sequence)?;
        connection.prepare_cached("DELETE FROM spans WHERE sequence = ?1")?.execute([sequence])?;
    }
    if erased {
        tally.apply(connection)?;
    }
    for session in left {
        sessions::left(connection, &session)?;
    }
    Ok(all)
}

/// A run or a logged model, and where its artifacts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactOwner {
    pub id: String,
    pub uri: String,
}

const RUNS: &str = concat!("SELECT ", run_columns!(), " ", from_runs!(), "WHERE r.experiment_id = ?1");
const MODELS: &str = "SELECT id, artifact_uri FROM logged_models WHERE experiment_id = ?1";

pub(super) fn artifact_owners(connection: &Connection, target: &Target) -> Result<Vec<ArtifactOwner>, Error> {
    match target {
        Target::Call(_) | Target::Session(_) => Ok(Vec::new()),
        Target::Run(run) => {
            let run = runs::run(connection, run)?.run;
            Ok(vec![ArtifactOwner { id: run.id, uri: run.artifact_uri }])
        }
        Target::Experiment(experiment) => {
            let id = runs::experiment(connection, experiment)?.experiment.id;
            let mut owners = Vec::new();
            let mut statement = connection.prepare_cached(RUNS)?;
            let mut rows = statement.query([&id])?;
            while let Some(row) = rows.next()? {
                let (_, run) = tracking::read_run(row)?;
                owners.push(ArtifactOwner { id: run.id, uri: run.artifact_uri });
            }
            let mut statement = connection.prepare_cached(MODELS)?;
            let models =
                statement.query_map([&id], |row| Ok(ArtifactOwner { id: row.get(0)?, uri: row.get(1)? }))?;
            for model in models {
                owners.push(model?);
            }
            Ok(owners)
        }
    }
}

/// Removes the run or experiment itself, once its calls are gone; one that got calls meanwhile stays.
pub(super) fn drop_place(connection: &Connection, target: &Target) -> Result<bool, Error> {
    let gone = |statement: &str, id: &str| -> Result<bool, Error> {
        Ok(connection.prepare_cached(statement)?.execute([id])? > 0)
    };
    match target {
        Target::Call(_) | Target::Session(_) => Ok(false),
        Target::Run(run) => {
            let id = runs::run(connection, run)?.run.id;
            if busy(connection, "SELECT 1 FROM spans WHERE run_id = ?1 LIMIT 1", &id)? {
                return Ok(false);
            }
            gone("DELETE FROM run_totals WHERE run_id = ?1", &id)?;
            gone("DELETE FROM runs WHERE id = ?1", &id)
        }
        Target::Experiment(experiment) => {
            let id = runs::experiment(connection, experiment)?.experiment.id;
            if busy(connection, "SELECT 1 FROM spans WHERE experiment_id = ?1 LIMIT 1", &id)? {
                return Ok(false);
            }
            gone("DELETE FROM run_totals WHERE experiment_id = ?1", &id)?;
            gone("DELETE FROM runs WHERE experiment_id = ?1", &id)?;
            gone("DELETE FROM logged_models WHERE experiment_id = ?1", &id)?;
            if id == crate::model::run::DEFAULT_EXPERIMENT_ID {
                return Ok(false);
            }
            gone("DELETE FROM experiments WHERE id = ?1", &id)
        }
    }
}

fn busy(connection: &Connection, statement: &str, id: &str) -> Result<bool, Error> {
    Ok(connection.prepare_cached(statement)?.query_row([id], |_| Ok(())).optional()?.is_some())
}
