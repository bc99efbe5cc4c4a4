//! The store: all SQL of the house. Everything above speaks model types.
//!
//! SQLite in one file, write-ahead logged: one thread writes, a few connections read beside it. The store is
//! a projection of the journal, so applying a call twice changes nothing, and being locked, full or broken
//! is an error to try again after, never a loss. Knows no HTTP and no price; only the index of texts asks `wire` what
//! a body says.

mod arrivals;
mod bits;
mod budgets;
mod calls;
mod contents;
mod costs;
mod cursors;
mod dictionaries;
mod expiry;
mod heads;
mod ids;
mod jobs;
mod keeping;
mod kinds;
mod ledger;
mod links;
mod migrate;
mod mlflow;
mod numbers;
mod open;
mod packing;
mod payloads;
mod place;
mod profiles;
mod readers;
mod recipes;
mod repricings;
mod rollups;
mod runs;
mod search;
mod sessions;
mod settle;
mod stats;
mod sweep;
#[cfg(test)]
mod tests;
mod texts;
mod token_errors;
mod totals;
mod traces;
mod tracking;
mod training;
mod weave;
mod writer;

use std::{
    fmt,
    ops::Range,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::sync::broadcast;

#[cfg(test)]
pub(crate) use self::tests::{damage, sample_call};
use self::{dictionaries::Kind, place::Place, readers::Readers, texts::Texts, writer::Writer};
pub use self::{
    expiry::{ArtifactOwner, Cutoffs, Found, Target},
    links::SessionsConfig,
    mlflow::MlflowDatabase,
    stats::{DictionaryStats, StoreStats},
    sweep::{Ids, Swept},
    texts::{TextHit, TextHits, TextOrder, TextQuery, Unindexed},
    traces::Traces,
    training::{Repacking, Training},
};
use crate::{
    background::Standing,
    model::{
        CallId, Error, RunId, UnixNanos,
        budget::{RunBudget, Spending},
        call::{Call, Repriced, Repricing, Settled},
        content::StoredBody,
        filter::{
            CallFilter, CostQuery, CostRow, ExperimentSummary, Page, PageRequest, RunSummary, SessionCursor,
            SessionFilter, TokenError, search::RunSearch,
        },
        lineage::{CacheEntry, CacheQuery, CacheRow, Inherited, Introduced, Link, Session, SessionCall},
        run::RunTotals,
    },
};

/// The database's name in the store's directory.
pub const FILE: &str = "tapline.db";

/// Commits that a slow subscriber may fall behind before it is told that it missed some.
const COMMITS_KEPT: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Queries that run at the same time.
    pub readers: usize,
    /// How long to wait for another process's lock, in milliseconds.
    pub busy_timeout_ms: u64,
    /// zstd's level for stored content: 1 (fast) to 22 (small).
    pub compression_level: i32,
    /// Where sessions are looked for of calls that name none.
    pub sessions: SessionsConfig,
}

impl Config {
    fn check(&self) -> Result<(), Error> {
        if self.readers == 0 {
            return Err(Error::invalid("expected `readers` of the store of at least 1, found 0"));
        }
        if !(1..=22).contains(&self.compression_level) {
            return Err(Error::invalid(format!(
                "expected `compression_level` of the store from 1 to 22, found {}",
                self.compression_level
            )));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { readers: 3, busy_timeout_ms: 5_000, compression_level: 1, sessions: SessionsConfig::default() }
    }
}

/// A handle to the store; clones share it.
#[derive(Clone)]
pub struct Store {
    readers: Readers,
    /// `None` when opened for reading only.
    writer: Option<Writer>,
    committed: broadcast::Sender<i64>,
    texts: Texts,
    file: Arc<Path>,
    place: Place,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("file", &self.file)
            .field("read_only", &self.writer.is_none())
            .finish_non_exhaustive()
    }
}

/// Which body of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

/// A stored call with its place in the order of storing, for consumers with a cursor (export, tail).
#[derive(Debug, Clone, PartialEq)]
pub struct Sequenced {
    /// Grows by storing, never reused.
    pub sequence: i64,
    pub call: Call,
}

impl Store {
    /// Opens `directory/tapline.db`, migrating it forward; refuses a newer schema.
    pub fn open(config: &Config, directory: &Path) -> Result<Self, Error> {
        config.check()?;
        std::fs::create_dir_all(directory).map_err(|error| {
            Error::internal(format!(
                "expected a directory for the store at {}, found: {error}",
                directory.display()
            ))
        })?;
        let file = directory.join(FILE);
        let mut connection = open::writing(config, &file).map_err(|error| at(&file, error))?;
        migrate::forward(&mut connection).map_err(|error| at(&file, error))?;
        let (committed, _) = broadcast::channel(COMMITS_KEPT);
        let place = Place::default();
        place.note(&file);
        let writer =
            Writer::start(config.clone(), file.clone(), connection, committed.clone(), place.clone())?;
        Ok(Self {
            readers: Readers::new(config.clone(), file.clone()),
            writer: Some(writer),
            committed,
            texts: Texts::new(config.clone(), &file, true),
            file: file.into(),
            place,
        })
    }

    /// Opens for reading only: no migration, no writer. For a command line beside a running server.
    pub fn open_read_only(config: &Config, directory: &Path) -> Result<Self, Error> {
        config.check()?;
        let file = directory.join(FILE);
        if !file.exists() {
            return Err(Error::not_found(format!(
                "expected a store at {}, found none: name the directory of a tapline that has recorded calls",
                file.display()
            )));
        }
        let connection = open::reading(config, &file)?;
        migrate::check(&connection).map_err(|error| at(&file, error))?;
        let (committed, _) = broadcast::channel(COMMITS_KEPT);
        Ok(Self {
            readers: Readers::new(config.clone(), file.clone()),
            writer: None,
            committed,
            texts: Texts::new(config.clone(), &file, false),
            file: file.into(),
            place: Place::default(),
        })
    }

    /// Writes settled calls with their placement, contents and rollups in one transaction. A call that
    /// is there already is left as it is. Returns the calls as written, experiment and run ids filled.
    pub async fn settle(&self, calls: Vec<Settled>) -> Result<Vec<Call>, Error> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let all = Arc::new(calls);
        self.settle_shared(&all, 0..all.len(), Standing::Beside, &Arc::default()).await
    }

    /// The same for calls that stay the caller's, to be handed in again when the store is busy: those of
    /// `range`. Work on idle processors may return with the first of them alone, as soon as somebody
    /// waits for it; `gives_way` says that nobody does.
    pub async fn settle_shared(
        &self,
        calls: &Arc<Vec<Settled>>,
        range: Range<usize>,
        standing: Standing,
        gives_way: &Arc<AtomicBool>,
    ) -> Result<Vec<Call>, Error> {
        let (calls, gives_way) = (Arc::clone(calls), Arc::clone(gives_way));
        let work = move |write: &mut writer::Write<'_>| {
            let calls = calls.get(range).unwrap_or_default();
            settle::settle(write, calls, standing, &gives_way)
        };
        self.writer()?.write_standing(standing, work).await
    }

    /// Newest first. A page of 0 has a default length; an experiment or run that does not exist has no calls.
    pub async fn calls(&self, filter: CallFilter, page: PageRequest) -> Result<Page<Call>, Error> {
        self.readers.read(move |connection| search::page(connection, &filter, &page)).await
    }

    /// By call id, or by span id (16 hex), or by a unique prefix of the call id of at least 6 digits.
    pub async fn call(&self, id: &str) -> Result<Call, Error> {
        let id = id.to_owned();
        self.readers.read(move |connection| calls::find(connection, &id)).await
    }

    /// The exact bytes that were recorded (invariant 8).
    pub async fn body(&self, call: CallId, side: Side) -> Result<StoredBody, Error> {
        self.readers.read(move |connection| payloads::body(connection, call, side)).await
    }

    /// Calls stored after `sequence`, in that order.
    pub async fn stored_after(&self, sequence: i64, limit: usize) -> Result<Vec<Sequenced>, Error> {
        self.readers.read(move |connection| cursors::stored_after(connection, sequence, limit)).await
    }

    /// The newest call's place in the order of storing; 0 when nothing was ever stored.
    pub async fn last_sequence(&self) -> Result<i64, Error> {
        self.readers.read(cursors::last).await
    }

    /// A consumer's own place, kept in the store; 0 at first.
    pub async fn cursor(&self, consumer: &str) -> Result<i64, Error> {
        let consumer = consumer.to_owned();
        self.readers.read(move |connection| cursors::get(connection, &consumer)).await
    }

    pub async fn set_cursor(&self, consumer: &str, sequence: i64) -> Result<(), Error> {
        let consumer = consumer.to_owned();
        self.writer()?.write(move |write| cursors::set(write.connection, &consumer, sequence)).await
    }

    /// Runs as a list shows them. `experiment` is an id or a name.
    pub async fn runs(
        &self,
        experiment: Option<String>,
        search: RunSearch,
    ) -> Result<Vec<RunSummary>, Error> {
        self.readers.read(move |connection| runs::list(connection, experiment.as_deref(), &search)).await
    }

    /// By id, or by name when exactly one run has it.
    pub async fn run(&self, id: &str) -> Result<RunSummary, Error> {
        let id = id.to_owned();
        self.readers.read(move |connection| runs::run(connection, &id)).await
    }

    /// What the calls of the run with this id come to, and how long they took.
    pub async fn run_totals(&self, run: &str) -> Result<RunTotals, Error> {
        let run = run.to_owned();
        self.readers.read(move |connection| totals::of_run(connection, &run)).await
    }

    /// All, in the order of their making.
    pub async fn experiments(&self) -> Result<Vec<ExperimentSummary>, Error> {
        self.readers.read(runs::experiments).await
    }

    pub async fn experiment_name(&self, id: &str) -> Result<String, Error> {
        let id = id.to_owned();
        self.readers.read(move |connection| runs::experiment_name(connection, &id)).await
    }

    /// By id or by name.
    pub async fn experiment(&self, id: &str) -> Result<ExperimentSummary, Error> {
        let id = id.to_owned();
        self.readers.read(move |connection| runs::experiment(connection, &id)).await
    }

    /// The one that was active last first.
    pub async fn sessions(
        &self,
        filter: SessionFilter,
        limit: usize,
        cursor: Option<SessionCursor>,
    ) -> Result<Vec<Session>, Error> {
        self.readers.read(move |connection| sessions::list(connection, &filter, limit, cursor.as_ref())).await
    }

    /// By id, or by the beginning of exactly one.
    pub async fn session(&self, id: &str) -> Result<Session, Error> {
        let id = id.to_owned();
        self.readers.read(move |connection| sessions::find(connection, &id)).await
    }

    /// The calls of a session in the order of their start, at most `limit`.
    pub async fn session_calls(&self, session: &str, limit: usize) -> Result<Vec<SessionCall>, Error> {
        let session = session.to_owned();
        self.readers.read(move |connection| sessions::calls(connection, &session, limit)).await
    }

    /// How a call hangs under another; `None` where it begins a conversation.
    pub async fn link(&self, call: CallId) -> Result<Option<Link>, Error> {
        self.readers.read(move |connection| links::link(connection, call)).await
    }

    /// Which call brought each element of a call's prompt into its conversation, in the order of the prompt.
    pub async fn blame(&self, call: CallId) -> Result<Vec<Introduced>, Error> {
        self.readers.read(move |connection| links::blame(connection, call)).await
    }

    /// How many of its messages after the system prompt a call has from its parent.
    pub async fn inherited(&self, call: CallId) -> Result<Inherited, Error> {
        self.readers.read(move |connection| links::inherited(connection, call)).await
    }

    /// What a prompt cache could have read of a call's input; `None` where that does not apply.
    pub async fn cache_entry(&self, call: CallId) -> Result<Option<CacheEntry>, Error> {
        self.readers.read(move |connection| ledger::entry(connection, call)).await
    }

    /// Sums of the cache ledger: the largest loss first, or by day where that is the first dimension.
    pub async fn cache_sums(&self, query: CacheQuery) -> Result<Vec<CacheRow>, Error> {
        self.readers.read(move |connection| ledger::sums(connection, &query)).await
    }

    /// Sums of the rollups: largest cost first, or by time where the first dimension is one. Runs and
    /// experiments are told apart by id, so two of one name are two rows with the same key.
    pub async fn costs(&self, query: CostQuery) -> Result<Vec<CostRow>, Error> {
        self.readers.read(move |connection| costs::costs(connection, &query)).await
    }

    /// What was spent since a full hour, by everything that a budget may tell apart; `by_user` reads calls.
    pub async fn spending(&self, since: UnixNanos, by_user: bool) -> Result<Vec<Spending>, Error> {
        self.readers.read(move |connection| budgets::since(connection, since, by_user)).await
    }

    /// Every run's own budget, and what the run has spent.
    pub async fn run_budgets(&self) -> Result<Vec<(RunId, RunBudget, Spending)>, Error> {
        self.readers.read(budgets::runs).await
    }

    /// Gives a run, named by its id, a budget; returns what it has spent until now.
    pub async fn set_run_budget(
        &self,
        run: RunId,
        budget: RunBudget,
        at: UnixNanos,
    ) -> Result<Spending, Error> {
        self.writer()?.write(move |write| budgets::set(write.connection, &run, budget, at)).await
    }

    /// Takes a run's own budget away; false when it had none.
    pub async fn clear_run_budget(&self, run: RunId) -> Result<bool, Error> {
        self.writer()?.write(move |write| budgets::clear(write.connection, &run)).await
    }

    /// Gives stored calls new costs and corrects every sum that they are in, in one transaction.
    pub async fn reprice(&self, repriced: Vec<Repriced>) -> Result<u64, Error> {
        self.writer()?.write(move |write| repricings::apply(write, &repriced)).await
    }

    /// Writes down that costs were changed; returns the row's number.
    pub async fn keep_repricing(&self, repricing: Repricing) -> Result<i64, Error> {
        self.writer()?.write(move |write| repricings::keep(write.connection, &repricing)).await
    }

    /// How far own token counts are from reported ones, by model.
    pub async fn token_errors(&self) -> Result<Vec<TokenError>, Error> {
        self.readers.read(token_errors::all).await
    }

    /// Trains a dictionary for each kind of stored bytes and takes those into use that pay. What is stored
    /// already is packed with them by `repack`.
    pub async fn train(&self, at: UnixNanos) -> Result<Vec<Training>, Error> {
        let mut trainings = Vec::new();
        for kind in Kind::ALL {
            let (mut training, trained) =
                self.readers.read(move |connection| training::train(connection, kind)).await?;
            if let Some(trained) = trained {
                let keep = move |write: &mut writer::Write<'_>| {
                    let id = training::keep(write.connection, kind, &trained, at)?;
                    write.interned.packer.use_newest(write.connection)?;
                    Ok(id)
                };
                training.dictionary = Some(self.writer()?.write(keep).await?);
            }
            trainings.push(training);
        }
        Ok(trainings)
    }

    /// Packs the next few rows anew with the newest dictionaries; `done` when there was none left.
    pub async fn repack(&self, at: Repacking) -> Result<Repacking, Error> {
        let (mut next, slice) = self.readers.read(move |connection| training::slice(connection, at)).await?;
        if slice.is_empty() {
            return Ok(next);
        }
        let write = move |write: &mut writer::Write<'_>| {
            training::write(write.connection, &slice, &mut next)?;
            Ok(next)
        };
        self.writer()?.write(write).await
    }

    /// The newest dictionary's id, 0 where there is none.
    pub async fn newest_dictionary(&self) -> Result<i64, Error> {
        self.readers.read(training::newest).await
    }

    /// Drops the dictionaries before `newest` that newer ones of their kind replaced, after everything was
    /// packed anew. Returns how many went.
    pub async fn drop_old_dictionaries(&self, newest: i64) -> Result<usize, Error> {
        self.writer()?.write(move |write| training::drop_old(write.connection, newest)).await
    }

    /// The dictionaries that are kept, oldest first.
    pub async fn dictionaries(&self) -> Result<Vec<DictionaryStats>, Error> {
        self.readers.read(dictionaries::all).await
    }

    pub async fn stats(&self) -> Result<StoreStats, Error> {
        let file = Arc::clone(&self.file);
        self.readers.read(move |connection| stats::stats(connection, &file)).await
    }

    /// Makes what is committed outlive a power loss. A commit alone outlives the process, not the machine, so
    /// whoever keeps calls safe elsewhere (the journal, where its policy is to sync) lets go of them after this.
    pub async fn sync(&self) -> Result<(), Error> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || open::sync_log(&file))
            .await
            .map_err(|error| Error::internal(format!("expected the store to sync, found: {error}")))?
    }

    /// Told the newest sequence after each commit that stored calls.
    pub fn subscribe(&self) -> broadcast::Receiver<i64> {
        self.committed.subscribe()
    }

    /// A cheap write-ability check for readiness: takes the write lock and gives it back.
    pub async fn ping(&self) -> Result<(), Error> {
        self.writer()?.write(|_| Ok(())).await
    }

    /// False when the file that is written is not the one under its name any more: somebody removed or
    /// replaced it, and what is written is lost.
    pub fn is_in_place(&self) -> bool {
        self.place.holds(&self.file)
    }

    /// Lets go of the open file. What is read or written next opens what stands under its name, or makes it.
    pub async fn reopen(&self) -> Result<(), Error> {
        self.writer()?.reopen().await?;
        self.readers.rest();
        // The index is of the store that was there before.
        self.forget_texts().await
    }

    /// Writes what is queued, checkpoints and stops the writer thread. Writing after this is refused.
    pub async fn close(&self) {
        self.readers.rest();
        self.texts.close().await;
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    fn writer(&self) -> Result<&Writer, Error> {
        self.writer.as_ref().ok_or_else(|| {
            Error::conflict(format!(
                "expected a store to write to, found {} open for reading only",
                self.file.display()
            ))
        })
    }
}

fn at(file: &Path, error: Error) -> Error {
    Error::new(error.code, format!("{}: {}", file.display(), error.message))
}
