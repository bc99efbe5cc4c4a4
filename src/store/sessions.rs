//! Sessions: what their calls sum up to, written with each call, and their lists.

mod read;

use rusqlite::{Connection, OptionalExtension, params};

pub(super) use read::{calls, find, link, list};

use super::{contents::Interned, links, profiles, rollups::Sums};
use crate::model::{CallId, Error, call::Call, lineage::LinkRule};

/// The id of a session that tapline found: of the call that began it, so that it is the same wherever the
/// calls are recorded again.
pub(super) fn inferred_id(call: CallId) -> String {
    let digits = call.to_string();
    // The end of an id is random; its beginning is the time.
    format!("s-{}", digits.get(20..).unwrap_or(&digits))
}

const OF_CALL: &str = "SELECT session FROM spans WHERE sequence = ?1";

pub(super) fn of_call(connection: &Connection, sequence: i64) -> Result<Option<String>, Error> {
    let session = connection.prepare_cached(OF_CALL)?.query_row([sequence], |row| row.get(0)).optional()?;
    Ok(session.flatten())
}

const EXPERIMENT_NAME: &str = "SELECT name FROM experiments WHERE id = ?1";

pub(super) fn experiment_name(connection: &Connection, id: &str) -> Result<Option<String>, Error> {
    Ok(connection.prepare_cached(EXPERIMENT_NAME)?.query_row([id], |row| row.get(0)).optional()?)
}

const ADD: &str = "
    INSERT INTO sessions (id, parent, inferred, first_sequence, started_at, last_at, experiment_id, run_id, user,
        model, calls, errors, input_tokens, cache_read_tokens, output_tokens, cost, priced_calls, unpriced_calls,
        missed_tokens, lost)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, 0, 0)
    ON CONFLICT DO UPDATE SET
        parent = coalesce(parent, nullif(excluded.parent, id)),
        first_sequence = iif(excluded.started_at < started_at, excluded.first_sequence, first_sequence),
        started_at = min(started_at, excluded.started_at),
        last_at = max(last_at, excluded.last_at),
        run_id = coalesce(run_id, excluded.run_id),
        user = coalesce(user, excluded.user),
        model = coalesce(excluded.model, model),
        calls = calls + 1,
        errors = errors + excluded.errors,
        input_tokens = input_tokens + excluded.input_tokens,
        cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
        output_tokens = output_tokens + excluded.output_tokens,
        cost = cost + excluded.cost,
        priced_calls = priced_calls + excluded.priced_calls,
        unpriced_calls = unpriced_calls + excluded.unpriced_calls";

/// Adds a call to its session, once: the caller knows that it is new.
pub(super) fn add(
    connection: &Connection,
    sequence: i64,
    call: &Call,
    parent: Option<&str>,
) -> Result<(), Error> {
    let Some(session) = call.session.as_deref() else { return Ok(()) };
    let [_, errors, input, cache_read, _, output, _, _, _, cost, _, priced, unpriced, ..] = Sums::of(call).0;
    connection.prepare_cached(ADD)?.execute(params![
        session,
        parent.filter(|parent| *parent != session),
        links::is_inferred(call.rules.session.as_deref()),
        sequence,
        call.started_at.0,
        call.ended_at.0,
        call.experiment_id,
        call.run_id,
        call.user,
        call.model(),
        errors,
        input,
        cache_read,
        output,
        cost,
        priced,
        unpriced,
    ])?;
    Ok(())
}

const SUBTRACT: &str = "
    UPDATE sessions SET
        calls = calls - 1, errors = errors - ?2, input_tokens = input_tokens - ?3,
        cache_read_tokens = cache_read_tokens - ?4, output_tokens = output_tokens - ?5, cost = cost - ?6,
        priced_calls = priced_calls - ?7, unpriced_calls = unpriced_calls - ?8,
        missed_tokens = missed_tokens - ?9, lost = lost - ?10
    WHERE id = ?1";

/// Takes a call out of its session's sums; `missed` tokens and what they cost are the cache ledger's.
pub(super) fn subtract(
    connection: &Connection,
    call: &Call,
    (missed, lost): (i64, i64),
) -> Result<(), Error> {
    let Some(session) = call.session.as_deref() else { return Ok(()) };
    let [_, errors, input, cache_read, _, output, _, _, _, cost, _, priced, unpriced, ..] = Sums::of(call).0;
    connection.prepare_cached(SUBTRACT)?.execute(params![
        session, errors, input, cache_read, output, cost, priced, unpriced, missed, lost,
    ])?;
    Ok(())
}

const EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM spans WHERE session = ?1)";
const UNPARENT: &str = "UPDATE sessions SET parent = NULL WHERE parent = ?1";
const AGAIN: &str = "
    UPDATE sessions SET
        first_sequence = (SELECT sequence FROM spans WHERE session = ?1 ORDER BY started_at, sequence LIMIT 1),
        started_at = (SELECT min(started_at) FROM spans WHERE session = ?1),
        last_at = (SELECT max(started_at + duration_ns) FROM spans WHERE session = ?1)
    WHERE id = ?1";

/// A session that calls were removed from: it goes with its last one, else it begins and ends with those that
/// are left.
pub(super) fn left(connection: &Connection, session: &str) -> Result<(), Error> {
    if connection.prepare_cached(EMPTY)?.query_row([session], |row| row.get(0))? {
        connection.prepare_cached(UNPARENT)?.execute([session])?;
        connection.prepare_cached(DROP)?.execute([session])?;
    } else {
        connection.prepare_cached(AGAIN)?.execute([session])?;
    }
    Ok(())
}

const RULE_OF_CALL: &str = "
    SELECT s.session, p.session_rule FROM spans AS s JOIN profiles AS p ON p.id = s.profile WHERE s.sequence = ?1";
const MOVE_ONE: &str = "UPDATE spans SET session = ?2, profile = ?3 WHERE sequence = ?1";
const MOVE_ALL: &str = "UPDATE spans SET session = ?2 WHERE session = ?1";
const MERGE: &str = "
    INSERT INTO sessions SELECT ?2, parent, inferred, first_sequence, started_at, last_at, experiment_id, run_id,
        user, model, calls, errors, input_tokens, cache_read_tokens, output_tokens, cost, priced_calls,
        unpriced_calls, missed_tokens, lost
    FROM sessions WHERE id = ?1
    ON CONFLICT DO UPDATE SET
        parent = coalesce(parent, excluded.parent),
        inferred = min(inferred, excluded.inferred),
        first_sequence = iif(excluded.started_at < started_at, excluded.first_sequence, first_sequence),
        started_at = min(started_at, excluded.started_at),
        last_at = max(last_at, excluded.last_at),
        calls = calls + excluded.calls,
        errors = errors + excluded.errors,
        input_tokens = input_tokens + excluded.input_tokens,
        cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
        output_tokens = output_tokens + excluded.output_tokens,
        cost = cost + excluded.cost,
        priced_calls = priced_calls + excluded.priced_calls,
        unpriced_calls = unpriced_calls + excluded.unpriced_calls,
        missed_tokens = missed_tokens + excluded.missed_tokens,
        lost = lost + excluded.lost";
const DROP: &str = "DELETE FROM sessions WHERE id = ?1";
const REPARENT: &str = "UPDATE sessions SET parent = ?2 WHERE parent = ?1";

/// A call whose child was stored before it, at `child`: both are of one session. The call is written but not
/// yet in its session's sums. It joins the child's session where it began one of its own; else the child's
/// session, where it was found and not named, becomes the call's.
pub(super) fn unite(
    connection: &Connection,
    interned: &mut Interned,
    call: &mut Call,
    sequence: i64,
    child: i64,
    rule: LinkRule,
) -> Result<(), Error> {
    let (other, other_rule): (Option<String>, Option<String>) =
        connection.prepare_cached(RULE_OF_CALL)?.query_row([child], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(own), Some(other)) = (call.session.clone(), other) else { return Ok(()) };
    if own == other {
        return Ok(());
    }
    if call.rules.session.as_deref() == Some(links::NEW_CONVERSATION) {
        call.session = Some(other);
        call.rules.session = Some(rule.as_str().to_owned());
        let profile = profiles::of(connection, interned, call)?.id;
        connection.prepare_cached(MOVE_ONE)?.execute(params![sequence, call.session, profile])?;
    } else if links::is_inferred(other_rule.as_deref()) {
        connection.prepare_cached(MOVE_ALL)?.execute(params![other, own])?;
        connection.prepare_cached(MERGE)?.execute(params![other, own])?;
        connection.prepare_cached(DROP)?.execute([&other])?;
        connection.prepare_cached(REPARENT)?.execute(params![other, own])?;
    }
    Ok(())
}
