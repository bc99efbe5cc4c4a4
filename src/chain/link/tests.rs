//! Links over an index in memory: each kind once, and what must hold whatever comes.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::{chain::anchors, model::lineage::Reply};

/// Every call so far.
#[derive(Default)]
struct Memory {
    calls: Vec<(Outline, Candidate, Option<String>)>,
}

impl Memory {
    fn found(&self, holds: impl Fn(&Outline) -> bool) -> Vec<Candidate> {
        let found = self.calls.iter().filter(|(outline, ..)| holds(outline)).map(|(_, call, _)| call.clone());
        found.rev().take(32).collect()
    }

    fn add(&mut self, outline: &Outline, identity: Identity, times: (i64, i64), answered: bool) -> i64 {
        let sequence = self.calls.len() as i64;
        let candidate = Candidate {
            sequence,
            identity,
            started_at: UnixNanos(times.0),
            ended_at: UnixNanos(times.1),
            answered,
            system: outline.system,
            tools: outline.tools,
            markers: outline.markers,
            continued_until: None,
        };
        self.calls.push((outline.clone(), candidate, None));
        sequence
    }

    fn linked(&mut self, outline: &Outline, identity: Identity, times: (i64, i64)) -> Option<Link<i64>> {
        let subject = Subject {
            outline,
            previous_response: None,
            started_at: UnixNanos(times.0),
            identity,
            retries: 0,
        };
        let link = match link(&subject, self) {
            Ok(link) => link,
            Err(never) => match never {},
        };
        if let Some(link) = &link
            && link.kind != LinkKind::Delegated
        {
            let parent = &mut self.calls[link.parent as usize].1;
            parent.continued_until = parent.continued_until.max(Some(UnixNanos(times.1)));
        }
        link
    }
}

impl Known for Memory {
    type Error = Infallible;

    fn answered(&mut self, prefix: u64) -> Result<Vec<Candidate>, Infallible> {
        Ok(self.found(|outline| answered_prefixes(outline, &prefixes(&outline.units)).contains(&prefix)))
    }

    fn asked(&mut self, prefix: u64) -> Result<Vec<Candidate>, Infallible> {
        Ok(self.found(|outline| prefixes(&outline.units).last() == Some(&prefix)))
    }

    fn gave(&mut self, answer: u64) -> Result<Vec<Candidate>, Infallible> {
        Ok(self.found(|outline| outline.replies.iter().any(|reply| answer_key(&reply.unit) == Some(answer))))
    }

    fn quoted(&mut self, opening: &[u64]) -> Result<Vec<Quoted>, Infallible> {
        let calls = self.calls.iter().rev();
        let quoted = calls.map(|(outline, candidate, _)| Quoted {
            candidate: candidate.clone(),
            said: (outline.said.iter().filter(|one| opening.contains(one)).count(), outline.said.len()),
            delegated: outline.delegated.iter().any(|task| opening.contains(task)),
        });
        Ok(quoted.filter(|quoted| quoted.said.0 > 0 || quoted.delegated).collect())
    }

    fn responded(&mut self, id: &str) -> Result<Vec<Candidate>, Infallible> {
        let named = self.calls.iter().filter(|(.., response)| response.as_deref() == Some(id));
        Ok(named.map(|(_, call, _)| call.clone()).collect())
    }
}

fn unit(speaker: Speaker, text: &str) -> Unit {
    Unit { speaker, hash: hash::text("test", text), weight: text.len() as u32, unique: false }
}

/// A conversation whose user and assistant take turns, with the answer that came.
fn talk(turns: &[&str], reply: Option<&str>) -> Outline {
    let units: Vec<_> = turns
        .iter()
        .enumerate()
        .map(|(at, text)| unit(if at % 2 == 0 { Speaker::Other } else { Speaker::Assistant }, text))
        .collect();
    let at = units.len() as u32;
    let opening = turns.first().map(|text| anchors::sentences(text)).unwrap_or_default();
    Outline {
        replies: reply.map(|text| Reply { at, unit: unit(Speaker::Assistant, text) }).into_iter().collect(),
        said: reply.map(anchors::longest).unwrap_or_default(),
        units,
        opening,
        system: 1,
        tools: 1,
        ..Outline::default()
    }
}

const SECOND: i64 = UnixNanos::SECOND;

fn by(key: u64, peer: u64) -> Identity {
    Identity { key, peer, host: 1, experiment: 1, ..Identity::default() }
}

fn at(second: i64) -> (i64, i64) {
    (second * SECOND, second * SECOND + SECOND / 2)
}

const LONG: &str = "An answer of some length, which nobody else was given, about the parser and its grammar.";

/// Adds a call that is answered, after linking it.
fn step(memory: &mut Memory, outline: &Outline, identity: Identity, second: i64) -> Option<Link<i64>> {
    let link = memory.linked(outline, identity, at(second));
    memory.add(outline, identity, at(second), !outline.replies.is_empty());
    link
}

#[test]
fn turns_forks_and_parallel_branches_are_told_apart() {
    let (mut memory, me) = (Memory::default(), by(1, 1));
    assert_eq!(step(&mut memory, &talk(&["q"], Some(LONG)), me, 1), None);
    let next = step(&mut memory, &talk(&["q", LONG, "and?"], Some("more")), me, 10).unwrap();
    assert_eq!((next.parent, next.kind, next.matched), (0, LinkKind::NextTurn, 2));
    assert!(next.confidence > 900);
    let fork = step(&mut memory, &talk(&["q", LONG, "or?"], Some("less")), me, 20).unwrap();
    assert_eq!((fork.parent, fork.kind), (0, LinkKind::Fork));
    // While another branch is still running.
    let outline = talk(&["q", LONG, "or not?"], Some("none"));
    let parallel = memory.linked(&outline, me, (20 * SECOND + 1, 21 * SECOND)).unwrap();
    assert_eq!((parallel.parent, parallel.kind), (0, LinkKind::Parallel));
}

#[test]
fn the_same_first_message_of_another_is_no_link() {
    let mut memory = Memory::default();
    step(&mut memory, &talk(&["hi"], Some("Hello!")), by(1, 1), 1);
    assert_eq!(step(&mut memory, &talk(&["hi"], Some("Hello!")), by(2, 2), 2), None);
    // Whose answer was the same too: the key tells.
    let first = step(&mut memory, &talk(&["hi", "Hello!", "a"], Some("A")), by(1, 1), 10).unwrap();
    let second = step(&mut memory, &talk(&["hi", "Hello!", "b"], Some("B")), by(2, 2), 11).unwrap();
    assert_eq!((first.parent, second.parent), (0, 1));
}

#[test]
fn a_coin_is_not_tossed() {
    let (mut memory, me) = (Memory::default(), by(1, 1));
    for second in 1..=3 {
        step(&mut memory, &talk(&["hi"], Some("Hello!")), me, second);
    }
    assert_eq!(step(&mut memory, &talk(&["hi", "Hello!", "a"], Some("A")), me, 60), None, "three fit alike");
    // A moment ago is another matter.
    step(&mut memory, &talk(&["hi"], Some("Hello!")), me, 3_600);
    let link = step(&mut memory, &talk(&["hi", "Hello!", "a"], Some("A")), me, 3_602).unwrap();
    assert_eq!(link.rivals, 3);
}

#[test]
fn what_failed_is_asked_again() {
    let (mut memory, me) = (Memory::default(), by(1, 1));
    let asked = talk(&["q"], None);
    memory.add(&asked, me, at(1), false);
    let retry = step(&mut memory, &asked, me, 3).unwrap();
    assert_eq!((retry.parent, retry.kind, retry.rule), (0, LinkKind::Retry, LinkRule::SameRequest));
    let again = step(&mut memory, &talk(&["q"], Some("a")), me, 6).unwrap();
    assert_eq!((again.parent, again.kind), (1, LinkKind::Retry));
    // It was answered now; the same question is a new conversation.
    assert_eq!(step(&mut memory, &talk(&["q"], Some("a")), me, 700), None);
}

#[test]
fn a_changed_history_is_found_by_its_answer() {
    let (mut memory, me) = (Memory::default(), by(1, 1));
    step(&mut memory, &talk(&["q"], Some("first")), me, 1);
    step(&mut memory, &talk(&["q", "first", "a long result"], Some(LONG)), me, 5);
    let edited =
        step(&mut memory, &talk(&["q", "first", "(cleared)", LONG, "go on"], Some("x")), me, 9).unwrap();
    assert_eq!((edited.parent, edited.kind, edited.rule), (1, LinkKind::EditedHistory, LinkRule::SameAnswer));
}

#[test]
fn a_summary_and_a_task_are_found_again() {
    let (mut memory, me) = (Memory::default(), by(1, 1));
    let summary =
        "The user builds a parser; the lexer is done and its tests pass. Next comes the grammar of dates.";
    step(&mut memory, &talk(&["q"], Some(LONG)), me, 1);
    step(&mut memory, &talk(&["q", LONG, "summarise"], Some(summary)), me, 5);
    let opening = format!("This continues an earlier session. Summary:\n{summary}\n");
    let after = step(&mut memory, &talk(&[&opening], Some("ok")), me, 9).unwrap();
    assert_eq!((after.parent, after.kind), (1, LinkKind::Compaction));

    let task = "Find every place where dates are parsed and list file and line of each of them";
    let mut parent = talk(&["q2"], Some("I will delegate this."));
    parent.delegated = anchors::sentences(task);
    let parent_at = memory.add(&parent, me, at(20), true);
    let mut agent = talk(&[task], Some("found"));
    agent.system = 2;
    let link = step(&mut memory, &agent, me, 22).unwrap();
    assert_eq!((link.parent, link.kind), (parent_at, LinkKind::Delegated));
}

#[test]
fn a_named_response_decides() {
    let (mut memory, me) = (Memory::default(), by(1, 1));
    memory.add(&talk(&["q"], Some("a")), me, at(1), true);
    memory.calls[0].2 = Some("resp_1".to_owned());
    let outline = talk(&["next"], Some("b"));
    let subject = Subject {
        outline: &outline,
        previous_response: Some("resp_1"),
        started_at: UnixNanos(9 * SECOND),
        identity: by(2, 2),
        retries: 0,
    };
    let found = link(&subject, &mut memory).unwrap().unwrap();
    assert_eq!((found.parent, found.rule, found.confidence), (0, LinkRule::PreviousResponse, 1_000));
}

fn outlines() -> impl Strategy<Value = Outline> {
    let words = proptest::collection::vec("[ab]{0,3}", 1..6);
    (words, proptest::option::of("[ab]{0,3}"), 0..2u64).prop_map(|(turns, reply, system)| {
        let turns: Vec<&str> = turns.iter().map(String::as_str).collect();
        Outline { system, ..talk(&turns, reply.as_deref()) }
    })
}

proptest! {
    #[test]
    fn links_point_back_and_never_across_users_or_experiments(
        calls in proptest::collection::vec((outlines(), 1..3u64, 1..3u64, any::<bool>()), 1..40)
    ) {
        let mut memory = Memory::default();
        for (second, (outline, user, experiment, answered)) in calls.into_iter().enumerate() {
            let identity = Identity { user, experiment, ..Identity::default() };
            let times = at(second as i64 + 1);
            let link = memory.linked(&outline, identity, times);
            if let Some(link) = link {
                let parent = &memory.calls[link.parent as usize].1;
                prop_assert_eq!(parent.identity.user, user);
                prop_assert_eq!(parent.identity.experiment, experiment);
                prop_assert!(parent.started_at.0 < times.0);
                prop_assert!((LEAST..=1_000).contains(&link.confidence));
                prop_assert!(!why(&link).is_empty());
            }
            memory.add(&outline, identity, times, answered);
        }
    }

    #[test]
    fn a_conversation_whose_answers_are_its_own_is_one_line(answers in proptest::collection::vec("[a-z]{70}", 1..12)) {
        let mut memory = Memory::default();
        let mut turns: Vec<String> = vec!["hi".to_owned()];
        for (number, answer) in answers.iter().enumerate() {
            // Somebody else begins alike all the time.
            step(&mut memory, &talk(&["hi"], Some("Hello!")), by(1, 9), number as i64 * 10 + 1);
            let said: Vec<&str> = turns.iter().map(String::as_str).collect();
            let link = step(&mut memory, &talk(&said, Some(answer)), by(1, 1), number as i64 * 10 + 5);
            let expected = (number > 0).then(|| number as i64 * 2 - 1);
            prop_assert_eq!(link.map(|link| link.parent), expected);
            turns.push(answer.clone());
            turns.push("go on".to_owned());
        }
    }
}
