//! `tapline runs`: runs with the sums of their calls.

use super::{FAILED, Stop, output::Output, reach::Reach};
use crate::{
    api::RunList,
    report::{csv, run},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: tapline runs --experiment prompt-tuning --filter \"params.temperature = '0.7'\" \
    --order-by 'metrics.tapline/cost_usd DESC'"
)]
pub(super) struct Args {
    /// Experiment id or name.
    #[arg(long)]
    experiment: Option<String>,
    /// Conditions in MLflow's grammar, such as "metrics.acc > 0.9 AND params.model = 'gpt-4o'".
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// A field and a direction, such as "metrics.acc DESC" or "metrics.tapline/cost_usd".
    #[arg(long, value_name = "FIELD")]
    order_by: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
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
    let mut query = vec![("limit", args.limit.to_string())];
    if let Some(experiment) = args.experiment {
        query.push(("experiment", experiment));
    }
    query.extend(args.filter.map(|filter| ("filter", filter)));
    query.extend(args.order_by.map(|field| ("order_by", field)));
    let list: RunList = args.reach.open(output).await?.json("/api/v1/runs", &query).await?;
    if args.json {
        output.line(&serde_json::to_string_pretty(&list.runs)?)?;
    } else if args.csv {
        output.write(&csv::table(&run::exact_runs(&list.runs)))?;
    } else if !list.runs.is_empty() {
        let table = run::readable_runs(&list.runs, |at| output.when(at));
        output.table(&table)?;
    }
    output.flush()?;
    if list.runs.is_empty() {
        return Err(Stop::error(FAILED, "no run was found"));
    }
    Ok(())
}
