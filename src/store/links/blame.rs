//! Which call brought what into a conversation: the prompts of a call's ancestors, oldest first.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension, Row};

use super::Resolver;
use crate::{
    model::{
        CallId, Error, UnixNanos,
        lineage::{Element, ElementKind, Inherited, Introduced, Link, LinkKind, LinkRule},
    },
    store::{calls, sessions},
};

/// Ancestors that are looked at.
const MOST: usize = 10_000;

const PARENT: &str = "SELECT parent FROM links WHERE sequence = ?1 AND kind <> ?2";
const CALL: &str = "SELECT call_id, started_at, session FROM spans WHERE sequence = ?1";

/// One per element of the call's prompt, in its order.
pub(in crate::store) fn blame(connection: &Connection, call: CallId) -> Result<Vec<Introduced>, Error> {
    let Some(sequence) = calls::sequence(connection, call)? else { return Ok(Vec::new()) };
    let (mut line, mut seen) = (vec![sequence], HashSet::from([sequence]));
    let mut at = sequence;
    let mut parent = connection.prepare_cached(PARENT)?;
    while line.len() < MOST {
        let next = parent.query_row((at, LinkKind::Delegated.number()), |row| row.get(0)).optional()?;
        let Some(next) = next.filter(|next| seen.insert(*next)) else { break };
        line.push(next);
        at = next;
    }
    let mut resolver = Resolver::default();
    let mut before: Arc<[Element]> = Arc::from([]);
    // Of each element of `before`, who brought it.
    let mut brought: Vec<i64> = Vec::new();
    for ancestor in line.into_iter().rev() {
        let elements = resolver.elements(connection, ancestor)?;
        brought = carried(&before, &brought, &elements, ancestor);
        before = elements;
    }
    let mut facts: HashMap<i64, (CallId, UnixNanos, Option<String>)> = HashMap::new();
    let mut statement = connection.prepare_cached(CALL)?;
    let mut out = Vec::with_capacity(brought.len());
    for (element, by) in before.iter().zip(brought) {
        let (call, at, session) = match facts.entry(by) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(
                statement
                    .query_row([by], |row| Ok((CallId(row.get(0)?), UnixNanos(row.get(1)?), row.get(2)?)))?,
            ),
        };
        out.push(Introduced { kind: element.kind, call: *call, at: *at, session: session.clone() });
    }
    Ok(out)
}

/// Who brought each element of a prompt, from who brought those of the prompt before it. An element is the one of
/// its kind and content that came before as often as it, so that the second "go on" is not taken for the first.
fn carried(before: &[Element], brought: &[i64], elements: &[Element], by: i64) -> Vec<i64> {
    let same = |(one, other): &(&Element, &Element)| (one.kind, one.hash) == (other.kind, other.hash);
    let shared = elements.iter().zip(before).take_while(same).count();
    let mut carried: Vec<i64> = brought.iter().take(shared).copied().collect();
    // What both begin with came as often in both.
    let mut known: HashMap<(ElementKind, u64), VecDeque<i64>> = HashMap::new();
    for (element, by) in before.iter().zip(brought).skip(shared) {
        known.entry((element.kind, element.hash)).or_default().push_back(*by);
    }
    carried.extend(elements.iter().skip(shared).map(|element| {
        let earlier = known.get_mut(&(element.kind, element.hash)).and_then(VecDeque::pop_front);
        earlier.unwrap_or(by)
    }));
    carried
}

const FROM: &str = "
    SELECT p.sequence, l.rule, p.system = l.system FROM links AS l JOIN links AS p ON p.sequence = l.parent
    WHERE l.sequence = ?1 AND l.kind <> ?2";

/// What of its prompt the call has from its parent.
pub(in crate::store) fn inherited(connection: &Connection, call: CallId) -> Result<Inherited, Error> {
    let Some(sequence) = calls::sequence(connection, call)? else { return Ok(Inherited::default()) };
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let from: Option<(i64, i64, bool)> = connection
        .prepare_cached(FROM)?
        .query_row((sequence, LinkKind::Delegated.number()), read)
        .optional()?;
    let Some((parent, rule, system)) = from else { return Ok(Inherited::default()) };
    // Who names the response before sends nothing again, also where it says the same once more.
    if rule == LinkRule::PreviousResponse.number() {
        return Ok(Inherited { system, messages: 0 });
    }
    let mut resolver = Resolver::default();
    let (own, other) = (resolver.elements(connection, sequence)?, resolver.elements(connection, parent)?);
    let messages = |elements: &[Element]| -> Vec<u64> {
        let messages = elements.iter().filter(|element| element.kind == ElementKind::Message);
        messages.map(|element| element.hash).collect()
    };
    let (own, other) = (messages(&own), messages(&other));
    Ok(Inherited { system, messages: own.iter().zip(&other).take_while(|(one, other)| one == other).count() })
}

const LINK: &str = "
    SELECT (SELECT p.call_id FROM spans AS p WHERE p.sequence = l.parent), l.kind, l.rule, l.confidence, l.matched,
        l.rivals, l.changes
    FROM links AS l JOIN spans AS s ON s.sequence = l.sequence WHERE s.call_id = ?1";

/// How a call hangs under another.
pub(in crate::store) fn link(connection: &Connection, call: CallId) -> Result<Option<Link>, Error> {
    let found =
        connection.prepare_cached(LINK)?.query_row([call.0], |row| sessions::link(row, 0)).optional()?;
    Ok(found.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_told_apart_by_how_often_it_came() {
        let prompt = |hashes: &[u64]| -> Vec<Element> {
            hashes.iter().map(|hash| Element { kind: ElementKind::Message, hash: *hash, bytes: 1 }).collect()
        };
        let first = carried(&[], &[], &prompt(&[1, 7]), 1);
        assert_eq!(first, [1, 1]);
        let second = carried(&prompt(&[1, 7]), &first, &prompt(&[1, 7, 2, 7]), 2);
        assert_eq!(second, [1, 1, 2, 2]);
        // The first message is left out and one is asked again.
        let third = carried(&prompt(&[1, 7, 2, 7]), &second, &prompt(&[7, 2, 7, 7]), 3);
        assert_eq!(third, [1, 2, 2, 3]);
    }
}
