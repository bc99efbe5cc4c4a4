//! The books themselves: which accounts a call falls under, what is expected of calls under way, and what
//! has become of them.

use std::collections::HashMap;

use super::{
    Facts,
    account::{Account, AccountState, Crossing, Exceeded},
};
use crate::model::{
    CallId, Glob, NanoUsd, RunId, UnixNanos,
    budget::{Action, Budget, Each, RunBudget, Spender, Spending, Window},
    call::Call,
    run::DEFAULT_EXPERIMENT,
};

/// What a call is expected to cost where nothing was ever settled: its bytes as tokens, and an answer of a
/// thousand, at the price of a large model. Too much rather than too little.
const NANO_PER_BYTE: i64 = 1_250;
const NANO_PER_ANSWER: i64 = 25_000_000;
/// Calls that never settle (their recording was lost) are forgotten after this.
const FORGET_AFTER: i64 = 3_600 * UnixNanos::SECOND;
/// Names and accounts that are remembered.
const REMEMBERED: usize = 100_000;
/// A run's own budget is said to be near its end at this percentage.
const RUN_WARN_AT: u8 = 80;

/// Which account: a budget's number or a run's own, the window's start, and whose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// `None`: the run's own budget.
    budget: Option<usize>,
    start: i64,
    subject: String,
}

/// A call that was let through and has no cost yet.
#[derive(Debug)]
struct Open {
    keys: Vec<Key>,
    expected: i64,
    at: UnixNanos,
    run: Option<String>,
    experiment: Option<String>,
    own_limit: bool,
    /// Budgets that only the body could have told of.
    hidden: Vec<usize>,
}

/// What a budget that hangs on the body may be near to, told without looking at its accounts.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// Of the window in which this holds.
    start: i64,
    /// The most that any account has claimed; never less.
    most: i64,
    /// Calls under way that may fall under it and were not looked into.
    hidden: i64,
}

pub(super) enum Verdict {
    Admitted,
    /// It hangs on calls that are not settled.
    Unsure,
    Exceeded(Box<Exceeded>),
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    budgets: Vec<Budget>,
    /// One for each of them.
    marks: Vec<Mark>,
    runs: HashMap<RunId, RunBudget>,
    accounts: HashMap<Key, Account>,
    open: HashMap<CallId, Open>,
    /// (experiment, run) as asked → the run's id.
    run_ids: HashMap<(String, String), RunId>,
    /// What a call of an upstream has cost on average: (sum, calls).
    means: HashMap<String, (i64, i64)>,
}

/// What decides which accounts a call falls under.
struct Place<'a> {
    experiment: Option<&'a str>,
    run_id: Option<&'a str>,
    run: Option<&'a str>,
    key: Option<&'a str>,
    user: Option<&'a str>,
    upstream: &'a str,
    model: Option<&'a str>,
}

impl Place<'_> {
    fn fits(&self, spender: &Spender) -> bool {
        let fits = |glob: &Option<Glob>, names: [Option<&str>; 2]| {
            glob.as_ref().is_none_or(|glob| names.into_iter().flatten().any(|name| glob.matches(name)))
        };
        fits(&spender.experiment, [self.experiment, None])
            && fits(&spender.run, [self.run, self.run_id])
            && fits(&spender.key, [self.key, None])
            && fits(&spender.user, [self.user, None])
            && fits(&spender.upstream, [Some(self.upstream), None])
            && fits(&spender.model, [self.model, None])
    }

    fn subject(&self, each: Option<Each>) -> Option<String> {
        let value = match each {
            None => return Some(String::new()),
            Some(Each::Experiment) => self.experiment,
            Some(Each::Run) => self.run_id.or(self.run),
            Some(Each::Key) => self.key,
            Some(Each::User) => self.user,
            Some(Each::Upstream) => Some(self.upstream),
            Some(Each::Model) => self.model,
        };
        value.map(str::to_owned)
    }
}

impl Ledger {
    pub(super) fn new(budgets: Vec<Budget>) -> Self {
        let marks = vec![Mark::default(); budgets.len()];
        Self { budgets, marks, ..Self::default() }
    }

    pub(super) fn needs(&self, now: UnixNanos) -> Vec<(UnixNanos, bool)> {
        let by_user = |budget: &Budget| budget.spender.user.is_some() || budget.each == Some(Each::User);
        let mut needs: Vec<_> =
            self.budgets.iter().map(|budget| (budget.window.start(now), by_user(budget))).collect();
        needs.sort_by_key(|(since, by_user)| (since.0, !by_user));
        needs.dedup_by_key(|(since, _)| *since);
        needs
    }

    pub(super) fn load(&mut self, since: UnixNanos, spending: &[Spending], now: UnixNanos) {
        for one in spending {
            let place = Place {
                experiment: one.experiment.as_deref(),
                run_id: one.run_id.as_deref(),
                run: one.run.as_deref(),
                key: one.key.as_deref(),
                user: one.user.as_deref(),
                upstream: &one.upstream,
                model: one.model.as_deref(),
            };
            for (number, budget) in self.budgets.iter().enumerate() {
                if budget.window.start(now) != since || !place.fits(&budget.spender) {
                    continue;
                }
                let Some(subject) = place.subject(budget.each) else { continue };
                let key = Key { budget: Some(number), start: since.0, subject };
                let account = self.accounts.entry(key).or_default();
                add_spending(account, one);
                self.marks[number].raise(since.0, account.spent);
            }
        }
    }

    fn run_key(run: &str) -> Key {
        Key { budget: None, start: 0, subject: run.to_owned() }
    }

    pub(super) fn set_run(&mut self, run: &RunId, budget: RunBudget, spent: Option<&Spending>) {
        // Calls name it, and their heads say no more.
        if let Some(Spending { experiment: Some(experiment), run: Some(name), .. }) = spent {
            self.learn(experiment.clone(), name, run);
            if experiment == DEFAULT_EXPERIMENT {
                self.learn(String::new(), name, run);
            }
        }
        self.runs.insert(run.clone(), budget);
        let account = self.accounts.entry(Self::run_key(run)).or_default();
        (account.said_near, account.said_used_up) = (false, false);
        if let Some(spent) = spent {
            (account.spent, account.calls) = (0, 0);
            (account.priced_calls, account.unknown_calls) = (0, 0);
            add_spending(account, spent);
        }
    }

    pub(super) fn clear_run(&mut self, run: &RunId) -> bool {
        self.accounts.remove(&Self::run_key(run));
        self.runs.remove(run).is_some()
    }

    pub(super) fn run_budget(&self, run: &RunId) -> Option<RunBudget> {
        self.runs.get(run).copied()
    }

    /// The accounts that a call falls under.
    fn keys(&self, place: &Place<'_>, now: UnixNanos) -> Vec<Key> {
        let mut keys = Vec::new();
        for (number, budget) in self.budgets.iter().enumerate() {
            if place.fits(&budget.spender)
                && let Some(subject) = place.subject(budget.each)
            {
                keys.push(Key { budget: Some(number), start: budget.window.start(now).0, subject });
            }
        }
        if let Some(run) = place.run_id.or(place.run).filter(|run| self.runs.contains_key(*run)) {
            keys.push(Self::run_key(run));
        }
        keys
    }

    fn run_id(&self, facts: &Facts) -> Option<String> {
        let run = facts.run.clone()?;
        let experiment = facts.experiment.clone().unwrap_or_default();
        Some(self.run_ids.get(&(experiment, run.clone())).cloned().unwrap_or(run))
    }

    /// Budgets that stop calls and that `facts` cannot tell of: by model, or by a user that no header names.
    fn hidden(&self, facts: &Facts) -> impl Iterator<Item = usize> {
        let (no_model, no_user) = (facts.model.is_none(), facts.user.is_none());
        self.budgets.iter().enumerate().filter_map(move |(number, budget)| {
            let by_model = budget.spender.model.is_some() || budget.each == Some(Each::Model);
            let by_user = budget.spender.user.is_some() || budget.each == Some(Each::User);
            let hidden = (by_model && no_model) || (by_user && no_user);
            (budget.action == Action::Stop && hidden).then_some(number)
        })
    }

    /// What is claimed already, and what the calls that nobody looked into may claim, reach half of the limit.
    pub(super) fn wants_body(&self, facts: &Facts, now: UnixNanos) -> bool {
        let mut hidden = self.hidden(facts).peekable();
        if hidden.peek().is_none() {
            return false;
        }
        let each = self.expected(&[], facts);
        hidden.any(|number| {
            let (budget, mark) = (&self.budgets[number], self.marks[number]);
            let most = if mark.start == budget.window.start(now).0 { mark.most } else { 0 };
            let unseen = each.saturating_mul(mark.hidden.saturating_add(1));
            most.saturating_add(unseen) >= budget.limit.0 / 2
        })
    }

    pub(super) fn admit(&mut self, call: CallId, facts: &Facts, now: UnixNanos, settled: bool) -> Verdict {
        let run_id = self.run_id(facts);
        if let (Some(limit), Some(run)) = (facts.own_limit, &run_id)
            && !self.runs.contains_key(run)
        {
            self.runs.insert(run.clone(), RunBudget { limit, action: super::HEADER_ACTION });
        }
        let place = Place {
            // Whoever names nothing is in the default experiment, unless a run decides otherwise.
            experiment: facts.experiment.as_deref().or(Some(DEFAULT_EXPERIMENT)),
            run_id: run_id.as_deref(),
            run: facts.run.as_deref(),
            key: facts.key.as_deref(),
            user: facts.user.as_deref(),
            upstream: &facts.upstream,
            model: facts.model.as_deref(),
        };
        let keys = self.keys(&place, now);
        let expected = self.expected(&keys, facts);
        for key in &keys {
            let (limit, action) = self.terms(key);
            let account = self.accounts.get(key).cloned().unwrap_or_default();
            if action == Action::Warn {
                continue;
            }
            let claimed = account.spent.saturating_add(account.expected);
            if account.spent >= limit.0 || (settled && claimed >= limit.0) {
                self.accounts.entry(key.clone()).or_default().refused += 1;
                let state = self.state(key, now);
                return Verdict::Exceeded(Box::new(Exceeded { state }));
            }
            // What ended and is not settled may have used up the rest.
            if !settled && account.open > 0 && claimed.saturating_add(expected) >= limit.0 {
                return Verdict::Unsure;
            }
        }
        for key in &keys {
            let account = self.accounts.entry(key.clone()).or_default();
            account.expected = account.expected.saturating_add(expected);
            account.open += 1;
            if let Some(number) = key.budget {
                self.marks[number].raise(key.start, account.spent.saturating_add(account.expected));
            }
        }
        let own_limit = facts.own_limit.is_some();
        let hidden: Vec<usize> = self.hidden(facts).collect();
        if !keys.is_empty() || !hidden.is_empty() {
            for number in &hidden {
                self.marks[*number].hidden += 1;
            }
            let (run, experiment) = (facts.run.clone(), facts.experiment.clone());
            self.open.insert(call, Open { keys, expected, at: now, run, experiment, own_limit, hidden });
            self.forget(now);
        }
        Verdict::Admitted
    }

    /// What a call will cost, as far as those before it tell.
    fn expected(&self, keys: &[Key], facts: &Facts) -> i64 {
        let known = keys.iter().filter_map(|key| self.accounts.get(key)?.mean()).max();
        let elsewhere = || self.means.get(&facts.upstream).map(|(sum, calls)| sum / calls.max(&1));
        known.or_else(elsewhere).unwrap_or_else(|| {
            let bytes = i64::try_from(facts.bytes.min(1 << 24)).unwrap_or(0);
            bytes * NANO_PER_BYTE + NANO_PER_ANSWER
        })
    }

    fn terms(&self, key: &Key) -> (NanoUsd, Action) {
        let own = || self.runs.get(&key.subject).map(|own| (own.limit, own.action));
        let budget = key.budget.and_then(|number| self.budgets.get(number));
        budget
            .map(|budget| (budget.limit, budget.action))
            .or_else(own)
            .unwrap_or((NanoUsd(i64::MAX), Action::Warn))
    }

    pub(super) fn settled(&mut self, call: &Call, experiment: &str, now: UnixNanos) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        if let Some(open) = self.open.remove(&call.id) {
            self.close(&open);
            if let (Some(asked), Some(id)) = (&open.run, &call.run_id) {
                self.learn(open.experiment.clone().unwrap_or_default(), asked, id);
                if let Some(own) = self.runs.get(id).filter(|_| open.own_limit) {
                    crossings.push(Crossing::RunBudget { run: id.clone(), limit: own.limit });
                }
            }
        }
        let place = Place {
            experiment: Some(experiment),
            run_id: call.run_id.as_deref(),
            run: None,
            key: call.key_fingerprint.as_deref(),
            user: call.user.as_deref(),
            upstream: &call.upstream,
            model: call.model(),
        };
        if let Some(billed) = call.billed {
            let (sum, calls) = self.means.entry(call.upstream.clone()).or_default();
            (*sum, *calls) = (sum.saturating_add(billed.0), *calls + 1);
        }
        // A call counts where it began.
        for key in self.keys(&place, call.started_at) {
            let (limit, _) = self.terms(&key);
            let warn_at = key.budget.map_or(RUN_WARN_AT, |number| self.budgets[number].warn_at);
            let account = self.accounts.entry(key.clone()).or_default();
            account.calls += 1;
            match call.billed {
                Some(billed) => {
                    account.spent = account.spent.saturating_add(billed.0);
                    account.priced_calls += 1;
                }
                None => account.unknown_calls += u64::from(!call.usage.is_empty()),
            }
            if let Some(number) = key.budget {
                self.marks[number].raise(key.start, account.spent.saturating_add(account.expected));
            }
            let near = i128::from(account.spent) * 100 >= i128::from(limit.0) * i128::from(warn_at);
            if account.spent >= limit.0 && !account.said_used_up {
                (account.said_near, account.said_used_up) = (true, true);
                crossings.push(Crossing::UsedUp(self.state(&key, now)));
            } else if near && !account.said_near {
                account.said_near = true;
                crossings.push(Crossing::Near(self.state(&key, now)));
            }
        }
        crossings
    }

    /// Nothing is expected of a call any more.
    fn close(&mut self, open: &Open) {
        for key in &open.keys {
            if let Some(account) = self.accounts.get_mut(key) {
                account.expected = account.expected.saturating_sub(open.expected);
                account.open = account.open.saturating_sub(1);
            }
        }
        for number in &open.hidden {
            self.marks[*number].hidden -= 1;
        }
    }

    /// A run that was asked for by name has an id: what was counted under the name is the id's.
    fn learn(&mut self, experiment: String, asked: &str, id: &str) {
        if asked == id || self.run_ids.contains_key(&(experiment.clone(), asked.to_owned())) {
            return;
        }
        if self.run_ids.len() >= REMEMBERED {
            self.run_ids.clear();
        }
        self.run_ids.insert((experiment, asked.to_owned()), id.to_owned());
        if let Some(own) = self.runs.remove(asked) {
            self.runs.entry(id.to_owned()).or_insert(own);
        }
        let of_run = |key: &Key, budgets: &[Budget]| {
            key.subject == asked && key.budget.is_none_or(|number| budgets[number].each == Some(Each::Run))
        };
        let stale: Vec<Key> =
            self.accounts.keys().filter(|key| of_run(key, &self.budgets)).cloned().collect();
        for key in stale {
            if let Some(account) = self.accounts.remove(&key) {
                let renamed = Key { subject: id.to_owned(), ..key };
                self.accounts.entry(renamed).or_default().merge(&account);
            }
        }
        let budgets = &self.budgets;
        for key in self.open.values_mut().flat_map(|open| &mut open.keys) {
            if of_run(key, budgets) {
                id.clone_into(&mut key.subject);
            }
        }
    }

    fn forget(&mut self, now: UnixNanos) {
        if self.open.len().is_multiple_of(1_024) {
            let lost: Vec<CallId> = self
                .open
                .iter()
                .filter(|(_, open)| now.since(open.at) > FORGET_AFTER)
                .map(|(id, _)| *id)
                .collect();
            for open in lost.iter().filter_map(|id| self.open.remove(id)).collect::<Vec<_>>() {
                self.close(&open);
            }
        }
        if self.accounts.len() > REMEMBERED {
            let budgets = &self.budgets;
            self.accounts.retain(|key, account| {
                account.open > 0
                    || key.budget.is_none_or(|number| budgets[number].window.start(now).0 == key.start)
            });
        }
    }

    fn state(&self, key: &Key, now: UnixNanos) -> AccountState {
        let account = self.accounts.get(key).cloned().unwrap_or_default();
        let (limit, action) = self.terms(key);
        let budget = key.budget.and_then(|number| self.budgets.get(number));
        let window = budget.map_or(Window::Total, |budget| budget.window);
        AccountState {
            name: budget.map_or_else(|| "run".to_owned(), |budget| budget.name.clone()),
            subject: Some(key.subject.clone()).filter(|subject| !subject.is_empty()),
            window,
            action,
            since: UnixNanos(key.start),
            until: window.end(now),
            limit,
            spent: NanoUsd(account.spent),
            expected: NanoUsd(account.expected),
            open_calls: account.open,
            calls: account.calls,
            unknown_calls: account.unknown_calls,
            refused_calls: account.refused,
        }
    }

    /// Accounts of the present windows, budgets without any included, in the order of the configuration.
    pub(super) fn states(&self, now: UnixNanos) -> Vec<AccountState> {
        let mut keys: Vec<Key> = self
            .accounts
            .keys()
            .filter(|key| match key.budget {
                Some(number) => self.budgets[number].window.start(now).0 == key.start,
                None => self.runs.contains_key(&key.subject),
            })
            .cloned()
            .collect();
        for (number, budget) in self.budgets.iter().enumerate() {
            let start = budget.window.start(now).0;
            if budget.each.is_none() && !keys.iter().any(|key| key.budget == Some(number)) {
                keys.push(Key { budget: Some(number), start, subject: String::new() });
            }
        }
        keys.sort_by(|a, b| {
            (a.budget.is_none(), a.budget, &a.subject).cmp(&(b.budget.is_none(), b.budget, &b.subject))
        });
        keys.iter().map(|key| self.state(key, now)).collect()
    }
}

impl Mark {
    fn raise(&mut self, start: i64, claimed: i64) {
        if start > self.start {
            (self.start, self.most) = (start, 0);
        }
        if start == self.start {
            self.most = self.most.max(claimed);
        }
    }
}

fn add_spending(account: &mut Account, spending: &Spending) {
    account.spent = account.spent.saturating_add(spending.billed.0);
    account.calls += spending.calls;
    account.priced_calls += spending.priced_calls;
    account.unknown_calls += spending.unknown_calls;
}
