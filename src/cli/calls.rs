//! `tapline calls`: the list of calls.

use super::{FAILED, Stop, filter::Filter, line, output::Output, reach::Reach};
use crate::{
    api::CallList,
    report::{call, csv},
};

/// The largest page that the API gives.
const PAGE: usize = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline calls --status error --since 1d --limit 20")]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All there are, page by page.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// One JSON array.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV with every fact in a column.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let api = args.reach.open(output).await?;
    let mut left = if args.all { usize::MAX } else { usize::try_from(args.limit).unwrap_or(usize::MAX) };
    let mut cursor: Option<String> = None;
    let mut written = 0usize;
    loop {
        let mut query = args.filter.query();
        query.push(("limit", left.min(PAGE).to_string()));
        if let Some(cursor) = cursor.take() {
            query.push(("cursor", cursor));
        }
        let page: CallList = api.json("/api/v1/calls", &query).await?;
        if args.json {
            for row in &page.calls {
                output.write(if written == 0 { "[\n" } else { ",\n" })?;
                output.write(&serde_json::to_string(row)?)?;
                written += 1;
            }
        } else {
            if args.csv {
                let table = call::table(&page.calls);
                if written == 0 {
                    output.write(&csv::header(&table))?;
                }
                output.write(&csv::rows(&table))?;
            } else if !page.calls.is_empty() {
                let table = line::table(&page.calls, output);
                output.table(&table)?;
            }
            written += page.calls.len();
        }
        // So that a reader sees each page while the next is made, and one that left is noticed.
        output.flush()?;
        left = left.saturating_sub(page.calls.len());
        cursor = page.next_cursor;
        if cursor.is_none() || left == 0 || page.calls.is_empty() {
            break;
        }
    }
    if args.json {
        output.line(if written == 0 { "[]" } else { "\n]" })?;
    }
    if written == 0 {
        output.flush()?;
        return Err(Stop::error(FAILED, "no call was found"));
    }
    if cursor.is_some() && !args.json && !args.csv {
        output.note("there are more; --all or --limit gives them");
    }
    Ok(())
}
