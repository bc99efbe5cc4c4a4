//! The one thread that writes. Jobs that wait together share a transaction, each in a savepoint of its own,
//! and are answered only after the commit. Nothing here stops for a failure: the jobs hear of it, what was
//! remembered is forgotten, and a broken connection is opened anew.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{
    broadcast,
    mpsc::{self, error::TryRecvError},
    oneshot,
};

use super::{
    Config,
    contents::Interned,
    links::{Prompts, Recent, SessionsConfig},
    migrate, open,
    place::Place,
};
use crate::{
    background::{self, Standing, Worker},
    model::{Error, ErrorCode},
};

/// Jobs waiting; beyond this, callers wait to hand theirs in.
const QUEUE: usize = 256;
/// How long emptying the log waits for those who read it.
const SHORT_WAIT: Duration = Duration::from_millis(20);
/// Jobs that share one commit.
const GROUP: usize = 64;
/// Contents and turns remembered, each; about 8 MiB together.
const REMEMBERED: usize = 1 << 16;

/// What a job works with, inside the open transaction.
pub(super) struct Write<'w> {
    pub(super) connection: &'w Connection,
    pub(super) interned: &'w mut Interned,
    pub(super) recent: &'w mut Recent,
    pub(super) prompts: &'w mut Prompts,
    pub(super) sessions: &'w SessionsConfig,
    /// The sequence of the newest call that the job stored.
    pub(super) newest: Option<i64>,
    /// The job put something into `recent` and `prompts`.
    pub(super) linked: bool,
    jobs: &'w mpsc::Receiver<Message>,
}

impl Write<'_> {
    /// Others wait for this work to end.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.jobs.is_empty()
    }
}

/// A piece of work and whoever waits for it.
trait Job: Send {
    fn standing(&self) -> Standing {
        Standing::Beside
    }
    fn run(&mut self, write: &mut Write<'_>) -> Result<(), Error>;
    /// Answers with the work's own result when it was committed, else with why it was not.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Waiting<T, F> {
    standing: Standing,
    work: Option<F>,
    done: Option<T>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Waiting<T, F>
where
    T: Send,
    F: FnOnce(&mut Write<'_>) -> Result<T, Error> + Send,
{
    fn standing(&self) -> Standing {
        self.standing
    }

    fn run(&mut self, write: &mut Write<'_>) -> Result<(), Error> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(write)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let Self { done, answer, .. } = *self;
        let result = committed.and_then(|()| {
            done.ok_or_else(|| Error::internal("expected the store's work to be done, found none"))
        });
        // Whoever asked may be gone; what is written stays written.
        drop(answer.send(result));
    }
}

enum Message {
    Job(Box<dyn Job>),
    Reopen(oneshot::Sender<()>),
    /// Empties the log; answers whether nobody was in the way.
    Checkpoint(oneshot::Sender<bool>),
    Close(oneshot::Sender<()>),
}

impl Message {
    fn standing(&self) -> Standing {
        match self {
            Self::Job(job) => job.standing(),
            Self::Reopen(_) | Self::Checkpoint(_) | Self::Close(_) => Standing::Beside,
        }
    }
}

/// The way to the writer thread; the thread ends when all of these are gone, or at `close`.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
}

impl Writer {
    /// Starts the thread on an open, migrated connection.
    pub(super) fn start(
        config: Config,
        file: PathBuf,
        connection: Connection,
        committed: broadcast::Sender<i64>,
        place: Place,
    ) -> Result<Self, Error> {
        let interned = Interned::new(config.compression_level, REMEMBERED)?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (recent, prompts) = (Recent::default(), Prompts::default());
        let thread = Thread {
            config,
            file,
            connection: Some(connection),
            interned,
            recent,
            prompts,
            committed,
            place,
            jobs,
            in_hand: None,
            standing: Standing::Beside,
        };
        background::start("store-writer", thread).map_err(|error| {
            Error::internal(format!("expected to start the store's writer, found: {error}"))
        })?;
        Ok(Self { queue })
    }

    /// Runs `work` in a transaction and answers after its commit. An error undoes this work alone.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.write_standing(Standing::Beside, work).await
    }

    /// The same, for work that may stand behind the traffic.
    pub(super) async fn write_standing<T, F>(&self, standing: Standing, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        let closed = || Error::conflict("expected an open store, found it closed");
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Waiting { standing, work: Some(work), done: None, answer });
        self.queue.send(Message::Job(job)).await.map_err(|_| closed())?;
        let given_up =
            || Error::internal("expected the store's writer to answer, found that it gave the work up");
        answered.await.map_err(|_| given_up())?
    }

    /// Closes the connection; the next work opens another.
    pub(super) async fn reopen(&self) -> Result<(), Error> {
        let closed = || Error::conflict("expected an open store, found it closed");
        let (answer, answered) = oneshot::channel();
        self.queue.send(Message::Reopen(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())
    }

    /// Moves the log into the database and empties it; false while somebody reads it.
    pub(super) async fn checkpoint(&self) -> Result<bool, Error> {
        let closed = || Error::conflict("expected an open store, found it closed");
        let (answer, answered) = oneshot::channel();
        self.queue.send(Message::Checkpoint(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())
    }

    /// Writes what is queued, checkpoints and ends the thread. Later work is refused.
    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Message::Close(answer)).await.is_ok() {
            // An error means that the thread is gone, which is what was asked for.
            drop(answered.await);
        }
    }
}

struct Thread {
    config: Config,
    file: PathBuf,
    /// `None` after a failure, until it is opened again.
    connection: Option<Connection>,
    interned: Interned,
    recent: Recent,
    prompts: Prompts,
    committed: broadcast::Sender<i64>,
    place: Place,
    jobs: mpsc::Receiver<Message>,
    /// What came last and waits for the thread of its standing.
    in_hand: Option<Message>,
    standing: Standing,
}

impl Worker for Thread {
    fn standing(&self) -> Standing {
        self.standing
    }

    fn work(mut self) -> Option<Self> {
        let mut closing = None;
        while closing.is_none() {
            let first = match self.in_hand.take() {
                Some(first) => first,
                None => match self.jobs.try_recv() {
                    Ok(first) => first,
                    Err(TryRecvError::Disconnected) => break,
                    // Waiting is done beside the traffic: behind it, work that is urgent would be noticed late.
                    Err(TryRecvError::Empty) if self.standing != Standing::Beside => {
                        self.standing = Standing::Beside;
                        return Some(self);
                    }
                    Err(TryRecvError::Empty) => match self.jobs.blocking_recv() {
                        Some(first) => first,
                        None => break,
                    },
                },
            };
            let standing = first.standing();
            if standing != self.standing {
                (self.standing, self.in_hand) = (standing, Some(first));
                return Some(self);
            }
            let mut group = Vec::new();
            let mut reopening = None;
            let mut emptying = None;
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Job(job) => group.push(job),
                    Message::Reopen(answer) => {
                        reopening = Some(answer);
                        break;
                    }
                    Message::Checkpoint(answer) => {
                        emptying = Some(answer);
                        break;
                    }
                    Message::Close(answer) => {
                        closing = Some(answer);
                        break;
                    }
                }
                // Nobody who waits is put behind the traffic with work that nobody waits for.
                let joined = standing == Standing::Beside && group.len() < GROUP;
                next = if joined { self.jobs.try_recv().ok() } else { None };
            }
            // Whoever waits hears that the work was given up, and nothing that was half done is remembered.
            if !group.is_empty() && catch_unwind(AssertUnwindSafe(|| self.commit(group))).is_err() {
                tracing::error!("the store's writer panicked; its connection is opened anew");
                self.forget();
            }
            if let Some(answer) = reopening {
                self.forget();
                // Whoever asked may be gone; the connection is closed all the same.
                answer.send(()).unwrap_or_default();
            }
            if let Some(answer) = emptying {
                // Whoever asked may be gone.
                answer.send(self.empty_log()).unwrap_or_default();
            }
        }
        // Closed before the checkpoint, so that nobody waits for an answer that cannot come.
        self.jobs.close();
        while self.jobs.try_recv().is_ok() {}
        self.checkpoint();
        if let Some(answer) = closing {
            // Whoever asked may be gone; the store is closed all the same.
            answer.send(()).unwrap_or_default();
        }
        None
    }
}

impl Thread {
    fn forget(&mut self) {
        self.connection = None;
        self.interned.forget();
    }

    /// Runs a group in one transaction and answers each of its jobs.
    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        let mut results = Vec::with_capacity(group.len());
        match self.transact(&mut group, &mut results) {
            Ok(newest) => {
                // A job that failed for no fault of its own may have met a connection that fails from now on.
                if results
                    .iter()
                    .any(|result| matches!(result, Err(error) if error.code == ErrorCode::Internal))
                {
                    self.connection = None;
                }
                // Before the answers: whoever has one may look for what the subscribers were told.
                if let Some(newest) = newest {
                    // An error means that nobody listens.
                    drop(self.committed.send(newest));
                }
                for (job, result) in group.into_iter().zip(results) {
                    job.answer(result);
                }
            }
            Err(error) => {
                self.interned.forget();
                self.recent.forget();
                self.prompts = Prompts::default();
                // Being locked or full passes by itself; anything else may be the connection's own fault.
                if error.code != ErrorCode::Busy || !self.rolled_back() {
                    self.connection = None;
                }
                tracing::warn!(error = %error, jobs = group.len(), "the store could not commit");
                for job in group {
                    job.answer(Err(error.clone()));
                }
            }
        }
    }

    /// One result per job, all committed; or the reason why nothing is.
    fn transact(
        &mut self,
        group: &mut [Box<dyn Job>],
        results: &mut Vec<Result<(), Error>>,
    ) -> Result<Option<i64>, Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = open::writing(&self.config, &self.file)?;
                migrate::forward(&mut connection)?;
                self.place.note(&self.file);
                connection
            }
        };
        let connection = self.connection.insert(connection);
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut newest = None;
        // One alone is undone with its transaction; a savepoint would copy each page that it touches.
        let alone = group.len() == 1;
        for job in group {
            self.interned.refresh(connection)?;
            if !alone {
                connection.prepare_cached("SAVEPOINT job")?.execute([])?;
            }
            let mut write = Write {
                connection,
                interned: &mut self.interned,
                recent: &mut self.recent,
                prompts: &mut self.prompts,
                sessions: &self.config.sessions,
                newest: None,
                linked: false,
                jobs: &self.jobs,
            };
            let run = catch_unwind(AssertUnwindSafe(|| job.run(&mut write))).unwrap_or_else(|_| {
                Err(Error::internal("expected the store's work to end, found it panicked"))
            });
            match run {
                Ok(()) => newest = write.newest.or(newest),
                Err(error) => {
                    // What is refused before it links calls, as most that is refused, costs no reading back.
                    if write.linked {
                        self.recent.forget();
                        self.prompts = Prompts::default();
                    }
                    self.interned.forget();
                    // A full disk or a failing one ends the whole transaction, not the savepoint alone; and
                    // what one job is refused for want of room or a lock, the others would be too.
                    if connection.is_autocommit() || error.code == ErrorCode::Busy {
                        return Err(error);
                    }
                    results.push(Err(error));
                    if alone {
                        connection.prepare_cached("ROLLBACK")?.execute([])?;
                        return Ok(None);
                    }
                    connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
                    connection.prepare_cached("RELEASE job")?.execute([])?;
                    continue;
                }
            }
            if !alone {
                connection.prepare_cached("RELEASE job")?.execute([])?;
            }
            results.push(Ok(()));
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(newest)
    }

    /// Ends what is left of a failed transaction; true when the connection is at rest.
    fn rolled_back(&self) -> bool {
        let Some(connection) = &self.connection else { return true };
        connection.is_autocommit()
            || connection.execute_batch("ROLLBACK").is_ok() && connection.is_autocommit()
    }

    fn empty_log(&self) -> bool {
        let Some(connection) = &self.connection else { return false };
        // Whoever reads is not waited for: others want to write.
        let short = connection.busy_timeout(SHORT_WAIT);
        let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        let usual = connection.busy_timeout(Duration::from_millis(self.config.busy_timeout_ms));
        short.is_ok() && usual.is_ok() && matches!(emptied, Ok(0))
    }

    /// Moves the log into the database, so that a closed store is one file.
    fn checkpoint(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let checkpoint =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if !matches!(checkpoint, Ok(0)) {
            // Somebody reads; the log is kept and used at the next start.
            tracing::debug!(?checkpoint, "the store's log could not be emptied");
        }
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the store did not close cleanly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics where no job is expected to: behind its own work.
    struct Bomb;

    impl Job for Bomb {
        fn run(&mut self, _: &mut Write<'_>) -> Result<(), Error> {
            Ok(())
        }

        fn answer(self: Box<Self>, _: Result<(), Error>) {
            std::panic::panic_any("as the test asked");
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_writer_is_an_error_for_those_who_wait_and_nothing_for_those_who_come() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(super::super::FILE);
        let config = Config::default();
        let mut connection = open::writing(&config, &file).unwrap();
        migrate::forward(&mut connection).unwrap();
        let (committed, _) = broadcast::channel(1);
        let writer = Writer::start(config, file, connection, committed, Place::default()).unwrap();
        assert!(writer.queue.send(Message::Job(Box::new(Bomb))).await.is_ok());
        // Whether it shares the bomb's transaction or not, it is answered, and never as refused.
        let beside = writer.write(|_| Ok(1)).await;
        assert!(beside.is_ok() || beside.is_err_and(|error| error.code == ErrorCode::Internal));
        assert_eq!(writer.write(|_| Ok(2)).await, Ok(2));
        writer.close().await;
    }
}
