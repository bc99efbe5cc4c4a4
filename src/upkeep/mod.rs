//! Upkeep of what was recorded (layer 3): how long it is kept, erasing it, dictionaries, and the index of texts.
//! One piece of work at a time, each in slices that the traffic does not notice; nothing here decides what a
//! call means.

mod config;
mod dictionaries;
mod erase;
mod indexer;
mod retention;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, MutexGuard, watch};

pub use self::{
    config::{Config, Life},
    dictionaries::TrainReport,
    erase::EraseReport,
    indexer::Indexer,
    retention::GcReport,
};
use crate::{
    artifacts::Artifacts,
    journal::Journal,
    model::{Error, UnixNanos},
    store::Store,
};

/// Resolves once what was journalled before is in the store.
pub type Fresh = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A handle; clones share it.
#[derive(Clone)]
pub struct Upkeep {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    store: Store,
    journal: Journal,
    artifacts: Artifacts,
    fresh: Fresh,
    now: fn() -> UnixNanos,
    /// Held by the one piece of work that removes or packs anew.
    working: Mutex<()>,
}

impl fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upkeep").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Upkeep {
    pub fn new(
        config: Config,
        store: Store,
        journal: Journal,
        artifacts: Artifacts,
        fresh: Fresh,
        now: fn() -> UnixNanos,
    ) -> Self {
        let working = Mutex::new(());
        Self { shared: Arc::new(Shared { config, store, journal, artifacts, fresh, now, working }) }
    }

    /// Works in the background until `stop` turns true: what has outlived its life goes, and dictionaries are
    /// trained when there is enough to learn from.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let stopped = async move {
            // An error means that whoever could say so is gone.
            drop(stop.wait_for(|stop| *stop).await);
        };
        tokio::select! {
            () = stopped => {}
            () = self.tend() => {}
        }
    }

    /// Makes the index of texts anew, in the background.
    pub async fn reindex(&self) -> Result<(), Error> {
        self.shared.store.forget_texts().await
    }

    async fn tend(&self) {
        // The first round waits too: a server that starts has other things to do.
        loop {
            tokio::time::sleep(self.shared.config.every).await;
            if let Err(error) = self.learn().await {
                tracing::warn!(%error, "training dictionaries failed; it is tried again");
            }
            if self.shared.config.removes() {
                match self.gc(false).await {
                    Ok(report) if report.calls + report.payloads > 0 => tracing::info!(
                        calls = report.calls,
                        payloads = report.payloads,
                        contents = report.swept.contents,
                        freed_bytes = report.freed_bytes,
                        "what has outlived its retention is removed"
                    ),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "removing what has outlived its retention failed; it is tried again")
                    }
                }
            }
        }
    }

    /// Runs work to its end whatever becomes of whoever asked for it.
    async fn to_the_end<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        tokio::spawn(work)
            .await
            .map_err(|error| Error::internal(format!("expected upkeep to end, found: {error}")))?
    }
}

impl Shared {
    async fn begin(&self) -> MutexGuard<'_, ()> {
        self.working.lock().await
    }
}
