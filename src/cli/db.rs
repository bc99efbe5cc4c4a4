//! `tapline db`: the store itself: its sizes, removing what has outlived its life, dictionaries, the index.

use clap::Subcommand;
use http::Method;

use super::{output::Output, reach::Reach};
use crate::{
    api::StoreReport,
    report::figures,
    upkeep::{GcReport, TrainReport},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline db gc --dry-run\n         tapline db stats --json | jq .tables")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// How large the store is, and what of.
    Stats(Common),
    /// Remove what has outlived its retention, and content that nothing refers to.
    Gc {
        /// Remove nothing; say what would go.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Train dictionaries from what is stored, and pack everything with those that pay.
    Train(Common),
    /// Make the index of texts anew, in the background of the server.
    Reindex(Common),
}

#[derive(Debug, clap::Args)]
struct Common {
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    match args.verb {
        Verb::Stats(common) => stats(common, output).await?,
        Verb::Gc { dry_run, common } => gc(dry_run, common, output).await?,
        Verb::Train(common) => train(common, output).await?,
        Verb::Reindex(common) => {
            common.reach.open(output).await?.ask(Method::POST, "/api/v1/db/reindex", &[]).await?;
            output.line("indexing begins anew")?;
        }
    }
    Ok(output.flush()?)
}

async fn stats(common: Common, output: &mut Output) -> anyhow::Result<()> {
    let report: StoreReport = common.reach.open(output).await?.json("/api/v1/db", &[]).await?;
    if common.json {
        return Ok(output.line(&serde_json::to_string_pretty(&report)?)?);
    }
    let per_call = report.bytes.checked_div(report.calls).unwrap_or_default();
    output.line(&format!(
        "store       {} ({per_call} bytes a call; log {}, free {})",
        figures::bytes(report.bytes),
        figures::bytes(report.log_bytes),
        figures::bytes(report.free_bytes)
    ))?;
    output.line(&format!("index       {}", figures::bytes(report.index_bytes)))?;
    output.line(&format!(
        "stored      {} calls, {} contents, {} turns, {} bodies uncut",
        report.calls, report.contents, report.turns, report.uncut_bodies
    ))?;
    if report.unread_calls > 0 {
        output.line(&format!(
            "damaged     something of {} calls cannot be read; `tapline search` does not find it",
            report.unread_calls
        ))?;
    }
    for one in &report.dictionaries {
        let size = figures::bytes(one.bytes);
        output
            .line(&format!("dictionary  {} for {}: {size} from {} samples", one.id, one.kind, one.samples))?;
    }
    let mut tables: Vec<_> = report.tables.iter().collect();
    tables.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
    for (table, bytes) in tables.into_iter().take(12) {
        output.line(&format!("  {:>10}  {table}", figures::bytes(*bytes)))?;
    }
    Ok(())
}

async fn gc(dry_run: bool, common: Common, output: &mut Output) -> anyhow::Result<()> {
    let query = [("dry_run", dry_run.to_string())];
    let report: GcReport =
        common.reach.open(output).await?.change(Method::POST, "/api/v1/db/gc", &query).await?;
    if common.json {
        return Ok(output.line(&serde_json::to_string_pretty(&report)?)?);
    }
    let done = if report.dry_run { "would go" } else { "went" };
    output.line(&format!(
        "{done}: {} calls, payloads of {} more, {} contents and {} turns ({})",
        report.calls,
        report.payloads,
        report.swept.contents,
        report.swept.turns,
        figures::bytes(report.swept.bytes)
    ))?;
    if report.swept.damaged > 0 {
        output.line(&format!("{} stored rows are damaged and could not be read", report.swept.damaged))?;
    }
    if !report.dry_run {
        output.line(&format!("the store is {} smaller", figures::bytes(report.freed_bytes)))?;
    }
    Ok(())
}

async fn train(common: Common, output: &mut Output) -> anyhow::Result<()> {
    let report: TrainReport =
        common.reach.open(output).await?.change(Method::POST, "/api/v1/db/train", &[]).await?;
    if common.json {
        return Ok(output.line(&serde_json::to_string_pretty(&report)?)?);
    }
    for one in &report.trainings {
        let size = figures::bytes(one.dictionary_bytes);
        let verdict = match one.dictionary {
            Some(id) => format!("kept as {id}"),
            None => "not kept".to_owned(),
        };
        output.line(&format!(
            "{}: {} samples, {size}; {} bytes without it, {} with it; {verdict}",
            one.kind, one.samples, one.bytes_without, one.bytes_with
        ))?;
    }
    output.line(&format!("{} rows packed anew, {} bytes saved", report.repacked_rows, report.saved_bytes))?;
    Ok(())
}
