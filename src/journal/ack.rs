//! The answer to an acknowledged append: a future that the writer thread resolves, or time does.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::time::Sleep;

use super::{locked, shared::Shared};

/// What became of an acknowledged append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The record and all before it are written as the fsync policy demands (or mode is `relaxed`).
    Written,
    /// It was dropped and counted: the journal is full, broken or closed.
    Dropped,
    /// Not written within `ack_timeout`, or the disk does not work at present; it may still be later.
    Late,
}

/// Where the writer leaves the answer.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<(Option<Appended>, Option<Waker>)>);

impl Slot {
    fn is_resolved(&self) -> bool {
        locked(&self.0).0.is_some()
    }

    /// Returns false when the answer was known already.
    pub(super) fn resolve(&self, answer: Appended) -> bool {
        let (new, waker) = {
            let mut slot = locked(&self.0);
            let new = slot.0.is_none();
            slot.0.get_or_insert(answer);
            (new, slot.1.take())
        };
        // Outside the lock: waking may run the task's own code.
        if let Some(waker) = waker {
            waker.wake();
        }
        new
    }
}

/// Resolves when the record is written, dropped or late. Within a tokio runtime it is late by itself;
/// elsewhere only when polled again.
#[derive(Debug)]
pub struct Ack(State);

#[derive(Debug)]
enum State {
    Known(Appended),
    Waiting {
        slot: Arc<Slot>,
        deadline: Instant,
        /// Made on the first poll that has to wait.
        timer: Option<Pin<Box<Sleep>>>,
        late: Arc<AtomicU64>,
        write: Write,
    },
}

/// Whether whoever waits is to write the record.
#[derive(Debug)]
enum Write {
    /// Somebody else does.
    No,
    /// Yes, but not at once: what else is ready to run may append first, and one write serves all.
    Later(Arc<Shared>),
    /// Now, unless it is written.
    Now(Arc<Shared>),
}

impl Ack {
    pub(super) fn known(answer: Appended) -> Self {
        Self(State::Known(answer))
    }

    pub(super) fn waiting(slot: Arc<Slot>, deadline: Instant, late: Arc<AtomicU64>) -> Self {
        Self(State::Waiting { slot, deadline, timer: None, late, write: Write::No })
    }

    /// The same, where whoever waits is to write the record.
    pub(super) fn writing(slot: Arc<Slot>, deadline: Instant, shared: &Arc<Shared>) -> Self {
        let (late, write) = (Arc::clone(&shared.late), Write::Later(Arc::clone(shared)));
        Self(State::Waiting { slot, deadline, timer: None, late, write })
    }
}

impl Future for Ack {
    type Output = Appended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Appended> {
        let answer = match &mut self.0 {
            State::Known(answer) => *answer,
            State::Waiting { slot, deadline, timer, late, write } => {
                match std::mem::replace(write, Write::No) {
                    Write::No => {}
                    Write::Later(shared) if !slot.is_resolved() => {
                        *write = Write::Now(shared);
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Write::Now(shared) if !slot.is_resolved() => shared.write_for_waiting(),
                    Write::Later(_) | Write::Now(_) => {}
                }
                let answer = {
                    let mut slot = locked(&slot.0);
                    if slot.0.is_none() && !slot.1.as_ref().is_some_and(|w| w.will_wake(context.waker())) {
                        slot.1 = Some(context.waker().clone());
                    }
                    slot.0
                };
                match answer {
                    Some(answer) => answer,
                    None => {
                        if timer.is_none() && tokio::runtime::Handle::try_current().is_ok() {
                            *timer = Some(Box::pin(tokio::time::sleep_until((*deadline).into())));
                        }
                        let over = match timer {
                            Some(timer) => timer.as_mut().poll(context).is_ready(),
                            None => Instant::now() >= *deadline,
                        };
                        if !over {
                            return Poll::Pending;
                        }
                        // The writer may have answered since; its answer stands.
                        let mut slot = locked(&slot.0);
                        if slot.0.is_none() {
                            late.fetch_add(1, Ordering::Relaxed);
                        }
                        *slot.0.get_or_insert(Appended::Late)
                    }
                }
            }
        };
        self.0 = State::Known(answer);
        Poll::Ready(answer)
    }
}
