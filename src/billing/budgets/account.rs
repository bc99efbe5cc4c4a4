//! One budget's account for one window and one subject, and how it is told.

use serde::{Deserialize, Serialize};

use crate::model::{
    NanoUsd, UnixNanos,
    budget::{Action, Window},
};

/// What was spent of one budget in one window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) spent: i64,
    pub(super) calls: u64,
    pub(super) priced_calls: u64,
    pub(super) unknown_calls: u64,
    /// What the calls that are not settled are expected to cost, and how many they are.
    pub(super) expected: i64,
    pub(super) open: u64,
    pub(super) refused: u64,
    pub(super) said_near: bool,
    pub(super) said_used_up: bool,
}

impl Account {
    /// What a call has cost on average; one that was refused, or told nothing, is no example.
    pub(super) fn mean(&self) -> Option<i64> {
        let priced = i64::try_from(self.priced_calls).unwrap_or(i64::MAX);
        (priced > 0).then(|| self.spent / priced)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.spent = self.spent.saturating_add(other.spent);
        self.calls += other.calls;
        self.priced_calls += other.priced_calls;
        self.unknown_calls += other.unknown_calls;
        self.expected = self.expected.saturating_add(other.expected);
        self.open += other.open;
        self.refused += other.refused;
        self.said_near |= other.said_near;
        self.said_used_up |= other.said_used_up;
    }
}

/// A budget as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountState {
    pub name: String,
    /// Whose account it is where a budget has one for each; a run's id for its own.
    pub subject: Option<String>,
    pub window: Window,
    pub action: Action,
    pub since: UnixNanos,
    pub until: Option<UnixNanos>,
    pub limit: NanoUsd,
    pub spent: NanoUsd,
    /// What the calls that are not settled yet are expected to cost.
    pub expected: NanoUsd,
    pub open_calls: u64,
    pub calls: u64,
    /// Calls whose cost is not known: they are in no sum.
    pub unknown_calls: u64,
    /// Calls that were refused since the start.
    pub refused_calls: u64,
}

impl AccountState {
    pub fn remaining(&self) -> NanoUsd {
        NanoUsd(self.limit.0.saturating_sub(self.spent.0).saturating_sub(self.expected.0).max(0))
    }

    pub fn is_used_up(&self) -> bool {
        self.spent >= self.limit
    }
}

/// Why a call was not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    pub state: AccountState,
}

impl Exceeded {
    /// For whoever sent the call.
    pub fn message(&self) -> String {
        let state = &self.state;
        let whose = state.subject.as_ref().map(|subject| format!(" of {subject}")).unwrap_or_default();
        let within = match state.window {
            Window::Hour => " this hour",
            Window::Day => " today (UTC)",
            Window::Month => " this month (UTC)",
            Window::Total => "",
        };
        let open = if state.is_used_up() || state.open_calls == 0 {
            String::new()
        } else {
            format!(", and {} calls that still run are expected to use up the rest", state.open_calls)
        };
        let then = match state.until {
            Some(until) => {
                format!("; it begins anew at {}", until.rfc3339().chars().take(19).collect::<String>() + "Z")
            }
            None => "; raise it with `tapline budgets set` or the configuration".to_owned(),
        };
        format!(
            "the budget {:?}{whose} is used up: {} of {} spent{within}{open}{then}",
            state.name, state.spent, state.limit
        )
    }
}

/// A line that a budget crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crossing {
    /// `warn_at` percent are spent.
    Near(AccountState),
    UsedUp(AccountState),
    /// A call gave its run a budget, which is to be kept.
    RunBudget {
        run: String,
        limit: NanoUsd,
    },
}
