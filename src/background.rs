//! Work of our own that can wait: it runs behind the traffic, and beside it while somebody waits for the work.
//! Knows nothing of what the work is. Where the system cannot tell threads apart, all of it runs beside.

use std::{io, sync::mpsc, thread};

/// How nice work behind the traffic is: it still gets about a tenth of a processor that others want whole.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Where work stands beside the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Traffic that is due goes first.
    Behind,
    /// As everybody.
    Beside,
}

/// Work that never ends of itself, and may change its standing.
pub trait Worker: Send + 'static {
    fn standing(&self) -> Standing;

    /// Works until its standing changes, then returns itself; `None` when it is done for good.
    fn work(self) -> Option<Self>
    where
        Self: Sized;
}

/// Starts a worker on threads called `name`. A thread that made itself nicer may not take that back, so there are
/// two, and the worker moves between them. The handle is of the one that ends last.
pub fn start<W: Worker>(name: &str, worker: W) -> io::Result<thread::JoinHandle<()>> {
    let (down, sent) = mpsc::sync_channel::<W>(0);
    let (up, back) = mpsc::sync_channel::<Option<W>>(0);
    let named = || thread::Builder::new().name(name.to_owned());
    named().spawn(move || {
        stand_behind();
        while let Ok(worker) = sent.recv() {
            if up.send(worker.work()).is_err() {
                break;
            }
        }
    })?;
    named().spawn(move || {
        let mut next = Some(worker);
        while let Some(worker) = next {
            next = match worker.standing() {
                Standing::Beside => worker.work(),
                Standing::Behind => match down.send(worker) {
                    Ok(()) => back.recv().unwrap_or_default(),
                    Err(mpsc::SendError(worker)) => worker.work(),
                },
            };
        }
    })
}

#[cfg(target_os = "linux")]
fn stand_behind() {
    // On Linux this is the calling thread's alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "work in the background could not be made nicer");
    }
}

/// Elsewhere niceness is the whole process's.
#[cfg(not(target_os = "linux"))]
fn stand_behind() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes on what thread it works, and changes its standing each time.
    struct Mover {
        standing: Standing,
        left: usize,
        seen: mpsc::Sender<(Standing, i32)>,
    }

    impl Worker for Mover {
        fn standing(&self) -> Standing {
            self.standing
        }

        fn work(mut self) -> Option<Self> {
            #[cfg(target_os = "linux")]
            let nice = rustix::process::getpriority_process(None).unwrap();
            #[cfg(not(target_os = "linux"))]
            let nice = 0;
            self.seen.send((self.standing, nice)).unwrap();
            self.left = self.left.checked_sub(1)?;
            self.standing = match self.standing {
                Standing::Behind => Standing::Beside,
                Standing::Beside => Standing::Behind,
            };
            Some(self)
        }
    }

    #[test]
    fn work_moves_behind_the_traffic_and_back() {
        let (seen, notes) = mpsc::channel();
        let worker = Mover { standing: Standing::Beside, left: 5, seen };
        start("mover", worker).unwrap().join().unwrap();
        let notes: Vec<_> = notes.iter().collect();
        assert_eq!(notes.len(), 6);
        let (beside, behind): (Vec<(Standing, i32)>, Vec<_>) =
            notes.iter().copied().partition(|(standing, _)| *standing == Standing::Beside);
        assert_eq!((beside.len(), behind.len()), (3, 3));
        if cfg!(target_os = "linux") {
            assert!(behind.iter().zip(&beside).all(|(behind, beside)| behind.1 > beside.1), "{notes:?}");
        }
    }
}
