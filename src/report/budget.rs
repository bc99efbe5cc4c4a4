//! Budgets as a person or a program reads them.

use serde::{Deserialize, Serialize};

use super::{
    figures::{instant, money, usd},
    table::{Cell, Column, Table, Tone},
};
use crate::{
    billing::budgets::AccountState,
    model::{
        NanoUsd,
        budget::{Action, Window},
    },
};

/// One budget's account in its present window. Money is exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BudgetRow {
    /// As configured; `run` for a run's own.
    pub name: String,
    /// Whose account it is, where there is one for each; a run's id for its own.
    pub subject: Option<String>,
    pub window: Window,
    pub action: Action,
    /// `ok`, `used_up`, or `claimed` when the calls that still run are expected to use up the rest.
    pub state: String,
    pub since: Option<String>,
    pub until: Option<String>,
    pub limit_nano_usd: i64,
    pub limit_usd: String,
    /// What is billed for settled calls.
    pub spent_nano_usd: i64,
    pub spent_usd: String,
    /// What calls that are not settled yet are expected to cost.
    pub expected_nano_usd: i64,
    pub expected_usd: String,
    pub remaining_nano_usd: i64,
    pub remaining_usd: String,
    pub open_calls: u64,
    pub calls: u64,
    /// Calls whose cost is unknown: in no sum.
    pub unknown_calls: u64,
    /// Calls that were refused since the server started.
    pub refused_calls: u64,
}

impl From<&AccountState> for BudgetRow {
    fn from(state: &AccountState) -> Self {
        let remaining = state.remaining();
        let standing = match () {
            () if state.is_used_up() => "used_up",
            () if remaining == NanoUsd::ZERO => "claimed",
            () => "ok",
        };
        Self {
            name: state.name.clone(),
            subject: state.subject.clone(),
            window: state.window,
            action: state.action,
            state: standing.to_owned(),
            since: Some(state.since).filter(|since| since.0 > 0).map(instant),
            until: state.until.map(instant),
            limit_nano_usd: state.limit.0,
            limit_usd: usd(state.limit),
            spent_nano_usd: state.spent.0,
            spent_usd: usd(state.spent),
            expected_nano_usd: state.expected.0,
            expected_usd: usd(state.expected),
            remaining_nano_usd: remaining.0,
            remaining_usd: usd(remaining),
            open_calls: state.open_calls,
            calls: state.calls,
            unknown_calls: state.unknown_calls,
            refused_calls: state.refused_calls,
        }
    }
}

type Figure = (&'static str, fn(&BudgetRow) -> Cell);

const EXACT: [Figure; 14] = [
    ("name", |row| Cell::text(&row.name)),
    ("subject", |row| Cell::maybe(row.subject.as_deref())),
    ("window", |row| Cell::text(row.window.as_str())),
    ("action", |row| Cell::text(row.action.as_str())),
    ("state", |row| Cell::text(&row.state)),
    ("until", |row| Cell::maybe(row.until.as_deref())),
    ("limit_usd", |row| Cell::figure(&row.limit_usd)),
    ("spent_usd", |row| Cell::figure(&row.spent_usd)),
    ("expected_usd", |row| Cell::figure(&row.expected_usd)),
    ("remaining_usd", |row| Cell::figure(&row.remaining_usd)),
    ("open_calls", |row| Cell::figure(row.open_calls)),
    ("calls", |row| Cell::figure(row.calls)),
    ("unknown_calls", |row| Cell::figure(row.unknown_calls)),
    ("refused_calls", |row| Cell::figure(row.refused_calls)),
];

/// Every figure, unrounded, for programs.
pub fn exact(rows: &[BudgetRow]) -> Table {
    let mut table = Table::new(EXACT.iter().map(|(name, _)| Column::left(*name)).collect());
    table.rows = rows.iter().map(|row| EXACT.iter().map(|(_, cell)| cell(row)).collect()).collect();
    table
}

/// Rounded, for people.
pub fn readable(rows: &[BudgetRow]) -> Table {
    let mut columns = vec![Column::left("budget"), Column::left("of"), Column::left("per")];
    columns.extend(["limit", "spent", "expected", "remaining", "calls", "refused"].map(Column::right));
    columns.push(Column::left("state"));
    let mut table = Table::new(columns);
    table.rows = rows
        .iter()
        .map(|row| {
            let amount = |nanos| Cell::figure(money(NanoUsd(nanos)));
            let state = format!("{}, {}", row.state.replace('_', " "), row.action.as_str());
            vec![
                Cell::text(&row.name),
                Cell::maybe(row.subject.as_deref()),
                Cell::text(row.window.as_str()),
                amount(row.limit_nano_usd),
                amount(row.spent_nano_usd),
                amount(row.expected_nano_usd),
                amount(row.remaining_nano_usd),
                Cell::figure(row.calls),
                Cell::figure(row.refused_calls),
                Cell::Toned(if row.state == "ok" { Tone::Good } else { Tone::Bad }, state),
            ]
        })
        .collect();
    table
}
