//! The metrics that tapline keeps of a run's calls, as metrics of the run. They are read from the sums that
//! are written with every call and are in no table of their own, so they cannot be stale.

use std::{collections::HashMap, sync::LazyLock};

use rusqlite::{Connection, OptionalExtension, params};

use super::read;
use crate::{
    model::{
        Error,
        metric::{Metric, SYSTEM_PREFIX},
        run::RunWhole,
    },
    store::rollups::Grain,
};

/// Name after the prefix, and value in terms of `run_totals AS s`: NULL where it is unknown (invariant 6).
const METRICS: [(&str, &str); 14] = [
    ("calls", "s.calls"),
    ("errors", "s.errors"),
    ("input_tokens", "iif(s.calls > s.usageless_calls, s.input_tokens, NULL)"),
    ("output_tokens", "iif(s.calls > s.usageless_calls, s.output_tokens, NULL)"),
    ("reasoning_tokens", "iif(s.calls > s.usageless_calls, s.reasoning_tokens, NULL)"),
    ("cache_read_tokens", "iif(s.calls > s.usageless_calls, s.cache_read_tokens, NULL)"),
    ("cache_write_tokens", "iif(s.calls > s.usageless_calls, s.cache_write_tokens, NULL)"),
    ("cost_usd", "iif(s.priced_calls > 0, s.cost / 1e9, NULL)"),
    ("unpriced_calls", "s.unpriced_calls"),
    ("duration_ms", "s.duration_ns / 1e6"),
    ("latency_mean_ms", "iif(s.calls > 0, s.duration_ns / 1e6 / s.calls, NULL)"),
    ("latency_p50_ms", "s.latency_p50_ns / 1e6"),
    ("latency_p95_ms", "s.latency_p95_ns / 1e6"),
    ("latency_p99_ms", "s.latency_p99_ns / 1e6"),
];

/// A metric's value as SQL over `run_totals AS s`, where it is one of the system's.
pub(in crate::store) fn expression(key: &str) -> Option<&'static str> {
    let name = key.strip_prefix(SYSTEM_PREFIX)?;
    METRICS.iter().find(|(known, _)| *known == name).map(|(_, expression)| *expression)
}

static OF_RUNS: LazyLock<String> = LazyLock::new(|| {
    let values: Vec<_> = METRICS.iter().map(|(_, expression)| *expression).collect();
    format!(
        "SELECT r.number, s.last_call_at / 1000000, {}
         FROM json_each(?1) AS j CROSS JOIN runs AS r ON r.number = j.value
         JOIN run_totals AS s ON s.run_id = r.id WHERE s.calls > 0",
        values.join(", ")
    )
});

/// Adds them to the metrics of runs that have calls. Their time is the end of the newest call.
pub(super) fn of_runs(
    connection: &Connection,
    numbers: &str,
    place: &HashMap<i64, usize>,
    runs: &mut [RunWhole],
) -> Result<(), Error> {
    read::each(connection, &OF_RUNS, numbers, place, runs, |run, row| {
        let timestamp = row.get::<_, Option<i64>>(1)?.unwrap_or(0);
        for (at, (name, _)) in METRICS.iter().enumerate() {
            if let Some(value) = row.get::<_, Option<f64>>(at + 2)? {
                let key = format!("{SYSTEM_PREFIX}{name}");
                run.metrics.push(Metric { key, value, timestamp, step: 0 });
            }
        }
        Ok(())
    })
}

/// The sums of a run as they were at the end of each hour with calls, in the columns of `run_totals`.
const BY_HOUR: &str = "
    SELECT period, sum(sum(calls)) OVER w AS calls, sum(sum(errors)) OVER w AS errors,
        sum(sum(input_tokens)) OVER w AS input_tokens, sum(sum(output_tokens)) OVER w AS output_tokens,
        sum(sum(reasoning_tokens)) OVER w AS reasoning_tokens,
        sum(sum(cache_read_tokens)) OVER w AS cache_read_tokens,
        sum(sum(cache_write_tokens)) OVER w AS cache_write_tokens,
        sum(sum(usageless_calls)) OVER w AS usageless_calls, sum(sum(priced_calls)) OVER w AS priced_calls,
        sum(sum(unpriced_calls)) OVER w AS unpriced_calls, sum(sum(cost)) OVER w AS cost,
        sum(sum(duration_ns)) OVER w AS duration_ns,
        NULL AS latency_p50_ns, NULL AS latency_p95_ns, NULL AS latency_p99_ns
    FROM rollups WHERE run_id = ?1 AND grain = ?2 GROUP BY period WINDOW w AS (ORDER BY period)";

const LAST: &str = "SELECT last_call_at / 1000000 FROM run_totals WHERE run_id = ?1 AND calls > 0";

/// How one of them grew, hour by hour; the last point is what it is now. Of percentiles only that is known.
/// `None` where the key is none of the system's.
pub(super) fn history(connection: &Connection, id: &str, key: &str) -> Result<Option<Vec<Metric>>, Error> {
    let Some(expression) = expression(key) else { return Ok(None) };
    let last: Option<i64> =
        connection.prepare_cached(LAST)?.query_row([id], |row| row.get(0)).optional()?.flatten();
    let Some(last) = last else { return Ok(Some(Vec::new())) };
    let hours = format!("SELECT s.period, {expression} FROM ({BY_HOUR}) AS s ORDER BY s.period");
    let mut statement = connection.prepare_cached(&hours)?;
    let rows = statement.query_map(params![id, Grain::All as i64], |row| {
        let end = (row.get::<_, i64>(0)? + 1).saturating_mul(3_600_000);
        Ok((end.min(last), row.get::<_, Option<f64>>(1)?))
    })?;
    let mut points = Vec::new();
    for row in rows {
        let (timestamp, value) = row?;
        if let Some(value) = value {
            points.push(Metric { key: key.to_owned(), value, timestamp, step: 0 });
        }
    }
    if points.is_empty() {
        let now = format!("SELECT {expression} FROM run_totals AS s WHERE s.run_id = ?1");
        let value: Option<f64> = connection.prepare_cached(&now)?.query_row([id], |row| row.get(0))?;
        points.extend(value.map(|value| Metric { key: key.to_owned(), value, timestamp: last, step: 0 }));
    }
    Ok(Some(points))
}
