//! `tapline search`: prompts and answers with these words.

use super::{FAILED, Stop, filter::Filter, output::Output, reach::Reach};
use crate::{
    api::SearchList,
    report::figures::{count, printable},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline search 'refund policy' --run v2-guided\n         \
    tapline search '\"in a row\" beginning* -without' --order rank")]
pub(super) struct Args {
    /// Words that must all be there; 'with -without', '"in a row"', 'beginning*', 'this OR that'.
    #[arg(required = true)]
    words: Vec<String>,
    /// newest or rank.
    #[arg(long, default_value = "newest")]
    order: String,
    /// How many at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let mut query = args.filter.query();
    query.push(("q", args.words.join(" ")));
    query.push(("order", args.order));
    query.push(("limit", args.limit.to_string()));
    let list: SearchList = args.reach.open(output).await?.json("/api/v1/search", &query).await?;
    if args.json {
        output.line(&serde_json::to_string_pretty(&list)?)?;
    } else {
        for hit in &list.hits {
            let call = &hit.call;
            let model = call.model.as_deref().unwrap_or("-");
            output.line(&format!("{}  {}  {model}  {}", call.id, output.when(&call.started_at), hit.part))?;
            output.line(&format!("    {}", printable(&hit.snippet)))?;
        }
        if list.unindexed > 0 {
            output.note(&format!("{} calls are not indexed yet", count(list.unindexed)));
        }
        if list.more {
            output.note("there are more; --limit gives them");
        }
    }
    output.flush()?;
    if list.hits.is_empty() {
        return Err(Stop::error(FAILED, "nothing was found"));
    }
    Ok(())
}
