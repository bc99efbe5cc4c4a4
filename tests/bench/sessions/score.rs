//! How well the found sessions agree with the true ones, pair by pair: of two calls that were put together, are
//! they; of two that belong together, were they found so.

use std::collections::HashMap;

/// One call: where it truly belongs and where it was put.
#[derive(Debug, Clone)]
pub struct Placed {
    pub scenario: &'static str,
    pub truth: usize,
    pub found: Option<String>,
    /// The true session that its agent works for, and the one that its session was found to come from.
    pub works_for: Option<usize>,
    pub comes_from: Option<String>,
}

/// Of the calls of agents that work for another: how many were found to, and how many there are.
pub fn working(placed: &[Placed]) -> (usize, usize) {
    let homes: HashMap<usize, &String> =
        placed.iter().filter_map(|call| Some((call.truth, call.found.as_ref()?))).collect();
    let working: Vec<_> = placed.iter().filter_map(|call| Some((call, call.works_for?))).collect();
    let right = |(call, lead): &&(&Placed, usize)| {
        call.comes_from.is_some() && call.comes_from.as_ref() == homes.get(lead).copied()
    };
    (working.iter().filter(right).count(), working.len())
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    pub calls: u64,
    pub sessions: u64,
    pub precision: f64,
    pub recall: f64,
}

pub fn score<'a>(placed: impl Iterator<Item = &'a Placed>) -> Score {
    let (mut both, mut truth, mut found) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut calls = 0u64;
    for call in placed {
        calls += 1;
        *truth.entry(call.truth).or_insert(0u64) += 1;
        // A call that was put nowhere is alone.
        let place = call.found.clone().unwrap_or_else(|| format!("alone {calls}"));
        *found.entry(place.clone()).or_insert(0u64) += 1;
        *both.entry((call.truth, place)).or_insert(0u64) += 1;
    }
    let pairs =
        |counts: &mut dyn Iterator<Item = u64>| counts.map(|count| count * (count - 1) / 2).sum::<u64>();
    let right = pairs(&mut both.into_values());
    let sessions = truth.len() as u64;
    let (true_pairs, found_pairs) = (pairs(&mut truth.into_values()), pairs(&mut found.into_values()));
    let share = |of: u64| if of == 0 { 1.0 } else { right as f64 / of as f64 };
    Score { calls, sessions, precision: share(found_pairs), recall: share(true_pairs) }
}
