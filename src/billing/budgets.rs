//! The ledger of budgets: what each has spent in its window, and what calls that have not been settled yet
//! are expected to cost. All of it is in memory, so that asking costs a call microseconds; the store's
//! sums fill it at the start. A call is counted from the moment it is let through until its real cost is
//! known, which is what cuts a loop within one call.

mod account;
mod ledger;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::BoxFuture;

pub use self::account::{AccountState, Crossing, Exceeded};
use self::ledger::{Ledger, Verdict};
use crate::model::{
    CallId, NanoUsd, RunId, UnixNanos,
    budget::{Action, Budget, Each, RunBudget, Spending},
    call::Call,
};

/// Resolves when every call that has ended is settled, or a moment later.
pub type Settle = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// What is known of a call before it goes up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// As asked: an id or a name.
    pub experiment: Option<String>,
    pub run: Option<String>,
    pub key: Option<String>,
    pub user: Option<String>,
    pub upstream: String,
    /// Known only where the body was looked into.
    pub model: Option<String>,
    /// Of the request's body, where its head says.
    pub bytes: u64,
    /// A budget that the call brings for its run.
    pub own_limit: Option<NanoUsd>,
}

/// A handle on the ledger; clones share it.
#[derive(Clone)]
pub struct Budgets {
    shared: Arc<Shared>,
}

struct Shared {
    ledger: Mutex<Ledger>,
    /// False while there is nothing to count: then a call pays for one load.
    active: AtomicBool,
    /// Some budget asks in which experiment a call is.
    by_experiment: bool,
    settle: Settle,
}

impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budgets").finish_non_exhaustive()
    }
}

impl Budgets {
    pub fn new(budgets: Vec<Budget>, settle: Settle) -> Self {
        let active = AtomicBool::new(!budgets.is_empty());
        let by_experiment = budgets
            .iter()
            .any(|budget| budget.spender.experiment.is_some() || budget.each == Some(Each::Experiment));
        let ledger = Mutex::new(Ledger::new(budgets));
        Self { shared: Arc::new(Shared { ledger, active, by_experiment, settle }) }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is counted at all.
    pub fn is_active(&self) -> bool {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// Whether a settled call's experiment must be told by its name.
    pub fn is_by_experiment(&self) -> bool {
        self.shared.by_experiment
    }

    /// From when on the store's sums are needed to fill the ledger, and whether by user.
    pub fn needs(&self, now: UnixNanos) -> Vec<(UnixNanos, bool)> {
        self.ledger().needs(now)
    }

    /// Fills the ledger with what was spent since `since` (one of `needs`), and with the runs' own budgets.
    pub fn load(&self, since: UnixNanos, spending: &[Spending], now: UnixNanos) {
        self.ledger().load(since, spending, now);
    }

    /// Gives a run a budget of its own, or another one; `spent` is what it has spent until now.
    pub fn set_run(&self, run: &RunId, budget: RunBudget, spent: Option<&Spending>) {
        self.shared.active.store(true, Ordering::Relaxed);
        self.ledger().set_run(run, budget, spent);
    }

    pub fn clear_run(&self, run: &RunId) -> bool {
        self.ledger().clear_run(run)
    }

    pub fn run_budget(&self, run: &RunId) -> Option<RunBudget> {
        self.ledger().run_budget(run)
    }

    /// True when a budget that only the body can tell (by model, or by a user that no header names) is so
    /// nearly used up that the body must be looked into before the call goes up.
    pub fn wants_body(&self, facts: &Facts, now: UnixNanos) -> bool {
        self.is_active() && self.ledger().wants_body(facts, now)
    }

    /// Lets a call through and counts what it is expected to cost, or says which budget is used up. Waits
    /// only when the answer hangs on calls that have ended and are not settled yet, and then for those.
    pub async fn admit(&self, call: CallId, facts: &Facts, now: UnixNanos) -> Result<(), Box<Exceeded>> {
        if facts.own_limit.is_some() && facts.run.is_some() {
            self.shared.active.store(true, Ordering::Relaxed);
        }
        if !self.is_active() {
            return Ok(());
        }
        match self.ledger().admit(call, facts, now, false) {
            Verdict::Admitted => return Ok(()),
            Verdict::Exceeded(exceeded) => return Err(exceeded),
            Verdict::Unsure => {}
        }
        (self.shared.settle)().await;
        match self.ledger().admit(call, facts, now, true) {
            Verdict::Exceeded(exceeded) => Err(exceeded),
            Verdict::Admitted | Verdict::Unsure => Ok(()),
        }
    }

    /// The call has its cost. Returns what is worth telling: budgets that are near their end or used up.
    pub fn settled(&self, call: &Call, experiment: &str, now: UnixNanos) -> Vec<Crossing> {
        if self.is_active() { self.ledger().settled(call, experiment, now) } else { Vec::new() }
    }

    /// Every account of the present windows.
    pub fn states(&self, now: UnixNanos) -> Vec<AccountState> {
        self.ledger().states(now)
    }
}

/// What a header may set: always to stop.
pub const HEADER_ACTION: Action = Action::Stop;
