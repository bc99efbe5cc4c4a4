//! The index of texts: which calls said which words. A projection of the store in a file of its own, so that
//! building it holds up nobody, and losing it loses nothing.

mod search;
mod spoken;
#[cfg(test)]
mod tests;
mod update;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::watch;

pub use self::search::{TextHit, TextHits, TextOrder, TextQuery};
use self::spoken::Going;
use super::{Config, Store, contents::Generations, cursors, open};
use crate::model::Error;

pub(super) const FILE: &str = "search.db";
const SCHEMA: &str = include_str!("schema.sql");
const VERSION: i64 = 2;
/// Texts and turns that the indexing remembers, each.
const REMEMBERED: usize = 1 << 16;
/// Calls that are taken out in one transaction.
const REMOVED_TOGETHER: usize = 64;

/// The index beside a store.
#[derive(Clone)]
pub(super) struct Texts {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    file: PathBuf,
    store: PathBuf,
    /// Whether the index may be made and added to.
    writable: bool,
    /// Opened when it is first written to.
    writing: Mutex<Option<Writing>>,
    reading: Mutex<Vec<Connection>>,
    /// How many files there were before this one.
    removed: AtomicU64,
    /// The newest call that is indexed, as far as this process has done it.
    progress: watch::Sender<i64>,
    /// How many wait for it.
    wanted: watch::Sender<usize>,
}

struct Writing {
    index: Connection,
    store: Connection,
    memory: Memory,
}

/// What was left behind by calls that were taken out of the index.
#[derive(Debug, Default)]
pub struct Unindexed {
    /// Where they were.
    places: BTreeSet<i64>,
    /// What others may say as well, of places without a session.
    shared: Vec<Going>,
    /// The oldest of the calls.
    after: i64,
    /// Words are left that nothing mentions.
    stale: bool,
}

/// What need not be read or asked again.
struct Memory {
    /// The text of a content.
    texts: Generations<i64, i64>,
    /// Turns whose words, and whose parents', are known in a place.
    turns: Generations<(u64, i64), ()>,
}

impl Memory {
    fn clear(&mut self) {
        self.texts.clear();
        self.turns.clear();
    }
}

impl Texts {
    pub(super) fn new(config: Config, store: &Path, writable: bool) -> Self {
        let shared = Shared {
            config,
            file: store.with_file_name(FILE),
            store: store.to_owned(),
            writable,
            writing: Mutex::default(),
            reading: Mutex::default(),
            removed: AtomicU64::new(0),
            progress: watch::channel(0).0,
            wanted: watch::channel(0).0,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Does `work` on a thread that may wait.
    async fn aside<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || work(&shared)).await.map_err(|error| {
            Error::internal(format!("expected the index of texts to answer, found it stopped: {error}"))
        })?
    }

    /// Closes what is open, so that the index is one file.
    pub(super) async fn close(&self) {
        let close = |shared: &Shared| {
            shared.idle().clear();
            if let Some(writing) = shared.writing().take() {
                update::empty_log(&writing.index)?;
            }
            Ok(())
        };
        if let Err(error) = self.aside(close).await {
            tracing::debug!(%error, "the log of the index of texts could not be emptied");
        }
    }
}

impl Shared {
    fn writing(&self) -> MutexGuard<'_, Option<Writing>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` with the one connection that writes; after a failure it is opened anew.
    fn write<T>(&self, work: impl FnOnce(&mut Writing) -> Result<T, Error>) -> Result<T, Error> {
        let mut held = self.writing();
        let mut writing = match held.take() {
            Some(writing) => writing,
            None => self.open()?,
        };
        let done = work(&mut writing)?;
        *held = Some(writing);
        Ok(done)
    }

    fn open(&self) -> Result<Writing, Error> {
        let index = open::writing(&self.config, &self.file)?;
        index.pragma_update(None, "cache_size", -16_384)?;
        // What is deleted is overwritten in its page; freed pages go when the index is settled.
        index.pragma_update(None, "secure_delete", "FAST")?;
        let version: i64 = index.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match version {
            VERSION => {}
            // Of an earlier version: made anew.
            1..VERSION => {
                drop(index);
                self.remove()?;
                return self.open();
            }
            0 => index.execute_batch(&format!("BEGIN; {SCHEMA} COMMIT;"))?,
            other => {
                return Err(Error::conflict(format!(
                    "expected an index of version {VERSION} in {}, found {other}: delete the file, it is made again",
                    self.file.display()
                )));
            }
        }
        Ok(Writing {
            index,
            store: open::reading(&self.config, &self.store)?,
            memory: Memory { texts: Generations::new(REMEMBERED), turns: Generations::new(REMEMBERED) },
        })
    }

    /// Does `query` with a connection that reads the index as `main` and the store as `store`.
    fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let removed = self.removed.load(Ordering::Acquire);
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open_reading()?,
        };
        let result = query(&connection)?;
        // One that reads a file that was removed meanwhile would go on reading it.
        let mut idle = self.idle();
        if self.removed.load(Ordering::Acquire) == removed {
            idle.push(connection);
        }
        Ok(result)
    }

    fn open_reading(&self) -> Result<Connection, Error> {
        if !self.file.exists() {
            if !self.writable {
                return Err(Error::conflict(format!(
                    "expected an index of texts at {}, found none: a running server makes it",
                    self.file.display()
                )));
            }
            self.write(|_| Ok(()))?;
        }
        let connection = open::reading(&self.config, &self.file)?;
        connection.execute("ATTACH DATABASE ?1 AS store", [self.store.to_string_lossy()])?;
        Ok(connection)
    }

    fn index_next(&self, limit: usize) -> Result<bool, Error> {
        let (indexed, more) = self.write(|writing| {
            let at = update::progress(&writing.index)?;
            let moment = writing.store.unchecked_transaction()?;
            let spoken = spoken::after(&moment, &mut writing.memory, at, limit)?;
            let Some(last) = spoken.last().map(|spoken| spoken.sequence) else {
                // A store that is behind its index is another one: somebody replaced the file.
                return Ok((if cursors::last(&moment)? < at { None } else { Some(at) }, false));
            };
            drop(moment);
            update::add(writing, &spoken, last)?;
            Ok((Some(last), true))
        })?;
        let Some(indexed) = indexed else {
            self.forget()?;
            return Ok(true);
        };
        self.progress.send_replace(indexed);
        Ok(more)
    }

    fn unindex(&self, sequences: &[i64]) -> Result<Unindexed, Error> {
        let mut unindexed = Unindexed::default();
        let Some(last) = sequences.iter().copied().max() else { return Ok(unindexed) };
        // What is indexed while it goes would stay: so all of it is indexed first. Not more: calls that come
        // meanwhile may come faster than they are indexed.
        while self.index_next(REMOVED_TOGETHER)? && *self.progress.borrow() < last {}
        for sequences in sequences.chunks(REMOVED_TOGETHER) {
            self.write(|writing| {
                let going = update::mentions(writing, sequences)?;
                unindexed.places.extend(going.iter().map(|one| one.place));
                unindexed.shared.extend(going.iter().filter(|one| one.may_be_shared()).copied());
                let texts = spoken::texts(&writing.store, going)?;
                unindexed.stale |= update::remove(writing, sequences, texts)?;
                Ok(())
            })?;
        }
        unindexed.after = sequences.iter().copied().min().unwrap_or_default();
        Ok(unindexed)
    }

    fn reindex(&self, unindexed: Unindexed) -> Result<(), Error> {
        if unindexed.stale {
            // Words whose text can no longer be read cannot be taken out one by one.
            self.forget()?;
            return self.write(|_| Ok(()));
        }
        for place in unindexed.places {
            let Some(named) = self.write(|writing| update::place(&writing.index, place))? else { continue };
            let [_, _, session] = &named;
            // Without a session a place is as good as everything: it is looked through only as far as somebody
            // is known to say again what went.
            let mut wanted: Vec<Going> = Vec::new();
            let mut after = 0;
            if session.is_empty() {
                let of_place = unindexed.shared.iter().filter(|one| one.place == place).copied();
                wanted = self.write(|writing| spoken::still_said(&writing.store, of_place.collect()))?;
                after = unindexed.after;
            }
            while !session.is_empty() || !wanted.is_empty() {
                let last = self.write(|writing| {
                    let moment = writing.store.unchecked_transaction()?;
                    let spoken = spoken::in_place(&moment, &mut writing.memory, &named, after, 64)?;
                    drop(moment);
                    update::add(writing, &spoken, 0)?;
                    update::missing(&writing.index, &mut wanted)?;
                    Ok(spoken.last().map(|spoken| spoken.sequence))
                })?;
                let Some(last) = last else { break };
                after = last;
            }
            self.write(|writing| update::drop_place(&writing.index, place))?;
        }
        self.write(|writing| update::settle(&writing.index))
    }

    fn forget(&self) -> Result<(), Error> {
        let mut writing = self.writing();
        *writing = None;
        self.remove()?;
        self.progress.send_replace(0);
        Ok(())
    }

    fn remove(&self) -> Result<(), Error> {
        for file in [self.file.clone(), open::log_of(&self.file), shared_memory_of(&self.file)] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::internal(format!(
                        "expected to remove {}, found: {error}",
                        file.display()
                    )));
                }
                _ => {}
            }
        }
        let mut idle = self.idle();
        self.removed.fetch_add(1, Ordering::Release);
        idle.clear();
        Ok(())
    }
}

/// Counts whoever waits, until dropped.
struct Wanted<'w>(&'w watch::Sender<usize>);

impl<'w> Wanted<'w> {
    fn new(count: &'w watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

fn shared_memory_of(file: &Path) -> PathBuf {
    let mut memory = file.as_os_str().to_owned();
    memory.push("-shm");
    memory.into()
}

impl Store {
    /// Indexes what the next calls said, at most `limit` of them; false when there were none. Blocks: for a thread
    /// of its own.
    pub fn index_next(&self, limit: usize) -> Result<bool, Error> {
        self.texts.shared.index_next(limit)
    }

    /// How many wait for texts to be indexed.
    pub fn texts_wanted(&self) -> watch::Receiver<usize> {
        self.texts.shared.wanted.subscribe()
    }

    /// Waits, but not longer than `limit`, until the texts of all calls that are stored now are indexed; tells how
    /// many calls are not.
    pub async fn texts_caught_up(&self, limit: Duration) -> Result<u64, Error> {
        let last = self.last_sequence().await?;
        let mut progress = self.texts.shared.progress.subscribe();
        if self.texts.shared.writable && *progress.borrow_and_update() < last {
            let wanted = Wanted::new(&self.texts.shared.wanted);
            // Late or without an indexer: what is there is searched.
            drop(tokio::time::timeout(limit, progress.wait_for(|at| *at >= last)).await);
            drop(wanted);
        }
        let at = self.texts.aside(|shared| shared.read(update::progress)).await?;
        let after = "SELECT count(*) FROM spans WHERE sequence > ?1 AND sequence <= ?2";
        self.readers
            .read(move |connection| {
                Ok(connection.prepare_cached(after)?.query_row([at, last], |row| row.get(0))?)
            })
            .await
    }

    /// Takes calls out of the index, with the words that only they said; returns what `reindex` goes on from.
    /// Before their payloads go: the words are found again in them.
    pub async fn unindex(&self, sequences: Vec<i64>) -> Result<Unindexed, Error> {
        self.writer()?;
        self.texts.aside(move |shared| shared.unindex(&sequences)).await
    }

    /// Indexes again what is still said in places that calls were taken out of. After the sweep: what nobody
    /// refers to any more is not looked for.
    pub async fn reindex(&self, unindexed: Unindexed) -> Result<(), Error> {
        self.writer()?;
        self.texts.aside(move |shared| shared.reindex(unindexed)).await
    }

    /// Calls of which something could not be read, so that it is not found.
    pub async fn unread_calls(&self) -> Result<u64, Error> {
        if !self.texts.shared.file.exists() {
            return Ok(0);
        }
        self.texts.aside(|shared| shared.read(update::unread)).await
    }

    /// Forgets the index of texts; indexing begins anew.
    pub async fn forget_texts(&self) -> Result<(), Error> {
        self.writer()?;
        self.texts.aside(Shared::forget).await
    }

    /// Calls that brought in texts with these words.
    pub async fn search(&self, query: TextQuery) -> Result<TextHits, Error> {
        let found = {
            let query = query.clone();
            self.texts.aside(move |shared| shared.read(|connection| search::find(connection, &query))).await?
        };
        self.readers.read(move |connection| search::show(connection, &query, found)).await
    }
}
