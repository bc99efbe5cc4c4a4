//! The pen: the segment being written, and the one way to write it. Whoever holds the pen (the writer thread,
//! or the appender that waits for its record anyway) writes what is queued. Waits for nobody.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Shared,
    ack::{Appended, Slot},
    config::Fsync,
    queue::{Block, Queue},
    segment::{self, HEADER},
};

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// How long what is written may go to a segment that somebody removed.
const LOOK: Duration = Duration::from_secs(1);
/// A write that takes longer than this waited for the disk, and an appender must not: for a while the writer
/// thread writes alone.
const SLOW: Duration = Duration::from_millis(20);
const SLOW_FOR: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Pen {
    active: Option<Active>,
    /// Segments that were written and are to be synced, and whether one has a new name.
    unsynced: Vec<Arc<File>>,
    renamed: bool,
    /// When to look again whether the segment still has its name.
    look_at: Instant,
    /// Until then only the writer thread writes.
    slow_until: Instant,
}

#[derive(Debug)]
struct Active {
    file: Arc<File>,
    start: u64,
    length: u64,
}

/// What is to be written, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Work {
    blocks: VecDeque<Block>,
    acks: Vec<Arc<Slot>>,
    seal: bool,
}

impl Work {
    pub(super) fn take(queue: &mut Queue) -> Self {
        queue.urgent = false;
        Self {
            blocks: std::mem::take(&mut queue.blocks),
            acks: std::mem::take(&mut queue.acks),
            seal: std::mem::take(&mut queue.seal),
        }
    }
}

impl Pen {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { active: None, unsynced: Vec::new(), renamed: false, look_at: now, slow_until: now }
    }

    /// Makes the first segment, so that a directory which cannot be written is known at the start. A full
    /// disk is no reason not to start.
    pub(super) fn begin(&mut self, shared: &Shared) -> io::Result<()> {
        match self.segment(shared) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                failed(shared, &error);
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    /// How many bytes more are a plain write to a disk that is quick, and until when: so much an appender may
    /// write itself.
    pub(super) fn ease(&self, shared: &Shared) -> (u64, Instant) {
        let room = |active: &Active| shared.config.segment_limit().saturating_sub(active.length);
        let slow = self.slow_until > self.look_at || shared.config.fsync == Fsync::Always;
        (self.active.as_ref().filter(|_| !slow).map_or(0, room), self.look_at)
    }

    /// Writes a group and answers who waits for it; what could not be written goes back to the queue.
    pub(super) fn write(&mut self, shared: &Shared, mut work: Work) {
        // A fault of ours costs the group that met it, not the journal.
        if catch_unwind(AssertUnwindSafe(|| self.group(shared, &mut work))).is_err() {
            self.panicked(shared, work);
        }
    }

    fn group(&mut self, shared: &Shared, work: &mut Work) {
        let began = Instant::now();
        let outcome = self.write_blocks(shared, work, began);
        if began.elapsed() > SLOW {
            self.slow_until = Instant::now() + SLOW_FOR;
        }
        let written = outcome.is_ok();
        if let Err(error) = &outcome {
            failed(shared, error);
        } else if shared.ledger.broken.load(Ordering::Relaxed) {
            tracing::info!("the journal's disk works again");
            shared.queue().retry = None;
            shared.ledger.set_broken(None);
        }
        return_unwritten(shared, work);
        // Nobody should wait for a disk that is known not to work.
        answer(shared, work, if written { Appended::Written } else { Appended::Late });
    }

    /// Gives up the block that was being written, and the segment, of which nobody knows what it holds behind
    /// the last whole block; everything else is written as if nothing had been.
    fn panicked(&mut self, shared: &Shared, mut work: Work) {
        tracing::error!("writing the journal panicked; the records of one group are lost and counted");
        shared.panics.fetch_add(1, Ordering::Relaxed);
        self.abandon(shared);
        if let Some(block) = work.blocks.pop_front() {
            shared.queue().give_up(&block);
        }
        return_unwritten(shared, &mut work);
        answer(shared, &mut work, Appended::Late);
    }

    /// Writes the blocks, leaving those it could not write.
    fn write_blocks(&mut self, shared: &Shared, work: &mut Work, now: Instant) -> io::Result<()> {
        if work.seal && self.active.as_ref().is_some_and(|active| active.length > 0) {
            self.seal(shared)?;
        }
        if now >= self.look_at {
            self.look_at = now + LOOK;
            if let Some(active) = &self.active
                && !segment::is_linked(&active.file)?
            {
                tracing::error!("the journal's segment was removed from outside; what it held is lost");
                self.abandon(shared);
            }
        }
        while let Some(block) = work.blocks.front() {
            let limit = shared.config.segment_limit();
            if self.active.as_ref().is_some_and(|a| a.length > 0 && a.length + block.length > limit) {
                self.seal(shared)?;
            }
            #[cfg(test)]
            shared.explode();
            let active = self.segment(shared)?;
            if let Err(error) = block.write(&mut &*active.file) {
                // A part of it may be there; what cannot be cut off is left behind in a closed segment,
                // where nobody reads beyond the next one's start.
                if active.file.set_len(HEADER + active.length).is_err() {
                    self.abandon(shared);
                }
                return Err(error);
            }
            active.length += block.length;
            if let Some(block) = work.blocks.pop_front() {
                shared.wrote(block, now);
            }
        }
        // A disk that failed has to prove itself even when there is nothing to write.
        if shared.ledger.broken.load(Ordering::Relaxed) {
            self.segment(shared)?;
        }
        if shared.config.fsync == Fsync::Always {
            self.sync(shared)?;
        }
        Ok(())
    }

    /// The segment being written, begun if there is none.
    fn segment(&mut self, shared: &Shared) -> io::Result<&mut Active> {
        if self.active.is_none() {
            let start = shared.ledger.lock().committed;
            let file =
                segment::create(&shared.directory, start, shared.mark, shared.config.fsync == Fsync::Always)?;
            self.renamed = shared.config.fsync == Fsync::Interval;
            shared.ledger.begun(start);
            self.active = Some(Active { file: Arc::new(file), start, length: 0 });
        }
        self.active.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Ends the segment being written; the next write begins another.
    fn seal(&mut self, shared: &Shared) -> io::Result<()> {
        match shared.config.fsync {
            Fsync::Always => self.sync(shared)?,
            Fsync::Interval => self.unsynced.extend(self.active.as_ref().map(|one| Arc::clone(&one.file))),
            Fsync::Never => {}
        }
        self.abandon(shared);
        Ok(())
    }

    pub(super) fn abandon(&mut self, shared: &Shared) {
        if let Some(active) = self.active.take() {
            tracing::debug!(start = active.start, bytes = active.length, "journal segment closed");
        }
        shared.ledger.lock().sealed = true;
    }

    /// What a sync has to force to the disk, and whether the directory too. It can be done without the pen.
    pub(super) fn take_unsynced(&mut self) -> (Vec<Arc<File>>, bool) {
        let mut files = std::mem::take(&mut self.unsynced);
        files.extend(self.active.as_ref().map(|active| Arc::clone(&active.file)));
        (files, std::mem::take(&mut self.renamed))
    }

    fn sync(&mut self, shared: &Shared) -> io::Result<()> {
        if shared.queue().dirty.take().is_none() {
            return Ok(());
        }
        let to_sync = self.take_unsynced();
        self.synced(shared, sync(shared, &to_sync))
    }

    /// Takes note of how a sync ended. What the system still holds of a file after a failed one is unknown;
    /// asking again could say yes to lost pages. What follows goes to a new segment.
    pub(super) fn synced(&mut self, shared: &Shared, outcome: io::Result<()>) -> io::Result<()> {
        if outcome.is_err() {
            self.abandon(shared);
        }
        outcome
    }
}

/// Forces files, and the directory that names them, to the disk.
pub(super) fn sync(shared: &Shared, (files, renamed): &(Vec<Arc<File>>, bool)) -> io::Result<()> {
    if *renamed {
        segment::sync_directory(&shared.directory)?;
    }
    files.iter().try_for_each(|file| file.sync_data())
}

pub(super) fn failed(shared: &Shared, error: &io::Error) {
    let mut queue = shared.queue();
    let pause = queue.retry.map_or(RETRY_FIRST, |(_, pause)| pause);
    let new = queue.retry.is_none();
    queue.retry = Some((Instant::now() + pause, (2 * pause).min(RETRY_LAST)));
    drop(queue);
    if new {
        tracing::error!(%error, directory = %shared.directory.display(),
            "the journal cannot be written; calls go on and their records wait in memory");
    }
    let directory = shared.directory.display();
    shared.ledger.set_broken(Some(format!("cannot write the journal in {directory}: {error}")));
}

fn return_unwritten(shared: &Shared, work: &mut Work) {
    if work.blocks.is_empty() {
        return;
    }
    let mut queue = shared.queue();
    while let Some(block) = work.blocks.pop_back() {
        queue.blocks.push_front(block);
    }
}

fn answer(shared: &Shared, work: &mut Work, answer: Appended) {
    for slot in work.acks.drain(..) {
        if slot.resolve(answer) && answer == Appended::Late {
            shared.late.fetch_add(1, Ordering::Relaxed);
        }
    }
}
