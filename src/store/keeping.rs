//! What is kept and what goes: the store's methods behind retention, erasure and garbage collection. Each works
//! in slices, so that neither the writer nor the log waits for the whole.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Store,
    expiry::{self, ArtifactOwner, Cutoffs, Found, Target},
    kinds,
    sweep::{self, Ids, Marks, Removing, Swept},
    token_errors,
    traces::Traces,
    writer::Write,
};
use crate::model::{CallId, Error};

/// Between two slices, so that whoever else writes has the larger share.
const PAUSE: Duration = Duration::from_millis(5);
/// How often the log is asked to be emptied while somebody reads it.
const CHECKPOINT_TRIES: u32 = 50;

impl Store {
    /// Payloads that began before their cutoff, among those behind `after`.
    pub async fn expired_payloads(&self, cutoffs: Cutoffs, after: i64) -> Result<Found, Error> {
        self.readers.read(move |connection| expiry::payloads(connection, &cutoffs, after)).await
    }

    /// Calls that began before their cutoff, among those behind `after`.
    pub async fn expired_calls(&self, cutoffs: Cutoffs, after: i64) -> Result<Found, Error> {
        self.readers.read(move |connection| expiry::calls(connection, &cutoffs, after)).await
    }

    /// The calls of a target that are stored now, with their places.
    pub async fn targeted(&self, target: Target) -> Result<Vec<(i64, CallId)>, Error> {
        self.readers.read(move |connection| expiry::targeted(connection, &target)).await
    }

    /// Removes heads, bodies and arrivals of calls; the calls and their sums stay.
    pub async fn drop_payloads(&self, sequences: Vec<i64>) -> Result<(), Error> {
        self.in_slices(sequences, expiry::drop_payloads).await
    }

    /// Removes calls with all that hangs on them. `erased`: out of the sums, too.
    pub async fn drop_calls(&self, sequences: Vec<i64>, erased: bool) -> Result<(), Error> {
        let going: Arc<Ids> = Arc::new(sequences.iter().copied().collect());
        if sequences.is_empty() {
            return Ok(());
        }
        // What comes from here on begins no prompt at one of these.
        let forget_prompts = |write: &mut Write<'_>| {
            write.prompts.forget_calls();
            Ok(())
        };
        self.writer()?.write(forget_prompts).await?;
        let mut after = 0;
        loop {
            let going = Arc::clone(&going);
            let find = move |connection: &rusqlite::Connection| expiry::dependents(connection, &going, after);
            let found = self.readers.read(find).await?;
            self.in_slices(found.sequences, expiry::detach).await?;
            let Some(next) = found.next else { break };
            after = next;
        }
        self.in_slices(sequences, move |write, sequences| expiry::drop_calls(write, sequences, erased))
            .await?;
        // Read back whole by the next call that looks for its parent, so once and not in every slice.
        let forget = move |write: &mut Write<'_>| {
            if erased {
                kinds::drop_unused(write.connection)?;
                write.interned.forget();
                token_errors::drop_unused(write.connection)?;
            }
            write.recent.forget();
            write.prompts.forget_calls();
            Ok(())
        };
        self.writer()?.write(forget).await
    }

    /// The runs and models of a target, with where their artifacts are.
    pub async fn artifact_owners(&self, target: Target) -> Result<Vec<ArtifactOwner>, Error> {
        self.readers.read(move |connection| expiry::artifact_owners(connection, &target)).await
    }

    /// Removes the run or experiment itself once it has no calls.
    pub async fn drop_place(&self, target: Target) -> Result<bool, Error> {
        self.writer()?.write(move |write| expiry::drop_place(write.connection, &target)).await
    }

    async fn in_slices<F>(&self, mut sequences: Vec<i64>, work: F) -> Result<(), Error>
    where
        F: Fn(&mut Write<'_>, &[i64]) -> Result<usize, Error> + Copy + Send + 'static,
    {
        while !sequences.is_empty() {
            sequences = self
                .writer()?
                .write(move |write| {
                    let done = work(write, &sequences)?;
                    sequences.drain(..done);
                    Ok(sequences)
                })
                .await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// What a sweep would remove if the payloads in `without` were gone.
    pub async fn measure_sweep(&self, without: Ids) -> Result<Swept, Error> {
        let marks = self.readers.read(Marks::begin).await?;
        let (marks, _) = self.mark(marks, without).await?;
        self.readers.read(move |connection| sweep::measure(connection, &marks)).await
    }

    /// Removes contents and turns that no payload refers to. One sweep at a time.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let swept = self.sweep_tracing(Traces::default()).await;
        Ok(swept?.0)
    }

    /// As `sweep`; what goes leaves no trace in templates and is looked for in dictionaries. Returns whether a
    /// dictionary has some of it, and nothing that is still stored has.
    pub async fn sweep_tracing(&self, traces: Traces) -> Result<(Swept, bool), Error> {
        let begin = |write: &mut Write<'_>| {
            kinds::drop_unused(write.connection)?;
            write.interned.forget();
            write.interned.watch();
            Marks::begin(write.connection)
        };
        let marks = self.writer()?.write(begin).await?;
        let swept = self.remove_unmarked(marks, traces).await;
        let unwatch = |write: &mut Write<'_>| {
            write.interned.unwatch();
            Ok(())
        };
        self.writer()?.write(unwatch).await?;
        let (swept, mut traces) = swept?;
        let tainted = self.readers.read(move |connection| traces.remain(connection)).await?;
        Ok((swept, tainted))
    }

    async fn remove_unmarked(&self, marks: Marks, mut traces: Traces) -> Result<(Swept, Traces), Error> {
        let (mut marks, _) = self.mark(marks, Ids::default()).await?;
        let (mut at, mut swept) = (Removing::default(), marks.swept());
        while !at.done {
            (marks, traces, at, swept) = self
                .writer()?
                .write(move |write| {
                    sweep::remove(write, &marks, &mut traces, &mut at, &mut swept)?;
                    Ok((marks, traces, at, swept))
                })
                .await?;
            tokio::time::sleep(PAUSE).await;
        }
        let clean = move |write: &mut Write<'_>| sweep::clean_templates(write, &marks);
        self.writer()?.write(clean).await?;
        Ok((swept, traces))
    }

    async fn mark(&self, mut marks: Marks, mut skip: Ids) -> Result<(Marks, Ids), Error> {
        while !marks.done() {
            (marks, skip) = self
                .readers
                .read(move |connection| {
                    marks.step(connection, &skip)?;
                    Ok((marks, skip))
                })
                .await?;
        }
        Ok((marks, skip))
    }

    /// Looks at what the payloads of calls that will be erased say, to find it again in dictionaries.
    pub async fn trace(&self, sequences: Vec<i64>) -> Result<Traces, Error> {
        self.readers
            .read(move |connection| {
                let mut traces = Traces::of_dictionaries(connection)?;
                for sequence in sequences {
                    traces.payload(connection, sequence)?;
                }
                Ok(traces)
            })
            .await
    }

    /// Puts every dictionary out of use, so that the next repacking uses none of them.
    pub async fn retire_dictionaries(&self) -> Result<(), Error> {
        self.writer()?
            .write(|write| {
                super::dictionaries::retire(write.connection)?;
                write.interned.packer.use_newest(write.connection)
            })
            .await
    }

    /// Gives free pages back to the disk.
    pub async fn vacuum(&self) -> Result<(), Error> {
        while self.writer()?.write(|write| sweep::vacuum(write.connection)).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Moves the log into the database and empties it, so that nothing that was removed is left in it. An error
    /// where somebody kept reading it.
    pub async fn empty_log(&self) -> Result<(), Error> {
        for _ in 0..CHECKPOINT_TRIES {
            self.readers.rest();
            if self.writer()?.checkpoint().await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(Error::new(
            crate::model::ErrorCode::Busy,
            "expected to empty the store's log, found somebody reading it; try again",
        ))
    }

    /// Bytes of each table and index, largest first. Reads the whole file.
    pub async fn tables(&self) -> Result<BTreeMap<String, u64>, Error> {
        const TABLES: &str = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name";
        self.readers
            .read(|connection| {
                let mut statement = connection.prepare_cached(TABLES)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}
