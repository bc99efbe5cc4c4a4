//! The cache ledger: what each call could have read from its provider's prompt cache, what broke the prefix,
//! and the sums of it. Written with the call; `chain::cache` judges.

mod read;
mod warm;

use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) use read::{entry, sums};
pub(super) use warm::read_back;

use super::{links::Prompt, writer::Write};
use crate::{
    chain::{
        cache::{self, Policy, Reference},
        hash,
    },
    model::{
        Error, UnixNanos,
        call::{Call, CallStatus},
        lineage::{CacheCause, ElementKind, Lineage, Link, LinkKind, Outline},
        usage::UsageSource,
    },
};

/// The most that one call may add to a sum, as in `rollups`.
const MOST_TOKENS: u64 = 1_000_000_000_000;

const INSERT: &str = "
    INSERT INTO cache (sequence, cacheable, missed, lost, cause, broke_kind, broke_at, reference, says, disputed)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const ADD: &str = "
    INSERT INTO cache_sums (day, experiment_id, run_id, provider, model, prompt, user, cause, calls, input_tokens,
        cacheable_tokens, read_tokens, missed_tokens, lost, unpriced_calls, disputed_calls)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        calls = calls + 1,
        input_tokens = input_tokens + excluded.input_tokens,
        cacheable_tokens = cacheable_tokens + excluded.cacheable_tokens,
        read_tokens = read_tokens + excluded.read_tokens,
        missed_tokens = missed_tokens + excluded.missed_tokens,
        lost = lost + excluded.lost,
        unpriced_calls = unpriced_calls + excluded.unpriced_calls,
        disputed_calls = disputed_calls + excluded.disputed_calls";
const ADD_TO_SESSION: &str =
    "UPDATE sessions SET missed_tokens = missed_tokens + ?2, lost = lost + ?3 WHERE id = ?1";

/// Kinds of element as they are in the store.
const KINDS: [ElementKind; 4] =
    [ElementKind::Tool, ElementKind::System, ElementKind::Parameter, ElementKind::Message];

pub(super) fn number(kind: ElementKind) -> u8 {
    match kind {
        ElementKind::Tool => 0,
        ElementKind::System => 1,
        ElementKind::Parameter => 2,
        ElementKind::Message => 3,
    }
}

pub(super) fn element_kind(number: u8) -> Option<ElementKind> {
    KINDS.get(usize::from(number)).copied()
}

/// Judges a call that is stored, and warms the cache with it.
pub(super) fn add(
    write: &mut Write<'_>,
    sequence: i64,
    call: &Call,
    lineage: &Lineage,
    outline: &Outline,
    link: Option<&Link<i64>>,
    prompt: &Prompt,
) -> Result<(), Error> {
    let reported = call.usage_source == Some(UsageSource::Reported);
    let Some(input) = call.usage.input.filter(|_| reported && call.status == CallStatus::Ok) else {
        return Ok(());
    };
    let policy = cache::policy(&call.provider, call.dialect, call.model().unwrap_or_default());
    if input < policy.minimum {
        return Ok(());
    }
    let lane = warm::lane(call);
    let lit = warm::Lit::of(&outline.elements, &prompt.prefixes, lane, input);
    let (alive, lapsed) = warm::warmth(write.prompts, call, &lit);
    let mate = warm::mate(write.prompts, lane, outline.system, outline.tools, sequence);
    let parent = link.filter(|link| !matches!(link.kind, LinkKind::Delegated | LinkKind::Compaction));
    let compared = parent.map(|link| link.parent).or(mate);
    let reference = match compared {
        Some(other) => reference(write, other, parent.is_none(), call, outline, policy)?,
        None => None,
    };
    let verdict = cache::judge(outline, policy, &call.usage, alive, lapsed, reference.as_ref());
    let lost = lineage.saving.filter(|saving| saving.tokens > 0).map(|saving| {
        let amount = i128::from(saving.amount.0) * i128::from(verdict.missed) / i128::from(saving.tokens);
        i64::try_from(amount).unwrap_or(i64::MAX).min(saving.amount.0)
    });
    let says = lineage.cache_diagnosis.as_deref();
    let disputed = says.is_some_and(|word| cache::disputed(verdict.cause, word));
    let connection = write.connection;
    connection.prepare_cached(INSERT)?.execute(params![
        sequence,
        verdict.cacheable,
        verdict.missed,
        if verdict.missed == 0 { Some(0) } else { lost },
        verdict.cause.map(CacheCause::number),
        verdict.broke_at.map(|(kind, _)| number(kind)),
        verdict.broke_at.map(|(_, at)| at),
        compared.filter(|_| verdict.cause.is_some()),
        says,
        disputed,
    ])?;
    let missed = verdict.missed.min(MOST_TOKENS);
    connection.prepare_cached(ADD)?.execute(params![
        call.started_at.0.div_euclid(UnixNanos::DAY),
        call.experiment_id,
        call.run_id.as_deref().unwrap_or_default(),
        call.provider,
        call.model().unwrap_or_default(),
        hash::join(outline.system, outline.tools) as i64,
        call.user.as_deref().unwrap_or_default(),
        verdict.cause.map_or(0, CacheCause::number),
        input.min(MOST_TOKENS),
        verdict.cacheable.min(MOST_TOKENS),
        call.usage.cache_read.unwrap_or(0).min(MOST_TOKENS),
        missed,
        lost.filter(|_| missed > 0).unwrap_or(0),
        missed > 0 && lost.is_none(),
        disputed,
    ])?;
    if let Some(session) = call.session.as_deref().filter(|_| missed > 0) {
        connection.prepare_cached(ADD_TO_SESSION)?.execute(params![session, missed, lost.unwrap_or(0)])?;
    }
    warm::warm_up(write.prompts, call, &lit, policy);
    Ok(())
}

const OF_CALL: &str = "
    SELECT c.cacheable, c.missed, c.lost, c.cause, c.disputed, l.system, l.tools
    FROM cache AS c JOIN links AS l ON l.sequence = c.sequence WHERE c.sequence = ?1";
const SUBTRACT: &str = "
    UPDATE cache_sums SET
        calls = calls - 1, input_tokens = input_tokens - ?9, cacheable_tokens = cacheable_tokens - ?10,
        read_tokens = read_tokens - ?11, missed_tokens = missed_tokens - ?12, lost = lost - ?13,
        unpriced_calls = unpriced_calls - ?14, disputed_calls = disputed_calls - ?15
    WHERE day = ?1 AND experiment_id = ?2 AND run_id = ?3 AND provider = ?4 AND model = ?5 AND prompt = ?6
        AND user = ?7 AND cause = ?8";
const DROP_EMPTY: &str = "DELETE FROM cache_sums WHERE calls = 0";

/// Takes a call out of the ledger's sums; returns what its session's row has of it: tokens missed and what they
/// cost.
pub(super) fn subtract(connection: &Connection, sequence: i64, call: &Call) -> Result<(i64, i64), Error> {
    type Facts = (u64, u64, Option<i64>, Option<i64>, bool, i64, i64);
    let read = |row: &Row<'_>| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
    };
    let facts: Option<Facts> = connection.prepare_cached(OF_CALL)?.query_row([sequence], read).optional()?;
    let Some((cacheable, missed, lost, cause, disputed, system, tools)) = facts else { return Ok((0, 0)) };
    let missed = missed.min(MOST_TOKENS);
    connection.prepare_cached(SUBTRACT)?.execute(params![
        call.started_at.0.div_euclid(UnixNanos::DAY),
        call.experiment_id,
        call.run_id.as_deref().unwrap_or_default(),
        call.provider,
        call.model().unwrap_or_default(),
        hash::join(system as u64, tools as u64) as i64,
        call.user.as_deref().unwrap_or_default(),
        cause.unwrap_or(0),
        call.usage.input.unwrap_or(0).min(MOST_TOKENS),
        cacheable.min(MOST_TOKENS),
        call.usage.cache_read.unwrap_or(0).min(MOST_TOKENS),
        missed,
        lost.filter(|_| missed > 0).unwrap_or(0),
        missed > 0 && lost.is_none(),
        disputed,
    ])?;
    connection.prepare_cached(DROP_EMPTY)?.execute([])?;
    Ok(if missed > 0 { (missed as i64, lost.unwrap_or(0)) } else { (0, 0) })
}

const REFERENCE: &str = "
    SELECT p.request_model, p.key_fingerprint, s.input, s.cache_read, s.cache_write, l.system
    FROM spans AS s JOIN links AS l ON l.sequence = s.sequence JOIN profiles AS p ON p.id = s.profile
    WHERE s.sequence = ?1 AND s.input IS NOT NULL";

fn reference(
    write: &mut Write<'_>,
    sequence: i64,
    prompt_only: bool,
    call: &Call,
    outline: &Outline,
    policy: Policy,
) -> Result<Option<Reference>, Error> {
    type Facts = (Option<String>, Option<String>, u64, Option<u64>, Option<u64>, i64);
    let read =
        |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?));
    let facts: Option<Facts> =
        write.connection.prepare_cached(REFERENCE)?.query_row([sequence], read).optional()?;
    let Some((model, key, input, cache_read, cache_write, system)) = facts else { return Ok(None) };
    let extent = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
    let marked = !policy.marked || extent > 0;
    Ok(Some(Reference {
        elements: write.prompts.elements(write.connection, sequence)?,
        tokens: if policy.marked && extent > 0 { extent } else { input },
        prompt_only,
        same_model: model == call.request_model,
        same_key: key == call.key_fingerprint,
        same_system: system as u64 == outline.system,
        marked,
    }))
}
