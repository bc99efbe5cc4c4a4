//! Reading the cache ledger: one call's entry, and sums grouped as asked.

use rusqlite::{Connection, OptionalExtension, Row, ToSql};

use crate::{
    model::{
        CallId, Error, NanoUsd, UnixNanos,
        lineage::{CacheCause, CacheDimension, CacheEntry, CacheQuery, CacheRow},
    },
    store::runs,
};

const ENTRY: &str = "
    SELECT c.cacheable, c.missed, c.lost, c.cause, c.broke_kind, c.broke_at,
        (SELECT r.call_id FROM spans AS r WHERE r.sequence = c.reference), c.says, c.disputed
    FROM cache AS c JOIN spans AS s ON s.sequence = c.sequence WHERE s.call_id = ?1";

pub(in crate::store) fn entry(connection: &Connection, call: CallId) -> Result<Option<CacheEntry>, Error> {
    let read = |row: &Row<'_>| {
        let kind = row.get::<_, Option<u8>>(4)?.and_then(super::element_kind);
        let at: Option<u32> = row.get(5)?;
        Ok(CacheEntry {
            cacheable: row.get(0)?,
            missed: row.get(1)?,
            lost: row.get::<_, Option<i64>>(2)?.map(NanoUsd),
            cause: row.get::<_, Option<i64>>(3)?.and_then(CacheCause::of_number),
            broke_at: kind.zip(at),
            reference: row.get::<_, Option<[u8; 16]>>(6)?.map(CallId),
            says: row.get(7)?,
            disputed: row.get(8)?,
        })
    };
    Ok(connection.prepare_cached(ENTRY)?.query_row([call.0], read).optional()?)
}

const SUMS: &str =
    "coalesce(sum(c.calls), 0), coalesce(sum(c.input_tokens), 0), coalesce(sum(c.cacheable_tokens), 0),
    coalesce(sum(c.read_tokens), 0), coalesce(sum(c.missed_tokens), 0), coalesce(sum(c.lost), 0),
    coalesce(sum(c.unpriced_calls), 0), coalesce(sum(c.disputed_calls), 0)";

/// Sessions have no sums of their own here: theirs are added up from their calls.
const BY_SESSION: &str =
    "(SELECT s.started_at / 86400000000000 AS day, s.experiment_id, coalesce(s.run_id, '') AS run_id,
    t.provider, t.model, 0 AS prompt, coalesce(s.user, '') AS user, coalesce(k.cause, 0) AS cause,
    s.session, 1 AS calls, coalesce(s.input, 0) AS input_tokens, k.cacheable AS cacheable_tokens,
    coalesce(s.cache_read, 0) AS read_tokens, k.missed AS missed_tokens, coalesce(k.lost, 0) AS lost,
    k.missed > 0 AND k.lost IS NULL AS unpriced_calls, k.disputed AS disputed_calls
    FROM cache AS k JOIN spans AS s ON s.sequence = k.sequence JOIN kinds AS t ON t.id = s.kind)";

fn column(dimension: CacheDimension) -> &'static str {
    match dimension {
        CacheDimension::Day => "c.day",
        CacheDimension::Experiment => "(SELECT e.name FROM experiments AS e WHERE e.id = c.experiment_id)",
        CacheDimension::Run => "coalesce((SELECT r.name FROM runs AS r WHERE r.id = c.run_id), c.run_id)",
        CacheDimension::Session => "c.session",
        CacheDimension::Provider => "c.provider",
        CacheDimension::Model => "c.model",
        CacheDimension::Prompt => "c.prompt",
        CacheDimension::User => "c.user",
        CacheDimension::Cause => "c.cause",
    }
}

/// What is grouped by; runs and experiments by id, so that two of one name are two rows.
fn group(dimension: CacheDimension) -> &'static str {
    match dimension {
        CacheDimension::Experiment => "c.experiment_id",
        CacheDimension::Run => "c.run_id",
        other => column(other),
    }
}

/// The largest loss first, or by day where that is the first dimension.
pub(in crate::store) fn sums(connection: &Connection, query: &CacheQuery) -> Result<Vec<CacheRow>, Error> {
    let by_session = query.by.contains(&CacheDimension::Session);
    if by_session && query.by.contains(&CacheDimension::Prompt) {
        return Err(Error::invalid(
            "expected session or prompt to group by, found both; ask for one of them",
        ));
    }
    let mut text = "SELECT ".to_owned();
    for dimension in &query.by {
        text.push_str(column(*dimension));
        text.push_str(", ");
    }
    text.push_str(SUMS);
    text.push_str(" FROM ");
    text.push_str(if by_session { BY_SESSION } else { "cache_sums" });
    text.push_str(" AS c WHERE 1");
    let mut bound: Vec<Box<dyn ToSql>> = Vec::new();
    let mut term = |fragment: &str, value: Box<dyn ToSql>| {
        text.push_str(fragment);
        bound.push(value);
    };
    if let Some(since) = query.since {
        term(" AND c.day >= ?", Box::new(since.0.div_euclid(UnixNanos::DAY)));
    }
    if let Some(until) = query.until {
        term(
            " AND c.day < ?",
            Box::new(until.0.div_euclid(UnixNanos::DAY) + i64::from(until.0.rem_euclid(UnixNanos::DAY) > 0)),
        );
    }
    if let Some(experiment) = &query.experiment {
        let id = runs::experiment_id(connection, experiment)?.ok_or_else(|| {
            Error::not_found(format!("expected an experiment, found none with id or name {experiment:?}"))
        })?;
        term(" AND c.experiment_id = ?", Box::new(id));
    }
    if let Some(run) = &query.run {
        let ids = runs::run_ids(connection, run)?;
        if ids.is_empty() {
            return Err(Error::not_found(format!("expected a run, found none with id or name {run:?}")));
        }
        term(
            " AND c.run_id IN (SELECT value FROM json_each(?))",
            Box::new(serde_json::Value::from(ids).to_string()),
        );
    }
    let groups: Vec<_> = query.by.iter().map(|dimension| group(*dimension)).collect();
    if !groups.is_empty() {
        text.push_str(" GROUP BY ");
        text.push_str(&groups.join(", "));
    }
    text.push_str(match query.by.first() {
        Some(CacheDimension::Day) => " ORDER BY c.day, sum(c.lost) DESC",
        _ => " ORDER BY sum(c.lost) DESC, sum(c.missed_tokens) DESC",
    });
    let values: Vec<&dyn ToSql> = bound.iter().map(|value| &**value).collect();
    let mut statement = connection.prepare_cached(&text)?;
    let rows = statement.query_map(&*values, |row| read(row, &query.by))?;
    let rows: Vec<CacheRow> = rows.collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter(|row| row.calls > 0).collect())
}

fn read(row: &Row<'_>, by: &[CacheDimension]) -> rusqlite::Result<CacheRow> {
    let mut key = Vec::with_capacity(by.len());
    for (at, dimension) in by.iter().enumerate() {
        key.push(match dimension {
            CacheDimension::Day => {
                Some(UnixNanos(row.get::<_, i64>(at)?.saturating_mul(UnixNanos::DAY)).date())
            }
            CacheDimension::Prompt => Some(format!("{:016x}", row.get::<_, i64>(at)?)),
            CacheDimension::Cause => {
                CacheCause::of_number(row.get(at)?).map(|cause| cause.as_str().to_owned())
            }
            _ => row.get::<_, Option<String>>(at)?.filter(|text| !text.is_empty()),
        });
    }
    let at = by.len();
    Ok(CacheRow {
        key,
        calls: row.get(at)?,
        input_tokens: row.get(at + 1)?,
        cacheable_tokens: row.get(at + 2)?,
        read_tokens: row.get(at + 3)?,
        missed_tokens: row.get(at + 4)?,
        lost: NanoUsd(row.get(at + 5)?),
        unpriced_calls: row.get(at + 6)?,
        disputed_calls: row.get(at + 7)?,
    })
}
