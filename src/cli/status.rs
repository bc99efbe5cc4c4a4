//! `tapline status`: how a running server is, and where every call and record is.

use super::{FAILED, Stop, output::Output, reach::Reach};
use crate::{
    api::operations::Health,
    report::{
        Cell, Column, Table, Tone,
        figures::{count, printable},
    },
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline status --json | jq .calls\n\n\
    The books add up: sent + found = stored + journalled + dropped. The exit code is 1 while something fails.")]
pub(super) struct Args {
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let health: Health = args.reach.server().await?.json("/healthz", &[]).await?;
    if args.json {
        output.line(&serde_json::to_string_pretty(&health)?)?;
    } else {
        output.line(&format!("tapline {} is {}", printable(&health.version), printable(&health.status)))?;
        for problem in &health.problems {
            output.line(&format!("  {}", printable(problem)))?;
        }
        output.table(&books(&health))?;
    }
    output.flush()?;
    match health.status.as_str() {
        "ok" => Ok(()),
        status => Err(Stop::error(FAILED, format!("the server is {status}"))),
    }
}

fn books(health: &Health) -> Table {
    let (calls, records) = (&health.calls, &health.records);
    let row = |tone: Tone, what: &str, number: u64, means: &str| {
        let tone = if number > 0 { tone } else { Tone::Plain };
        vec![Cell::text(what), Cell::Toned(tone, count(number)), Cell::text(means)]
    };
    let plain = Tone::Plain;
    Table {
        columns: vec![Column::left("what"), Column::right("count"), Column::left("")],
        rows: vec![
            row(plain, "calls sent", calls.sent, "by clients, since the start"),
            row(plain, "calls found", calls.found, "in the journal of a process before"),
            row(plain, "  stored", calls.stored, "in the store"),
            row(plain, "  journalled", calls.journalled, "running, or on the way to the store"),
            row(Tone::Bad, "  dropped", calls.dropped, "forwarded, and not recorded"),
            row(Tone::Warning, "calls refused", calls.refused, "because they could not be recorded"),
            row(plain, "records appended", records.appended, "to the journal"),
            row(plain, "  written", records.written, ""),
            row(plain, "  queued", records.queued, "in memory"),
            row(Tone::Bad, "  dropped", records.dropped, "because there was no room"),
            row(plain, "calls in flight", health.in_flight, ""),
            row(plain, "journal bytes", health.journal_bytes, "on disk"),
            row(plain, "journal lag", health.journal_lag_bytes, "bytes that are not in the store yet"),
        ],
        ..Table::default()
    }
}
