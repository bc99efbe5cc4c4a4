//! A call as one line, for the live tail and for lists.

use super::output::Output;
use crate::{
    model::{call::CallStatus, usage::UsageSource},
    report::{
        CallRow, Cell, Column, Table, Tone,
        figures::{self, UNKNOWN},
        text,
    },
};

/// Digits of a call's id that lists show: its millisecond and enough of its randomness to name it.
const SHORT_ID: usize = 16;

pub(super) fn mark(status: CallStatus) -> (Tone, &'static str) {
    match status {
        CallStatus::Ok => (Tone::Good, "✓"),
        CallStatus::Error => (Tone::Bad, "✗"),
        CallStatus::Cancelled => (Tone::Warning, "⊘"),
        CallStatus::Interrupted => (Tone::Warning, "…"),
    }
}

pub(super) fn short_id(row: &CallRow) -> String {
    row.id.chars().take(SHORT_ID).collect()
}

/// What a person calls it: the model, or method and path of plain HTTP.
fn subject(row: &CallRow) -> String {
    row.model.clone().unwrap_or_else(|| format!("{} {}", row.method, row.target))
}

pub(super) fn tokens(row: &CallRow) -> String {
    if row.usage.is_empty() {
        return UNKNOWN.to_owned();
    }
    let side = |count: Option<u64>| count.map_or_else(|| UNKNOWN.to_owned(), figures::count);
    let about = if row.usage_source == Some(UsageSource::Estimated) { "~" } else { "" };
    format!("{about}{}→{}", side(row.usage.input), side(row.usage.output))
}

pub(super) fn cost(row: &CallRow) -> String {
    let about = if row.usage_source == Some(UsageSource::Estimated) { "~" } else { "" };
    row.cost().map_or_else(|| UNKNOWN.to_owned(), |cost| format!("{about}{}", figures::money(cost)))
}

fn ms(ms: Option<f64>) -> String {
    ms.map_or_else(|| UNKNOWN.to_owned(), |ms| figures::duration(figures::ns_of_ms(ms)))
}

/// Run and session, as far as there are any.
fn belongs(row: &CallRow) -> String {
    let run = row.run.as_deref().or(row.run_id.as_deref());
    match (run, row.session.as_deref()) {
        (None, None) => String::new(),
        (Some(run), None) => run.to_owned(),
        (None, Some(session)) => format!("/{session}"),
        (Some(run), Some(session)) => format!("{run}/{session}"),
    }
}

fn error(row: &CallRow) -> String {
    match (&row.error_type, &row.error_message) {
        (None, None) => String::new(),
        (Some(only), None) | (None, Some(only)) => only.clone(),
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
    }
}

/// One line of the live tail. Lines do not know each other, so the columns are wide enough for most.
pub(super) fn live(row: &CallRow, output: &Output) -> String {
    let look = output.look;
    let (tone, mark) = mark(row.status);
    let faint = |text: &str| text::paint(Tone::Faint, text, look);
    let mut line = format!(
        "{} {} {:<28} {:>7} {:>7} {:>14} {:>10}",
        faint(&output.clock(&row.started_at)),
        text::paint(tone, mark, look),
        figures::one_line(&subject(row), 28),
        ms(Some(row.duration_ms)),
        ms(row.first_token_ms),
        tokens(row),
        cost(row),
    );
    let belongs = figures::one_line(&belongs(row), 40);
    if !belongs.is_empty() {
        line.push_str(&format!("  {}", faint(&belongs)));
    }
    let error = figures::one_line(&error(row), 100);
    if !error.is_empty() {
        line.push_str(&format!("  {}", text::paint(Tone::Bad, &error, look)));
    }
    line
}

/// Calls as a table, newest first as they come.
pub(super) fn table(rows: &[CallRow], output: &Output) -> Table {
    let mut table = Table::new(vec![
        Column::left("started"),
        Column::left("id"),
        Column::left(""),
        Column::left("model"),
        Column::right("took"),
        Column::right("ttft"),
        Column::right("tokens"),
        Column::right("cost"),
        Column::left("run/session"),
        Column::left("error"),
    ]);
    table.rows = rows
        .iter()
        .map(|row| {
            let (tone, mark) = mark(row.status);
            let error = figures::one_line(&error(row), 60);
            vec![
                Cell::text(output.when(&row.started_at)),
                Cell::Toned(Tone::Faint, short_id(row)),
                Cell::Toned(tone, mark.to_owned()),
                Cell::text(figures::one_line(&subject(row), 40)),
                Cell::figure(ms(Some(row.duration_ms))),
                Cell::figure(ms(row.first_token_ms)),
                Cell::figure(tokens(row)),
                Cell::figure(cost(row)),
                Cell::text(figures::one_line(&belongs(row), 40)),
                Cell::Toned(Tone::Bad, error),
            ]
        })
        .collect();
    table
}
