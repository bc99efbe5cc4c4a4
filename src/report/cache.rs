//! Sums of the cache ledger: input that a prompt cache could have read, that it read, and what the rest cost.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    figures::{self, UNKNOWN, usd},
    table::{Cell, Column, Table, Tone},
};
use crate::model::{
    NanoUsd,
    lineage::{CacheDimension, CacheRow},
};

/// One line of a cache report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CacheLine {
    /// One value per dimension asked for; null where the calls had none.
    #[schema(value_type = std::collections::BTreeMap<String, Option<String>>)]
    pub key: Map<String, Value>,
    /// Calls that are long enough for a prompt cache.
    pub calls: u64,
    pub input_tokens: u64,
    /// Input that could have been a cache read; that was; that was not.
    pub cacheable_tokens: u64,
    pub read_tokens: u64,
    pub missed_tokens: u64,
    /// What the missed tokens cost more, exact, in 10⁻⁹ dollars and as decimal dollars; of known prices only.
    pub lost_nano_usd: i64,
    pub lost_usd: String,
    /// Calls that missed tokens of an unknown price.
    pub unpriced_calls: u64,
    /// Calls of which the provider's own diagnosis says otherwise.
    pub disputed_calls: u64,
}

/// A cache report whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CacheReport {
    pub by: Vec<CacheDimension>,
    /// The bounds as they were asked for; the sums cover whole days.
    pub since: Option<String>,
    pub until: Option<String>,
    pub rows: Vec<CacheLine>,
    pub totals: CacheLine,
}

impl CacheReport {
    pub fn new(
        by: Vec<CacheDimension>,
        since: Option<String>,
        until: Option<String>,
        rows: &[CacheRow],
    ) -> Self {
        let line = |row: &CacheRow| CacheLine {
            key: by
                .iter()
                .zip(&row.key)
                .map(|(by, value)| (by.as_str().to_owned(), value.clone().map_or(Value::Null, Value::String)))
                .collect(),
            calls: row.calls,
            input_tokens: row.input_tokens,
            cacheable_tokens: row.cacheable_tokens,
            read_tokens: row.read_tokens,
            missed_tokens: row.missed_tokens,
            lost_nano_usd: row.lost.0,
            lost_usd: usd(row.lost),
            unpriced_calls: row.unpriced_calls,
            disputed_calls: row.disputed_calls,
        };
        let sum = rows.iter().fold(CacheRow::default(), |sum, row| CacheRow {
            key: Vec::new(),
            calls: sum.calls + row.calls,
            input_tokens: sum.input_tokens.saturating_add(row.input_tokens),
            cacheable_tokens: sum.cacheable_tokens.saturating_add(row.cacheable_tokens),
            read_tokens: sum.read_tokens.saturating_add(row.read_tokens),
            missed_tokens: sum.missed_tokens.saturating_add(row.missed_tokens),
            lost: sum.lost + row.lost,
            unpriced_calls: sum.unpriced_calls + row.unpriced_calls,
            disputed_calls: sum.disputed_calls + row.disputed_calls,
        });
        Self { rows: rows.iter().map(line).collect(), totals: line(&sum), by, since, until }
    }

    fn keys(&self, line: &CacheLine) -> Vec<Cell> {
        let value = |by: &CacheDimension| line.key.get(by.as_str()).and_then(Value::as_str);
        self.by.iter().map(|by| Cell::maybe(value(by))).collect()
    }

    /// Every figure, unrounded, for programs.
    pub fn exact(&self) -> Table {
        let mut columns: Vec<_> = self.by.iter().map(|by| Column::left(by.as_str())).collect();
        let names = [
            "calls",
            "input_tokens",
            "cacheable_tokens",
            "read_tokens",
            "missed_tokens",
            "lost_usd",
            "unpriced_calls",
            "disputed_calls",
        ];
        columns.extend(names.map(Column::right));
        let mut table = Table::new(columns);
        table.rows = self
            .rows
            .iter()
            .map(|line| {
                let mut cells = self.keys(line);
                let counts = [
                    line.calls,
                    line.input_tokens,
                    line.cacheable_tokens,
                    line.read_tokens,
                    line.missed_tokens,
                ];
                cells.extend(counts.map(Cell::figure));
                cells.push(Cell::figure(&line.lost_usd));
                cells.extend([line.unpriced_calls, line.disputed_calls].map(Cell::figure));
                cells
            })
            .collect();
        table
    }

    /// For people: rounded, the losses first.
    pub fn readable(&self) -> Table {
        let mut columns: Vec<_> = self.by.iter().map(|by| Column::left(by.as_str())).collect();
        columns.extend(["calls", "input", "cacheable", "read", "missed", "lost"].map(Column::right));
        let mut table = Table::new(columns);
        let figures = |line: &CacheLine| {
            let lost = NanoUsd(line.lost_nano_usd);
            let unknown = line.missed_tokens > 0 && line.lost_nano_usd == 0 && line.unpriced_calls > 0;
            let lost = if unknown { UNKNOWN.to_owned() } else { figures::money(lost) };
            let counts =
                [line.calls, line.input_tokens, line.cacheable_tokens, line.read_tokens, line.missed_tokens];
            let mut cells: Vec<_> = counts.map(figures::count).map(Cell::figure).into();
            cells.push(if line.missed_tokens > 0 {
                Cell::Toned(Tone::Warning, lost)
            } else {
                Cell::Figure(lost)
            });
            cells
        };
        table.rows = self
            .rows
            .iter()
            .map(|line| {
                let mut cells = self.keys(line);
                cells.extend(figures(line));
                cells
            })
            .collect();
        if self.rows.len() > 1 && !self.by.is_empty() {
            let mut cells = vec![Cell::text("total")];
            cells.resize(self.by.len(), Cell::text(""));
            cells.extend(figures(&self.totals));
            table.totals = Some(cells);
        }
        table
    }
}
