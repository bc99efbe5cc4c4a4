//! `tapline budgets`: what each has spent and what is left; and a run's own.

use http::Method;

use super::{
    FAILED, Stop,
    output::Output,
    reach::{Reach, segment},
};
use crate::{
    api::{BudgetList, RunBudgetBody},
    model::budget::Action,
    report::{BudgetRow, budget, csv},
};

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: tapline budgets\n         tapline budgets set run nightly-7 5usd"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// One JSON array.
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
    /// Give a run a budget of its own: a kill switch.
    Set {
        #[command(subcommand)]
        of: Set,
    },
    /// Take a run's own budget away.
    Clear {
        /// Run id, or name where exactly one run has it.
        run: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Set {
    Run {
        /// Run id, or name where exactly one run has it.
        run: String,
        /// US dollars: 5usd, 0.50.
        limit: String,
        /// Only say it when it is used up.
        #[arg(long)]
        warn: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    match args.command {
        Some(Command::Set { of: Set::Run { run, limit, warn, reach } }) => {
            let path = format!("/api/v1/runs/{}/budget", segment(&run)?);
            let body = RunBudgetBody { limit, action: if warn { Action::Warn } else { Action::Stop } };
            let row: BudgetRow = reach.open(output).await?.send(Method::PUT, &path, Some(&body)).await?;
            output.table(&budget::readable(&[row]))?;
        }
        Some(Command::Clear { run, reach }) => {
            let path = format!("/api/v1/runs/{}/budget", segment(&run)?);
            let _: Option<()> = reach.open(output).await?.send(Method::DELETE, &path, None::<&()>).await?;
            output.line("it has no budget of its own any more")?;
        }
        None => {
            let list: BudgetList = args.reach.open(output).await?.json("/api/v1/budgets", &[]).await?;
            if args.json {
                output.line(&serde_json::to_string_pretty(&list.budgets)?)?;
            } else if args.csv {
                output.write(&csv::table(&budget::exact(&list.budgets)))?;
            } else if !list.budgets.is_empty() {
                output.table(&budget::readable(&list.budgets))?;
            }
            if list.budgets.is_empty() {
                output.flush()?;
                return Err(Stop::error(FAILED, "no budget was found; see [[budgets]] in the configuration"));
            }
        }
    }
    output.flush()?;
    Ok(())
}
