//! What producers, the writer thread and the reader share, and the path of one append.

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    Position,
    ack::{Ack, Appended},
    config::{Config, Fsync},
    frame::Frames,
    ledger::Ledger,
    lock::DirectoryLock,
    locked,
    pen::{Pen, Work},
    queue::{self, Block, Queue},
};
use crate::model::record::Record;

/// Groups that one appender writes for others at most.
const ROUNDS: usize = 8;

/// What producers, the writer thread and the reader share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// Of the lock file, and of the segments.
    pub(super) data_directory: PathBuf,
    pub(super) directory: PathBuf,
    /// Begins every frame that this process writes.
    pub(super) mark: u32,
    pub(super) queue: Mutex<Queue>,
    /// Locked by whoever set `held` in the queue, and by the writer thread for a glance: never waited for by an
    /// appender while it is used.
    pub(super) pen: Mutex<Pen>,
    pub(super) wake: Condvar,
    pub(super) ledger: Ledger,
    pub(super) late: Arc<AtomicU64>,
    pub(super) lock: Mutex<Option<DirectoryLock>>,
    /// Groups that the writer's own failure cost.
    pub(super) panics: AtomicU64,
    /// Writes that shall panic.
    #[cfg(test)]
    pub(super) bombs: AtomicU64,
}

/// What became of a push.
pub(super) enum Pushed {
    Queued,
    /// The future of who waits for it.
    Waiting(Ack),
    Dropped,
}

impl Shared {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    pub(super) fn pen(&self) -> MutexGuard<'_, Pen> {
        locked(&self.pen)
    }

    /// When what is written has to be synced.
    pub(super) fn sync_at(&self, queue: &Queue) -> Option<Instant> {
        match self.config.fsync {
            Fsync::Interval => Some(queue.dirty? + self.config.fsync_interval),
            Fsync::Never | Fsync::Always => None,
        }
    }

    /// Writes with the pen that was taken, and what became urgent meanwhile; then puts the pen down.
    pub(super) fn write(&self, mut work: Work) {
        let mut pen = self.pen();
        for round in 1.. {
            pen.write(self, work);
            let ease = pen.ease(self);
            let mut queue = self.queue();
            // Others that wait found the pen taken. Not for ever: the thread is there for a crowd.
            if round < ROUNDS && queue.urgent && queue.retry.is_none() && queue.bytes <= ease.0 {
                work = Work::take(&mut queue);
                continue;
            }
            let wake = queue.put_down(ease);
            drop(queue);
            if wake {
                self.wake.notify_one();
            }
            return;
        }
    }

    pub(super) fn block_limit(&self) -> u64 {
        queue::BLOCK.min(self.config.segment_limit())
    }

    /// Writes what is queued because somebody waits for it, here or by waking who does.
    pub(super) fn write_for_waiting(&self) {
        let (work, wake) = {
            let mut queue = self.queue();
            queue.urgent |= queue.bytes > 0;
            if queue.is_easy(Instant::now()) {
                queue.held = true;
                (Some(Work::take(&mut queue)), false)
            } else {
                (None, queue.wake())
            }
        };
        if wake {
            self.wake.notify_one();
        }
        if let Some(work) = work {
            self.write(work);
        }
    }

    /// `waits` is when somebody began to wait for the record. It is written soon then: by whoever waits where that
    /// is a plain write of a quick disk, which costs less than waking another thread.
    pub(super) fn push(self: &Arc<Self>, record: Record, waits: Option<Instant>) -> Pushed {
        let call = record.call();
        let opens = matches!(record, Record::Opened(_));
        let closes = matches!(record, Record::Closed(_));
        // Outside the lock: the checksum and the JSON are the work of an append.
        let frames = Frames::of(self.mark, record);
        let length = frames.as_ref().map_or(0, Frames::length);
        let (pushed, wake) = {
            let mut queue = self.queue();
            let room = self.has_room(&queue, length);
            let orphan = !queue.orphans.is_empty()
                && call.is_some_and(|call| match closes || opens {
                    true => queue.orphans.remove(&call) && closes,
                    false => queue.orphans.contains(&call),
                });
            // An end is always taken. It is short and there is one for each call under way; a call that begins
            // in the journal and never ends there would keep its segment for ever.
            match frames {
                Some(frames) if (room || closes) && !orphan && !queue.closing => {
                    queue.push(frames, self.block_limit(), opens);
                    let pushed = match waits {
                        Some(_) if self.ledger.broken.load(Ordering::Relaxed) => {
                            self.late.fetch_add(1, Ordering::Relaxed);
                            Pushed::Waiting(Ack::known(Appended::Late))
                        }
                        Some(since) => {
                            let slot = Arc::default();
                            queue.acks.push(Arc::clone(&slot));
                            let deadline = since + self.config.ack_timeout;
                            Pushed::Waiting(if queue.is_easy(since) {
                                Ack::writing(slot, deadline, self)
                            } else {
                                queue.urgent = true;
                                Ack::waiting(slot, deadline, Arc::clone(&self.late))
                            })
                        }
                        None => Pushed::Queued,
                    };
                    (pushed, queue.wake())
                }
                _ => {
                    queue.count_dropped(length, opens);
                    if opens && !queue.closing {
                        queue.orphans.extend(call);
                    }
                    if !room {
                        queue.no_room_for = Some(length);
                    }
                    (Pushed::Dropped, !room && self.make_room(&mut queue))
                }
            }
        };
        if wake {
            self.wake.notify_one();
        }
        pushed
    }

    /// Whether `length` more bytes fit, on the disk and in memory.
    fn has_room(&self, queue: &Queue, length: u64) -> bool {
        let waits = queue.bytes.saturating_add(length);
        let total = self.ledger.disk.load(Ordering::Relaxed).saturating_add(waits);
        total <= self.config.max_bytes && waits <= self.config.max_queued_bytes
    }

    /// Whether records are dropped at present for want of room.
    pub(super) fn is_dropping(&self, queue: &mut Queue) -> bool {
        if queue.no_room_for.is_some_and(|length| self.has_room(queue, length)) {
            queue.no_room_for = None;
        }
        queue.no_room_for.is_some()
    }

    /// A block moves from memory to disk, in one step for whoever adds up the two.
    pub(super) fn wrote(&self, block: Block, at: Instant) {
        let (spent, reader_waits) = {
            let mut queue = self.queue();
            queue.dirty.get_or_insert(at);
            let reader_waits = self.ledger.wrote(block.length, block.calls);
            (queue.settle(block), reader_waits)
        };
        drop(spent);
        if reader_waits {
            self.ledger.wake_reader();
        }
    }

    /// Has the segment being written closed when everything in it is released: else a journal that is
    /// full of it would stay full. Returns whether the writer has to be woken.
    pub(super) fn make_room(&self, queue: &mut Queue) -> bool {
        let state = self.ledger.lock();
        queue.seal = !state.sealed && queue.blocks.is_empty() && state.released >= queue.end;
        drop(state);
        queue.seal && queue.wake()
    }

    pub(super) fn release(&self, before: Position) {
        let closed = {
            let mut state = self.ledger.lock();
            state.released = state.released.max(before.0);
            state.closed
        };
        if !closed {
            return self.ledger.prune(&self.directory);
        }
        // The directory is free for another process since the journal was closed: tidy up only while
        // nobody is in it.
        let held = DirectoryLock::retake(&self.data_directory);
        if held.is_some() {
            self.ledger.prune(&self.directory);
        }
    }

    /// The end of the writer thread: what it could not write is lost and counted, nobody waits any more.
    pub(super) fn finish(&self) {
        let acks = {
            let mut queue = self.queue();
            queue.closing = true;
            while let Some(block) = queue.blocks.pop_front() {
                queue.give_up(&block);
            }
            queue.bytes = 0;
            std::mem::take(&mut queue.acks)
        };
        self.ledger.close();
        self.ledger.prune(&self.directory);
        drop(locked(&self.lock).take());
        for slot in acks {
            slot.resolve(Appended::Dropped);
        }
    }

    /// Panics as often as a test asked for.
    #[cfg(test)]
    pub(super) fn explode(&self) {
        let lit = self.bombs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(lit.is_err(), "as the test asked");
    }
}
