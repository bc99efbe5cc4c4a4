//! Runs as they are read: the head from a row, and the whole of one or of a page in a fixed number of queries.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Row, types::FromSql};

use super::{datasets, experiments::artifact_location, system};
use crate::model::{
    Error, UnixNanos,
    metric::Metric,
    run::{Param, Run, RunStatus, RunWhole},
};

/// What `read_run` reads, of `from_runs!()`.
macro_rules! run_columns {
    () => {
        "r.number, r.id, r.experiment_id, r.name, r.user, r.status, r.started_at, r.ended_at, r.deleted_at,
         r.artifact_uri, e.artifact_location"
    };
}
pub(in crate::store) use run_columns;

macro_rules! from_runs {
    () => {
        "FROM runs AS r JOIN experiments AS e ON e.id = r.experiment_id "
    };
}
pub(in crate::store) use from_runs;

pub(in crate::store) const RUN_COLUMNS: usize = 11;

/// A run's number and its head, without tags.
pub(in crate::store) fn read_run(row: &Row<'_>) -> Result<(i64, Run), Error> {
    let id: String = row.get(1)?;
    let experiment_id: String = row.get(2)?;
    let status: String = row.get(5)?;
    let artifact_uri = match row.get(9)? {
        Some(uri) => uri,
        None => artifact_uri(&artifact_location(&experiment_id, row.get(10)?), &id),
    };
    let run = Run {
        name: row.get(3)?,
        user: row.get(4)?,
        status: RunStatus::parse(&status)
            .ok_or_else(|| Error::internal(format!("expected a run's status, found {status:?}")))?,
        started_at: UnixNanos(row.get(6)?),
        ended_at: row.get::<_, Option<i64>>(7)?.map(UnixNanos),
        deleted_at: row.get::<_, Option<i64>>(8)?.map(UnixNanos),
        artifact_uri,
        tags: BTreeMap::new(),
        id,
        experiment_id,
    };
    Ok((row.get(0)?, run))
}

fn artifact_uri(location: &str, run: &str) -> String {
    under(location, &format!("{run}/artifacts"))
}

/// A path under an artifact location; a query string stays at the end.
pub(super) fn under(location: &str, path: &str) -> String {
    let (base, query) = match location.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (location, String::new()),
    };
    format!("{}/{path}{query}", base.trim_end_matches('/'))
}

const BY_ID: &str = concat!("SELECT ", run_columns!(), " ", from_runs!(), "WHERE r.id = ?1");

pub(super) fn head(connection: &Connection, id: &str) -> Result<(i64, Run), Error> {
    let found = connection.prepare_cached(BY_ID)?.query_row([id], |row| Ok(read_run(row))).optional()?;
    found.unwrap_or_else(|| Err(missing(id)))
}

pub(super) fn missing(id: &str) -> Error {
    Error::not_found(format!("Run with id={id} not found"))
}

const TAGS: &str = "
    SELECT k.name, t.value FROM run_tags AS t JOIN keys AS k ON k.id = t.key WHERE t.run = ?1";

pub(in crate::store) fn tags_of_run(
    connection: &Connection,
    run: i64,
) -> Result<BTreeMap<String, String>, Error> {
    let mut statement = connection.prepare_cached(TAGS)?;
    Ok(statement.query_map([run], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

pub(super) fn whole(connection: &Connection, id: &str) -> Result<RunWhole, Error> {
    let head = head(connection, id)?;
    wholes(connection, vec![head])?.pop().ok_or_else(|| missing(id))
}

const TAGS_OF: &str = "
    SELECT t.run, k.name, t.value FROM json_each(?1) AS j
    CROSS JOIN run_tags AS t ON t.run = j.value JOIN keys AS k ON k.id = t.key";
const PARAMS_OF: &str = "
    SELECT p.run, k.name, p.value FROM json_each(?1) AS j
    CROSS JOIN params AS p ON p.run = j.value JOIN keys AS k ON k.id = p.key";
const METRICS_OF: &str = "
    SELECT m.run, k.name, m.value, m.nan, m.timestamp, m.step FROM json_each(?1) AS j
    CROSS JOIN latest_metrics AS m ON m.run = j.value JOIN keys AS k ON k.id = m.key";

/// The wholes of these runs, in their order. However many there are, each kind of thing is read by one query.
pub(in crate::store) fn wholes(
    connection: &Connection,
    heads: Vec<(i64, Run)>,
) -> Result<Vec<RunWhole>, Error> {
    let place: HashMap<i64, usize> =
        heads.iter().enumerate().map(|(place, (number, _))| (*number, place)).collect();
    let numbers = serde_json::Value::from(heads.iter().map(|(number, _)| *number).collect::<Vec<_>>());
    let numbers = numbers.to_string();
    let mut runs: Vec<RunWhole> = heads
        .into_iter()
        .map(|(_, run)| RunWhole {
            run,
            metrics: Vec::new(),
            params: Vec::new(),
            datasets: Vec::new(),
            model_inputs: Vec::new(),
            model_outputs: Vec::new(),
        })
        .collect();
    each(connection, TAGS_OF, &numbers, &place, &mut runs, |run, row| {
        run.run.tags.insert(row.get(1)?, row.get(2)?);
        Ok(())
    })?;
    each(connection, PARAMS_OF, &numbers, &place, &mut runs, |run, row| {
        run.params.push(Param { key: row.get(1)?, value: row.get(2)? });
        Ok(())
    })?;
    each(connection, METRICS_OF, &numbers, &place, &mut runs, |run, row| {
        run.metrics.push(Metric {
            key: row.get(1)?,
            value: value(row, 2)?,
            timestamp: row.get(4)?,
            step: row.get(5)?,
        });
        Ok(())
    })?;
    system::of_runs(connection, &numbers, &place, &mut runs)?;
    datasets::of_runs(connection, &numbers, &place, &mut runs)?;
    Ok(runs)
}

/// Reads a query about several runs into them; the first column is the run's number, `?1` all numbers.
pub(super) fn each(
    connection: &Connection,
    sql: &str,
    numbers: &str,
    place: &HashMap<i64, usize>,
    runs: &mut [RunWhole],
    mut read: impl FnMut(&mut RunWhole, &Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([numbers])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        if let Some(run) = place.get(&number).and_then(|place| runs.get_mut(*place)) {
            read(run, row)?;
        }
    }
    Ok(())
}

/// A metric's value from its two columns.
pub(super) fn value(row: &Row<'_>, at: usize) -> rusqlite::Result<f64> {
    if column::<bool>(row, at + 1)? { Ok(f64::NAN) } else { row.get(at) }
}

fn column<T: FromSql>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    row.get(at)
}
