//! Evidence that is only good for a while, by key in memory: requests that may be asked again, answers that may
//! be resent in another history, sentences that may be quoted. Bounded; read back from the newest links after
//! a start or a rollback, so it never holds what is not in the store.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::{
    chain,
    model::{
        Error,
        lineage::{Link, LinkKind, LinkRule, MarkerKind, Markers, Outline, Speaker},
    },
};

/// Keys of each of the two halves; about 3 MiB together.
const HALF: usize = 1 << 15;
/// Links that are read back.
const READ_BACK: i64 = 1 << 13;
/// Calls under one key; the newest stay.
const UNDER_ONE_KEY: usize = 8;

/// The kinds of key. The top bits of a key say which it is, so that a row can keep them in one list.
#[derive(Clone, Copy)]
enum Kind {
    Asked = 0,
    Gave = 1,
    Said = 2,
    Delegated = 3,
    Awaited = 4,
    Alternative = 5,
}

const KIND_BITS: u32 = 3;

fn key(kind: Kind, hash: u64) -> u64 {
    (kind as u64) << (64 - KIND_BITS) | hash >> KIND_BITS
}

pub(super) fn asked(prefix: u64) -> u64 {
    key(Kind::Asked, prefix)
}

pub(super) fn gave(answer: u64) -> u64 {
    key(Kind::Gave, answer)
}

pub(super) fn said(sentence: u64) -> u64 {
    key(Kind::Said, sentence)
}

pub(super) fn delegated(task: u64) -> u64 {
    key(Kind::Delegated, task)
}

/// The prefix with which a call waits for a parent that is not stored yet.
pub(super) fn awaited(prefix: u64) -> u64 {
    key(Kind::Awaited, prefix)
}

/// The prefix of a further alternative of an answer.
pub(super) fn alternative(prefix: u64) -> u64 {
    key(Kind::Alternative, prefix)
}

/// What a call is found by.
pub(super) fn keys(
    outline: &Outline,
    prefixes: &[u64],
    answered: &[u64],
    link: Option<&Link<i64>>,
) -> Vec<u64> {
    let mut keys: Vec<u64> = prefixes.last().map(|prefix| asked(*prefix)).into_iter().collect();
    keys.extend(outline.replies.iter().filter_map(|reply| chain::answer_key(&reply.unit)).map(gave));
    keys.extend(outline.said.iter().map(|sentence| said(*sentence)));
    keys.extend(outline.delegated.iter().map(|task| delegated(*task)));
    keys.extend(answered.iter().skip(1).map(|prefix| alternative(*prefix)));
    // Whose newest answer is not known goes on from a call that has not ended yet, or was never recorded.
    let exact = link.is_some_and(|link| {
        link.rule == LinkRule::PreviousResponse
            || link.kind == LinkKind::Retry
            || link.rule == LinkRule::SharedPrefix && link.kind != LinkKind::EditedHistory
    });
    if !exact {
        let newest =
            outline.units.iter().zip(prefixes).rev().find(|(unit, _)| unit.speaker == Speaker::Assistant);
        keys.extend(newest.map(|(_, prefix)| awaited(*prefix)));
    }
    keys
}

pub(super) fn packed(keys: &[u64]) -> Vec<u8> {
    keys.iter().flat_map(|key| key.to_le_bytes()).collect()
}

fn unpacked(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|bytes| bytes.iter().rev().fold(0, |key, byte| key << 8 | u64::from(*byte)))
}

/// How many sentences of an answer a list of keys has.
pub(super) fn sentences(keys: &[u8]) -> usize {
    unpacked(keys).filter(|key| key >> (64 - KIND_BITS) == Kind::Said as u64).count()
}

pub(super) fn markers(markers: Markers) -> Vec<u8> {
    if markers == Markers::default() {
        return Vec::new();
    }
    markers.0.iter().flat_map(|hash| hash.to_le_bytes()).collect()
}

pub(super) fn read_markers(bytes: &[u8]) -> Markers {
    let mut markers = Markers([0; MarkerKind::ALL.len()]);
    for (slot, bytes) in markers.0.iter_mut().zip(bytes.chunks_exact(4)) {
        *slot = bytes.iter().rev().fold(0, |hash, byte| hash << 8 | u32::from(*byte));
    }
    markers
}

/// One call mostly, sometimes several.
#[derive(Debug, Clone)]
enum Calls {
    One(i64),
    Many(Box<[i64]>),
}

#[derive(Debug, Default)]
pub(in crate::store) struct Recent {
    loaded: bool,
    young: HashMap<u64, Calls>,
    old: HashMap<u64, Calls>,
}

const NEWEST: &str = "SELECT sequence, keys FROM links ORDER BY sequence DESC LIMIT ?1";

impl Recent {
    /// Forgets everything: what was remembered may not be in the store.
    pub(in crate::store) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Reads back the newest links, once.
    pub(super) fn load(&mut self, connection: &Connection) -> Result<(), Error> {
        if self.loaded {
            return Ok(());
        }
        let mut statement = connection.prepare_cached(NEWEST)?;
        let rows =
            statement.query_map([READ_BACK], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let newest: Vec<_> = rows.collect::<Result<_, _>>()?;
        for (sequence, keys) in newest.into_iter().rev() {
            unpacked(&keys).for_each(|key| self.put(key, sequence));
        }
        self.loaded = true;
        Ok(())
    }

    pub(super) fn add(&mut self, sequence: i64, keys: &[u64]) {
        keys.iter().for_each(|key| self.put(*key, sequence));
    }

    fn put(&mut self, key: u64, sequence: i64) {
        if self.young.len() >= HALF && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let known = self.old.remove(&key);
        let calls = self.young.entry(key);
        match calls {
            std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().push(sequence),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let mut calls = known.unwrap_or(Calls::One(sequence));
                calls.push(sequence);
                entry.insert(calls);
            }
        }
    }

    /// The newest first.
    pub(super) fn get(&self, key: u64) -> Vec<i64> {
        match self.young.get(&key).or_else(|| self.old.get(&key)) {
            None => Vec::new(),
            Some(Calls::One(sequence)) => vec![*sequence],
            Some(Calls::Many(sequences)) => sequences.iter().rev().copied().collect(),
        }
    }
}

impl Calls {
    fn push(&mut self, sequence: i64) {
        match self {
            Self::One(known) if *known == sequence => {}
            Self::One(known) => *self = Self::Many(Box::new([*known, sequence])),
            Self::Many(known) => {
                let newest = known.iter().skip((known.len() + 1).saturating_sub(UNDER_ONE_KEY));
                *known = newest.copied().chain([sequence]).collect();
            }
        }
    }
}
