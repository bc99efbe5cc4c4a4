//! Names that were looked up lately, and the rows that they led to: a name is read once, not with every call. Holds
//! places in a table, so it is of one table only.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::{Layer, naming::Candidate};
use crate::model::UnixNanos;

/// More names than are in use at a time; beyond, remembering begins anew.
const MOST: usize = 4_096;

/// Where a row is: its layer in the order in which an upstream asks them, its model there, its row there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) layer: usize,
    pub(super) model: usize,
    pub(super) row: usize,
    pub(super) candidate: Candidate,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    /// All times at which some price changes, in order: between two of them a name leads to the same row.
    changes: Vec<UnixNanos>,
    found: Mutex<HashMap<(String, usize), Option<Found>>>,
}

impl Known {
    pub(super) fn of<'l>(layers: impl Iterator<Item = &'l Layer>) -> Self {
        let rows = layers.flat_map(|layer| &layer.models).flat_map(|model| &model.rows);
        let mut changes: Vec<UnixNanos> = rows.filter_map(|row| row.valid_from).collect();
        changes.sort_unstable();
        changes.dedup();
        Self { changes, found: Mutex::default() }
    }

    /// What a name leads to at a time, found by `look` at first.
    pub(super) fn find(
        &self,
        upstream: &str,
        provider: &str,
        model: &str,
        at: UnixNanos,
        look: impl FnOnce() -> Option<Found>,
    ) -> Option<Found> {
        let period = self.changes.partition_point(|change| *change <= at);
        let key = ([upstream, provider, model].join("\n"), period);
        let found = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found().get(&key) {
            return known.clone();
        }
        let looked = look();
        let mut found = found();
        if found.len() >= MOST {
            found.clear();
        }
        found.insert(key, looked.clone());
        looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_once_for_each_time_between_two_changes() {
        let known = Known { changes: vec![UnixNanos(10), UnixNanos(20)], found: Mutex::default() };
        let mut looked = 0;
        let mut find = |upstream: &str, provider: &str, model: &str, at: i64| {
            known.find(upstream, provider, model, UnixNanos(at), || {
                looked += 1;
                None
            });
            looked
        };
        assert_eq!([find("u", "p", "m", 9), find("u", "p", "m", 1)], [1, 1]);
        assert_eq!([find("u", "p", "m", 10), find("u", "p", "m", 19), find("u", "p", "m", 20)], [2, 2, 3]);
        assert_eq!([find("u", "p", "n", 20), find("u", "q", "m", 20), find("v", "p", "m", 20)], [4, 5, 6]);
    }
}
