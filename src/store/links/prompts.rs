//! Prompts as chains: a call keeps what its prompt adds to another's, so that a conversation of n turns costs O(n).
//! Remembers for a while which prefixes there are, and which a provider's cache is warm for. What is forgotten
//! is read back where a parent leads to it, or costs a few bytes; after a start `ledger` fills the memories again.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension};

use super::elements;
use crate::{
    chain::cache,
    model::{
        Error, UnixNanos,
        lineage::{Element, Outline},
    },
    store::contents::Generations,
};

/// Entries of each memory; about 8 MiB together.
const REMEMBERED: usize = 1 << 16;
/// Elements of each half of the prompts that are kept whole; about 8 MiB together.
const HALF: usize = 1 << 18;

/// Elements beyond the longest prefix that is known, from which on they are looked for in an earlier prompt.
const WORTH_COMPARING: usize = 8;

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
    whole: Resolver,
    read_back: bool,
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
            whole: Resolver::default(),
            read_back: false,
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
            let shared = elements::shared(elements, &self.whole.elements(connection, parent)?);
            if shared > kept {
                (base, kept) = (Some(parent), shared);
            }
        }
        for prefix in prefixes.iter().skip(kept) {
            self.nodes.put(*prefix, sequence);
        }
        let mut added = elements::pack(elements.get(kept..).unwrap_or_default(), &[]);
        // What differs may be the first words alone: a system prompt that tells the time.
        if elements.len() - kept >= WORTH_COMPARING
            && let Some(other) = parent.or(base)
        {
            let earlier = self.whole.elements(connection, other)?;
            let shared = elements::shared(elements, &earlier);
            let compared = elements::pack(elements.get(shared..).unwrap_or_default(), &earlier);
            if compared.len() < added.len() {
                (base, kept, added) = (Some(other), shared, compared);
            }
        }
        self.whole.hold(sequence, elements.as_slice().into());
        Ok(Prompt { base, kept, added, prefixes })
    }

    /// The elements of a stored call's prompt.
    pub(in crate::store) fn elements(
        &mut self,
        connection: &Connection,
        sequence: i64,
    ) -> Result<Arc<[Element]>, Error> {
        self.whole.elements(connection, sequence)
    }

    /// Forgets which calls had which prefix: some of them go. What is warm stays.
    pub(in crate::store) fn forget_calls(&mut self) {
        self.nodes.clear();
        self.mates.clear();
        self.whole = Resolver::default();
    }

    /// Whether the memories hold what the store's newest calls left.
    pub(in crate::store) fn read_back(&self) -> bool {
        self.read_back
    }

    pub(in crate::store) fn was_read_back(&mut self) {
        self.read_back = true;
    }

    /// Prefixes that a stored call has, as far as no earlier one is known to have them.
    pub(in crate::store) fn owned(&mut self, prefixes: &[u64], sequence: i64) {
        for prefix in prefixes {
            if self.nodes.get(prefix).is_none() {
                self.nodes.put(*prefix, sequence);
            }
        }
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
    connection
        .prepare_cached(DETACH)?
        .execute(rusqlite::params![sequence, elements::pack(&elements, &[])])?;
    Ok(())
}

const STEP: &str = "SELECT base, kept, added FROM links WHERE sequence = ?1";

/// Reads prompts back whole. Keeps the newest of them, so that a call's is a step on from what is there, whatever
/// the length of its conversation; what it keeps is bounded.
#[derive(Debug, Default)]
pub(in crate::store) struct Resolver {
    young: HashMap<i64, Arc<[Element]>>,
    old: HashMap<i64, Arc<[Element]>>,
    /// Elements in `young`.
    held: usize,
}

impl Resolver {
    /// The elements of a call's prompt. Where a step on the way is no longer in the store, its part is missing
    /// at the front, which then compares with nothing.
    pub(in crate::store) fn elements(
        &mut self,
        connection: &Connection,
        sequence: i64,
    ) -> Result<Arc<[Element]>, Error> {
        if let Some(held) = self.young.get(&sequence).or_else(|| self.old.get(&sequence)) {
            return Ok(Arc::clone(held));
        }
        let mut statement = connection.prepare_cached(STEP)?;
        let mut steps: Vec<(i64, usize, Vec<u8>)> = Vec::new();
        let (mut at, mut elements) = (Some(sequence), Vec::new());
        while let Some(here) = at {
            if let Some(held) = self.young.get(&here).or_else(|| self.old.get(&here)) {
                elements = held.to_vec();
                break;
            }
            let row: Option<(Option<i64>, usize, Vec<u8>)> =
                statement.query_row([here], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
            let Some((base, kept, added)) = row else { break };
            steps.push((here, kept, added));
            // A base is always older; a damaged file must not send this round in circles.
            at = base.filter(|base| *base < here);
        }
        for (here, kept, added) in steps.into_iter().rev() {
            elements = elements::unpack(&added, elements, kept).ok_or_else(|| {
                Error::damaged(format!("expected the prompt of the call at {here}, found damaged bytes"))
            })?;
        }
        let elements: Arc<[Element]> = elements.into();
        self.hold(sequence, Arc::clone(&elements));
        Ok(elements)
    }

    fn hold(&mut self, sequence: i64, elements: Arc<[Element]>) {
        if self.held.saturating_add(elements.len()) > HALF {
            self.old = std::mem::take(&mut self.young);
            self.held = 0;
        }
        self.held += elements.len();
        self.young.insert(sequence, elements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lineage::ElementKind;

    fn empty() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::store::migrate::forward(&mut connection).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        connection
    }

    const KEEP: &str = "
        INSERT INTO links (sequence, base, kept, added, confidence, matched, rivals, changes, system, tools, markers,
            keys) VALUES (?, ?, ?, ?, 0, 0, 0, 0, 0, 0, x'', x'')";

    fn step(prompts: &mut Prompts, connection: &Connection, sequence: i64, elements: &[Element]) -> usize {
        let outline = Outline { elements: elements.to_vec(), ..Outline::default() };
        let prompt =
            prompts.step(connection, sequence, &outline, (sequence > 1).then_some(sequence - 1)).unwrap();
        connection
            .execute(KEEP, rusqlite::params![sequence, prompt.base, prompt.kept, prompt.added.as_slice()])
            .unwrap();
        prompt.added.len()
    }

    #[test]
    fn a_conversation_of_thousands_of_steps_is_linear_in_memory_and_work() {
        const STEPS: i64 = 1_500;
        let connection = empty();
        let element = |hash: i64| Element { kind: ElementKind::Message, hash: hash as u64, bytes: 10 };
        // The system prompt of one of two such conversations tells the time.
        for clock in [false, true] {
            connection.execute("DELETE FROM links", []).unwrap();
            let mut prompts = Prompts::default();
            let (mut elements, mut written) = (vec![element(0)], 0);
            let mut all = vec![elements.clone()];
            for sequence in 1..=STEPS {
                elements.extend([element(2 * sequence), element(2 * sequence + 1)]);
                if clock {
                    elements[0] = element(-sequence);
                }
                written += step(&mut prompts, &connection, sequence, &elements);
                all.push(elements.clone());
            }
            assert!(written <= 40 * elements.len(), "{written} bytes for {}", elements.len());
            let mut resolver = Resolver::default();
            for sequence in 1..=STEPS {
                let found = resolver.elements(&connection, sequence).unwrap();
                assert_eq!(found.as_ref(), all[sequence as usize]);
                let held =
                    [&resolver.young, &resolver.old].map(|half| half.values().map(|one| one.len()).sum());
                assert!(held.iter().all(|held: &usize| *held <= HALF), "{held:?}");
            }
            assert_eq!(Resolver::default().elements(&connection, STEPS).unwrap().as_ref(), elements);
            // What the next call is compared with is in memory, so it costs no walk through the store.
            connection.execute("DELETE FROM links", []).unwrap();
            assert_eq!(prompts.elements(&connection, STEPS).unwrap().as_ref(), elements);
        }
    }

    #[test]
    fn of_a_step_only_what_no_later_one_replaced_is_read() {
        let connection = empty();
        let element = |hash: u64| Element { kind: ElementKind::Message, hash, bytes: 10 };
        let all: Vec<_> = [1, 2, 3, 4, 5, 6].map(element).into();
        let rows: [(i64, Option<i64>, i64, &[Element]); 5] = [
            (1, None, 0, &all[..3]),
            (2, Some(1), 1, &all[3..5]),
            (3, Some(2), 2, &all[5..]),
            (4, Some(3), 0, &all[2..4]),
            // Damaged: a base that is not older.
            (5, Some(5), 1, &all[..1]),
        ];
        for (sequence, base, kept, added) in rows {
            let added = elements::pack(added, &[]);
            connection.execute(KEEP, rusqlite::params![sequence, base, kept, added]).unwrap();
        }
        let hashes = |sequence| -> Vec<u64> {
            let found = Resolver::default().elements(&connection, sequence).unwrap();
            found.iter().map(|one| one.hash).collect()
        };
        assert_eq!(hashes(2), [1, 4, 5]);
        assert_eq!(hashes(3), [1, 4, 6]);
        assert_eq!((hashes(4), hashes(5), hashes(6)), (vec![3, 4], vec![1], vec![]));
    }
}
