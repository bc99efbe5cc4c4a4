//! What is on the disk: the segments, how far they are written, read and released. Writer, reader and
//! `release` meet here; producers do not.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    locked,
    segment::{self, Found},
};

/// How long the reader lets records gather, and how many bytes of them at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) time: Duration,
    pub(super) bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// By start; the last one is being written unless `sealed`.
    pub(super) segments: VecDeque<Found>,
    pub(super) sealed: bool,
    /// The end of what is written: the reader goes no further.
    pub(super) committed: u64,
    pub(super) read: u64,
    pub(super) released: u64,
    pub(super) closed: bool,
    pub(super) torn_bytes: u64,
    pub(super) corrupt_frames: u64,
    pub(super) broken: Option<String>,
    /// Calls of this process that are written, and of those the ones that the reader met, and the ones it
    /// did not find where they were written.
    pub(super) calls_written: u64,
    pub(super) calls_read: u64,
    pub(super) calls_lost: u64,
    /// Calls that the reader met of processes before this one.
    pub(super) calls_found: u64,
    /// The reader is to be woken when so much is written.
    wake_at: Option<u64>,
    /// The reader is to come this far without waiting for more.
    pub(super) hurry_to: u64,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
    written: Condvar,
    /// Sum of the file lengths, and whether `broken` is set: read by producers without the lock.
    pub(super) disk: AtomicU64,
    pub(super) broken: AtomicBool,
}

impl Ledger {
    pub(super) fn new(segments: Vec<Found>, committed: u64, torn_bytes: u64) -> Self {
        let disk = segments.iter().map(|segment| segment.file_bytes).sum();
        let first = segments.first().map_or(committed, |segment| segment.start);
        let state = State {
            segments: segments.into(),
            sealed: true,
            committed,
            read: first,
            released: first,
            torn_bytes,
            ..State::default()
        };
        Self { state: Mutex::new(state), disk: AtomicU64::new(disk), ..Self::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// A new segment stands ready behind the others.
    pub(super) fn begun(&self, start: u64) {
        let mut state = self.lock();
        // An abandoned segment without content was replaced by this one.
        while state.segments.back().is_some_and(|last| last.start >= start) {
            let gone = state.segments.pop_back().map_or(0, |last| last.file_bytes);
            self.disk.fetch_sub(gone, Ordering::Relaxed);
        }
        state.segments.push_back(Found { start, end: start, file_bytes: segment::HEADER });
        state.sealed = false;
        self.disk.fetch_add(segment::HEADER, Ordering::Relaxed);
    }

    /// `length` more bytes, in which `calls` begin, are written to the last segment. Returns whether the
    /// reader waits for them.
    pub(super) fn wrote(&self, length: u64, calls: u64) -> bool {
        let mut state = self.lock();
        if let Some(last) = state.segments.back_mut() {
            last.end += length;
            last.file_bytes += length;
        }
        state.committed += length;
        state.calls_written += calls;
        self.disk.fetch_add(length, Ordering::Relaxed);
        let committed = state.committed;
        state.wake_at.take_if(|at| *at <= committed).is_some()
    }

    pub(super) fn wake_reader(&self) {
        self.written.notify_all();
    }

    pub(super) fn set_broken(&self, why: Option<String>) {
        self.broken.store(why.is_some(), Ordering::Relaxed);
        self.lock().broken = why;
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.sealed = true;
        state.closed = true;
        drop(state);
        self.written.notify_all();
    }

    /// The reader stands at `position`, having met `found` calls of earlier processes and `own` of this one.
    pub(super) fn read(&self, position: u64, found: u64, own: u64) {
        let mut state = self.lock();
        state.read = position;
        state.calls_found += found;
        state.calls_read += own;
        if position >= state.committed {
            state.calls_lost = state.calls_written.saturating_sub(state.calls_read);
        }
    }

    /// The reader goes up to `position` without waiting for more.
    pub(super) fn hurry(&self, position: u64) {
        let mut state = self.lock();
        state.hurry_to = state.hurry_to.max(position);
        let waits = state.wake_at.take().is_some();
        drop(state);
        if waits {
            self.wake_reader();
        }
    }

    /// Waits until there is something behind `position`, and then as `pace` says for more; returns the end of
    /// what is written and whether that is all there will be.
    pub(super) fn wait(&self, position: u64, pace: Pace, deadline: Instant) -> (u64, bool) {
        let mut state = self.lock();
        let mut gathers: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let there = state.committed.saturating_sub(position);
            let hurries = state.closed || state.hurry_to > position || there >= pace.bytes;
            let until = match there {
                0 => deadline,
                _ => deadline.min(*gathers.get_or_insert(now + pace.time)),
            };
            if now >= until || state.closed || there > 0 && hurries {
                state.wake_at = None;
                return (state.committed, state.closed);
            }
            state.wake_at = Some(if there > 0 { position.saturating_add(pace.bytes) } else { position + 1 });
            let left = until.saturating_duration_since(now);
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Deletes the segments that were released and read, oldest first; never the one being written.
    pub(super) fn prune(&self, directory: &Path) {
        let mut doomed = Vec::new();
        {
            let mut state = self.lock();
            let before = state.released.min(state.read);
            let spared = usize::from(!state.sealed);
            while state.segments.len() > spared
                && state.segments.front().is_some_and(|first| first.end <= before)
            {
                doomed.extend(state.segments.pop_front());
            }
        }
        // Outside the lock: deleting a large file takes milliseconds.
        let mut kept = Vec::new();
        for found in doomed {
            match segment::delete(directory, found.start) {
                Ok(()) => {
                    self.disk.fetch_sub(found.file_bytes, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::warn!(%error, segment = %segment::path(directory, found.start).display(),
                        "a journal segment that is applied cannot be deleted");
                    kept.push(found);
                }
            }
        }
        if !kept.is_empty() {
            let mut state = self.lock();
            for found in kept.into_iter().rev() {
                state.segments.push_front(found);
            }
        }
    }
}
