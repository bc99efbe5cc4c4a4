//! Prices, what is missing among them, and how a cost comes about, as tables.

use serde::{Deserialize, Serialize};

use super::{
    figures,
    table::{Cell, Column, Table},
};
use crate::pricing::{Explanation, PriceChange, PriceRow};

/// A model that was used and has no price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MissingPrice {
    pub provider: Option<String>,
    pub model: Option<String>,
    /// Calls without a known cost, of all calls of the model.
    pub unpriced_calls: u64,
    pub calls: u64,
    /// Tokens of all of them.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// What the table says about it now; a price that came later can be applied with `tapline cost --reprice`.
    pub why: String,
}

const RATES: [&str; 4] = ["input", "cache_read", "cache_write", "output"];

/// Every figure as it is in the table.
pub fn prices(rows: &[PriceRow]) -> Table {
    let mut columns = vec![Column::left("provider"), Column::left("model"), Column::left("from")];
    columns.extend(RATES.map(Column::right));
    columns.extend(["other", "table", "source", "checked"].map(Column::left));
    let mut table = Table::new(columns);
    table.rows = rows
        .iter()
        .map(|row| {
            let mut cells = vec![
                Cell::text(&row.provider),
                Cell::text(&row.model),
                Cell::maybe(row.valid_from.as_deref()),
            ];
            cells.extend(RATES.map(|rate| Cell::maybe_figure(row.rate(rate))));
            let others =
                row.rates.iter().chain(&row.fees).filter(|(name, _)| !RATES.contains(&name.as_str()));
            let mut other: Vec<_> = others.map(|(name, rate)| format!("{name} {rate}")).collect();
            other.extend(row.upstream.iter().map(|upstream| format!("only at {upstream}")));
            if !row.variants.is_empty() {
                other.push(format!("{} variants", row.variants.len()));
            }
            cells.push(Cell::text(other.join(", ")));
            cells.push(Cell::text(&row.table));
            cells.push(Cell::maybe(row.source.as_deref()));
            cells.push(Cell::maybe(row.checked.as_deref()));
            cells
        })
        .collect();
    table
}

pub fn changes(changes: &[PriceChange]) -> Table {
    let mut columns = ["provider", "model", "item"].map(Column::left).to_vec();
    columns.extend(["before", "after"].map(Column::right));
    columns.push(Column::left("from"));
    let mut table = Table::new(columns);
    table.rows = changes
        .iter()
        .map(|change| {
            vec![
                Cell::text(&change.provider),
                Cell::text(&change.model),
                Cell::text(&change.item),
                Cell::maybe(change.before.as_deref()),
                Cell::maybe(change.after.as_deref()),
                Cell::maybe(change.valid_from.as_deref()),
            ]
        })
        .collect();
    table
}

pub fn missing(rows: &[MissingPrice]) -> Table {
    let mut columns = ["provider", "model"].map(Column::left).to_vec();
    columns.extend(["unpriced", "calls", "tokens in", "out"].map(Column::right));
    columns.push(Column::left("why"));
    let mut table = Table::new(columns);
    table.rows = rows
        .iter()
        .map(|row| {
            vec![
                Cell::maybe(row.provider.as_deref()),
                Cell::maybe(row.model.as_deref()),
                Cell::figure(row.unpriced_calls),
                Cell::figure(row.calls),
                Cell::figure(row.input_tokens),
                Cell::figure(row.output_tokens),
                Cell::text(&row.why),
            ]
        })
        .collect();
    table
}

/// The bill of one call, with the factors behind it and the total as its last line.
pub fn explanation(explanation: &Explanation) -> Table {
    let mut columns = vec![Column::left("item")];
    columns.extend(["quantity", "dollars"].map(Column::right));
    columns.push(Column::left("unit"));
    columns.push(Column::right("amount"));
    let mut table = Table::new(columns);
    for line in &explanation.lines {
        table.rows.push(vec![
            Cell::text(&line.item),
            Cell::figure(figures::count(line.quantity)),
            Cell::figure(&line.rate_usd),
            Cell::text(&line.unit),
            Cell::figure(&line.amount_usd),
        ]);
    }
    for (what, factor) in
        [("hour of the day", &explanation.hour_factor), ("region", &explanation.region_factor)]
    {
        if let Some(factor) = factor {
            table.rows.push(vec![
                Cell::text(what),
                Cell::Empty,
                Cell::Empty,
                Cell::text("tokens times"),
                Cell::figure(factor),
            ]);
        }
    }
    table.totals = Some(vec![
        Cell::text("total"),
        Cell::Empty,
        Cell::Empty,
        Cell::text("to the nearest nano-dollar"),
        Cell::figure(&explanation.total_usd),
    ]);
    table
}
