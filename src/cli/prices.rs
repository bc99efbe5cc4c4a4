//! `tapline prices`: the price table, what is missing in it, how a cost comes about, and price lists of others.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{FAILED, Stop, output::Output, reach::Reach};
use crate::{
    api::{MissingPrices, PriceChanges, PriceList},
    capture::recorder::now,
    pricing::{Explanation, import},
    report::{Table, csv, price},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: tapline prices explain gpt-5.4 --provider openai --input 300000 --output 1000"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prices that hold at a time.
    #[command(visible_alias = "list")]
    Show(Show),
    /// Models that were used and have no price, with their calls and tokens.
    Missing(Missing),
    /// The arithmetic of a call's cost, or of a model's price, line by line.
    Explain(Explain),
    /// What changed between two days.
    Diff(Diff),
    /// Make a price file of genai-prices' or LiteLLM's list, to be named under prices.file.
    Update(Update),
}

#[derive(Debug, clap::Args)]
struct Look {
    /// One JSON document.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV with exact figures.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// A model, an alias or a pattern (* and ?).
    model: Option<String>,
    #[arg(long)]
    provider: Option<String>,
    /// A time, a date or an age; `all` for every dated price.
    #[arg(long)]
    at: Option<String>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, clap::Args)]
struct Missing {
    /// From this time, date or age on; whole hours.
    #[arg(long)]
    since: Option<String>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// A call's id (or its first digits), or a model.
    what: String,
    #[arg(long)]
    provider: Option<String>,
    #[arg(long)]
    service_tier: Option<String>,
    #[arg(long)]
    region: Option<String>,
    /// A time, a date or an age.
    #[arg(long)]
    at: Option<String>,
    /// Input tokens, cached ones included [default: a million of input and of output].
    #[arg(long)]
    input: Option<u64>,
    #[arg(long)]
    cache_read: Option<u64>,
    #[arg(long)]
    cache_write: Option<u64>,
    #[arg(long)]
    output: Option<u64>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, clap::Args)]
struct Diff {
    from: String,
    /// Today if not given.
    to: Option<String>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, clap::Args)]
struct Update {
    /// genai-prices' data.json, or LiteLLM's model_prices_and_context_window.json.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The price file to write.
    #[arg(long, value_name = "FILE", default_value = "imported.prices.toml")]
    out: PathBuf,
    /// Only these providers, comma separated.
    #[arg(long, value_delimiter = ',')]
    provider: Vec<String>,
    /// The table's version, which is in every price id [default: today].
    #[arg(long)]
    version_name: Option<String>,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    match args.command {
        Command::Show(args) => {
            let query = given([("model", args.model), ("provider", args.provider), ("at", args.at)]);
            let list: PriceList = args.look.reach.open(output).await?.json("/api/v1/prices", &query).await?;
            print(output, &args.look, &list, &price::prices(&list.prices))
        }
        Command::Missing(args) => {
            let query = given([("since", args.since)]);
            let api = args.look.reach.open(output).await?;
            let list: MissingPrices = api.json("/api/v1/prices/missing", &query).await?;
            let table = price::missing(&list.missing);
            if table.rows.is_empty() && !args.look.json && !args.look.csv {
                output.line("every model that was used has a price")?;
                return Ok(output.flush()?);
            }
            print(output, &args.look, &list, &table)
        }
        Command::Diff(args) => {
            let query = given([("from", Some(args.from)), ("to", args.to)]);
            let api = args.look.reach.open(output).await?;
            let list: PriceChanges = api.json("/api/v1/prices/diff", &query).await?;
            print(output, &args.look, &list, &price::changes(&list.changes))
        }
        Command::Explain(args) => explain(args, output).await,
        Command::Update(args) => update(&args, output),
    }
}

fn given<const N: usize>(all: [(&'static str, Option<String>); N]) -> Vec<(&'static str, String)> {
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn print(
    output: &mut Output,
    look: &Look,
    whole: &impl serde::Serialize,
    table: &Table,
) -> anyhow::Result<()> {
    if look.json {
        output.line(&serde_json::to_string_pretty(whole)?)?;
    } else if look.csv {
        output.write(&csv::table(table))?;
    } else if !table.rows.is_empty() {
        output.table(table)?;
    }
    output.flush()?;
    if table.rows.is_empty() && !(look.json || look.csv) {
        return Err(Stop::error(FAILED, "nothing was found"));
    }
    Ok(())
}

async fn explain(args: Explain, output: &mut Output) -> anyhow::Result<()> {
    let is_call =
        args.what.len() >= 6 && args.what.bytes().all(|digit| digit.is_ascii_hexdigit() || digit == b'-');
    let count = |count: Option<u64>| count.map(|count| count.to_string());
    let query = if is_call {
        given([("call", Some(args.what))])
    } else {
        given([
            ("model", Some(args.what)),
            ("provider", args.provider),
            ("service_tier", args.service_tier),
            ("region", args.region),
            ("at", args.at),
            ("input", count(args.input)),
            ("cache_read", count(args.cache_read)),
            ("cache_write", count(args.cache_write)),
            ("output", count(args.output)),
        ])
    };
    let api = args.look.reach.open(output).await?;
    let explanation: Explanation = api.json("/api/v1/prices/explain", &query).await?;
    let table = price::explanation(&explanation);
    if args.look.json {
        output.line(&serde_json::to_string_pretty(&explanation)?)?;
    } else if args.look.csv {
        output.write(&csv::table(&table))?;
    } else {
        output.line(&explanation.price_id)?;
        let source = explanation.source.iter().chain(&explanation.checked).cloned().collect::<Vec<_>>();
        if !source.is_empty() {
            output.line(&source.join(", "))?;
        }
        output.table(&table)?;
        for charge in &explanation.charges {
            output.line(&format!("billed by {charge}"))?;
        }
    }
    output.flush()?;
    Ok(())
}

fn update(args: &Update, output: &mut Output) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.from)
        .with_context(|| format!("the price list {} cannot be read", args.from.display()))?;
    let today = now().date();
    let version = args.version_name.clone().unwrap_or_else(|| today.clone());
    let options = import::Options { version, checked: today, providers: args.provider.clone() };
    let imported = import::import(&text, &options)?;
    std::fs::write(&args.out, &imported.toml)
        .with_context(|| format!("the price file {} cannot be written", args.out.display()))?;
    for skipped in &imported.skipped {
        output.note(&format!("left out: {skipped}"));
    }
    output.line(&format!(
        "{} prices of {} models in {}; name it under prices.file to use it",
        imported.rows,
        imported.models,
        args.out.display()
    ))?;
    output.flush()?;
    Ok(())
}
