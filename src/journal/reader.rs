//! Reads the segment files: one path for what a process before left and for what is being written.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Position, Shared, frame,
    ledger::Pace,
    scan::Scan,
    segment::{self, Found, HEADER},
};
use crate::model::{Error, record::Record};

/// How often a place that cannot be read is tried before the rest of its segment is given up.
const READ_TRIES: u32 = 3;

const NO_PACE: Pace = Pace { time: Duration::ZERO, bytes: 0 };

/// A record and where it starts and ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub start: Position,
    pub end: Position,
    pub record: Record,
}

#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    position: u64,
    open: Option<(u64, Scan)>,
    failures: u32,
    /// Where this process began to write, and up to where calls were counted.
    began: u64,
    counted: u64,
    pace: Pace,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (position, began) = {
            let state = shared.ledger.lock();
            (state.read, state.committed)
        };
        Self { shared, position, open: None, failures: 0, began, counted: position, pace: NO_PACE }
    }

    /// Lets records gather for a while, or until there are so many bytes of them, before `next` returns: few
    /// large groups cost less than many small ones. Whoever nudges the journal ends that.
    pub fn gathering(mut self, time: Duration, bytes: u64) -> Self {
        self.pace = Pace { time, bytes };
        self
    }

    /// Somebody waits for what was written up to a place behind this one.
    pub fn is_hurried(&self, after: Position) -> bool {
        self.shared.ledger.lock().hurry_to > after.0
    }

    /// Waits up to `wait` until there is something to read, as the pace says; whether there is.
    pub fn wait(&self, wait: Duration) -> bool {
        self.wait_until(deadline(wait)).0 > self.position
    }

    /// The end of what is written, and whether that is all there will be.
    fn wait_until(&self, deadline: Instant) -> (u64, bool) {
        self.shared.ledger.wait(self.position, self.pace, deadline)
    }

    /// The next entries, at most about `max_bytes`, in order; waits up to `wait` for the first. Empty
    /// when none came in time. Never returns a queued record that is not written.
    pub fn next(&mut self, max_bytes: usize, wait: Duration) -> Result<Vec<Entry>, Error> {
        let deadline = deadline(wait);
        loop {
            let (_, closed) = self.wait_until(deadline);
            let entries = self.read(max_bytes)?;
            if !entries.is_empty() || closed || Instant::now() >= deadline {
                return Ok(entries);
            }
        }
    }

    /// The next entries that are written, at most about `max_bytes`, in order. Waits for nothing; empty also where
    /// all that was there is damaged.
    pub fn read(&mut self, max_bytes: usize) -> Result<Vec<Entry>, Error> {
        let committed = self.shared.ledger.lock().committed;
        let mut entries = Vec::new();
        let outcome = self.read_to(committed, max_bytes as u64, &mut entries);
        self.account(&entries);
        if entries.is_empty() {
            outcome?;
        }
        Ok(entries)
    }

    /// Tells the ledger how far this is, and which calls were met for the first time.
    fn account(&mut self, entries: &[Entry]) {
        let (mut found, mut own) = (0, 0);
        for entry in entries {
            if matches!(entry.record, Record::Opened(_)) && entry.end.0 > self.counted {
                if entry.start.0 < self.began { found += 1 } else { own += 1 }
            }
        }
        self.counted = self.counted.max(self.position);
        self.shared.ledger.read(self.position, found, own);
    }

    /// Goes back to the oldest record that is still there, to have everything applied once more.
    pub fn rewind(&mut self) {
        let mut state = self.shared.ledger.lock();
        let oldest = state.segments.front().map_or(state.committed, |first| first.start);
        self.position = self.position.min(oldest.max(state.released));
        state.read = self.position;
        drop(state);
        self.open = None;
    }

    /// The end of the last entry returned.
    pub fn position(&self) -> Position {
        Position(self.position)
    }

    fn read_to(&mut self, committed: u64, max_bytes: u64, entries: &mut Vec<Entry>) -> Result<(), Error> {
        let mut bytes = 0;
        while self.position < committed && (bytes < max_bytes || entries.is_empty()) {
            let Some(found) = self.segment() else {
                // Only when somebody else deleted files.
                self.position = committed;
                break;
            };
            if self.position < found.start {
                self.damaged(1);
                self.position = found.start;
            }
            match self.read_segment(found, max_bytes, &mut bytes, entries) {
                Ok(()) => self.failures = 0,
                Err(error) => {
                    self.open = None;
                    self.failures += 1;
                    let path = segment::path(&self.shared.directory, found.start);
                    let message = format!("cannot read the journal segment {}: {error}", path.display());
                    if error.kind() != io::ErrorKind::NotFound && self.failures < READ_TRIES {
                        return Err(Error::internal(message));
                    }
                    tracing::error!("{message}; what it held from position {} on is lost", self.position);
                    self.failures = 0;
                    self.damaged(1);
                    self.position = found.end;
                }
            }
        }
        Ok(())
    }

    /// The segment that holds what comes next, as far as it is written.
    fn segment(&self) -> Option<Found> {
        let state = self.shared.ledger.lock();
        state.segments.iter().find(|found| found.end > self.position).copied()
    }

    fn read_segment(
        &mut self,
        found: Found,
        max_bytes: u64,
        bytes: &mut u64,
        entries: &mut Vec<Entry>,
    ) -> io::Result<()> {
        let offset = HEADER + (self.position - found.start);
        let mut scan = match self.open.take() {
            Some((start, scan)) if start == found.start && scan.offset() == offset => scan,
            _ => segment::open(&self.shared.directory, found.start, offset)?,
        };
        scan.set_limit(HEADER + (found.end - found.start));
        let mut unknown = 0;
        let outcome = loop {
            if *bytes >= max_bytes && !entries.is_empty() {
                break Ok(());
            }
            match scan.next() {
                Err(error) => break Err(error),
                Ok(None) => {
                    self.position = found.end;
                    break Ok(());
                }
                Ok(Some(range)) => {
                    let end = found.start + (scan.offset() - HEADER);
                    let length = range.len() as u64;
                    self.position = end;
                    let frame = scan.bytes(range);
                    match frame::record(frame) {
                        None if frame::is_erased(frame) => {}
                        Some(record) => {
                            *bytes += length;
                            let start = Position(end - length);
                            entries.push(Entry { start, end: Position(end), record });
                        }
                        None => unknown += 1,
                    }
                }
            }
        };
        self.damaged(unknown + scan.take_damaged());
        if outcome.is_ok() {
            self.open = Some((found.start, scan));
        }
        outcome
    }

    fn damaged(&self, frames: u64) {
        if frames > 0 {
            self.shared.ledger.lock().corrupt_frames += frames;
        }
    }
}

fn deadline(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + Duration::from_secs(86_400))
}
