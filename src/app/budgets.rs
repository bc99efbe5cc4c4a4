//! The ledger of budgets between the parts that fill it: the settings and the store at the start, every
//! settled call from then on; and what it has to say, to the log, the metrics and the store.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    billing::{
        Budgets,
        budgets::{AccountState, Crossing, HEADER_ACTION, Settle},
    },
    capture::{projector::Projector, recorder::now},
    events::{BudgetNear, BudgetUsedUp},
    model::{
        Error,
        budget::{Action, Budget, RunBudget},
        call::Call,
    },
    store::Store,
    telemetry::Telemetry,
};

/// How long a call may wait for those before it to be settled, where a budget hangs on them.
const SETTLE_LIMIT: Duration = Duration::from_millis(250);
/// Budgets that have a series of their own in the metrics.
const SERIES: usize = 100;

/// Told every settled call; deaf until the ledger is filled, so that nothing is counted twice.
#[derive(Clone, Default)]
pub(super) struct Counting {
    budgets: Arc<OnceLock<Budgets>>,
}

impl Counting {
    /// Called on the projector's own thread, which may wait for the store.
    pub(super) fn settled(&self, call: &Call, store: &Store, runtime: &Handle, telemetry: &Telemetry) {
        let Some(budgets) = self.budgets.get().filter(|budgets| budgets.is_active()) else { return };
        // Asked each time: experiments are renamed.
        let name = match budgets.is_by_experiment() {
            true => runtime.block_on(store.experiment_name(&call.experiment_id)).ok(),
            false => None,
        };
        let name = name.unwrap_or_else(|| call.experiment_id.clone());
        for crossing in budgets.settled(call, &name, now()) {
            match crossing {
                Crossing::Near(AccountState { name, subject, spent, limit, .. }) => {
                    BudgetNear { budget: &name, of: subject.as_deref(), spent, limit }.emit(telemetry);
                }
                Crossing::UsedUp(AccountState { name, subject, spent, limit, action, .. }) => {
                    let stops = action == Action::Stop;
                    BudgetUsedUp { budget: &name, of: subject.as_deref(), spent, limit, stops }
                        .emit(telemetry);
                }
                Crossing::RunBudget { run, limit } => {
                    let budget = RunBudget { limit, action: HEADER_ACTION };
                    let store = store.clone();
                    // The next start needs it, this process does not: nobody waits.
                    runtime.spawn(async move {
                        if let Err(error) = store.set_run_budget(run, budget, now()).await {
                            tracing::warn!(%error, "a run's own budget could not be kept");
                        }
                    });
                }
            }
        }
    }

    /// Fills the ledger with what is stored, and counts from here on.
    pub(super) async fn start(
        &self,
        configured: Vec<Budget>,
        store: &Store,
        projector: &Projector,
        telemetry: &Telemetry,
    ) -> Result<Budgets, Error> {
        let settle: Settle = {
            let projector = projector.clone();
            Arc::new(move || {
                let projector = projector.clone();
                Box::pin(async move {
                    projector.caught_up(SETTLE_LIMIT).await;
                })
            })
        };
        let budgets = Budgets::new(configured, settle);
        let own = store.run_budgets().await?;
        if budgets.is_active() || !own.is_empty() {
            // What the last process journalled is stored first, and so is in the sums.
            projector.caught_up(super::FRESH_LIMIT).await;
        }
        let at = now();
        for (since, by_user) in budgets.needs(at) {
            budgets.load(since, &store.spending(since, by_user).await?, at);
        }
        for (run, budget, spent) in store.run_budgets().await? {
            budgets.set_run(&run, budget, Some(&spent));
        }
        drop(self.budgets.set(budgets.clone()));
        let told = budgets.clone();
        telemetry.on_scrape(move |scrape| {
            for state in told.states(now()).iter().take(SERIES) {
                let labels =
                    [("budget", state.name.as_str()), ("of", state.subject.as_deref().unwrap_or(""))];
                let (spent, limit) = (state.spent.as_usd(), state.limit.as_usd());
                scrape.gauge_of("budget_spent_usd", "Spent in the present window", &labels, spent);
                scrape.gauge_of("budget_limit_usd", "What may be spent in a window", &labels, limit);
                let refused = state.refused_calls as f64;
                scrape.gauge_of("budget_refused_calls", "Calls refused since the start", &labels, refused);
            }
        });
        Ok(budgets)
    }
}
