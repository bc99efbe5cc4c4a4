//! `tapline cost`: what calls cost, and how much of that is estimated or unknown.

mod anew;

use std::path::PathBuf;

use anyhow::Context as _;

use super::{FAILED, Stop, output::Output, reach::Reach};
use crate::{
    billing::reprice::Ask,
    report::{CacheReport, CostReport, cost, csv},
};

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: tapline cost --by model,day --since 7d\n         tapline cost --cache-loss --by cause,model\n         tapline cost --reprice --as-of 2026-11-01"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// What calls would cost by other prices; nothing is changed without --apply.
    #[arg(long, conflicts_with = "cache_loss")]
    reprice: bool,
    /// With --reprice: a price file whose rows come before all others.
    #[arg(long, value_name = "FILE", requires = "reprice")]
    prices: Option<PathBuf>,
    /// With --reprice: the prices of this day.
    #[arg(long, value_name = "DATE", requires = "reprice")]
    as_of: Option<String>,
    /// With --reprice: keep the new costs and correct every sum.
    #[arg(long, requires = "reprice")]
    apply: bool,
    /// Dimensions, comma separated: day, hour, experiment, run, model, provider, upstream, operation, key; with
    /// --cache-loss day, experiment, run, session, provider, model, prompt, user, cause [default: model, or cause].
    #[arg(long)]
    by: Option<String>,
    /// What prompt caches could have read and did not, and what that cost.
    #[arg(long)]
    cache_loss: bool,
    /// From this time, date or age on; whole hours.
    #[arg(long)]
    since: Option<String>,
    /// Until this time, date or age; whole hours.
    #[arg(long)]
    until: Option<String>,
    /// Experiment id or name.
    #[arg(long)]
    experiment: Option<String>,
    /// Run id or name.
    #[arg(long)]
    run: Option<String>,
    /// The report as one JSON document.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV with exact figures.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Compare a provider's usage or cost export with what was recorded.
    Reconcile(anew::Reconcile),
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    if let Some(Command::Reconcile(args)) = args.command {
        return anew::reconcile(args, output).await;
    }
    if args.reprice {
        let read = |file: PathBuf| {
            std::fs::read_to_string(&file)
                .with_context(|| format!("the price file {} cannot be read", file.display()))
        };
        let ask = Ask {
            since: args.since,
            until: args.until,
            experiment: args.experiment,
            run: args.run,
            as_of: args.as_of,
            prices: args.prices.map(read).transpose()?,
            apply: args.apply,
            ..Ask::default()
        };
        return anew::reprice(&ask, args.json, &args.reach, output).await;
    }
    let by = args.by.unwrap_or_else(|| if args.cache_loss { "cause" } else { "model" }.to_owned());
    let all = [
        ("by", Some(by)),
        ("since", args.since),
        ("until", args.until),
        ("experiment", args.experiment),
        ("run", args.run),
    ];
    let query: Vec<_> = all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    if args.cache_loss {
        let report: CacheReport = args.reach.open(output).await?.json("/api/v1/cache", &query).await?;
        if args.json {
            output.line(&serde_json::to_string_pretty(&report)?)?;
        } else if args.csv {
            output.write(&csv::table(&report.exact()))?;
        } else if report.totals.calls > 0 {
            output.table(&report.readable())?;
        }
        output.flush()?;
        if report.totals.calls == 0 {
            return Err(Stop::error(FAILED, "no call was found that is long enough for a prompt cache"));
        }
        if report.totals.unpriced_calls > 0 && !args.json && !args.csv {
            output.note(&format!("{} calls missed tokens of an unknown price", report.totals.unpriced_calls));
        }
        return Ok(());
    }
    let report: CostReport = args.reach.open(output).await?.json("/api/v1/costs", &query).await?;
    if args.json {
        output.line(&serde_json::to_string_pretty(&report)?)?;
    } else if args.csv {
        output.write(&csv::table(&report.exact()))?;
    } else if report.totals.calls > 0 {
        output.table(&report.readable())?;
        for caveat in cost::caveats(&report.totals) {
            output.line(&caveat)?;
        }
    }
    output.flush()?;
    if report.totals.calls == 0 {
        return Err(Stop::error(FAILED, "no call was found"));
    }
    Ok(())
}
