//! The linker: which earlier call a call goes on from, and how. Pure: it asks an index of what is known and
//! weighs the evidence. Explicit identity decides before inferred; an answer that came back is proof, a first
//! message that others also send is none; and it never tosses a coin between two that fit alike.

use super::{hash, volatile};
use crate::model::{
    UnixNanos,
    lineage::{Changes, Link, LinkKind, LinkRule, Markers, Outline, Speaker, Unit},
};

/// How long after its end a failed call is asked again.
const RETRY_WITHIN: i64 = 10 * 60 * UnixNanos::SECOND;
/// How long after a call its unanswered request is gone on from, or its words are quoted.
const QUOTED_WITHIN: i64 = 60 * 60 * UnixNanos::SECOND;
/// A client acts on the last word of a stream before the stream has ended.
const SLACK: i64 = 2 * UnixNanos::SECOND;
/// Answers of the history that are looked up, from the newest back.
const LOOKED_UP: usize = 64;
/// Characters of answers from which on no stranger has said the same.
const DISTINCTIVE: u32 = 64;
/// Characters of a first request that are no greeting.
const DISTINCTIVE_REQUEST: u32 = 200;
/// How sure a history is, in thousandths, whose answers anybody could have been given.
const ANYBODYS: u16 = 900;
/// Below this, in thousandths, there is no link.
const LEAST: u16 = 500;
/// Sentences of a summary that must be there again, in thousandths of those kept.
const QUOTED_SHARE: usize = 600;

/// The call that asks for its parent.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub outline: &'a Outline,
    pub previous_response: Option<&'a str>,
    pub started_at: UnixNanos,
    /// Whom the call is by and for; see `Candidate`.
    pub identity: Identity,
    /// `x-stainless-retry-count`: the client itself says that it asks again.
    pub retries: u32,
}

/// Who called, and where the call was placed, as hashes of what was said; 0 where nothing was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    /// Only a session that a caller named.
    pub session: u64,
    pub experiment: u64,
    pub run: u64,
    pub user: u64,
    pub key: u64,
    /// The client's address, and with its port: the connection.
    pub host: u64,
    pub peer: u64,
    pub model: u64,
    pub agent: u64,
}

/// An earlier call, as the index knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its place in the order of storing.
    pub sequence: i64,
    pub identity: Identity,
    pub started_at: UnixNanos,
    pub ended_at: UnixNanos,
    /// It was answered to the end.
    pub answered: bool,
    pub system: u64,
    pub tools: u64,
    pub markers: Markers,
    /// The latest end of the calls that went on from it already, or asked again.
    pub continued_until: Option<UnixNanos>,
}

/// What the index says of a text that is quoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Quoted {
    pub candidate: Candidate,
    /// Sentences of its answer that are there, and that were kept.
    pub said: (usize, usize),
    /// A text of one of its tool calls is there.
    pub delegated: bool,
}

/// The index of earlier calls. Each answer is bounded, the newest calls of many.
pub trait Known {
    type Error;
    /// Calls whose history with their answer ends at this prefix.
    fn answered(&mut self, prefix: u64) -> Result<Vec<Candidate>, Self::Error>;
    /// Calls whose request ends at this prefix.
    fn asked(&mut self, prefix: u64) -> Result<Vec<Candidate>, Self::Error>;
    /// Calls that gave this answer.
    fn gave(&mut self, answer: u64) -> Result<Vec<Candidate>, Self::Error>;
    /// Calls whose words are among these sentences.
    fn quoted(&mut self, opening: &[u64]) -> Result<Vec<Quoted>, Self::Error>;
    /// The call that this response id came back from.
    fn responded(&mut self, id: &str) -> Result<Vec<Candidate>, Self::Error>;
}

/// The prefixes of a conversation: one hash per unit, of everything up to it.
pub fn prefixes(units: &[Unit]) -> Vec<u64> {
    let mut before = 0;
    units
        .iter()
        .map(|unit| {
            before = hash::join(before, unit.hash);
            before
        })
        .collect()
}

/// Where a conversation ends with each of its answers.
pub fn answered_prefixes(outline: &Outline, prefixes: &[u64]) -> Vec<u64> {
    let before = |at: u32| match at {
        0 => Some(0),
        at => prefixes.get(at as usize - 1).copied(),
    };
    outline.replies.iter().filter_map(|reply| Some(hash::join(before(reply.at)?, reply.unit.hash))).collect()
}

/// The hash under which an answer is found whatever stands before it; `None` for one that anybody gives.
pub fn answer_key(unit: &Unit) -> Option<u64> {
    let tells = unit.unique || unit.weight >= DISTINCTIVE;
    (unit.speaker == Speaker::Assistant && tells).then_some(unit.hash)
}

/// The parent of a call, or none where it begins a conversation.
pub fn link<K: Known>(subject: &Subject<'_>, known: &mut K) -> Result<Option<Link<i64>>, K::Error> {
    let outline = subject.outline;
    let units = &outline.units;
    if let Some(id) = subject.previous_response {
        let found = known.responded(id)?;
        if let Some(best) = choose(subject, found) {
            let kind = going_on(subject, &best.candidate);
            return Ok(Some(best.link(subject, kind, LinkRule::PreviousResponse, 1_000, 0)));
        }
    }
    let prefixes = prefixes(units);
    if let Some(whole) = prefixes.last() {
        let mut failed = known.asked(*whole)?;
        failed.retain(|earlier| {
            let soon = subject.started_at.since(earlier.ended_at) <= RETRY_WITHIN;
            let same = earlier.system == outline.system && earlier.tools == outline.tools;
            // Many people say the same first words; only the one who failed asks again.
            soon && same && same_caller(subject, earlier) && (!earlier.answered || subject.retries > 0)
        });
        if let Some(best) = choose(subject, failed) {
            return Ok(certain(best.link(subject, LinkKind::Retry, LinkRule::SameRequest, 950, units.len())));
        }
    }
    if let Some(link) = history(subject, &prefixes, known)? {
        return Ok(Some(link));
    }
    if let Some(link) = quoted(subject, known)? {
        return Ok(Some(link));
    }
    unanswered(subject, &prefixes, known)
}

/// By the answers that stand in the history, the newest first.
fn history<K: Known>(
    subject: &Subject<'_>,
    prefixes: &[u64],
    known: &mut K,
) -> Result<Option<Link<i64>>, K::Error> {
    let units = &subject.outline.units;
    let mut answers = units
        .iter()
        .zip(prefixes)
        .enumerate()
        .rev()
        .filter(|(_, (unit, _))| unit.speaker == Speaker::Assistant)
        .take(LOOKED_UP);
    let Some((at, (newest, prefix))) = answers.next() else { return Ok(None) };
    // Of the path up to an answer: it tells this conversation from others.
    let tells = |at: usize| {
        let answers = units.iter().take(at + 1).filter(|unit| unit.speaker == Speaker::Assistant);
        let (mut weight, mut unique) = (0u32, false);
        for answer in answers {
            weight = weight.saturating_add(answer.weight);
            unique |= answer.unique;
        }
        if unique || weight >= DISTINCTIVE { 990 } else { ANYBODYS }
    };
    let mut ended = known.answered(*prefix)?;
    // A greeting and its welcome are anybody's.
    ended.retain(|earlier| tells(at) > ANYBODYS || same_caller(subject, earlier));
    if let Some(best) = choose(subject, ended) {
        let kind = going_on(subject, &best.candidate);
        return Ok(certain(best.link(subject, kind, LinkRule::SharedPrefix, tells(at), at + 1)));
    }
    // The newest answer is one that came back, but what stands before it was changed or left out.
    if let Some(answer) = answer_key(newest)
        && let Some(best) = choose(subject, known.gave(answer)?)
    {
        let link = best.link(subject, LinkKind::EditedHistory, LinkRule::SameAnswer, 950, 1);
        return Ok(certain(link));
    }
    for (at, (unit, prefix)) in answers {
        if let Some(best) = choose(subject, known.answered(*prefix)?) {
            // Later answers in this history are none that came back.
            let link =
                best.link(subject, LinkKind::EditedHistory, LinkRule::SharedPrefix, tells(at) - 100, at + 1);
            return Ok(certain(link));
        }
        if let Some(answer) = answer_key(unit)
            && let Some(best) = choose(subject, known.gave(answer)?)
        {
            let link = best.link(subject, LinkKind::EditedHistory, LinkRule::SameAnswer, 850, 1);
            return Ok(certain(link));
        }
    }
    Ok(None)
}

/// By what its first messages repeat: a summary that replaced the history, or a task that was handed on.
fn quoted<K: Known>(subject: &Subject<'_>, known: &mut K) -> Result<Option<Link<i64>>, K::Error> {
    let outline = subject.outline;
    if outline.opening.is_empty() {
        return Ok(None);
    }
    let found: Vec<_> = known
        .quoted(&outline.opening)?
        .into_iter()
        .filter(|quoted| subject.started_at.since(quoted.candidate.ended_at) <= QUOTED_WITHIN)
        .collect();
    let same_agent =
        |candidate: &Candidate| candidate.system == outline.system && candidate.tools == outline.tools;
    let summaries: Vec<_> = found
        .iter()
        .filter(|quoted| {
            let (there, kept) = quoted.said;
            there > 0 && there * 1_000 >= kept * QUOTED_SHARE && same_agent(&quoted.candidate)
        })
        .map(|quoted| quoted.candidate.clone())
        .collect();
    if let Some(best) = choose(subject, summaries) {
        return Ok(certain(best.link(subject, LinkKind::Compaction, LinkRule::Quoted, 850, 0)));
    }
    let tasks: Vec<_> =
        found.into_iter().filter(|quoted| quoted.delegated).map(|quoted| quoted.candidate).collect();
    // Several agents are handed the same task by one call: that it has been handed on before says nothing.
    let tasks = tasks.into_iter().map(|task| Candidate { continued_until: None, ..task }).collect();
    let best = choose(subject, tasks);
    Ok(best.and_then(|best| certain(best.link(subject, LinkKind::Delegated, LinkRule::Quoted, 900, 0))))
}

/// By a request that was cut off, or whose answer was not resent as it came.
fn unanswered<K: Known>(
    subject: &Subject<'_>,
    prefixes: &[u64],
    known: &mut K,
) -> Result<Option<Link<i64>>, K::Error> {
    let units = &subject.outline.units;
    for (at, prefix) in prefixes.iter().enumerate().rev().skip(1).take(LOOKED_UP) {
        let found: Vec<_> = known
            .asked(*prefix)?
            .into_iter()
            .filter(|earlier| subject.started_at.since(earlier.ended_at) <= QUOTED_WITHIN)
            .filter(|earlier| earlier.continued_until.is_none())
            .filter(|earlier| earlier.identity.key == subject.identity.key)
            .collect();
        if found.is_empty() {
            continue;
        }
        let answered_next = units.get(at + 1).is_some_and(|unit| unit.speaker == Speaker::Assistant);
        let cut_off: Vec<_> = found.iter().filter(|earlier| !earlier.answered).cloned().collect();
        if let Some(best) = choose(subject, cut_off) {
            return Ok(certain(best.link(
                subject,
                LinkKind::NextTurn,
                LinkRule::SharedRequest,
                if answered_next { 800 } else { 700 },
                at + 1,
            )));
        }
        let weight: u32 = units.iter().take(at + 1).fold(0, |sum, unit| sum.saturating_add(unit.weight));
        if answered_next && weight >= DISTINCTIVE_REQUEST && found.len() == 1 {
            let best = choose(subject, found);
            return Ok(best.and_then(|best| {
                certain(best.link(subject, LinkKind::EditedHistory, LinkRule::SharedRequest, 700, at + 1))
            }));
        }
        return Ok(None);
    }
    Ok(None)
}

/// The kind of a link that begins where its parent ended.
fn going_on(subject: &Subject<'_>, parent: &Candidate) -> LinkKind {
    match parent.continued_until {
        None => LinkKind::NextTurn,
        Some(until) if until > subject.started_at => LinkKind::Parallel,
        Some(_) => LinkKind::Fork,
    }
}

fn certain(link: Link<i64>) -> Option<Link<i64>> {
    (link.confidence >= LEAST).then_some(link)
}

/// The best of several, and how sure it is against the others.
struct Choice {
    candidate: Candidate,
    /// In thousandths.
    share: u16,
    rivals: u32,
}

/// The candidate that fits best, the newest of those that fit alike; `None` when none may be meant.
fn choose(subject: &Subject<'_>, candidates: Vec<Candidate>) -> Option<Choice> {
    let mut fitting: Vec<_> = candidates
        .into_iter()
        .filter(|candidate| may_be(subject, candidate))
        .map(|candidate| (fit(subject, &candidate), candidate))
        .collect();
    fitting.sort_by(|(a, x), (b, y)| {
        b.cmp(a).then(y.ended_at.cmp(&x.ended_at)).then(y.sequence.cmp(&x.sequence))
    });
    let best_fit = fitting.first()?.0;
    // Of those that fit alike, how likely a call goes on falls with the time since: somebody who was answered
    // five seconds ago is a better guess than one who was an hour ago.
    let weight = |candidate: &Candidate| {
        1e9 / (subject.started_at.since(candidate.ended_at).max(UnixNanos::SECOND / 20) as f64)
    };
    let alike = fitting.iter().filter(|(fit, _)| *fit == best_fit);
    let all: f64 = alike.map(|(_, candidate)| weight(candidate)).sum();
    let rivals = u32::try_from(fitting.len() - 1).unwrap_or(u32::MAX);
    let (_, candidate) = fitting.into_iter().next()?;
    let share = (weight(&candidate) / all * 1_000.0).round().clamp(0.0, 1_000.0) as u16;
    Some(Choice { candidate, share, rivals })
}

/// The same key from the same machine.
fn same_caller(subject: &Subject<'_>, candidate: &Candidate) -> bool {
    let (own, other) = (&subject.identity, &candidate.identity);
    own.key == other.key && own.host == other.host
}

/// What cannot be: another place, another user, or a call that had not ended.
fn may_be(subject: &Subject<'_>, candidate: &Candidate) -> bool {
    let (own, other) = (&subject.identity, &candidate.identity);
    let contradicts = |a: u64, b: u64| a != 0 && b != 0 && a != b;
    own.experiment == other.experiment
        && !contradicts(own.run, other.run)
        && !contradicts(own.user, other.user)
        && candidate.ended_at.0 <= subject.started_at.0.saturating_add(SLACK)
        && candidate.started_at < subject.started_at
}

/// The more, the better: compared from the first on.
fn fit(subject: &Subject<'_>, candidate: &Candidate) -> [bool; 12] {
    let (own, other) = (&subject.identity, &candidate.identity);
    let outline = subject.outline;
    let system = candidate.system == outline.system;
    [
        own.session == other.session,
        own.session == 0 || other.session == 0,
        own.user == other.user,
        own.key == other.key,
        own.host == other.host,
        own.agent == other.agent,
        system,
        candidate.tools == outline.tools,
        // A prompt that holds the user's name or a ticket's number tells conversations apart.
        system && candidate.markers == outline.markers,
        candidate.continued_until.is_none(),
        own.peer == other.peer,
        own.model == other.model,
    ]
}

impl Choice {
    fn link(
        self,
        subject: &Subject<'_>,
        kind: LinkKind,
        rule: LinkRule,
        confidence: u16,
        matched: usize,
    ) -> Link<i64> {
        let Self { candidate, share, rivals } = self;
        let (own, other) = (&subject.identity, &candidate.identity);
        let outline = subject.outline;
        let mut changes = Changes::default();
        changes.add(Changes::SYSTEM, candidate.system != outline.system);
        changes.add(Changes::TOOLS, candidate.tools != outline.tools);
        changes.add(Changes::MODEL, candidate.identity.model != own.model);
        changes.add(Changes::KEY, other.key != own.key);
        changes.add(Changes::PEER, other.host != own.host);
        if candidate.system == outline.system {
            for kind in volatile::changed(candidate.markers, outline.markers) {
                changes.add(Changes::marker(kind), true);
            }
        }
        let mut confidence = confidence;
        if rule != LinkRule::PreviousResponse {
            for (change, price) in [(Changes::KEY, 150), (Changes::PEER, 50)] {
                confidence = confidence.saturating_sub(if changes.has(change) { price } else { 0 });
            }
            let both = changes.has(Changes::SYSTEM) && changes.has(Changes::TOOLS);
            confidence = confidence.saturating_sub(if both && kind != LinkKind::Delegated { 100 } else { 0 });
            confidence = (u32::from(confidence) * u32::from(share) / 1_000) as u16;
        }
        Link {
            parent: candidate.sequence,
            kind,
            rule,
            confidence,
            matched: u32::try_from(matched).unwrap_or(u32::MAX),
            rivals,
            changes,
        }
    }
}

/// What a link says of itself, in one sentence.
pub fn why<P>(link: &Link<P>) -> String {
    let shared = |noun: &str| format!("{} {noun}{}", link.matched, if link.matched == 1 { "" } else { "s" });
    let mut text = match (link.rule, link.kind) {
        (LinkRule::PreviousResponse, _) => "the request names the response that it goes on from".to_owned(),
        (LinkRule::SharedPrefix, LinkKind::EditedHistory) => {
            format!(
                "the first {} are the parent's with its answer; later answers are none that came back",
                shared("message")
            )
        }
        (LinkRule::SharedPrefix, LinkKind::Fork) => {
            format!(
                "{} shared, the parent's answer included, from which another call had gone on before",
                shared("message")
            )
        }
        (LinkRule::SharedPrefix, LinkKind::Parallel) => {
            format!(
                "{} shared, the parent's answer included, from which another call was going on",
                shared("message")
            )
        }
        (LinkRule::SharedPrefix, _) => format!("{} shared, the parent's answer included", shared("message")),
        (LinkRule::SameRequest, _) => "the same request, after it was not answered".to_owned(),
        (LinkRule::SameAnswer, _) => {
            "the parent's answer stands in a history that was changed or cut before it".to_owned()
        }
        (LinkRule::Quoted, LinkKind::Compaction) => {
            "its first messages repeat the parent's answer: a summary in place of the history".to_owned()
        }
        (LinkRule::Quoted, _) => "its first message is the task in a tool call of the parent".to_owned(),
        (LinkRule::SharedRequest, LinkKind::EditedHistory) => {
            format!("{} shared, then another answer than the one that came back", shared("message"))
        }
        (LinkRule::SharedRequest, _) => {
            format!("{} shared with a request that was cut off", shared("message"))
        }
    };
    let changed = link.changes.words();
    if !changed.is_empty() {
        text.push_str("; changed: ");
        text.push_str(&changed.join(", "));
    }
    if link.rivals > 0 {
        text.push_str(&format!(
            "; {} other{} fitted less well",
            link.rivals,
            if link.rivals == 1 { "" } else { "s" }
        ));
    }
    text
}

/// A call that was stored before its parent: whether `subject`, which ended later, may be it.
pub fn may_adopt(subject: &Subject<'_>, child: &Candidate) -> bool {
    let (own, other) = (&subject.identity, &child.identity);
    let contradicts = |a: u64, b: u64| a != 0 && b != 0 && a != b;
    own.experiment == other.experiment
        && own.key == other.key
        && !contradicts(own.run, other.run)
        && !contradicts(own.user, other.user)
        && subject.started_at < child.started_at
}

#[cfg(test)]
mod tests;
