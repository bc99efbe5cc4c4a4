//! One run as text: its facts, what its calls came to, and what was logged to it.

use super::output::Output;
use crate::{
    api::{MetricPoint, RunWhole},
    report::{
        Cell, Column, Table, cost,
        figures::{one_line, printable},
        text,
    },
};

/// The whole text, ending in a new line.
pub(super) fn run(whole: &RunWhole, output: &Output) -> String {
    let look = output.look;
    let row = &whole.run;
    let state = if whole.deleted_at.is_some() { ", deleted" } else { "" };
    let mut page = format!(
        "{} {}\n",
        text::bold(&one_line(&row.name, 120), look),
        printable(&format!("({}{state})", row.status.as_str().to_lowercase()))
    );
    let ended = row.ended_at.as_deref().map(|at| output.when(at));
    let user = Some(whole.user.as_str()).filter(|user| !user.is_empty());
    for (name, value) in [
        ("id", Some(row.id.as_str())),
        ("experiment", Some(row.experiment.as_str())),
        ("user", user),
        ("started", Some(output.when(&row.started_at).as_str())),
        ("ended", ended.as_deref()),
        ("artifacts", Some(whole.artifact_uri.as_str())),
    ] {
        if let Some(value) = value {
            page.push_str(&format!("{name:<14} {}\n", printable(value)));
        }
    }
    let mut sums = Table::new(cost::readable_columns().into());
    sums.rows = vec![cost::readable_cells(&row.totals).into()];
    page.push('\n');
    page.push_str(&text::table(&sums, look));
    let pairs = |name: &str, rows: Vec<Vec<Cell>>| {
        let mut table = Table::new(vec![Column::left(name), Column::left("value")]);
        table.rows = rows;
        table
    };
    let words = |(key, value): (&String, &String)| vec![Cell::text(key), Cell::text(value)];
    let params = pairs("param", whole.params.iter().map(words).collect());
    let tags = pairs("tag", row.tags.iter().map(words).collect());
    let mut metrics =
        Table::new(vec![Column::left("metric"), Column::right("latest"), Column::right("step")]);
    metrics.rows = whole.metrics.iter().map(metric).collect();
    let mut datasets = Table::new(["dataset", "digest", "context"].map(Column::left).into());
    datasets.rows = whole
        .datasets
        .iter()
        .map(|used| {
            vec![Cell::text(&used.name), Cell::text(&used.digest), Cell::maybe(used.context.as_deref())]
        })
        .collect();
    for table in [params, metrics, datasets, tags] {
        if !table.rows.is_empty() {
            page.push('\n');
            page.push_str(&text::table(&table, look));
        }
    }
    page
}

fn metric((key, point): (&String, &MetricPoint)) -> Vec<Cell> {
    let value = point.value.map_or_else(|| "NaN".to_owned(), |value| value.to_string());
    vec![Cell::text(key), Cell::Figure(value), Cell::figure(point.step)]
}
