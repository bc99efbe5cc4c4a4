//! `tapline experiments`: experiments with the sums of their calls.

use super::{FAILED, Stop, output::Output, reach::Reach};
use crate::{
    api::ExperimentList,
    report::{csv, run},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline experiments --csv > experiments.csv")]
pub(super) struct Args {
    /// One JSON array.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV with exact figures.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let list: ExperimentList = args.reach.open(output).await?.json("/api/v1/experiments", &[]).await?;
    let rows = &list.experiments;
    if args.json {
        output.line(&serde_json::to_string_pretty(rows)?)?;
    } else if args.csv {
        output.write(&csv::table(&run::exact_experiments(rows)))?;
    } else if !rows.is_empty() {
        let table = run::readable_experiments(rows, |at| output.when(at));
        output.table(&table)?;
    }
    output.flush()?;
    if rows.is_empty() {
        return Err(Stop::error(FAILED, "no experiment was found"));
    }
    Ok(())
}
