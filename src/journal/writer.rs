//! The writer thread: the only one that touches the segment being written. It writes what is queued in
//! groups, and when the disk does not work it keeps trying while producers go on.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Shared,
    ack::{Appended, Slot},
    config::Fsync,
    queue::{BLOCK, Block, Writer as Waits},
    segment::{self, HEADER},
};

const RETRY_FIRST: Duration = Duration::from_millis(50);
/// How long what is written may go to a segment that somebody removed.
const LOOK: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// When what is queued goes out though nobody waits for it.
    tick_at: Instant,
    /// Since when something is written but not synced.
    dirty: Option<Instant>,
    /// Set while the disk does not work: when to try again, and the pause after that.
    retry: Option<(Instant, Duration)>,
    /// When to look again whether the segment still has its name.
    look_at: Instant,
}

#[derive(Debug)]
struct Active {
    file: File,
    start: u64,
    length: u64,
}

/// What the thread woke for.
#[derive(Debug, Default)]
struct Work {
    blocks: VecDeque<Block>,
    acks: Vec<Arc<Slot>>,
    seal: bool,
    closing: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let tick_at = now + shared.config.tick;
        Self { shared, active: None, tick_at, dirty: None, retry: None, look_at: now }
    }

    /// Makes the first segment, so that a directory which cannot be written is known at the start. A full
    /// disk is no reason not to start.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        match self.segment() {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                self.failed(&error);
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    pub(super) fn run(mut self) {
        // Runs also when this thread panics: nobody may wait for it then.
        let farewell = Farewell(Arc::clone(&self.shared));
        loop {
            let mut work = self.wait();
            let closing = work.closing;
            // A fault of ours costs the group that met it, not the journal.
            if catch_unwind(AssertUnwindSafe(|| self.work(&mut work))).is_err() {
                self.panicked(work);
            }
            if closing {
                break;
            }
        }
        if self.dirty.is_some() && self.shared.config.fsync != Fsync::Never {
            self.sync_or_fail();
        }
        drop(self.active.take());
        drop(farewell);
    }

    /// Waits until there is something to do; without anything queued or unsynced, for ever.
    fn wait(&mut self) -> Work {
        let mut queue = self.shared.queue();
        loop {
            let now = Instant::now();
            let waiting = !queue.blocks.is_empty();
            let sync_at = self.sync_at();
            let (until, as_what) = if queue.closing {
                (Some(now), Waits::Busy)
            } else if let Some((at, _)) = self.retry {
                (Some(at), Waits::Failing)
            } else if queue.urgent || queue.seal || queue.bytes >= BLOCK {
                (Some(now), Waits::Busy)
            } else if waiting || self.tick_at > now {
                // Also for a tick after the last write: records come in streams, and a producer that
                // finds the thread ticking need not wake it.
                (Some(sync_at.map_or(self.tick_at, |sync| sync.min(self.tick_at))), Waits::Ticking)
            } else {
                (sync_at, Waits::Parked)
            };
            let due = until.is_some_and(|until| until <= now);
            if due && (waiting || as_what != Waits::Ticking || sync_at.is_some_and(|sync| sync <= now)) {
                queue.writer = Waits::Busy;
                queue.urgent = false;
                return Work {
                    blocks: std::mem::take(&mut queue.blocks),
                    acks: std::mem::take(&mut queue.acks),
                    seal: std::mem::take(&mut queue.seal),
                    closing: queue.closing,
                };
            }
            queue.writer = as_what;
            let wake = &self.shared.wake;
            queue = match until {
                None => wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(now);
                    wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            if as_what == Waits::Parked && !queue.blocks.is_empty() {
                self.tick_at = Instant::now() + self.shared.config.tick;
            }
        }
    }

    fn work(&mut self, work: &mut Work) {
        let outcome = self.write(work);
        let settled = outcome.is_ok();
        if let Err(error) = &outcome {
            self.failed(error);
        } else if self.retry.take().is_some() {
            tracing::info!("the journal's disk works again");
            self.shared.ledger.set_broken(None);
        }
        self.tick_at = Instant::now() + self.shared.config.tick;
        self.return_unwritten(work);
        // Nobody should wait for a disk that is known not to work.
        self.answer(work, if settled { Appended::Written } else { Appended::Late });
    }

    fn return_unwritten(&self, work: &mut Work) {
        let mut queue = self.shared.queue();
        while let Some(block) = work.blocks.pop_back() {
            queue.blocks.push_front(block);
        }
    }

    fn answer(&self, work: &mut Work, answer: Appended) {
        for slot in work.acks.drain(..) {
            if slot.resolve(answer) && answer == Appended::Late {
                self.shared.late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Gives up the block that was being written, and the segment, of which nobody knows what it holds behind
    /// the last whole block; everything else is written as if nothing had been.
    fn panicked(&mut self, mut work: Work) {
        tracing::error!("writing the journal panicked; the records of one group are lost and counted");
        self.shared.panics.fetch_add(1, Ordering::Relaxed);
        self.abandon();
        if let Some(block) = work.blocks.pop_front() {
            self.shared.queue().give_up(&block);
        }
        self.tick_at = Instant::now();
        self.return_unwritten(&mut work);
        self.answer(&mut work, Appended::Late);
    }

    /// Writes the blocks, leaving those it could not write, and syncs when that is due.
    fn write(&mut self, work: &mut Work) -> io::Result<()> {
        if work.seal && self.active.as_ref().is_some_and(|active| active.length > 0) {
            self.seal()?;
        }
        let now = Instant::now();
        if now >= self.look_at {
            self.look_at = now + LOOK;
            if let Some(active) = &self.active
                && !segment::is_linked(&active.file)?
            {
                tracing::error!("the journal's segment was removed from outside; what it held is lost");
                self.abandon();
            }
        }
        while let Some(block) = work.blocks.front() {
            let limit = self.shared.config.segment_limit();
            if self.active.as_ref().is_some_and(|a| a.length > 0 && a.length + block.length > limit) {
                self.seal()?;
            }
            #[cfg(test)]
            self.shared.explode();
            let active = self.segment()?;
            if let Err(error) = block.write(&mut active.file) {
                // A part of it may be there; what cannot be cut off is left behind in a closed segment,
                // where nobody reads beyond the next one's start.
                if active.file.set_len(HEADER + active.length).is_err() {
                    self.abandon();
                }
                return Err(error);
            }
            active.length += block.length;
            self.dirty.get_or_insert_with(Instant::now);
            if let Some(block) = work.blocks.pop_front() {
                self.shared.wrote(block);
            }
        }
        // A disk that failed has to prove itself even when there is nothing to write.
        if self.retry.is_some() {
            self.segment()?;
        }
        match self.shared.config.fsync {
            Fsync::Always => self.sync()?,
            Fsync::Interval if self.sync_at().is_some_and(|at| at <= Instant::now()) => self.sync()?,
            Fsync::Interval | Fsync::Never => {}
        }
        Ok(())
    }

    /// The segment being written, begun if there is none.
    fn segment(&mut self) -> io::Result<&mut Active> {
        if self.active.is_none() {
            let start = self.shared.ledger.lock().committed;
            let sync = self.shared.config.fsync != Fsync::Never;
            let file = segment::create(&self.shared.directory, start, self.shared.mark, sync)?;
            self.shared.ledger.begun(start);
            self.active = Some(Active { file, start, length: 0 });
            self.shared.ledger.prune(&self.shared.directory);
        }
        self.active.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Ends the segment being written; the next write begins another.
    fn seal(&mut self) -> io::Result<()> {
        if self.shared.config.fsync != Fsync::Never {
            self.sync()?;
        }
        self.abandon();
        self.shared.ledger.prune(&self.shared.directory);
        Ok(())
    }

    fn abandon(&mut self) {
        if let Some(active) = self.active.take() {
            tracing::debug!(start = active.start, bytes = active.length, "journal segment closed");
        }
        self.dirty = None;
        self.shared.ledger.lock().sealed = true;
    }

    fn sync_at(&self) -> Option<Instant> {
        match self.shared.config.fsync {
            Fsync::Interval => Some(self.dirty? + self.shared.config.fsync_interval),
            Fsync::Never | Fsync::Always => None,
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.dirty.take().is_some()
            && let Some(active) = &self.active
            && let Err(error) = active.file.sync_data()
        {
            // What the system still holds of it is unknown after a failed sync; asking again could say
            // yes to lost pages. What follows goes to a new segment.
            self.abandon();
            return Err(error);
        }
        Ok(())
    }

    fn sync_or_fail(&mut self) {
        if let Err(error) = self.sync() {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &io::Error) {
        let pause = self.retry.map_or(RETRY_FIRST, |(_, pause)| pause);
        if self.retry.is_none() {
            tracing::error!(%error, directory = %self.shared.directory.display(),
                "the journal cannot be written; calls go on and their records wait in memory");
        }
        self.retry = Some((Instant::now() + pause, (2 * pause).min(RETRY_LAST)));
        let directory = self.shared.directory.display();
        self.shared.ledger.set_broken(Some(format!("cannot write the journal in {directory}: {error}")));
    }
}

struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.finish();
    }
}
