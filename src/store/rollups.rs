//! Sums per hour and place, written in the transaction that writes the call, so that a cost report never
//! reads spans. Unknown is never counted as zero (invariant 6): a call without a cost is in no cost sum.

use rusqlite::{Connection, Row, ToSql, params};

use super::runs;
use crate::model::{
    Error, NanoUsd, UnixNanos,
    call::{Call, CallStatus},
    filter::{CostQuery, CostRow, Dimension},
    usage::UsageSource,
};

const HOUR: i64 = 3_600 * UnixNanos::SECOND;

/// The most that one call may add to a sum (tokens; nano-USD, that is a million dollars; nanoseconds, that is
/// eleven days): a nonsense figure from an upstream must not overflow the sums of all others.
const MOST_TOKENS: u64 = 1_000_000_000_000;
const MOST_COST: i64 = 1_000_000_000_000_000;
const MOST_DURATION: i64 = 1_000_000_000_000_000;

const ADD: &str = "
    INSERT INTO rollups (
        hour, experiment_id, run_id, upstream, provider, model, operation, key_fingerprint,
        calls, errors, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
        estimated_calls, usageless_calls, cost, cost_estimated, priced_calls, unpriced_calls, duration_ns
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        calls = calls + 1,
        errors = errors + excluded.errors,
        input_tokens = input_tokens + excluded.input_tokens,
        cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
        output_tokens = output_tokens + excluded.output_tokens,
        reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
        estimated_calls = estimated_calls + excluded.estimated_calls,
        usageless_calls = usageless_calls + excluded.usageless_calls,
        cost = cost + excluded.cost,
        cost_estimated = cost_estimated + excluded.cost_estimated,
        priced_calls = priced_calls + excluded.priced_calls,
        unpriced_calls = unpriced_calls + excluded.unpriced_calls,
        duration_ns = duration_ns + excluded.duration_ns";

/// Adds a call, once: the caller knows that it is new.
pub(super) fn add(connection: &Connection, call: &Call) -> Result<(), Error> {
    let one = contribution(call);
    connection.prepare_cached(ADD)?.execute(params![
        call.started_at.0.div_euclid(HOUR),
        call.experiment_id,
        call.run_id.as_deref().unwrap_or_default(),
        call.upstream,
        call.provider,
        call.model().unwrap_or_default(),
        call.operation,
        call.key_fingerprint.as_deref().unwrap_or_default(),
        one.errors,
        one.input_tokens,
        one.cache_read_tokens,
        one.cache_write_tokens,
        one.output_tokens,
        one.reasoning_tokens,
        one.estimated_calls,
        one.usageless_calls,
        one.cost.0,
        one.cost_estimated.0,
        one.priced_calls,
        one.unpriced_calls,
        one.duration_ns,
    ])?;
    Ok(())
}

/// What one call is in a sum.
fn contribution(call: &Call) -> CostRow {
    let tokens = |count: Option<u64>| count.unwrap_or(0).min(MOST_TOKENS);
    let usageless = call.usage.is_empty();
    let estimated = call.usage_source == Some(UsageSource::Estimated);
    let cost = call.cost.map_or(NanoUsd::ZERO, |cost| NanoUsd(cost.0.clamp(-MOST_COST, MOST_COST)));
    CostRow {
        key: Vec::new(),
        calls: 1,
        errors: u64::from(call.status != CallStatus::Ok),
        input_tokens: tokens(call.usage.input),
        cache_read_tokens: tokens(call.usage.cache_read),
        cache_write_tokens: tokens(call.usage.cache_write),
        output_tokens: tokens(call.usage.output),
        reasoning_tokens: tokens(call.usage.reasoning),
        estimated_calls: u64::from(estimated && !usageless),
        usageless_calls: u64::from(usageless),
        cost,
        cost_estimated: if estimated { cost } else { NanoUsd::ZERO },
        priced_calls: u64::from(call.cost.is_some()),
        unpriced_calls: u64::from(call.cost.is_none() && !usageless),
        duration_ns: call.duration_ns().clamp(0, MOST_DURATION),
    }
}

/// The sums of a `CostRow`, in the order in which `sums` reads them.
macro_rules! sums {
    () => {
        "
    coalesce(sum(r.calls), 0), coalesce(sum(r.errors), 0), coalesce(sum(r.input_tokens), 0),
    coalesce(sum(r.cache_read_tokens), 0), coalesce(sum(r.cache_write_tokens), 0),
    coalesce(sum(r.output_tokens), 0), coalesce(sum(r.reasoning_tokens), 0),
    coalesce(sum(r.estimated_calls), 0), coalesce(sum(r.usageless_calls), 0), coalesce(sum(r.cost), 0),
    coalesce(sum(r.cost_estimated), 0), coalesce(sum(r.priced_calls), 0), coalesce(sum(r.unpriced_calls), 0),
    coalesce(sum(r.duration_ns), 0)"
    };
}

/// Reads `sums!()` from column `at` on.
fn sums(row: &Row<'_>, at: usize, key: Vec<Option<String>>) -> rusqlite::Result<CostRow> {
    Ok(CostRow {
        key,
        calls: row.get(at)?,
        errors: row.get(at + 1)?,
        input_tokens: row.get(at + 2)?,
        cache_read_tokens: row.get(at + 3)?,
        cache_write_tokens: row.get(at + 4)?,
        output_tokens: row.get(at + 5)?,
        reasoning_tokens: row.get(at + 6)?,
        estimated_calls: row.get(at + 7)?,
        usageless_calls: row.get(at + 8)?,
        cost: NanoUsd(row.get(at + 9)?),
        cost_estimated: NanoUsd(row.get(at + 10)?),
        priced_calls: row.get(at + 11)?,
        unpriced_calls: row.get(at + 12)?,
        duration_ns: row.get(at + 13)?,
    })
}

/// How a dimension is grouped by (ids, so that two runs of one name stay two lines) and how it is shown.
fn fragments(dimension: Dimension) -> (&'static str, &'static str) {
    match dimension {
        // Rounded towards the past, before 1970 too.
        Dimension::Day => ("(r.hour - (r.hour % 24 + 24) % 24)", "(r.hour - (r.hour % 24 + 24) % 24)"),
        Dimension::Hour => ("r.hour", "r.hour"),
        Dimension::Experiment => {
            ("r.experiment_id", "(SELECT name FROM experiments WHERE id = r.experiment_id)")
        }
        Dimension::Run => ("r.run_id", "(SELECT name FROM runs WHERE id = r.run_id)"),
        Dimension::Model => ("r.model", "nullif(r.model, '')"),
        Dimension::Provider => ("r.provider", "nullif(r.provider, '')"),
        Dimension::Upstream => ("r.upstream", "nullif(r.upstream, '')"),
        Dimension::Operation => ("r.operation", "nullif(r.operation, '')"),
        Dimension::Key => ("r.key_fingerprint", "nullif(r.key_fingerprint, '')"),
    }
}

/// Sums of the rollups, largest cost first; in order of time where that is the first dimension.
pub(super) fn costs(connection: &Connection, query: &CostQuery) -> Result<Vec<CostRow>, Error> {
    let Some((text, values)) = select(connection, query)? else {
        // A place that does not exist has spent nothing.
        let total = CostRow::default();
        return Ok(if query.by.is_empty() { vec![total] } else { Vec::new() });
    };
    let mut statement = connection.prepare_cached(&text)?;
    let values: Vec<&dyn ToSql> = values.iter().map(|value| &**value).collect();
    let rows = statement.query_map(values.as_slice(), |row| {
        let mut key = Vec::with_capacity(query.by.len());
        for (column, dimension) in query.by.iter().enumerate() {
            key.push(match dimension {
                Dimension::Day => Some(UnixNanos(row.get::<_, i64>(column)?.saturating_mul(HOUR)).date()),
                Dimension::Hour => Some(hour(row.get(column)?)),
                _ => row.get(column)?,
            });
        }
        sums(row, query.by.len(), key)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

type Bound = Box<dyn ToSql>;

/// The statement and its values; `None` where the query names an experiment or run that does not exist.
fn select(connection: &Connection, query: &CostQuery) -> Result<Option<(String, Vec<Bound>)>, Error> {
    let mut text = "SELECT ".to_owned();
    for dimension in &query.by {
        text.push_str(fragments(*dimension).1);
        text.push_str(", ");
    }
    text.push_str(sums!());
    text.push_str(" FROM rollups AS r WHERE 1");
    let mut values: Vec<Bound> = Vec::new();
    if let Some(since) = query.since {
        text.push_str(" AND r.hour >= ?");
        values.push(Box::new(since.0.div_euclid(HOUR)));
    }
    if let Some(until) = query.until {
        text.push_str(" AND r.hour < ?");
        values.push(Box::new(until.0.div_euclid(HOUR) + i64::from(until.0.rem_euclid(HOUR) > 0)));
    }
    if let Some(experiment) = &query.experiment {
        let Some(id) = runs::experiment_id(connection, experiment)? else { return Ok(None) };
        text.push_str(" AND r.experiment_id = ?");
        values.push(Box::new(id));
    }
    if let Some(run) = &query.run {
        let ids = runs::run_ids(connection, run)?;
        if ids.is_empty() {
            return Ok(None);
        }
        text.push_str(" AND r.run_id IN (SELECT value FROM json_each(?))");
        values.push(Box::new(serde_json::Value::from(ids).to_string()));
    }
    let groups: Vec<_> = query.by.iter().map(|dimension| fragments(*dimension).0).collect();
    if let Some(first) = groups.first() {
        let groups = groups.join(", ");
        text.push_str(" GROUP BY ");
        text.push_str(&groups);
        text.push_str(" ORDER BY ");
        if matches!(query.by.first(), Some(Dimension::Day | Dimension::Hour)) {
            text.push_str(first);
            text.push_str(", ");
        }
        text.push_str("sum(r.cost) DESC, sum(r.calls) DESC, ");
        text.push_str(&groups);
    }
    Ok(Some((text, values)))
}

/// `2026-11-23T08:00Z`.
fn hour(hours: i64) -> String {
    let mut text: String = UnixNanos(hours.saturating_mul(HOUR)).rfc3339().chars().take(16).collect();
    text.push('Z');
    text
}

const OF_RUN: &str = concat!("SELECT ", sums!(), " FROM rollups AS r WHERE r.run_id = ?1");
const OF_EXPERIMENT: &str = concat!("SELECT ", sums!(), " FROM rollups AS r WHERE r.experiment_id = ?1");

pub(super) fn of_run(connection: &Connection, id: &str) -> Result<CostRow, Error> {
    Ok(connection.prepare_cached(OF_RUN)?.query_row([id], |row| sums(row, 0, Vec::new()))?)
}

pub(super) fn of_experiment(connection: &Connection, id: &str) -> Result<CostRow, Error> {
    Ok(connection.prepare_cached(OF_EXPERIMENT)?.query_row([id], |row| sums(row, 0, Vec::new()))?)
}
