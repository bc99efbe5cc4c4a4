//! Counts of the data path, for `/metrics`. Plain atomics: reading them never holds up a call.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::record::Outcome;

/// A count that anyone may read and only the data path moves.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Calls since the start, by how they ended; `in_flight` goes up and down.
#[derive(Debug, Default)]
pub struct Counters {
    pub requests: Count,
    pub in_flight: Count,
    pub completed: Count,
    pub client_gone: Count,
    pub client_error: Count,
    pub upstream_failed: Count,
    pub shutdown: Count,
    /// Calls that were not taken because they could not be recorded.
    pub refused: Count,
}

impl Counters {
    pub(super) fn ended(&self, outcome: Outcome) {
        match outcome {
            Outcome::Completed => self.completed.up(),
            Outcome::ClientGone => self.client_gone.up(),
            Outcome::ClientError => self.client_error.up(),
            Outcome::UpstreamFailed => self.upstream_failed.up(),
            Outcome::Shutdown => self.shutdown.up(),
            // Only a later process can find that; it is never ours to count.
            Outcome::Interrupted => {}
        }
    }
}
