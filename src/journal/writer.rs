//! The writer thread: has written what nobody waits for at each tick, what appenders could not write
//! themselves at once, and what is written synced. When the disk does not work it keeps trying while
//! producers go on.

use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

use super::{
    Shared,
    config::Fsync,
    pen::{self, Work},
    queue::{BLOCK, Writer as Waits},
};

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// When what is queued goes out though nobody waits for it.
    tick_at: Instant,
}

/// What the thread woke for.
enum Woke {
    /// It holds the pen for this.
    Write(Work),
    Sync,
    Close(Work),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let tick_at = Instant::now() + shared.config.tick;
        Self { shared, tick_at }
    }

    pub(super) fn run(mut self) {
        // Runs also when this thread panics: nobody may wait for it then.
        let farewell = Farewell(Arc::clone(&self.shared));
        let shared = Arc::clone(&self.shared);
        loop {
            match self.wait() {
                Woke::Write(work) => {
                    shared.write(work);
                    self.tick_at = Instant::now() + shared.config.tick;
                    // Deleting takes milliseconds: outside of what appenders may wait for.
                    shared.ledger.prune(&shared.directory);
                }
                Woke::Sync => self.sync(),
                Woke::Close(work) => {
                    shared.write(work);
                    if shared.config.fsync != Fsync::Never {
                        self.sync();
                    }
                    break;
                }
            }
        }
        shared.pen().abandon(&shared);
        drop(farewell);
    }

    /// Waits until there is something to do; without anything queued or unsynced, for ever.
    fn wait(&mut self) -> Woke {
        let mut queue = self.shared.queue();
        loop {
            let now = Instant::now();
            let waiting = !queue.blocks.is_empty();
            let sync_at = self.shared.sync_at(&queue);
            let retry_at = queue.retry.map(|(at, _)| at);
            let fails = retry_at.is_some_and(|at| at > now) && !queue.closing;
            let writes = !fails
                && (queue.closing
                    || queue.urgent
                    || queue.seal
                    || retry_at.is_some()
                    || queue.bytes >= BLOCK
                    || waiting && self.tick_at <= now);
            if writes && !queue.held {
                queue.writer = Waits::Busy;
                queue.held = true;
                let work = Work::take(&mut queue);
                return if queue.closing { Woke::Close(work) } else { Woke::Write(work) };
            }
            if !fails && sync_at.is_some_and(|at| at <= now) {
                queue.writer = Waits::Busy;
                return Woke::Sync;
            }
            let (until, as_what) = if fails {
                (retry_at, Waits::Failing)
            } else if writes {
                (sync_at, Waits::ForPen)
            } else if waiting || self.tick_at > now {
                // Also for a tick after the last write: records come in streams, and a producer that
                // finds the thread ticking need not wake it.
                (Some(sync_at.map_or(self.tick_at, |sync| sync.min(self.tick_at))), Waits::Ticking)
            } else {
                (sync_at, Waits::Parked)
            };
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

    /// Without the pen: appenders go on writing meanwhile.
    fn sync(&self) {
        let shared = &*self.shared;
        if shared.queue().dirty.take().is_none() {
            return;
        }
        let to_sync = shared.pen().take_unsynced();
        let outcome = pen::sync(shared, &to_sync);
        if outcome.is_err() {
            let outcome = shared.pen().synced(shared, outcome);
            if let Err(error) = outcome {
                pen::failed(shared, &error);
            }
        }
    }
}

struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.finish();
    }
}
