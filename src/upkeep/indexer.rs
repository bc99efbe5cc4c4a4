//! Keeps the index of texts up with the store. It follows the order of storing with a place of its own, a few calls
//! at a time, on a thread behind the traffic: nobody waits for it, and what is late is found later.

use std::{
    fmt, io, thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{broadcast, watch},
};

use crate::{
    background::{self, Standing, Worker},
    store::Store,
};

/// Calls read and indexed together.
const BATCH: usize = 64;
/// The most that it rests between two batches; otherwise as long as one took, so that it has half a core at most.
const LONGEST_REST: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_secs(5);
/// How often the store is asked when nobody says that there is more.
const IDLE: Duration = Duration::from_secs(30);

/// The thread that indexes.
pub struct Indexer {
    stop: watch::Sender<bool>,
    thread: thread::JoinHandle<()>,
}

impl fmt::Debug for Indexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Indexer").finish_non_exhaustive()
    }
}

impl Indexer {
    /// Starts it; for a caller inside the runtime.
    pub fn start(store: Store) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let commits = store.subscribe();
        let worker = Indexing { store, commits, stopped, runtime: Handle::current() };
        Ok(Self { stop, thread: background::start("text-indexer", worker)? })
    }

    /// Ends it after the batch in hand.
    pub async fn end(self) {
        self.stop.send_replace(true);
        // An error is a panic that the log has.
        drop(tokio::task::spawn_blocking(move || self.thread.join()).await);
    }
}

struct Indexing {
    store: Store,
    commits: broadcast::Receiver<i64>,
    stopped: watch::Receiver<bool>,
    runtime: Handle,
}

impl Worker for Indexing {
    fn standing(&self) -> Standing {
        Standing::Behind
    }

    fn work(mut self) -> Option<Self> {
        while !*self.stopped.borrow() {
            let begun = Instant::now();
            let more = self.store.index_next(BATCH);
            let rest = match &more {
                Ok(true) => begun.elapsed().min(LONGEST_REST),
                Ok(false) => IDLE,
                Err(error) => {
                    tracing::warn!(%error, "indexing what calls said failed; it is tried again");
                    RETRY
                }
            };
            let woken = matches!(more, Ok(false));
            let (commits, stopped) = (&mut self.commits, &mut self.stopped);
            self.runtime.block_on(async {
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    // Lagging says as much as a commit: look again.
                    _ = commits.recv(), if woken => {}
                    // An error means that whoever could say so is gone.
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
            if self.stopped.has_changed().is_err() {
                break;
            }
        }
        None
    }
}
