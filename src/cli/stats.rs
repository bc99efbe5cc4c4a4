//! `tapline stats`: what tapline knows of its own figures.

use super::{FAILED, Stop, USAGE, output::Output, reach::Reach};
use crate::{
    api::{TokenErrors, token_error_table},
    report::csv,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline stats --token-error")]
pub(super) struct Args {
    /// How far own token counts are from what upstreams reported, by model.
    #[arg(long)]
    token_error: bool,
    /// One JSON array.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    if !args.token_error {
        return Err(Stop::error(USAGE, "expected --token-error, found no statistic that is asked for"));
    }
    let errors: TokenErrors = args.reach.open(output).await?.json("/api/v1/token-errors", &[]).await?;
    let table = token_error_table(&errors.models);
    if args.json {
        output.line(&serde_json::to_string_pretty(&errors.models)?)?;
    } else if args.csv {
        output.write(&csv::table(&table))?;
    } else if !table.rows.is_empty() {
        output.table(&table)?;
    }
    output.flush()?;
    if table.rows.is_empty() {
        return Err(Stop::error(FAILED, "no call was counted twice yet; every eighth of a model is"));
    }
    Ok(())
}
