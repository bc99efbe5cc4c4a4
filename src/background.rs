//! Work of our own that can wait: it runs behind the traffic, and beside it while somebody waits for the work.
//! Knows nothing of what the work is. Where the system cannot tell threads apart, all of it runs beside.

use std::{
    io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How nice work behind the traffic is: it still gets about a tenth of a processor that others want whole.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Where work stands beside the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Only on processors that nobody else wants: whoever comes interrupts it at once, and while all are taken it
    /// hardly gets on. For work that nothing waits for.
    Idle,
    /// Traffic that is due goes first, and this gets what is left, but never nothing.
    Behind,
    /// As everybody.
    Beside,
}

impl Standing {
    /// Lets go first whoever waits for the processor: for work that does not stand beside the traffic, between two
    /// pieces of it. Of use on idle processors too: where the traffic's thread was interrupted for a moment, a
    /// scheduler that deals out turns by what everybody had may let the idle one have a whole turn of milliseconds.
    pub fn give_way(self) {
        match self {
            Self::Idle | Self::Behind => thread::yield_now(),
            Self::Beside => {}
        }
    }
}

/// Tells how long a thread had to wait while it worked, for a processor or for anything else.
#[derive(Debug)]
pub struct Stopwatch {
    begun: Instant,
    worked: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { begun: Instant::now(), worked: worked() }
    }

    /// Asked on the thread that started it. Nothing, where the system does not tell what a thread worked.
    pub fn waited(&self) -> Duration {
        let worked = worked().saturating_sub(self.worked);
        if worked.is_zero() { Duration::ZERO } else { self.begun.elapsed().saturating_sub(worked) }
    }
}

/// Processor time of the calling thread.
#[cfg(unix)]
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(not(unix))]
fn worked() -> Duration {
    Duration::ZERO
}

/// Work that never ends of itself, and may change its standing.
pub trait Worker: Send + 'static {
    fn standing(&self) -> Standing;

    /// Works until its standing changes, then returns itself; `None` when it is done for good.
    fn work(self) -> Option<Self>
    where
        Self: Sized;
}

/// Starts a worker on threads called `name`. A thread that stepped back may not come forward again, so there is one
/// for each standing that the worker takes, and it moves between them. The handle is of the one that ends last.
pub fn start<W: Worker>(name: &str, worker: W) -> io::Result<thread::JoinHandle<()>> {
    let threads = Threads { name: name.to_owned(), idle: None, behind: None };
    thread::Builder::new().name(name.to_owned()).spawn(move || threads.carry(worker))
}

/// A thread that works for another: it gets the worker, and gives it back.
struct Lent<W> {
    to: mpsc::SyncSender<W>,
    back: mpsc::Receiver<Option<W>>,
}

impl<W: Worker> Lent<W> {
    fn start(name: &str, standing: Standing) -> io::Result<Self> {
        let (to, sent) = mpsc::sync_channel::<W>(0);
        let (up, back) = mpsc::sync_channel::<Option<W>>(0);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            step_back(standing);
            while let Ok(worker) = sent.recv() {
                if up.send(worker.work()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { to, back })
    }
}

/// The threads of a worker, those that step back made when they are first needed.
struct Threads<W> {
    name: String,
    idle: Option<Lent<W>>,
    behind: Option<Lent<W>>,
}

impl<W: Worker> Threads<W> {
    fn carry(mut self, worker: W) {
        let mut next = Some(worker);
        while let Some(worker) = next {
            next = self.turn(worker);
        }
    }

    fn turn(&mut self, worker: W) -> Option<W> {
        let standing = worker.standing();
        let lent = match standing {
            Standing::Idle => &mut self.idle,
            Standing::Behind => &mut self.behind,
            Standing::Beside => return worker.work(),
        };
        if lent.is_none() {
            match Lent::start(&self.name, standing) {
                Ok(started) => *lent = Some(started),
                Err(error) => tracing::warn!(%error, "a thread in the background could not be started"),
            }
        }
        // Without the other thread the work is done here.
        let Some(Lent { to, back }) = lent else { return worker.work() };
        match to.send(worker) {
            Ok(()) => back.recv().unwrap_or_default(),
            Err(mpsc::SendError(worker)) => worker.work(),
        }
    }
}

#[cfg(target_os = "linux")]
fn step_back(standing: Standing) {
    use thread_priority::{
        NormalThreadSchedulePolicy::Idle, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };
    if standing == Standing::Idle
        && let Err(error) = set_thread_priority_and_policy(
            thread_native_id(),
            ThreadPriority::Min,
            ThreadSchedulePolicy::Normal(Idle),
        )
    {
        tracing::debug!(?error, "work in the background could not be left to idle processors");
    }
    // On Linux this is the calling thread's alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "work in the background could not be made nicer");
    }
}

/// Elsewhere niceness is the whole process's.
#[cfg(not(target_os = "linux"))]
fn step_back(_: Standing) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes how it is scheduled, and changes its standing each time.
    struct Mover {
        standing: Standing,
        left: usize,
        seen: mpsc::Sender<(Standing, String, i32)>,
    }

    impl Worker for Mover {
        fn standing(&self) -> Standing {
            self.standing
        }

        fn work(mut self) -> Option<Self> {
            #[cfg(target_os = "linux")]
            let (policy, nice) = (
                format!("{:?}", thread_priority::thread_schedule_policy().unwrap()),
                rustix::process::getpriority_process(None).unwrap(),
            );
            #[cfg(not(target_os = "linux"))]
            let (policy, nice) = (String::new(), 0);
            self.seen.send((self.standing, policy, nice)).unwrap();
            self.left = self.left.checked_sub(1)?;
            self.standing = match self.standing {
                Standing::Idle => Standing::Behind,
                Standing::Behind => Standing::Beside,
                Standing::Beside => Standing::Idle,
            };
            Some(self)
        }
    }

    #[test]
    fn a_stopwatch_counts_what_was_waited_and_not_what_was_worked() {
        let worked = Stopwatch::start();
        let mut sum = 0u64;
        while super::worked().saturating_sub(worked.worked) < Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let waited = Stopwatch::start();
        thread::sleep(Duration::from_millis(20));
        assert!(worked.waited() < worked.begun.elapsed().saturating_sub(Duration::from_millis(19)));
        assert!(waited.waited() > Duration::from_millis(10));
    }

    #[test]
    fn work_moves_behind_the_traffic_and_back() {
        let (seen, notes) = mpsc::channel();
        let worker = Mover { standing: Standing::Beside, left: 8, seen };
        start("mover", worker).unwrap().join().unwrap();
        let notes: Vec<_> = notes.iter().collect();
        let of = |standing| notes.iter().filter(move |note| note.0 == standing).collect::<Vec<_>>();
        let (idle, behind, beside) = (of(Standing::Idle), of(Standing::Behind), of(Standing::Beside));
        assert_eq!((idle.len(), behind.len(), beside.len()), (3, 3, 3));
        if cfg!(target_os = "linux") {
            assert!(behind.iter().zip(&beside).all(|(behind, beside)| behind.2 > beside.2), "{notes:?}");
            assert!(idle.iter().all(|idle| idle.1.contains("Idle")), "{notes:?}");
            assert!(beside.iter().all(|beside| !beside.1.contains("Idle")), "{notes:?}");
        }
    }
}
