//! Which call brought what into a conversation: the prompts of a call's ancestors, oldest first.

use std::collections::{HashMap, hash_map::Entry};

use rusqlite::{Connection, OptionalExtension};

use super::Resolver;
use crate::{
    model::{
        CallId, Error, UnixNanos,
        lineage::{ElementKind, Introduced, Link, LinkKind},
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
    let mut line = vec![sequence];
    let mut at = sequence;
    let mut parent = connection.prepare_cached(PARENT)?;
    while line.len() < MOST {
        let next = parent.query_row((at, LinkKind::Delegated.number()), |row| row.get(0)).optional()?;
        let Some(next) = next.filter(|next| !line.contains(next)) else { break };
        line.push(next);
        at = next;
    }
    let mut resolver = Resolver::default();
    // By kind, content and how often it has come before, so that the second "go on" is not taken for the first.
    let mut known: HashMap<(ElementKind, u64, usize), i64> = HashMap::new();
    let mut brought = Vec::new();
    for ancestor in line.into_iter().rev() {
        let mut seen: HashMap<(ElementKind, u64), usize> = HashMap::new();
        let mut here = HashMap::new();
        brought = resolver
            .elements(connection, ancestor)?
            .iter()
            .map(|element| {
                let times = seen.entry((element.kind, element.hash)).or_insert(0);
                *times += 1;
                let key = (element.kind, element.hash, *times);
                let by = known.get(&key).copied().unwrap_or(ancestor);
                here.insert(key, by);
                (element.kind, by)
            })
            .collect();
        known = here;
    }
    let mut facts: HashMap<i64, (CallId, UnixNanos, Option<String>)> = HashMap::new();
    let mut statement = connection.prepare_cached(CALL)?;
    let mut out = Vec::with_capacity(brought.len());
    for (kind, by) in brought {
        let (call, at, session) = match facts.entry(by) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(
                statement
                    .query_row([by], |row| Ok((CallId(row.get(0)?), UnixNanos(row.get(1)?), row.get(2)?)))?,
            ),
        };
        out.push(Introduced { kind, call: *call, at: *at, session: session.clone() });
    }
    Ok(out)
}

/// How many of the messages after the system prompt the call has from its parent.
pub(in crate::store) fn inherited(connection: &Connection, call: CallId) -> Result<usize, Error> {
    let Some(sequence) = calls::sequence(connection, call)? else { return Ok(0) };
    let parent: Option<i64> = connection
        .prepare_cached(PARENT)?
        .query_row((sequence, LinkKind::Delegated.number()), |row| row.get(0))
        .optional()?
        .flatten();
    let Some(parent) = parent else { return Ok(0) };
    let mut resolver = Resolver::default();
    let (own, other) = (resolver.elements(connection, sequence)?, resolver.elements(connection, parent)?);
    let messages = |elements: &[crate::model::lineage::Element]| -> Vec<u64> {
        let messages = elements.iter().filter(|element| element.kind == ElementKind::Message);
        messages.map(|element| element.hash).collect()
    };
    let (own, other) = (messages(&own), messages(&other));
    Ok(own.iter().zip(&other).take_while(|(one, other)| one == other).count())
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
