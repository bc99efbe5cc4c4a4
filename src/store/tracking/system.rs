//! The metrics that tapline keeps of a run's calls, as metrics of the run. They are read from the sums that
//! are written with every call and are in no table of their own, so they cannot be stale.

use std::{collections::HashMap, sync::LazyLock};

use rusqlite::Connection;

use super::read;
use crate::model::{
    Error,
    metric::{Metric, SYSTEM_PREFIX},
    run::RunWhole,
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
