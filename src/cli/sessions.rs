//! `tapline sessions`: conversations and jobs with the sums of their calls.

use super::{FAILED, Stop, output::Output, reach::Reach};
use crate::{
    api::SessionList,
    report::{csv, session},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline sessions --since 1d\n         tapline log s-4f3a9c21d0e1")]
pub(super) struct Args {
    /// Experiment id or name.
    #[arg(long)]
    experiment: Option<String>,
    /// Run id or name.
    #[arg(long)]
    run: Option<String>,
    #[arg(long)]
    user: Option<String>,
    /// Those that come from this session: sub-agents.
    #[arg(long, value_name = "SESSION")]
    parent: Option<String>,
    /// Active at or after: a time, a date, or an age such as 7d, 12h, 30m.
    #[arg(long)]
    since: Option<String>,
    /// Active before.
    #[arg(long)]
    until: Option<String>,
    /// With at least so many calls.
    #[arg(long, value_name = "COUNT")]
    min_calls: Option<u64>,
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
    let all = [
        ("experiment", args.experiment),
        ("run", args.run),
        ("user", args.user),
        ("parent", args.parent),
        ("since", args.since),
        ("until", args.until),
        ("min_calls", args.min_calls.map(|calls| calls.to_string())),
    ];
    query.extend(all.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let list: SessionList = args.reach.open(output).await?.json("/api/v1/sessions", &query).await?;
    if args.json {
        output.line(&serde_json::to_string_pretty(&list.sessions)?)?;
    } else if args.csv {
        output.write(&csv::table(&session::exact(&list.sessions)))?;
    } else if !list.sessions.is_empty() {
        let table = session::readable(&list.sessions, |at| output.when(at));
        output.table(&table)?;
    }
    output.flush()?;
    if list.sessions.is_empty() {
        return Err(Stop::error(FAILED, "no session was found"));
    }
    if list.next_cursor.is_some() && !args.json && !args.csv {
        output.note("there are more; --limit, --since or --min-calls gives others");
    }
    Ok(())
}

/// The session that was active last, or the one that was named.
pub(super) async fn named(api: &super::reach::Api, id: &str) -> anyhow::Result<String> {
    if id != "last" {
        return super::reach::segment(id);
    }
    let list: SessionList = api.json("/api/v1/sessions", &[("limit", "1".to_owned())]).await?;
    let newest = list.sessions.into_iter().next();
    let newest = newest.ok_or_else(|| Stop::error(FAILED, "no session was found"))?;
    super::reach::segment(&newest.id)
}
