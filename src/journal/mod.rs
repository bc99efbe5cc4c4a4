//! The journal: the append-only file that a call is in before its last byte leaves.
//!
//! Producers push framed records (`frame`, `codec`) to a queue in memory (`queue`). They go to segment files in
//! groups (`pen`): written by the producer that waits for one of them, or by a thread that sees to the rest
//! (`writer`). The reader takes them from those files (`reader`), and released segments go. What is on disk is
//! in `ledger`. It knows nothing of calls beyond their ids, and never makes a producer
//! wait: only an `Ack` may be waited for.

mod ack;
mod codec;
mod config;
mod erase;
mod frame;
mod ledger;
mod lock;
mod pen;
mod queue;
mod reader;
mod scan;
mod segment;
mod shared;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{JoinHandle, ThreadId},
    time::Instant,
};

pub use ack::{Ack, Appended};
pub use config::{Config, Fsync, Mode, WhenFull};
pub use reader::{Entry, Reader};

use self::{
    frame::Frames,
    ledger::Ledger,
    lock::DirectoryLock,
    pen::Pen,
    queue::Queue,
    shared::{Pushed, Shared},
    writer::Writer,
};
use crate::model::{CallId, Error, UnixNanos, record::Record};

/// A place in the journal: bytes since its beginning, over all segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub u64);

/// The writing end. Clones share it; when the last one goes the journal is closed.
#[derive(Debug, Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: ThreadId,
}

#[derive(Debug, Clone, Default)]
pub struct Stats {
    pub end: Position,
    pub oldest: Position,
    pub bytes_on_disk: u64,
    /// Records that were taken, of those the ones that wait in memory, and records that were dropped.
    pub records: u64,
    pub queued_records: u64,
    pub dropped_records: u64,
    pub dropped_bytes: u64,
    /// Calls that began here: taken, of those waiting in memory, of those on disk and not read yet; and calls
    /// whose beginning was dropped.
    pub calls: u64,
    pub queued_calls: u64,
    pub unread_calls: u64,
    pub dropped_calls: u64,
    /// Calls that were written and are not there any more: somebody damaged or removed what held them.
    pub lost_calls: u64,
    /// Calls that a process before this one left, as far as they are read.
    pub found_calls: u64,
    /// Records are dropped at present, because there is no room.
    pub dropping: bool,
    /// Groups of records that a failure of the writer's own cost.
    pub panics: u64,
    pub torn_bytes: u64,
    pub corrupt_frames: u64,
    pub late_acks: u64,
    /// Why appends are not reaching the disk, when they are not.
    pub broken: Option<String>,
    /// Bytes that wait in memory to be written.
    pub queued_bytes: u64,
}

/// Locks; a thread that panicked while it held the lock left data that is whole between statements.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Takes the directory for this process, cuts a torn end, and begins a new segment, with a
    /// `Restarted` record when there is something to replay. `directory` is the data directory: the lock
    /// file goes there, segments to `journal/` below it.
    pub fn open(config: &Config, directory: &Path, now: UnixNanos) -> Result<(Self, Reader), Error> {
        let failed = |what: &str, error: std::io::Error| {
            Error::internal(format!("cannot {what} the journal in {}: {error}", directory.display()))
        };
        let segments = directory.join("journal");
        segment::private_directory(&segments).map_err(|error| failed("create", error))?;
        let lock = DirectoryLock::take(directory, now)?;
        let mut found = segment::list(&segments)?;
        let mut torn_bytes = 0;
        if let Some(last) = found.last_mut() {
            torn_bytes = segment::cut_torn_end(&segments, last).map_err(|error| failed("repair", error))?;
        }
        let end = found.last().map_or(0, |last| last.end);
        found.pop_if(|last| last.file_bytes == 0);
        let restarted = found.iter().any(|segment| segment.end > segment.start);
        let shared = Arc::new(Shared {
            config: config.clone(),
            data_directory: directory.to_owned(),
            directory: segments,
            mark: random_mark(),
            queue: Mutex::new(Queue::new(end)),
            pen: Mutex::new(Pen::new()),
            wake: Condvar::new(),
            ledger: Ledger::new(found, end, torn_bytes),
            late: Arc::default(),
            lock: Mutex::new(Some(lock)),
            panics: AtomicU64::new(0),
            #[cfg(test)]
            bombs: AtomicU64::new(0),
        });
        if restarted && let Some(frames) = Frames::of(shared.mark, Record::Restarted { at: now }) {
            // Past every limit: the store cannot tell an interrupted call without it.
            let mut queue = shared.queue();
            queue.push(frames, shared.block_limit(), false);
            queue.urgent = true;
        }
        let writer = Writer::new(Arc::clone(&shared));
        shared.pen().begin(&shared).map_err(|error| failed("begin", error))?;
        let reader = Reader::new(Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| failed("start the thread of", error))?;
        let thread_id = thread.thread().id();
        let handle = Handle { shared, thread: Mutex::new(Some(thread)), thread_id };
        Ok((Self { handle: Arc::new(handle) }, reader))
    }

    /// Queues a record; it is written at the next tick or with the next acknowledged one. Returns
    /// false when it was dropped.
    pub fn append(&self, record: Record) -> bool {
        !matches!(self.handle.shared.push(record, None), Pushed::Dropped)
    }

    /// Queues a record and, in strict mode, has it written at once.
    pub fn append_acked(&self, record: Record) -> Ack {
        let shared = &self.handle.shared;
        let waits = match shared.config.mode {
            Mode::Strict => Some(Instant::now()),
            Mode::Relaxed => None,
        };
        match shared.push(record, waits) {
            Pushed::Waiting(ack) => ack,
            Pushed::Queued => Ack::known(Appended::Written),
            Pushed::Dropped => Ack::known(Appended::Dropped),
        }
    }

    /// Has what is queued written now rather than at the next tick, and read without gathering more.
    pub fn nudge(&self) {
        let shared = &self.handle.shared;
        let (wake, end) = {
            let mut queue = shared.queue();
            queue.urgent |= queue.bytes > 0;
            (queue.wake(), queue.end)
        };
        shared.ledger.hurry(end);
        if wake {
            shared.wake.notify_one();
        }
    }

    /// Where the next record will go, counting what is queued.
    pub fn end(&self) -> Position {
        Position(self.handle.shared.queue().end)
    }

    /// Everything before is applied: whole segments before it may be deleted.
    pub fn release(&self, before: Position) {
        self.handle.shared.release(before);
    }

    /// Overwrites what the segments still say of calls that have ended and were read; returns the number of
    /// frames. Blocks while it reads and writes files.
    pub fn erase(&self, calls: &HashSet<CallId>) -> Result<u64, Error> {
        erase::erase(&self.handle.shared, calls).map_err(|error| {
            Error::internal(format!("expected to erase calls from the journal, found: {error}"))
        })
    }

    /// Whether new calls should be refused: the policy is `refuse`, and the journal is broken or nearly
    /// full (the last sixteenth is for calls that are already running).
    pub fn refuses(&self) -> bool {
        let shared = &self.handle.shared;
        if shared.config.when_full != WhenFull::Refuse {
            return false;
        }
        if shared.ledger.broken.load(Ordering::Relaxed) {
            return true;
        }
        let mut queue = shared.queue();
        let used = shared.ledger.disk.load(Ordering::Relaxed).saturating_add(queue.bytes);
        let nearly = |limit: u64| limit - limit / 16;
        let full = used >= nearly(shared.config.max_bytes)
            || queue.bytes >= nearly(shared.config.max_queued_bytes)
            || queue.closing;
        let wake = full && shared.make_room(&mut queue);
        drop(queue);
        if wake {
            shared.wake.notify_one();
        }
        full
    }

    /// Whether more than half of what it may take on the disk is taken.
    pub fn is_filling(&self) -> bool {
        let shared = &self.handle.shared;
        shared.ledger.disk.load(Ordering::Relaxed) > shared.config.max_bytes / 2
    }

    /// Everything of one moment.
    pub fn stats(&self) -> Stats {
        let shared = &self.handle.shared;
        let mut queue = shared.queue();
        let dropping = shared.is_dropping(&mut queue);
        let state = shared.ledger.lock();
        Stats {
            end: Position(queue.end),
            oldest: Position(state.segments.front().map_or(state.committed, |first| first.start)),
            bytes_on_disk: shared.ledger.disk.load(Ordering::Relaxed),
            records: queue.records,
            queued_records: queue.queued_records,
            dropped_records: queue.dropped_records,
            dropped_bytes: queue.dropped_bytes,
            calls: queue.calls,
            queued_calls: queue.queued_calls,
            unread_calls: state.calls_written.saturating_sub(state.calls_read + state.calls_lost),
            dropped_calls: queue.dropped_calls,
            lost_calls: state.calls_lost,
            found_calls: state.calls_found,
            dropping,
            panics: shared.panics.load(Ordering::Relaxed),
            torn_bytes: state.torn_bytes,
            corrupt_frames: state.corrupt_frames,
            late_acks: shared.late.load(Ordering::Relaxed),
            broken: state.broken.clone(),
            queued_bytes: queue.bytes,
        }
    }

    /// Writes what is queued, syncs, and stops the writer thread. Appends after this are dropped.
    pub fn close(&self) {
        self.handle.close();
    }
}

impl Handle {
    fn close(&self) {
        let wake = {
            let mut queue = self.shared.queue();
            queue.closing = true;
            queue.wake()
        };
        if wake {
            self.shared.wake.notify_all();
        }
        // The writer drops the wakers it woke, and with the last one of a task perhaps the last journal:
        // it cannot wait for itself.
        if std::thread::current().id() == self.thread_id {
            return;
        }
        let mut thread = locked(&self.thread);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// Never 0, which stands for "no mark".
fn random_mark() -> u32 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    ((high ^ low) as u32).max(1)
}
