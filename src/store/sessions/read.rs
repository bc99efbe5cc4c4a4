//! Reading sessions: lists, one, and the calls of one as steps.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::{
    model::{
        CallId, Error, NanoUsd, UnixNanos,
        call::CallStatus,
        filter::{SessionCursor, SessionFilter},
        lineage::{Changes, Link, LinkKind, LinkRule, Session, SessionCall},
    },
    store::runs,
};

macro_rules! columns {
    () => {
        "n.id, n.parent, n.inferred, coalesce((SELECT call_id FROM spans WHERE sequence = n.first_sequence), zeroblob(16)),
        n.started_at, n.last_at, n.experiment_id, n.run_id, n.user, n.model, n.calls, n.errors, n.input_tokens,
        n.cache_read_tokens, n.output_tokens, n.cost, n.priced_calls, n.unpriced_calls, n.missed_tokens, n.lost"
    };
}

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get(0)?,
        parent: row.get(1)?,
        inferred: row.get(2)?,
        first_call: CallId(row.get(3)?),
        started_at: UnixNanos(row.get(4)?),
        last_at: UnixNanos(row.get(5)?),
        experiment_id: row.get(6)?,
        run_id: row.get(7)?,
        user: row.get(8)?,
        model: row.get(9)?,
        calls: row.get(10)?,
        errors: row.get(11)?,
        input_tokens: row.get(12)?,
        cache_read_tokens: row.get(13)?,
        output_tokens: row.get(14)?,
        cost: NanoUsd(row.get(15)?),
        priced_calls: row.get(16)?,
        unpriced_calls: row.get(17)?,
        missed_tokens: row.get(18)?,
        lost: NanoUsd(row.get(19)?),
    })
}

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM sessions AS n WHERE n.id = ?1");
const BY_PREFIX: &str =
    concat!("SELECT ", columns!(), " FROM sessions AS n WHERE n.id BETWEEN ?1 AND ?2 LIMIT 2");

/// By id, or by the beginning of exactly one.
pub(in crate::store) fn find(connection: &Connection, id: &str) -> Result<Session, Error> {
    if let Some(found) = connection.prepare_cached(BY_ID)?.query_row([id], session).optional()? {
        return Ok(found);
    }
    let mut statement = connection.prepare_cached(BY_PREFIX)?;
    let rows = statement.query_map(params![id, format!("{id}\u{10ffff}")], session)?;
    let mut found: Vec<Session> = rows.collect::<Result<_, _>>()?;
    let shown: String = id.chars().take(80).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(Error::not_found(format!("expected a session, found none with id {shown:?}"))),
        (Some(_), false) => Err(Error::conflict(format!(
            "expected {shown:?} to name one session, found several that begin so: give more of its id"
        ))),
    }
}

/// The one that was active last first. A run or experiment that does not exist has no sessions.
pub(in crate::store) fn list(
    connection: &Connection,
    filter: &SessionFilter,
    limit: usize,
    cursor: Option<&SessionCursor>,
) -> Result<Vec<Session>, Error> {
    let mut text = concat!("SELECT ", columns!(), " FROM sessions AS n WHERE 1").to_owned();
    let mut bound: Vec<Box<dyn ToSql>> = Vec::new();
    let mut term = |fragment: &str, value: Box<dyn ToSql>| {
        text.push_str(fragment);
        bound.push(value);
    };
    if let Some(experiment) = &filter.experiment {
        let Some(id) = runs::experiment_id(connection, experiment)? else { return Ok(Vec::new()) };
        term(" AND n.experiment_id = ?", Box::new(id));
    }
    if let Some(run) = &filter.run {
        let ids = serde_json::Value::from(runs::run_ids(connection, run)?).to_string();
        term(" AND n.run_id IN (SELECT value FROM json_each(?))", Box::new(ids));
    }
    if let Some(user) = &filter.user {
        term(" AND n.user = ?", Box::new(user.clone()));
    }
    if let Some(parent) = &filter.parent {
        term(" AND n.parent = ?", Box::new(parent.clone()));
    }
    if let Some(inferred) = filter.inferred {
        term(" AND n.inferred = ?", Box::new(inferred));
    }
    if let Some(since) = filter.since {
        term(" AND n.last_at >= ?", Box::new(since.0));
    }
    if let Some(until) = filter.until {
        term(" AND n.last_at < ?", Box::new(until.0));
    }
    if let Some(calls) = filter.min_calls {
        term(" AND n.calls >= ?", Box::new(i64::try_from(calls).unwrap_or(i64::MAX)));
    }
    if let Some(cursor) = cursor {
        term(" AND n.last_at <= ?", Box::new(cursor.last_at.0));
        term(" AND (n.last_at, n.id) < (?, ", Box::new(cursor.last_at.0));
        term("?)", Box::new(cursor.id.clone()));
    }
    term(" ORDER BY n.last_at DESC, n.id DESC LIMIT ?", Box::new(i64::try_from(limit).unwrap_or(i64::MAX)));
    let values: Vec<&dyn ToSql> = bound.iter().map(|value| &**value).collect();
    let mut statement = connection.prepare_cached(&text)?;
    let rows = statement.query_map(&*values, session)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const CALLS: &str = "
    SELECT s.call_id, s.sequence, s.session, coalesce(o.name, s.rest ->> 'name', ''), s.started_at,
        s.started_at + s.duration_ns, t.status, coalesce(o.error_type, s.rest ->> 'error_type'), nullif(t.model, ''), l.agent, s.tool_calls, s.input, s.cache_read, s.output, s.cost,
        (SELECT p.call_id FROM spans AS p WHERE p.sequence = l.parent), l.kind, l.rule, l.confidence, l.matched,
        l.rivals, l.changes, c.missed, c.lost
    FROM spans AS s CROSS JOIN profiles AS o ON o.id = s.profile CROSS JOIN kinds AS t ON t.id = s.kind
    LEFT JOIN links AS l ON l.sequence = s.sequence LEFT JOIN cache AS c ON c.sequence = s.sequence
    WHERE s.session = ?1 ORDER BY s.started_at, s.sequence LIMIT ?2";

/// The calls of a session in the order of their start.
pub(in crate::store) fn calls(
    connection: &Connection,
    session: &str,
    limit: usize,
) -> Result<Vec<SessionCall>, Error> {
    let mut statement = connection.prepare_cached(CALLS)?;
    let rows = statement.query_map(params![session, i64::try_from(limit).unwrap_or(i64::MAX)], step)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn step(row: &Row<'_>) -> rusqlite::Result<SessionCall> {
    let status: String = row.get(6)?;
    Ok(SessionCall {
        id: CallId(row.get(0)?),
        sequence: row.get(1)?,
        session: row.get(2)?,
        name: row.get(3)?,
        started_at: UnixNanos(row.get(4)?),
        ended_at: UnixNanos(row.get(5)?),
        status: CallStatus::parse(&status).unwrap_or(CallStatus::Error),
        error_type: row.get(7)?,
        model: row.get(8)?,
        agent: row.get(9)?,
        tool_calls: row.get(10)?,
        input_tokens: row.get(11)?,
        cache_read_tokens: row.get(12)?,
        output_tokens: row.get(13)?,
        cost: row.get::<_, Option<i64>>(14)?.map(NanoUsd),
        link: link(row, 15)?,
        missed_tokens: row.get(22)?,
        lost: row.get::<_, Option<i64>>(23)?.map(NanoUsd),
    })
}

/// Reads parent, kind, rule, confidence, matched, rivals and changes from column `at` on. A parent that is no
/// longer in the store is no link that could be shown.
pub(in crate::store) fn link(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Link>> {
    let parent: Option<[u8; 16]> = row.get(at)?;
    let kind = row.get::<_, Option<i64>>(at + 1)?.and_then(LinkKind::of_number);
    let rule = row.get::<_, Option<i64>>(at + 2)?.and_then(LinkRule::of_number);
    let (Some(parent), Some(kind), Some(rule)) = (parent, kind, rule) else { return Ok(None) };
    Ok(Some(Link {
        parent: CallId(parent),
        kind,
        rule,
        confidence: row.get(at + 3)?,
        matched: row.get(at + 4)?,
        rivals: row.get(at + 5)?,
        changes: Changes(row.get(at + 6)?),
    }))
}
