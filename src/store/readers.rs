//! Reading: a few connections beside the writer, each used by one query at a time on a blocking thread.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{Config, open};
use crate::model::{Error, ErrorCode};

#[derive(Clone)]
pub(super) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// One permit per connection that may exist.
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(config: Config, file: PathBuf) -> Self {
        let permits = Arc::new(Semaphore::new(config.readers));
        Self { shared: Arc::new(Shared { config, file, idle: Mutex::default(), permits }) }
    }

    /// Runs `query` in a transaction: all that it reads is of one moment.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let stopped = || Error::internal("expected the query to end, found it stopped");
        let permit = Arc::clone(&self.shared.permits).acquire_owned().await.map_err(|_| stopped())?;
        let shared = Arc::clone(&self.shared);
        let query = move || {
            // Held to the end of the query, also when whoever asked has gone.
            let _permit = permit;
            let idle = shared.idle().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => open::reading(&shared.config, &shared.file)?,
            };
            let transaction = connection.transaction()?;
            let result = query(&transaction);
            let ended = transaction.finish();
            // After a failure of the file the next query opens it anew.
            let sound = !matches!(&result, Err(error) if error.code == ErrorCode::Internal);
            if sound && ended.is_ok() {
                shared.idle().push(connection);
            }
            result
        };
        tokio::task::spawn_blocking(query).await.map_err(|_| stopped())?
    }

    /// Closes the connections that are not in use.
    pub(super) fn rest(&self) {
        self.shared.idle().clear();
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
