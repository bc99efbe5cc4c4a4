//! `tapline cost --reprice` and `tapline cost reconcile`: stored costs under other prices, and against a bill.

use std::path::PathBuf;

use anyhow::Context as _;
use http::Method;

use super::super::{FAILED, Stop, output::Output, reach::Reach};
use crate::{
    billing::{
        reconcile::{self, shown},
        reprice::{Ask, Change, Report},
    },
    model::NanoUsd,
    model::filter::CostRow,
    report::{Cell, Column, CostReport, Table, Tone, csv, figures},
};

/// Before and after, by model.
pub(super) async fn reprice(ask: &Ask, json: bool, reach: &Reach, output: &mut Output) -> anyhow::Result<()> {
    let api = reach.open(output).await?;
    let report: Report = api.send(Method::POST, "/api/v1/costs/reprice", Some(ask)).await?;
    if json {
        output.line(&serde_json::to_string_pretty(&report)?)?;
    } else {
        let mut columns = vec![Column::left("model")];
        columns.extend(
            ["calls", "changed", "before", "after", "billed before", "billed after", "unknown"]
                .map(Column::right),
        );
        let mut table = Table::new(columns);
        let cells = |name: &str, change: &Change| {
            let amount = |nanos| Cell::figure(figures::money(NanoUsd(nanos)));
            vec![
                Cell::text(name),
                Cell::figure(figures::count(change.calls)),
                Cell::figure(figures::count(change.changed_calls)),
                amount(change.cost_before_nano_usd),
                amount(change.cost_after_nano_usd),
                amount(change.billed_before_nano_usd),
                amount(change.billed_after_nano_usd),
                Cell::figure(format!("{} → {}", change.unknown_before, change.unknown_after)),
            ]
        };
        table.rows = report.models.iter().map(|model| cells(&model.model, &model.change)).collect();
        table.totals = Some(cells("total", &report.totals));
        output.table(&table)?;
        match report.audit_id {
            Some(id) => output.line(&format!("applied, and kept as repricing {id}"))?,
            None => output.line("nothing was changed; add --apply to keep these costs")?,
        }
    }
    output.flush()?;
    if report.totals.calls == 0 {
        return Err(Stop::error(FAILED, "no call was found"));
    }
    Ok(())
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline cost reconcile openai-usage.csv --tolerance 5")]
pub(in crate::cli) struct Reconcile {
    /// OpenAI's or Anthropic's usage or cost export: the API's JSON, or the console's CSV.
    bill: PathBuf,
    /// Per mille by which a figure may differ.
    #[arg(long, default_value_t = 0)]
    tolerance: i64,
    /// One JSON document.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Exits with 1 where something does not match.
pub(super) async fn reconcile(args: Reconcile, output: &mut Output) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.bill)
        .with_context(|| format!("the bill {} cannot be read", args.bill.display()))?;
    let bill = reconcile::read(&text)?;
    let query = [("by", "day,model".to_owned())];
    let report: CostReport = args.reach.open(output).await?.json("/api/v1/costs", &query).await?;
    let rows: Vec<CostRow> = report
        .rows
        .iter()
        .map(|line| {
            let key = |name: &str| line.key.get(name).and_then(|value| value.as_str()).map(str::to_owned);
            let totals = &line.totals;
            CostRow {
                key: vec![key("day"), key("model")],
                calls: totals.calls,
                input_tokens: totals.input_tokens,
                cache_read_tokens: totals.cache_read_tokens,
                cache_write_tokens: totals.cache_write_tokens,
                output_tokens: totals.output_tokens,
                estimated_calls: totals.estimated_calls,
                usageless_calls: totals.usageless_calls,
                unpriced_calls: totals.unpriced_calls,
                billed: NanoUsd(totals.billed_nano_usd.unwrap_or(0)),
                ..CostRow::default()
            }
        })
        .collect();
    let result = reconcile::compare(bill, &rows, args.tolerance);
    let mut columns = ["day", "model", "class"].map(Column::left).to_vec();
    columns.extend(["bill", "recorded", "difference"].map(Column::right));
    columns.push(Column::left("likely reason"));
    let mut table = Table::new(columns);
    table.rows = result
        .differences
        .iter()
        .map(|one| {
            vec![
                Cell::text(&one.day),
                Cell::text(&one.model),
                Cell::text(one.class.as_str()),
                Cell::figure(shown(one.class, one.bill)),
                Cell::figure(shown(one.class, one.recorded)),
                Cell::Toned(Tone::Warning, shown(one.class, Some(one.difference))),
                Cell::text(&one.reason),
            ]
        })
        .collect();
    if args.json {
        output.line(&serde_json::to_string_pretty(&result)?)?;
    } else if args.csv {
        output.write(&csv::table(&table))?;
    } else {
        if !table.rows.is_empty() {
            output.table(&table)?;
        }
        output.line(&format!("{}: {} of {} figures match", result.bill, result.matching, result.compared))?;
        for ignored in &result.ignored {
            output.note(&format!("not about a model: {ignored}"));
        }
    }
    output.flush()?;
    if result.differences.is_empty() {
        return Ok(());
    }
    Err(Stop::error(FAILED, format!("{} figures do not match", result.differences.len())))
}
