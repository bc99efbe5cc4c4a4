//! Links between calls: found with `chain::link` over what the store knows, and written with the call, in the
//! same transaction, so that replaying finds the same. Knows which rows and indexes answer the linker.

mod blame;
mod elements;
mod known;
mod prompts;
mod recent;

use rusqlite::{Connection, OptionalExtension, params};

pub(super) use blame::{blame, inherited, link};
pub(super) use prompts::{Kept, Prompt, Prompts, Resolver, detach};
pub(super) use recent::Recent;

use self::known::StoreKnown;
use super::{ledger, sessions, writer::Write};
use crate::{
    chain::{self, Identity, Subject, hash},
    model::{
        Error,
        call::{Call, CallStatus, Dialect},
        lineage::{Lineage, Link, LinkKind, LinkRule, Outline},
    },
};

/// The rule of a session that tapline began itself.
pub(super) const NEW_CONVERSATION: &str = "new conversation";

/// Where the linker works, and where not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionsConfig {
    /// Find sessions of calls that name none.
    pub infer: bool,
    /// Ids or names of experiments in which they are not looked for.
    pub except: Vec<String>,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self { infer: true, except: Vec::new() }
    }
}

/// What was found for a call before it is written.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Links are looked for where it is placed.
    looked_for: bool,
    link: Option<Link<i64>>,
    /// The session that its session comes from.
    parent_session: Option<String>,
}

/// True for a session that no caller named.
pub(super) fn is_inferred(rule: Option<&str>) -> bool {
    rule.is_some_and(|rule| {
        rule == NEW_CONVERSATION || LinkRule::ALL.iter().any(|inferred| inferred.as_str() == rule)
    })
}

fn named(text: Option<&str>) -> u64 {
    text.filter(|text| !text.is_empty()).map_or(0, |text| hash::text("identity", text))
}

fn identity(call: &Call, agent: Option<&str>) -> Identity {
    let peer = call.peer.as_deref();
    Identity {
        session: if is_inferred(call.rules.session.as_deref()) { 0 } else { named(call.session.as_deref()) },
        experiment: named(Some(&call.experiment_id)),
        run: named(call.run_id.as_deref()),
        user: named(call.user.as_deref()),
        key: named(call.key_fingerprint.as_deref()),
        host: named(peer.and_then(|peer| peer.rsplit_once(':')).map(|(host, _)| host)),
        peer: named(peer),
        model: named(call.request_model.as_deref()),
        agent: named(agent),
    }
}

/// Finds the call's parent and, where the call names no session, its session. The call is placed in its
/// experiment already and not written yet.
pub(super) fn place(write: &mut Write<'_>, call: &mut Call, lineage: &Lineage) -> Result<Place, Error> {
    let mut place = Place { parent_session: lineage.parent_session.clone(), ..Place::default() };
    let Some(outline) = &lineage.outline else { return Ok(place) };
    place.looked_for = looked_for(write, call)?;
    if !place.looked_for {
        return Ok(place);
    }
    let connection = write.connection;
    write.recent.load(connection)?;
    let subject = Subject {
        outline,
        previous_response: lineage.previous_response.as_deref(),
        started_at: call.started_at,
        identity: identity(call, lineage.agent.as_deref()),
        retries: call.retry_count.unwrap_or(0),
    };
    place.link = chain::link(&subject, &mut StoreKnown { connection, recent: write.recent })?;
    let parent = match &place.link {
        Some(link) => sessions::of_call(connection, link.parent)?,
        None => None,
    };
    if call.session.is_some() {
        if place.parent_session.is_none() && parent != call.session {
            place.parent_session = parent;
        }
    } else if let Some(link) = &place.link
        && link.kind != LinkKind::Delegated
        && let Some(parent) = parent
    {
        call.session = Some(parent);
        call.rules.session = Some(link.rule.as_str().to_owned());
    } else {
        call.session = Some(sessions::inferred_id(call.id));
        call.rules.session = Some(NEW_CONVERSATION.to_owned());
        place.parent_session = place.parent_session.or(parent);
    }
    Ok(place)
}

fn looked_for(write: &Write<'_>, call: &Call) -> Result<bool, Error> {
    let config = write.sessions;
    if !config.infer || config.except.is_empty() {
        return Ok(config.infer);
    }
    let name = sessions::experiment_name(write.connection, &call.experiment_id)?;
    Ok(!config.except.iter().any(|except| *except == call.experiment_id || Some(except) == name.as_ref()))
}

const INSERT: &str = "
    INSERT INTO links (sequence, parent, kind, rule, confidence, matched, rivals, changes, agent, system, tools,
        markers, answered, responded, keys, base, kept, added)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Writes what `place` found, once the call has its place in the order of storing.
pub(super) fn insert(
    write: &mut Write<'_>,
    sequence: i64,
    call: &mut Call,
    lineage: &Lineage,
    place: Place,
) -> Result<(), Error> {
    if let Some(outline) = &lineage.outline {
        let prefixes = chain::prefixes(&outline.units);
        let answered = chain::answered_prefixes(outline, &prefixes);
        // Only responses are gone on from by name.
        let id = call.response_id.as_deref().filter(|_| call.dialect == Dialect::Responses);
        let responded = id.map(|id| hash::text("response", id));
        let keys = recent::keys(outline, &prefixes, &answered, place.link.as_ref());
        let link = place.link.as_ref();
        let parent = link.map(|link| link.parent);
        write.linked = true;
        ledger::read_back(write.connection, write.prompts, sequence)?;
        let prompt = write.prompts.step(write.connection, sequence, outline, parent)?;
        write.connection.prepare_cached(INSERT)?.execute(params![
            sequence,
            link.map(|link| link.parent),
            link.map(|link| link.kind.number()),
            link.map(|link| link.rule.number()),
            link.map_or(0, |link| link.confidence),
            link.map_or(0, |link| link.matched),
            link.map_or(0, |link| link.rivals),
            link.map_or(0, |link| link.changes.0),
            lineage.agent,
            outline.system as i64,
            outline.tools as i64,
            recent::markers(outline.markers),
            answered.first().map(|prefix| *prefix as i64),
            responded.map(|id| id as i64),
            recent::packed(&keys),
            prompt.base,
            prompt.kept,
            prompt.added.as_slice(),
        ])?;
        if place.looked_for {
            adopt(write, sequence, call, outline, lineage, &prefixes, &answered)?;
        }
        write.recent.add(sequence, &keys);
        sessions::add(write.connection, sequence, call, place.parent_session.as_deref())?;
        return ledger::add(write, sequence, call, lineage, outline, link, &prompt);
    }
    sessions::add(write.connection, sequence, call, place.parent_session.as_deref())
}

const ORPHAN: &str = "
    UPDATE links SET parent = NULL, kind = NULL, rule = NULL, confidence = 0, matched = 0 WHERE parent = ?1";

/// Lets those that go on from a call stand for themselves, because it goes.
pub(super) fn orphan(connection: &Connection, sequence: i64) -> Result<(), Error> {
    connection.prepare_cached(ORPHAN)?.execute([sequence])?;
    Ok(())
}

const BASED: &str = "
    SELECT sequence, base FROM links WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";

/// The next calls behind `after`, and whose prompt theirs is a step on from.
pub(super) fn based(
    connection: &Connection,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64, Option<i64>)>, Error> {
    let mut statement = connection.prepare_cached(BASED)?;
    let rows = statement.query_map([after, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const ADOPT: &str = "
    UPDATE links SET parent = ?2, kind = ?3, rule = ?4, confidence = ?5, matched = ?6 WHERE sequence = ?1";

/// Calls that were stored before their parent, because they ended before it: they waited under a key that
/// this call has. The parent joins their session, or they join its own.
fn adopt(
    write: &mut Write<'_>,
    sequence: i64,
    call: &mut Call,
    outline: &Outline,
    lineage: &Lineage,
    prefixes: &[u64],
    answered: &[u64],
) -> Result<(), Error> {
    let connection = write.connection;
    let mut found: Vec<(i64, LinkKind, LinkRule, usize)> = Vec::new();
    for prefix in answered {
        for child in write.recent.get(recent::awaited(*prefix)) {
            found.push((child, LinkKind::NextTurn, LinkRule::SharedPrefix, prefixes.len() + 1));
        }
    }
    if call.status != CallStatus::Ok
        && let Some(whole) = prefixes.last()
    {
        for child in write.recent.get(recent::asked(*whole)) {
            found.push((child, LinkKind::Retry, LinkRule::SameRequest, prefixes.len()));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let subject = Subject {
        outline,
        previous_response: None,
        started_at: call.started_at,
        identity: identity(call, lineage.agent.as_deref()),
        retries: 0,
    };
    for (child, kind, rule, matched) in found {
        let Some(candidate) = known::candidate(connection, child)? else { continue };
        if child == sequence || !chain::may_adopt(&subject, &candidate) || has_parent(connection, child)? {
            continue;
        }
        if kind == LinkKind::Retry && (candidate.system, candidate.tools) != (outline.system, outline.tools) {
            continue;
        }
        connection.prepare_cached(ADOPT)?.execute(params![
            child,
            sequence,
            kind.number(),
            rule.number(),
            950,
            matched
        ])?;
        sessions::unite(connection, write.interned, call, sequence, child, rule)?;
    }
    Ok(())
}

const PARENT: &str = "SELECT parent FROM links WHERE sequence = ?1";

fn has_parent(connection: &Connection, sequence: i64) -> Result<bool, Error> {
    let parent: Option<Option<i64>> =
        connection.prepare_cached(PARENT)?.query_row([sequence], |row| row.get(0)).optional()?;
    Ok(parent.flatten().is_some())
}
