//! Keeps the index of texts up with the store. It follows the order of storing with a place of its own, some calls
//! at a time, on processors that nobody else wants: what is late is found later, unless somebody searches.

use std::{
    fmt, io, thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{
        broadcast::{self, error::TryRecvError},
        watch,
    },
};

use crate::{
    background::{self, Standing, Worker},
    store::Store,
};

/// Calls read and indexed together.
const BATCH: usize = 256;
/// Rests between two batches, in times of what the last one took: while calls come it has a tenth of a processor at
/// most, then half of one, and all it can get while somebody waits for it.
const REST_WHILE_CALLS_COME: u32 = 9;
const REST: u32 = 1;
const LONGEST_REST: Duration = Duration::from_secs(2);
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
        let wanted = store.texts_wanted();
        let standing = Standing::Idle;
        let worker = Indexing { store, commits, stopped, wanted, standing, runtime: Handle::current() };
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
    /// How many wait for what is not indexed yet.
    wanted: watch::Receiver<usize>,
    standing: Standing,
    runtime: Handle,
}

impl Worker for Indexing {
    fn standing(&self) -> Standing {
        self.standing
    }

    fn work(mut self) -> Option<Self> {
        while !*self.stopped.borrow() {
            let wanted = *self.wanted.borrow_and_update() > 0;
            let standing = if wanted { Standing::Beside } else { Standing::Idle };
            if standing != self.standing {
                self.standing = standing;
                return Some(self);
            }
            // Only what comes while it works says that calls come.
            while has_more(&mut self.commits) {}
            let begun = Instant::now();
            let more = self.store.index_next(BATCH);
            let calls_come = has_more(&mut self.commits);
            let rest = match &more {
                Ok(true) if wanted => continue,
                Ok(true) => {
                    let times = if calls_come { REST_WHILE_CALLS_COME } else { REST };
                    (times * begun.elapsed()).min(LONGEST_REST)
                }
                Ok(false) if calls_come => continue,
                Ok(false) => IDLE,
                Err(error) => {
                    tracing::warn!(%error, "indexing what calls said failed; it is tried again");
                    RETRY
                }
            };
            let woken = matches!(more, Ok(false));
            let Self { commits, stopped, wanted, runtime, .. } = &mut self;
            runtime.block_on(async {
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    _ = commits.recv(), if woken => {}
                    // An error means that nobody can want anything any more.
                    _ = wanted.changed() => {}
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

/// Lagging says as much as a commit.
fn has_more(commits: &mut broadcast::Receiver<i64>) -> bool {
    matches!(commits.try_recv(), Ok(_) | Err(TryRecvError::Lagged(_)))
}
