//! The far side of the journal: reads records back as they are written, settles the calls that ended and
//! hands them to the store. The store is a projection of the journal, so this may be slow, stop or start
//! again at any place: a call that is stored already stays as it is, and no traffic waits for any of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
    vec,
};

use tokio::{runtime::Handle, sync::watch};

use super::{
    assemble::{Assembler, Finished},
    settle::Settler,
};
use crate::{
    background::{self, Standing, Stopwatch, Worker},
    journal::{Entry, Journal, Position, Reader},
    model::{
        Error, ErrorCode,
        call::{Call, Settled},
    },
    store::Store,
};

/// Bytes of records read at once; bounds what is in memory between journal and store.
const READ_BYTES: usize = 4 << 20;
const READ_BEHIND_BYTES: usize = 512 << 10;
/// Calls per transaction. Behind the traffic there are fewer of them where they take long, since whoever wants to
/// write waits for the end of it.
const BATCH_CALLS: usize = 512;
const FEWEST_CALLS: usize = 16;
const LONG_WRITE: Duration = Duration::from_millis(40);
/// When idle processors kept somebody waiting so long, they are not relied on for a while.
const LONG_WAIT: Duration = Duration::from_millis(100);
const DISTRUST: Duration = Duration::from_secs(60);
/// How far idle processors may leave the store behind: a burst of a minute is the journal's to take.
const MOST_LAG: Duration = Duration::from_secs(60);
/// How long records gather before they are applied, and how many bytes of them, unless somebody waits: applying
/// every call by itself costs twice as much, on processors that the traffic wants.
const GATHER: Duration = Duration::from_millis(100);
const GATHER_BYTES: u64 = 1 << 20;
/// How long the reader sleeps when nothing comes; a stop is noticed within it.
const IDLE: Duration = Duration::from_millis(100);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// How often applied segments are let go. Each time the store is forced to disk first (where the journal
/// is), so that nothing leaves the journal for a place that a power loss could still take back.
const RELEASE_EVERY: Duration = Duration::from_secs(1);

/// What the projector can say of itself.
#[derive(Debug, Default)]
pub struct Progress {
    settled: AtomicU64,
    applied: AtomicU64,
    refused: AtomicU64,
    panics: AtomicU64,
    strays: AtomicU64,
    open: AtomicU64,
    failing: Mutex<Option<String>>,
}

/// A snapshot of `Progress`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectorStats {
    pub settled_calls: u64,
    /// Calls that came out of the journal and are in the store, those included that were there before.
    pub applied_calls: u64,
    /// Calls the store refused as invalid, or that nothing could be made of: counted, logged, passed over.
    pub refused_calls: u64,
    /// Faults of our own. A call whose decoding panicked is stored without its decoded facts.
    pub panics: u64,
    pub stray_records: u64,
    pub open_calls: u64,
    /// Bytes of journal that are not in the store yet.
    pub lag_bytes: u64,
    /// Why the store does not take calls, while it does not.
    pub store_failing: Option<String>,
}

/// A handle on the running projector. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Projector {
    journal: Journal,
    applied: watch::Receiver<Position>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    gives_way: Arc<AtomicBool>,
    thread: Arc<Mutex<Option<thread::JoinHandle<()>>>>,
}

/// Told each call once it is stored.
pub type OnSettled = Arc<dyn Fn(&Call) + Send + Sync>;

impl Projector {
    /// Starts the thread. It replays what the journal holds first, by the same path as everything after.
    pub fn start(
        journal: Journal,
        reader: Reader,
        settler: Settler,
        store: Store,
        durable: bool,
        on_settled: OnSettled,
    ) -> Result<Self, Error> {
        let (applied, watched) = watch::channel(Position(0));
        let progress = Arc::new(Progress::default());
        let stop = Arc::new(AtomicBool::new(false));
        let gives_way = Arc::new(AtomicBool::new(false));
        let work = Work {
            mark: (Instant::now(), journal.end()),
            journal: journal.clone(),
            reader: reader.gathering(GATHER, GATHER_BYTES),
            settler,
            store,
            durable,
            released: Instant::now(),
            unsynced: false,
            on_settled,
            runtime: Handle::current(),
            applied,
            progress: Arc::clone(&progress),
            stop: Arc::clone(&stop),
            assembler: Assembler::default(),
            unread: false,
            entries: Vec::new().into_iter(),
            batch: Batch::default(),
            most: BATCH_CALLS,
            gives_way: Arc::clone(&gives_way),
            pace: Standing::Beside,
            standing: Standing::Beside,
            kept_waiting: None,
            counted: Position(0),
        };
        let thread = background::start("tapline-projector", work)
            .map_err(|error| Error::internal(format!("could not start the projector thread: {error}")))?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok(Self { journal, applied: watched, progress, stop, gives_way, thread })
    }

    /// Resolves once everything journalled before this moment is in the store, or after `limit`. What a
    /// client has received is then in the next answer. Returns false when the limit passed first.
    pub async fn caught_up(&self, limit: Duration) -> bool {
        let target = self.journal.end();
        let mut applied = self.applied.clone();
        if *applied.borrow() >= target {
            return true;
        }
        self.journal.nudge();
        self.gives_way.store(false, Ordering::Relaxed);
        tokio::time::timeout(limit, applied.wait_for(|position| *position >= target))
            .await
            .is_ok_and(|r| r.is_ok())
    }

    pub fn stats(&self) -> ProjectorStats {
        let progress = &*self.progress;
        ProjectorStats {
            settled_calls: progress.settled.load(Ordering::Relaxed),
            applied_calls: progress.applied.load(Ordering::Relaxed),
            refused_calls: progress.refused.load(Ordering::Relaxed),
            panics: progress.panics.load(Ordering::Relaxed),
            stray_records: progress.strays.load(Ordering::Relaxed),
            open_calls: progress.open.load(Ordering::Relaxed),
            lag_bytes: self.journal.end().0.saturating_sub(self.applied.borrow().0),
            store_failing: progress.failing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Applies what is left, for at most `limit`, then stops. Call after `Journal::close`. What could not
    /// be applied stays in the journal for the next start.
    pub async fn finish(&self, limit: Duration) {
        self.caught_up(limit).await;
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread notices within IDLE or one retry pause; joining must not block the runtime.
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }
}

/// Calls on their way to the store, and how many of them count: those that were counted before do not.
#[derive(Default)]
struct Batch {
    calls: Vec<Settled>,
    counted: u64,
}

/// The thread's own state.
struct Work {
    journal: Journal,
    reader: Reader,
    settler: Settler,
    store: Store,
    /// Whether the journal promises anything about power (`fsync` is not `never`).
    durable: bool,
    released: Instant,
    /// Calls were stored since the store was last forced to disk.
    unsynced: bool,
    on_settled: OnSettled,
    runtime: Handle,
    applied: watch::Sender<Position>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    assembler: Assembler,
    /// There are records to read.
    unread: bool,
    /// What was read and is not decoded.
    entries: vec::IntoIter<Entry>,
    /// What was decoded and is not stored.
    batch: Batch,
    /// Calls of the next transaction.
    most: usize,
    /// Nobody waits for what is fresh: whoever comes to wait takes it back.
    gives_way: Arc<AtomicBool>,
    /// Where decoding and writing stand.
    pace: Standing,
    /// Where this thread stands.
    standing: Standing,
    /// When somebody last waited long for what idle processors did not get done.
    kept_waiting: Option<Instant>,
    /// What had been journalled at a time, until it is applied.
    mark: (Instant, Position),
    /// Up to where calls were counted: what is applied once more counts once.
    counted: Position,
}

/// What there is to do next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Wait,
    Decode,
    Store,
}

impl Worker for Work {
    fn standing(&self) -> Standing {
        self.standing
    }

    fn work(mut self) -> Option<Self> {
        while !self.stopped() {
            let step = self.step();
            // Waiting, for records or for the store's writer, is done beside the traffic, as it costs nothing: behind
            // it, who is in a hurry would be noticed late.
            let standing = if step == Step::Decode { self.set_pace() } else { Standing::Beside };
            if standing != self.standing {
                self.standing = standing;
                return Some(self);
            }
            match step {
                Step::Wait => self.wait(),
                Step::Decode => self.decode(),
                Step::Store => {
                    if !self.store() {
                        return None;
                    }
                }
            }
        }
        self.released = self.released.checked_sub(RELEASE_EVERY).unwrap_or(self.released);
        self.release();
        None
    }
}

impl Work {
    fn step(&self) -> Step {
        let read = self.entries.as_slice().is_empty();
        match self.batch.calls.len() {
            0 if read && !self.unread => Step::Wait,
            ready if ready >= self.most || ready > 0 && read => Step::Store,
            _ => Step::Decode,
        }
    }

    /// Decides where decoding and writing stand.
    fn set_pace(&mut self) -> Standing {
        // In this order: whoever comes to wait hurries the journal first, and takes this back then.
        self.gives_way.store(true, Ordering::SeqCst);
        // Traffic goes first as long as nobody waits for what is fresh and the journal has room for what it brings.
        // What is read and not stored is waited for like what is not read.
        let hurried = self.reader.is_hurried(*self.applied.borrow());
        self.pace = if hurried || self.journal.is_filling() || self.stopped() {
            self.gives_way.store(false, Ordering::SeqCst);
            Standing::Beside
        } else if self.mark.0.elapsed() > MOST_LAG
            || self.kept_waiting.is_some_and(|when| when.elapsed() < DISTRUST)
        {
            Standing::Behind
        } else {
            Standing::Idle
        };
        self.pace
    }

    /// Somebody came to wait for what is fresh since the pace was set.
    fn is_waited_for(&self) -> bool {
        !self.gives_way.load(Ordering::SeqCst)
    }

    fn is_late(&self) -> bool {
        self.standing != Standing::Beside && self.is_waited_for()
    }

    /// Somebody waited, and what he waited for has waited so long for idle processors.
    fn note_wait(&mut self, waited: Duration) {
        if self.pace == Standing::Idle && waited > LONG_WAIT {
            self.kept_waiting = Some(Instant::now());
        }
    }

    /// All that was read is stored: says so, and waits for more.
    fn wait(&mut self) {
        let progress = &*self.progress;
        progress.strays.store(self.assembler.strays(), Ordering::Relaxed);
        progress.open.store(self.assembler.len() as u64, Ordering::Relaxed);
        let position = self.reader.position();
        self.applied.send_if_modified(|applied| std::mem::replace(applied, position) != position);
        if position >= self.mark.1 {
            self.mark = (Instant::now(), self.journal.end());
        }
        self.release();
        self.unread = self.reader.wait(IDLE);
    }

    /// Decodes what was read, until there is a batch or somebody comes to wait.
    fn decode(&mut self) {
        let watch = Stopwatch::start();
        if self.entries.as_slice().is_empty() {
            // Little at a time where somebody may come to wait.
            let most = if self.standing == Standing::Beside { READ_BYTES } else { READ_BEHIND_BYTES };
            match self.reader.read(most) {
                Ok(entries) => (self.entries, self.unread) = (entries.into_iter(), false),
                Err(error) => {
                    self.say_failing(&format!("the journal cannot be read: {error}"));
                    thread::sleep(LAST_RETRY);
                    return;
                }
            }
        }
        while self.batch.calls.len() < self.most && !self.is_late() {
            let Some(entry) = self.entries.next() else { break };
            let counts = entry.end > self.counted;
            self.counted = self.counted.max(entry.end);
            for finished in self.assemble(entry) {
                self.batch.counted += u64::from(counts);
                match self.settle(finished) {
                    Some(settled) => self.batch.calls.push(settled),
                    None => self.batch.counted = self.refused(self.batch.counted),
                }
                self.standing.give_way();
            }
        }
        if self.is_late() {
            self.note_wait(watch.waited());
        }
    }

    /// Lets applied segments go, now and then.
    fn release(&mut self) {
        if self.released.elapsed() < RELEASE_EVERY {
            return;
        }
        self.released = Instant::now();
        let applied = *self.applied.borrow();
        // Calls that are decoded and not stored have left the assembler.
        let before = self.assembler.oldest().map_or(applied, |oldest| oldest.min(applied));
        if !self.store.is_in_place() {
            return self.begin_again();
        }
        if self.durable
            && std::mem::take(&mut self.unsynced)
            && let Err(error) = self.runtime.block_on(self.store.sync())
        {
            self.unsynced = true;
            self.say_failing(&error.message);
            return;
        }
        self.journal.release(before);
    }

    /// The store's file was removed or replaced: what was written to it since is out of everybody's reach. A new
    /// one is made, or the one that stands there now is opened, and what the journal still has is applied to it.
    fn begin_again(&mut self) {
        self.say_failing("the store's file was removed or replaced while it was open");
        tracing::error!(
            "the store's file was removed or replaced; what the journal still holds goes to the new one"
        );
        let opened = self.runtime.block_on(async {
            self.store.reopen().await?;
            self.store.ping().await
        });
        match opened {
            Ok(()) => {
                self.assembler = Assembler::default();
                (self.entries, self.batch) = (Vec::new().into_iter(), Batch::default());
                self.reader.rewind();
                self.applied.send_replace(self.reader.position());
                self.say_well();
            }
            Err(error) => self.say_failing(&error.message),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Runs a step in which a fault of ours may cost one call, never the thread.
    fn guarded<T>(&self, what: &str, step: impl FnOnce() -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(step))
            .inspect_err(|_| {
                self.progress.panics.fetch_add(1, Ordering::Relaxed);
                tracing::error!("{what} panicked");
            })
            .ok()
    }

    fn assemble(&mut self, entry: Entry) -> Vec<Finished> {
        let mut assembler = std::mem::take(&mut self.assembler);
        let finished = self.guarded("putting a call together", || assembler.take(entry)).unwrap_or_default();
        self.assembler = assembler;
        finished
    }

    /// A panic in a reader costs a call its decoded facts; only when even that fails, the call.
    fn settle(&self, mut finished: Finished) -> Option<Settled> {
        let call = finished.opened.call;
        self.guarded("decoding a call", || self.settler.settle(&mut finished)).or_else(|| {
            tracing::error!(%call, "the call is kept as plain HTTP");
            self.guarded("keeping a call as plain HTTP", || self.settler.settle_undecoded(&mut finished))
        })
    }

    /// One call is passed over; returns how many of the others count.
    fn refused(&self, counted: u64) -> u64 {
        let counts = u64::from(counted > 0);
        self.progress.refused.fetch_add(counts, Ordering::Relaxed);
        counted - counts
    }

    /// Stores the batch however long it takes; false when told to stop meanwhile (the journal still has it).
    fn store(&mut self) -> bool {
        let Batch { calls, mut counted } = std::mem::take(&mut self.batch);
        let all = Arc::new(calls);
        let (mut from, mut to) = (0, all.len());
        let mut pause = FIRST_RETRY;
        while from < all.len() {
            let pace = if self.gives_way.load(Ordering::SeqCst) { self.pace } else { Standing::Beside };
            let begun = Instant::now();
            match self.runtime.block_on(self.store.settle_shared(&all, from..to, pace, &self.gives_way)) {
                Ok(calls) => {
                    self.say_well();
                    self.unsynced = true;
                    if pace == Standing::Idle && (calls.len() < to - from || self.is_waited_for()) {
                        self.note_wait(begun.elapsed());
                    }
                    self.measure(begun.elapsed());
                    from += calls.len().max(1);
                    let counts = counted.min(calls.len() as u64);
                    counted -= counts;
                    self.progress.settled.fetch_add(calls.len() as u64, Ordering::Relaxed);
                    self.progress.applied.fetch_add(counts, Ordering::Relaxed);
                    for call in &calls {
                        self.guarded("telling of a call", || (self.on_settled)(call));
                    }
                    to = all.len();
                }
                // Only what a call itself says can be invalid: find the one, keep the others.
                Err(error) if matches!(error.code, ErrorCode::Invalid | ErrorCode::Conflict) => {
                    match all.get(from..to) {
                        Some([refused]) => {
                            tracing::error!(call = %refused.call.id, %error, "the store refused a call");
                            counted = self.refused(counted);
                            (from, to) = (to, all.len());
                        }
                        _ => to = from + (to - from) / 2,
                    }
                }
                Err(error) => {
                    self.say_failing(&error.message);
                    if self.stopped() {
                        return false;
                    }
                    thread::sleep(pause);
                    pause = (pause * 2).min(LAST_RETRY);
                }
            }
        }
        true
    }

    /// The next transaction is as large as this one's time allows.
    fn measure(&mut self, took: Duration) {
        let most = if took > LONG_WRITE { self.most / 4 } else { self.most * 2 };
        self.most =
            if self.pace == Standing::Beside { BATCH_CALLS } else { most.clamp(FEWEST_CALLS, BATCH_CALLS) };
    }

    fn say_failing(&self, why: &str) {
        let mut failing = self.progress.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.as_deref() != Some(why) {
            *failing = Some(why.to_owned());
        }
    }

    fn say_well(&self) {
        *self.progress.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
