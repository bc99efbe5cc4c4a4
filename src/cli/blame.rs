//! `tapline blame`: which call brought each tool and message into a call's prompt.

use super::{
    FAILED, Stop,
    output::Output,
    reach::{Reach, segment},
    show,
};
use crate::{
    api::Blame,
    model::lineage::ElementKind,
    report::{
        Cell, Column, Table, Tone,
        figures::{self, UNKNOWN},
    },
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline blame last")]
pub(super) struct Args {
    /// Call id, the first digits of one, a span id, or `last`.
    id: String,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let api = args.reach.open(output).await?;
    let id = if args.id == "last" { show::last(&api).await? } else { segment(&args.id)? };
    let blame: Blame = api.json(&format!("/api/v1/calls/{id}/blame"), &[]).await?;
    if args.json {
        output.line(&serde_json::to_string_pretty(&blame)?)?;
        return Ok(output.flush()?);
    }
    let mut table = Table::new(["brought by", "at", "what", "", ""].map(Column::left).into());
    for line in &blame.lines {
        let here = line.introduced_by.as_deref() == Some(blame.call.as_str());
        let by = line.introduced_by.as_ref().map_or(UNKNOWN.to_owned(), |by| by.chars().take(16).collect());
        let kind = match line.kind {
            ElementKind::Tool => "tool",
            ElementKind::System => "system",
            ElementKind::Parameter => "parameter",
            ElementKind::Message => "message",
        };
        table.rows.push(vec![
            Cell::Toned(if here { Tone::Good } else { Tone::Faint }, by),
            Cell::maybe(line.introduced_at.as_deref().map(|at| output.clock(at))),
            Cell::text(kind),
            Cell::text(&line.label),
            Cell::text(figures::one_line(&line.text, 90)),
        ]);
    }
    if !table.rows.is_empty() {
        output.table(&table)?;
    }
    output.flush()?;
    if blame.lines.is_empty() {
        return Err(Stop::error(FAILED, "the call has no prompt that could be read"));
    }
    Ok(())
}
