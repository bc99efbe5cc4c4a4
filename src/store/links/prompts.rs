//! Prompts as chains: a call keeps what its prompt adds to another's, so that a conversation of n turns costs O(n).
//! Remembers for a while which prefixes there are, and which a provider's cache is warm for. What is forgotten
//! is read back where a parent leads to it, or costs a few bytes.

use std::{collections::HashMap, rc::Rc};

use rusqlite::{Connection, OptionalExtension};

use crate::{
    chain::cache,
    model::{
        Error, UnixNanos,
        lineage::{Element, Outline},
    },
    store::{contents::Generations, ledger},
};

/// Entries of each memory; about 8 MiB together.
const REMEMBERED: usize = 1 << 16;
/// Steps of a chain that are followed.
const DEEPEST: usize = 20_000;

/// A call's prompt as a step on from another's.
#[derive(Debug, Default)]
pub(in crate::store) struct Prompt {
    pub(in crate::store) base: Option<i64>,
    pub(in crate::store) kept: usize,
    pub(in crate::store) added: Vec<u8>,
    /// A hash per element, of everything up to it.
    pub(in crate::store) prefixes: Vec<u64>,
}

/// What one lane of a provider's cache holds of a prefix.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Kept {
    pub(in crate::store) ready_at: UnixNanos,
    pub(in crate::store) used_at: UnixNanos,
    /// Nanoseconds.
    pub(in crate::store) life: i64,
    /// As the provider counted them where the prefix was a whole request; else 0.
    pub(in crate::store) tokens: u64,
}

pub(in crate::store) struct Prompts {
    /// The call that had a prefix first.
    nodes: Generations<u64, i64>,
    /// By lane and prefix.
    warm: Generations<u64, Kept>,
    /// The last call with a system prompt and tools, by lane.
    mates: Generations<u64, i64>,
}

impl std::fmt::Debug for Prompts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompts").finish_non_exhaustive()
    }
}

impl Default for Prompts {
    fn default() -> Self {
        Self {
            nodes: Generations::new(REMEMBERED),
            warm: Generations::new(REMEMBERED),
            mates: Generations::new(REMEMBERED / 16),
        }
    }
}

impl Prompts {
    /// The prompt as a step, and from now on as one to step on from.
    pub(in crate::store) fn step(
        &mut self,
        connection: &Connection,
        sequence: i64,
        outline: &Outline,
        parent: Option<i64>,
    ) -> Result<Prompt, Error> {
        let elements = &outline.elements;
        let prefixes = cache::prefixes(elements);
        let known = prefixes.iter().enumerate().rev();
        let found = known.map(|(at, prefix)| (at, self.nodes.get(prefix))).find(|(_, owner)| owner.is_some());
        let (mut base, mut kept) = found.map_or((None, 0), |(at, owner)| (owner, at + 1));
        if let Some(parent) = parent.filter(|parent| base != Some(*parent)) {
            let earlier = Resolver::default().elements(connection, parent)?;
            let shared =
                elements.iter().zip(earlier.iter()).take_while(|(one, other)| one.hash == other.hash);
            let shared = shared.count();
            if shared > kept {
                (base, kept) = (Some(parent), shared);
            }
        }
        for prefix in prefixes.iter().skip(kept) {
            self.nodes.put(*prefix, sequence);
        }
        let added = pack(elements.get(kept..).unwrap_or_default());
        Ok(Prompt { base, kept, added, prefixes })
    }

    /// Forgets which calls had which prefix: some of them go. What is warm stays.
    pub(in crate::store) fn forget_calls(&mut self) {
        self.nodes.clear();
        self.mates.clear();
    }

    pub(in crate::store) fn kept(&mut self, lane: u64, prefix: u64) -> Option<Kept> {
        self.warm.get(&crate::chain::hash::join(lane, prefix))
    }

    pub(in crate::store) fn keep(&mut self, lane: u64, prefix: u64, kept: Kept) {
        self.warm.put(crate::chain::hash::join(lane, prefix), kept);
    }

    /// The last call with this prompt in a lane; `sequence` is it from now on.
    pub(in crate::store) fn mate(&mut self, prompt: u64, sequence: i64) -> Option<i64> {
        let before = self.mates.get(&prompt);
        self.mates.put(prompt, sequence);
        before
    }
}

const DETACH: &str = "UPDATE links SET base = NULL, kept = 0, added = ?2 WHERE sequence = ?1";

/// Keeps a call's prompt whole, so that the call that it is a step on from can go.
pub(in crate::store) fn detach(connection: &Connection, sequence: i64) -> Result<(), Error> {
    let elements = Resolver::default().elements(connection, sequence)?;
    connection.prepare_cached(DETACH)?.execute(rusqlite::params![sequence, pack(&elements)])?;
    Ok(())
}

fn pack(elements: &[Element]) -> Vec<u8> {
    let mut out = Vec::with_capacity(elements.len() * 11);
    for element in elements {
        out.push(ledger::number(element.kind));
        out.extend_from_slice(&element.hash.to_le_bytes());
        let mut length = element.bytes;
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
    }
    out
}

fn unpack(mut bytes: &[u8]) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    while let Some((tag, rest)) = bytes.split_first() {
        let kind = ledger::element_kind(*tag)?;
        let (hash, mut rest) = rest.split_at_checked(8)?;
        let hash = u64::from_le_bytes(hash.try_into().ok()?);
        let mut length = 0u32;
        for shift in (0..35).step_by(7) {
            let (byte, after) = rest.split_first()?;
            rest = after;
            length |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                break;
            }
        }
        elements.push(Element { kind, hash, bytes: length });
        bytes = rest;
    }
    Some(elements)
}

const STEP: &str = "SELECT base, kept, added FROM links WHERE sequence = ?1";

/// Reads prompts back whole, each step once.
#[derive(Debug, Default)]
pub(in crate::store) struct Resolver {
    done: HashMap<i64, Rc<[Element]>>,
}

impl Resolver {
    /// The elements of a call's prompt. Where a step on the way is no longer in the store, its part is missing
    /// at the front, which then compares with nothing.
    pub(in crate::store) fn elements(
        &mut self,
        connection: &Connection,
        sequence: i64,
    ) -> Result<Rc<[Element]>, Error> {
        let mut statement = connection.prepare_cached(STEP)?;
        let mut steps: Vec<(i64, usize, Vec<Element>)> = Vec::new();
        let mut at = Some(sequence);
        let mut before: Rc<[Element]> = Rc::from([]);
        while let Some(here) = at {
            if let Some(done) = self.done.get(&here) {
                before = Rc::clone(done);
                break;
            }
            let row: Option<(Option<i64>, usize, Vec<u8>)> =
                statement.query_row([here], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
            let Some((base, kept, added)) = row else { break };
            let added = unpack(&added).ok_or_else(|| {
                Error::internal(format!("expected the prompt of the call at {here}, found damaged bytes"))
            })?;
            steps.push((here, kept, added));
            // A base is always older; a damaged file must not send this round in circles.
            at = base.filter(|base| *base < here && steps.len() < DEEPEST);
        }
        for (here, kept, added) in steps.into_iter().rev() {
            let mut elements: Vec<Element> = before.iter().take(kept).copied().collect();
            elements.extend(added);
            before = elements.into();
            self.done.insert(here, Rc::clone(&before));
        }
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::lineage::ElementKind;

    proptest! {
        #[test]
        fn elements_survive(all in proptest::collection::vec((0u8..4, any::<u64>(), any::<u32>()), 0..20)) {
            let kinds = [ElementKind::Tool, ElementKind::System, ElementKind::Parameter, ElementKind::Message];
            let elements: Vec<_> = all
                .into_iter()
                .map(|(kind, hash, bytes)| Element { kind: kinds[usize::from(kind)], hash, bytes })
                .collect();
            prop_assert_eq!(unpack(&pack(&elements)), Some(elements));
        }

        #[test]
        fn damaged_bytes_do_not_panic(bytes: Vec<u8>) {
            prop_assert!(unpack(&bytes).is_none_or(|elements| elements.len() <= bytes.len()));
        }
    }
}
