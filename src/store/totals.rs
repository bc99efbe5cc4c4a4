//! What a run's calls come to: sums, first and last call, and how long they took. One row per run, written in
//! the transaction that writes the calls.

use rusqlite::{
    Connection, OptionalExtension, Row, params, params_from_iter,
    types::{ToSqlOutput, Value},
};

use super::rollups::{Sums, added, columns, names, sums};
use crate::model::{Error, UnixNanos, call::Call, filter::CostRow, latency::Latency, run::RunTotals};

/// What calls change of a run's row beside its sums.
#[derive(Debug, Clone, Default)]
pub(super) struct Total {
    first_call_at: Option<i64>,
    last_call_at: Option<i64>,
    added: Latency,
    removed: Latency,
}

impl Total {
    pub(super) fn add(&mut self, call: &Call) {
        self.first_call_at = earlier(self.first_call_at, Some(call.started_at.0));
        self.last_call_at = self.last_call_at.max(Some(call.ended_at.0));
        self.added.add(call.duration_ns());
    }

    /// The first and the last call stay what they were: which call comes next is not known here.
    pub(super) fn remove(&mut self, call: &Call) {
        self.removed.add(call.duration_ns());
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.first_call_at = earlier(self.first_call_at, other.first_call_at);
        self.last_call_at = self.last_call_at.max(other.last_call_at);
        self.added.merge(&other.added);
        self.removed.merge(&other.removed);
    }
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

const LATENCY: &str = "SELECT latency, calls FROM run_totals WHERE run_id = ?1 AND experiment_id = ?2";
const ADD: &str = concat!(
    "INSERT INTO run_totals (
        run_id, experiment_id, first_call_at, last_call_at, latency_p50_ns, latency_p95_ns, latency_p99_ns, latency, ",
    columns!(names),
    ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        first_call_at = min(coalesce(first_call_at, excluded.first_call_at), coalesce(excluded.first_call_at, first_call_at)),
        last_call_at = max(coalesce(last_call_at, excluded.last_call_at), coalesce(excluded.last_call_at, last_call_at)),
        latency_p50_ns = excluded.latency_p50_ns,
        latency_p95_ns = excluded.latency_p95_ns,
        latency_p99_ns = excluded.latency_p99_ns,
        latency = excluded.latency, ",
    columns!(added)
);

/// Adds to a run's row; `run` is '' for the calls of an experiment that are in none.
pub(super) fn apply(
    connection: &Connection,
    run: &str,
    experiment: &str,
    sums: &Sums,
    total: &Total,
) -> Result<(), Error> {
    let known: Option<(Vec<u8>, i64)> = connection
        .prepare_cached(LATENCY)?
        .query_row([run, experiment], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (packed, calls) = known.unwrap_or_default();
    let mut latency = unpack(&packed);
    latency.merge(&total.added);
    latency.subtract(&total.removed);
    let whole = i64::try_from(latency.count()).is_ok_and(|count| count == calls + sums.0[0]);
    let number = |number: Option<i64>| ToSqlOutput::Owned(number.map_or(Value::Null, Value::Integer));
    let share = |share: f64| number(latency.quantile(share).filter(|_| whole));
    let own = [
        ToSqlOutput::from(run),
        ToSqlOutput::from(experiment),
        number(total.first_call_at),
        number(total.last_call_at),
        share(0.5),
        share(0.95),
        share(0.99),
        ToSqlOutput::from(pack(&latency)),
    ];
    let values = own.into_iter().chain(sums.0.map(ToSqlOutput::from));
    connection.prepare_cached(ADD)?.execute(params_from_iter(values))?;
    Ok(())
}

fn pack(latency: &Latency) -> Vec<u8> {
    let mut out = Vec::new();
    for (bucket, count) in latency.buckets() {
        out.extend_from_slice(&bucket.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }
    out
}

/// What is not whole is left out: a damaged histogram must not keep calls from being stored.
fn unpack(packed: &[u8]) -> Latency {
    let pairs = packed.chunks_exact(10).filter_map(|pair| {
        let (bucket, count) = pair.split_first_chunk()?;
        Some((u16::from_le_bytes(*bucket), u64::from_le_bytes(count.try_into().ok()?)))
    });
    pairs.collect()
}

const SUMS_OF_RUN: &str = concat!("SELECT ", columns!(sums), " FROM run_totals AS r WHERE r.run_id = ?1");

pub(super) fn sums_of_run(connection: &Connection, run: &str) -> Result<CostRow, Error> {
    let read = |row: &Row<'_>| Sums::read(row, 0, Vec::new());
    Ok(connection.prepare_cached(SUMS_OF_RUN)?.query_row([run], read)?)
}

const OF_RUN: &str = concat!(
    "SELECT first_call_at, last_call_at, latency_p50_ns, latency_p95_ns, latency_p99_ns, latency, ",
    columns!(names),
    " FROM run_totals WHERE run_id = ?1"
);

/// What a run's calls come to; of a run without calls, nothing.
pub(super) fn of_run(connection: &Connection, run: &str) -> Result<RunTotals, Error> {
    let read = |row: &Row<'_>| {
        Ok(RunTotals {
            first_call_at: row.get::<_, Option<i64>>(0)?.map(UnixNanos),
            last_call_at: row.get::<_, Option<i64>>(1)?.map(UnixNanos),
            latency_p50_ns: row.get(2)?,
            latency_p95_ns: row.get(3)?,
            latency_p99_ns: row.get(4)?,
            latency: unpack(row.get_ref(5)?.as_blob()?),
            sums: Sums::read(row, 6, Vec::new())?,
        })
    };
    Ok(connection.prepare_cached(OF_RUN)?.query_row(params![run], read).optional()?.unwrap_or_default())
}
