//! Sums over calls: what they used, what they cost, and how much of that is estimated or unknown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    figures::{self, usd},
    table::{Cell, Column, Table, Tone},
};
use crate::model::{
    NanoUsd,
    filter::{CostRow, Dimension},
};

/// Sums that never count unknown as zero: the cost covers `priced_calls` only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Totals {
    pub calls: u64,
    pub errors: u64,
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    /// Calls whose usage tapline counted itself.
    pub estimated_calls: u64,
    /// Calls with no usage at all.
    pub usageless_calls: u64,
    pub priced_calls: u64,
    /// Calls with usage but without a known price: in no sum.
    pub unpriced_calls: u64,
    /// Of the priced calls: the provider named the amount itself.
    pub reported_calls: u64,
    /// At list price or as reported. Exact, in 10⁻⁹ dollars; null when no call has a known cost.
    pub cost_nano_usd: Option<i64>,
    /// The same as an exact decimal of dollars.
    pub cost_usd: Option<String>,
    /// What is billed: the cost after discounts and margins; null as the cost is.
    pub billed_nano_usd: Option<i64>,
    pub billed_usd: Option<String>,
    /// Of the cost: amounts that the provider named itself.
    pub cost_reported_nano_usd: i64,
    pub cost_reported_usd: String,
    /// Of the cost: from usage that tapline counted itself.
    pub cost_estimated_nano_usd: i64,
    pub cost_estimated_usd: String,
    /// Calls whose cost is unknown, for want of a price or of usage: in no sum.
    pub unknown_calls: u64,
    /// All durations added up, whole milliseconds.
    pub duration_ms: u64,
}

impl Totals {
    pub fn of(row: &CostRow) -> Self {
        let cost = (row.priced_calls > 0).then_some(row.cost);
        Self {
            calls: row.calls,
            errors: row.errors,
            input_tokens: row.input_tokens,
            cache_read_tokens: row.cache_read_tokens,
            cache_write_tokens: row.cache_write_tokens,
            output_tokens: row.output_tokens,
            reasoning_tokens: row.reasoning_tokens,
            estimated_calls: row.estimated_calls,
            usageless_calls: row.usageless_calls,
            priced_calls: row.priced_calls,
            unpriced_calls: row.unpriced_calls,
            reported_calls: row.reported_calls,
            cost_nano_usd: cost.map(|cost| cost.0),
            cost_usd: cost.map(usd),
            billed_nano_usd: cost.map(|_| row.billed.0),
            billed_usd: cost.map(|_| usd(row.billed)),
            cost_reported_nano_usd: row.cost_reported.0,
            cost_reported_usd: usd(row.cost_reported),
            cost_estimated_nano_usd: row.cost_estimated.0,
            cost_estimated_usd: usd(row.cost_estimated),
            unknown_calls: row.calls.saturating_sub(row.priced_calls),
            duration_ms: u64::try_from(row.duration_ns / 1_000_000).unwrap_or(0),
        }
    }

    pub fn cost(&self) -> Option<NanoUsd> {
        self.cost_nano_usd.map(NanoUsd)
    }
}

/// Adds rows up; the key is left empty.
pub fn sum<'a>(rows: impl IntoIterator<Item = &'a CostRow>) -> CostRow {
    rows.into_iter().fold(CostRow::default(), |sum, row| CostRow {
        key: Vec::new(),
        calls: sum.calls + row.calls,
        errors: sum.errors + row.errors,
        input_tokens: sum.input_tokens.saturating_add(row.input_tokens),
        cache_read_tokens: sum.cache_read_tokens.saturating_add(row.cache_read_tokens),
        cache_write_tokens: sum.cache_write_tokens.saturating_add(row.cache_write_tokens),
        output_tokens: sum.output_tokens.saturating_add(row.output_tokens),
        reasoning_tokens: sum.reasoning_tokens.saturating_add(row.reasoning_tokens),
        estimated_calls: sum.estimated_calls + row.estimated_calls,
        usageless_calls: sum.usageless_calls + row.usageless_calls,
        cost: sum.cost + row.cost,
        billed: sum.billed + row.billed,
        cost_reported: sum.cost_reported + row.cost_reported,
        reported_calls: sum.reported_calls + row.reported_calls,
        cost_estimated: sum.cost_estimated + row.cost_estimated,
        priced_calls: sum.priced_calls + row.priced_calls,
        unpriced_calls: sum.unpriced_calls + row.unpriced_calls,
        duration_ns: sum.duration_ns.saturating_add(row.duration_ns),
    })
}

/// One line of a cost report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CostLine {
    /// One value per dimension asked for; null where the calls had none.
    #[schema(value_type = std::collections::BTreeMap<String, Option<String>>)]
    pub key: Map<String, Value>,
    #[serde(flatten)]
    pub totals: Totals,
}

/// A cost report whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CostReport {
    pub by: Vec<Dimension>,
    /// The bounds as they were asked for, RFC 3339; the sums cover whole hours.
    pub since: Option<String>,
    pub until: Option<String>,
    pub rows: Vec<CostLine>,
    pub totals: Totals,
}

impl CostReport {
    pub fn new(by: Vec<Dimension>, since: Option<String>, until: Option<String>, rows: &[CostRow]) -> Self {
        let line = |row: &CostRow| CostLine {
            key: by
                .iter()
                .zip(&row.key)
                .map(|(dimension, value)| {
                    (dimension.as_str().to_owned(), value.clone().map_or(Value::Null, Value::String))
                })
                .collect(),
            totals: Totals::of(row),
        };
        Self { rows: rows.iter().map(line).collect(), totals: Totals::of(&sum(rows)), by, since, until }
    }

    /// Every figure, unrounded, for programs.
    pub fn exact(&self) -> Table {
        let mut columns: Vec<_> = self.by.iter().map(|by| Column::left(by.as_str())).collect();
        columns.extend(exact_columns());
        let mut table = Table::new(columns);
        table.rows = self
            .rows
            .iter()
            .map(|line| {
                let mut cells = self.keys(line);
                cells.extend(exact_cells(&line.totals));
                cells
            })
            .collect();
        table
    }

    /// Rounded, with a line of totals, for people.
    pub fn readable(&self) -> Table {
        let mut columns: Vec<_> = self.by.iter().map(|by| Column::left(by.as_str())).collect();
        columns.extend(readable_columns());
        let mut table = Table::new(columns);
        table.rows = self
            .rows
            .iter()
            .map(|line| {
                let mut cells = self.keys(line);
                cells.extend(readable_cells(&line.totals));
                cells
            })
            .collect();
        if !self.by.is_empty() {
            let mut totals = vec![Cell::text("total")];
            totals.extend(self.by.iter().skip(1).map(|_| Cell::text("")));
            totals.extend(readable_cells(&self.totals));
            table.totals = Some(totals);
        }
        table
    }

    fn keys(&self, line: &CostLine) -> Vec<Cell> {
        self.by.iter().map(|by| Cell::maybe(line.key.get(by.as_str()).and_then(Value::as_str))).collect()
    }
}

type Figure = (&'static str, fn(&Totals) -> Cell);

const EXACT: [Figure; 19] = [
    ("calls", |totals| Cell::figure(totals.calls)),
    ("errors", |totals| Cell::figure(totals.errors)),
    ("input_tokens", |totals| Cell::figure(totals.input_tokens)),
    ("cache_read_tokens", |totals| Cell::figure(totals.cache_read_tokens)),
    ("cache_write_tokens", |totals| Cell::figure(totals.cache_write_tokens)),
    ("output_tokens", |totals| Cell::figure(totals.output_tokens)),
    ("reasoning_tokens", |totals| Cell::figure(totals.reasoning_tokens)),
    ("cost_usd", |totals| Cell::maybe_figure(totals.cost_usd.as_deref())),
    ("cost_nano_usd", |totals| Cell::maybe_figure(totals.cost_nano_usd)),
    ("billed_usd", |totals| Cell::maybe_figure(totals.billed_usd.as_deref())),
    ("cost_reported_usd", |totals| Cell::figure(&totals.cost_reported_usd)),
    ("cost_estimated_usd", |totals| Cell::figure(&totals.cost_estimated_usd)),
    ("priced_calls", |totals| Cell::figure(totals.priced_calls)),
    ("reported_calls", |totals| Cell::figure(totals.reported_calls)),
    ("unknown_calls", |totals| Cell::figure(totals.unknown_calls)),
    ("unpriced_calls", |totals| Cell::figure(totals.unpriced_calls)),
    ("estimated_calls", |totals| Cell::figure(totals.estimated_calls)),
    ("usageless_calls", |totals| Cell::figure(totals.usageless_calls)),
    ("duration_ms", |totals| Cell::figure(totals.duration_ms)),
];

/// The sums as exact columns, for the rows of runs and experiments too.
pub fn exact_columns() -> impl Iterator<Item = Column> {
    EXACT.iter().map(|(name, _)| Column::right(*name))
}

pub fn exact_cells(totals: &Totals) -> impl Iterator<Item = Cell> {
    EXACT.iter().map(|(_, cell)| cell(totals))
}

/// The sums as a person reads them.
pub fn readable_columns() -> [Column; 6] {
    ["calls", "errors", "tokens in", "cached", "out", "cost"].map(Column::right)
}

pub fn readable_cells(totals: &Totals) -> [Cell; 6] {
    let errors = figures::count(totals.errors);
    [
        Cell::figure(figures::count(totals.calls)),
        if totals.errors > 0 { Cell::Toned(Tone::Bad, errors) } else { Cell::Toned(Tone::Faint, errors) },
        Cell::figure(figures::count(totals.input_tokens)),
        Cell::figure(figures::count(totals.cache_read_tokens)),
        Cell::figure(figures::count(totals.output_tokens)),
        match totals.cost() {
            // A sum over less than all calls is a lower bound, and says so.
            Some(cost) if totals.unpriced_calls > 0 => {
                Cell::Toned(Tone::Warning, format!("≥{}", figures::money(cost)))
            }
            Some(cost) if totals.estimated_calls > 0 => {
                Cell::Toned(Tone::Warning, format!("~{}", figures::money(cost)))
            }
            Some(cost) => Cell::figure(figures::money(cost)),
            None => Cell::Empty,
        },
    ]
}

/// What a reader must know about the sums, in sentences; empty when all is reported and priced.
pub fn caveats(totals: &Totals) -> Vec<String> {
    let of = |count: u64| format!("{} of {} calls", figures::count(count), figures::count(totals.calls));
    let mut lines = Vec::new();
    if totals.unpriced_calls > 0 {
        lines.push(format!("{} have no known price: their cost is in no sum", of(totals.unpriced_calls)));
    }
    if totals.estimated_calls > 0 {
        let estimated = figures::money(NanoUsd(totals.cost_estimated_nano_usd));
        lines.push(format!(
            "{} have estimated usage, because the upstream reported none ({estimated} of the cost)",
            of(totals.estimated_calls)
        ));
    }
    if totals.reported_calls > 0 {
        let reported = figures::money(NanoUsd(totals.cost_reported_nano_usd));
        lines.push(format!(
            "{} have the cost that the provider itself reported ({reported} of the cost)",
            of(totals.reported_calls)
        ));
    }
    if let (Some(cost), Some(billed)) = (totals.cost_nano_usd, totals.billed_nano_usd)
        && cost != billed
    {
        lines.push(format!("{} is billed after discounts and margins", figures::money(NanoUsd(billed))));
    }
    if totals.usageless_calls > 0 {
        lines.push(format!("{} have no usage at all", of(totals.usageless_calls)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{
        super::{csv, text},
        *,
    };

    fn rows() -> Vec<CostRow> {
        let priced = CostRow {
            key: vec![Some("gpt-4o".to_owned()), Some("2026-11-23".to_owned())],
            calls: 1_200,
            input_tokens: 1_234_567,
            output_tokens: 4_500,
            cost: NanoUsd(3_210_000_001),
            billed: NanoUsd(3_000_000_000),
            cost_reported: NanoUsd(210_000_001),
            reported_calls: 200,
            priced_calls: 1_200,
            duration_ns: 5_000_000,
            ..CostRow::default()
        };
        let unknown = CostRow {
            key: vec![None, Some("2026-11-23".to_owned())],
            calls: 3,
            errors: 1,
            unpriced_calls: 2,
            usageless_calls: 1,
            ..CostRow::default()
        };
        vec![priced, unknown]
    }

    fn report() -> CostReport {
        CostReport::new(vec![Dimension::Model, Dimension::Day], None, None, &rows())
    }

    #[test]
    fn inv6_an_unknown_cost_is_unknown_and_a_partial_sum_says_so() {
        let report = report();
        assert_eq!(report.rows[1].totals.cost_usd, None);
        assert_eq!(report.totals.cost_usd.as_deref(), Some("3.210000001"));
        assert_eq!(
            caveats(&report.totals),
            [
                "2 of 1,203 calls have no known price: their cost is in no sum",
                "200 of 1,203 calls have the cost that the provider itself reported ($0.2100 of the cost)",
                "$3.00 is billed after discounts and margins",
                "1 of 1,203 calls have no usage at all"
            ]
        );
        let shown = text::table(&report.readable(), text::Look::default());
        assert!(shown.contains("≥$3.21"), "{shown}");
        insta::assert_snapshot!(shown, @r"
        model   day         calls  errors  tokens in  cached    out    cost
        gpt-4o  2026-11-23  1,200       0  1,234,567       0  4,500   $3.21
        -       2026-11-23      3       1          0       0      0       -
        total               1,203       1  1,234,567       0  4,500  ≥$3.21
        ");
    }

    #[test]
    fn inv6_csv_leaves_unknown_costs_empty() {
        insta::assert_snapshot!(csv::table(&report().exact()).replace("\r\n", "\n"), @r"
        model,day,calls,errors,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd,cost_nano_usd,billed_usd,cost_reported_usd,cost_estimated_usd,priced_calls,reported_calls,unknown_calls,unpriced_calls,estimated_calls,usageless_calls,duration_ms
        gpt-4o,2026-11-23,1200,0,1234567,0,0,4500,0,3.210000001,3210000001,3.00,0.210000001,0.00,1200,200,0,0,0,0,5
        ,2026-11-23,3,1,0,0,0,0,0,,,,0.00,0.00,0,0,3,2,0,1,0
        ");
    }

    #[test]
    fn a_report_survives_json() {
        let text = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<CostReport>(&text).unwrap(), report());
    }
}
