//! What providers' prompt caches are warm for: kept in memory with each call, and read back from the newest calls
//! of the store after a start or a rollback, so that a restart changes no verdict.

use rusqlite::Connection;

use crate::{
    chain::{
        cache::{self, Policy, Warm, WarmState},
        hash,
    },
    model::{Error, UnixNanos, call::Call, lineage::Element},
    store::{
        calls,
        links::{Kept, Prompts},
        packing::Unpacker,
    },
};

/// Calls that are read back at most, and elements of their prompts: a tenth of a second.
const READ_BACK: i64 = 1 << 12;
const ELEMENTS: usize = 1 << 20;

/// An element takes ten bytes at least.
const NEWEST: &str = "
    SELECT c.sequence, l.system, l.tools, l.kept + length(l.added) / 10
    FROM cache AS c JOIN links AS l ON l.sequence = c.sequence
    WHERE c.sequence < ?1 ORDER BY c.sequence DESC LIMIT ?2";

/// Reads back, once, what the calls stored before this one left warm.
pub(in crate::store) fn read_back(
    connection: &Connection,
    prompts: &mut Prompts,
    sequence: i64,
) -> Result<(), Error> {
    if prompts.read_back() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(NEWEST)?;
    let mut rows = statement.query((sequence, READ_BACK))?;
    let (mut found, mut room) = (Vec::new(), ELEMENTS);
    while let Some(row) = rows.next()? {
        let Some(left) = room.checked_sub(row.get(3)?) else { break };
        room = left;
        found.push((row.get(0)?, row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64));
    }
    let mut unpacker = Unpacker::default();
    // The oldest first, as they came: each prompt is then a step on from one that is there.
    for (at, system, tools) in found.into_iter().rev() {
        let Some(call) = calls::by_sequence(connection, &mut unpacker, at)? else { continue };
        let elements = prompts.elements(connection, at)?;
        let prefixes = cache::prefixes(&elements);
        let policy = cache::policy(&call.provider, call.dialect, call.model().unwrap_or_default());
        let lane = lane(&call);
        mate(prompts, lane, system, tools, at);
        warm_up(prompts, &call, &Lit::of(&elements, &prefixes, lane, call.usage.input.unwrap_or(0)), policy);
        prompts.owned(&prefixes, at);
    }
    prompts.was_read_back();
    Ok(())
}

/// A prompt as a cache sees it.
#[derive(Debug)]
pub(super) struct Lit<'a> {
    prefixes: &'a [u64],
    /// Of each prefix.
    tokens: Vec<u64>,
    lane: u64,
    input: u64,
}

impl<'a> Lit<'a> {
    pub(super) fn of(elements: &[Element], prefixes: &'a [u64], lane: u64, input: u64) -> Self {
        Self { prefixes, tokens: cache::tokens_by_prefix(elements, input), lane, input }
    }

    fn parts(&self) -> impl DoubleEndedIterator<Item = (usize, u64, u64)> + ExactSizeIterator {
        self.prefixes
            .iter()
            .zip(&self.tokens)
            .enumerate()
            .map(|(at, (prefix, tokens))| (at, *prefix, *tokens))
    }
}

/// The last call of a lane with this system prompt and tools; `sequence` is it from now on.
pub(super) fn mate(prompts: &mut Prompts, lane: u64, system: u64, tools: u64, sequence: i64) -> Option<i64> {
    if system | tools == 0 {
        return None;
    }
    prompts.mate(hash::join(lane, hash::join(system, tools)), sequence)
}

/// Who shares a cache: calls with one key to one model of one provider. Wider than that a provider may share
/// or not; nobody is blamed on a guess.
pub(super) fn lane(call: &Call) -> u64 {
    let mut digest = hash::Digest::of("lane");
    digest.text(&call.provider).text(&call.server_address).number(u64::from(call.server_port));
    digest.maybe(call.request_model.as_deref()).maybe(call.key_fingerprint.as_deref());
    digest.finish()
}

/// The longest prefix that is alive, and a longer one that is not.
pub(super) fn warmth(prompts: &mut Prompts, call: &Call, prompt: &Lit<'_>) -> (Option<Warm>, Option<Warm>) {
    let mut lapsed = None;
    for (at, prefix, estimated) in prompt.parts().rev() {
        let Some(kept) = prompts.kept(prompt.lane, prefix) else { continue };
        let tokens = if kept.tokens == 0 { estimated } else { kept.tokens };
        let state = if call.started_at.since(kept.used_at) > kept.life {
            WarmState::Expired
        } else if kept.ready_at > call.started_at {
            WarmState::Unready
        } else {
            WarmState::Alive
        };
        let warm = Warm { elements: at + 1, tokens, state };
        if state == WarmState::Alive {
            return (Some(warm), lapsed);
        }
        lapsed.get_or_insert(warm);
    }
    (None, lapsed)
}

/// Every prefix of the call that its provider keeps from now on.
pub(super) fn warm_up(prompts: &mut Prompts, call: &Call, prompt: &Lit<'_>, policy: Policy) {
    let usage = &call.usage;
    let extent = match policy.marked {
        true => usage.cache_read.unwrap_or(0).saturating_add(usage.cache_write.unwrap_or(0)),
        false => prompt.input,
    };
    let life = if usage.cache_write_long.unwrap_or(0) > 0 {
        policy.life.max(60 * 60 * UnixNanos::SECOND)
    } else {
        policy.life
    };
    let begun = call.first_token_ns.or(call.first_byte_ns).unwrap_or_else(|| call.duration_ns());
    let ready_at = UnixNanos(call.started_at.0.saturating_add(begun));
    let last = prompt.prefixes.len();
    for (at, prefix, tokens) in prompt.parts() {
        // Estimated, so a little beyond is still within.
        if tokens < policy.minimum || tokens > extent.saturating_add(extent / 50) {
            continue;
        }
        let before = prompts.kept(prompt.lane, prefix);
        let alive = before.filter(|kept| call.started_at.since(kept.used_at) <= kept.life);
        let exact = if at + 1 == last && !policy.marked { prompt.input } else { 0 };
        prompts.keep(
            prompt.lane,
            prefix,
            Kept {
                ready_at: alive.map_or(ready_at, |kept| kept.ready_at.min(ready_at)),
                used_at: alive.map_or(ready_at, |kept| kept.used_at.max(ready_at)),
                life: alive.map_or(life, |kept| kept.life.max(life)),
                tokens: before.map_or(exact, |kept| kept.tokens.max(exact)),
            },
        );
    }
}
