//! `tapline show`: one call whole, or one run.

use clap::ValueEnum;
use serde_json::Value;

use super::{
    FAILED, Stop,
    output::Output,
    reach::{Api, Reach, segment},
    show_run, show_text, step,
};
use crate::api::{CallList, CallWhole, RunWhole};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: tapline show last\n         tapline show 019ab3f2c4d17 --raw request | jq .messages\n         \
    tapline show --tree last\n         tapline show run v3"
)]
pub(super) struct Args {
    /// Call id, the first digits of one, a span id, or `last`; with --tree a session; or `run`, before a run's id
    /// or name.
    id: String,
    /// After `run`: the run's id, or its name when exactly one run has it.
    run: Option<String>,
    /// A session as a tree: who goes on from whom, and the sessions of its sub-agents.
    #[arg(long, conflicts_with_all = ["headers", "json", "raw", "run"])]
    tree: bool,
    /// Request and response headers too.
    #[arg(long)]
    headers: bool,
    /// The call or the run as one JSON document.
    #[arg(long, conflicts_with_all = ["headers", "raw"])]
    json: bool,
    /// The exact bytes of a body and nothing else.
    #[arg(long, value_enum, conflicts_with = "headers")]
    raw: Option<Raw>,
    /// With --raw response: each frame at its time, as the client got it.
    #[arg(long, requires = "raw")]
    paced: bool,
    /// How many times as fast when paced.
    #[arg(long, requires = "paced", value_name = "FACTOR")]
    speed: Option<f64>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Raw {
    Request,
    Response,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let api = args.reach.open(output).await?;
    if let Some(run) = &args.run {
        if args.id != "run" || args.raw.is_some() || args.headers {
            return Err(Stop::error(FAILED, "expected a call's id alone, or `run` and a run's id or name"));
        }
        let path = format!("/api/v1/runs/{}", segment(run)?);
        if args.json {
            let whole: Value = api.json(&path, &[]).await?;
            output.line(&serde_json::to_string_pretty(&whole)?)?;
        } else {
            let whole: RunWhole = api.json(&path, &[]).await?;
            let text = show_run::run(&whole, output);
            output.write(&text)?;
        }
        return Ok(output.flush()?);
    }
    if args.tree {
        let text = step::tree(&api, &args.id, output).await?;
        output.write(&text)?;
        return Ok(output.flush()?);
    }
    let id = if args.id == "last" { last(&api).await? } else { segment(&args.id)? };
    if let Some(raw) = args.raw {
        let noun = if raw == Raw::Request { "request" } else { "response" };
        let mut query = Vec::new();
        if args.paced && raw == Raw::Response {
            query.push(("paced", "true".to_owned()));
            query.extend(args.speed.map(|speed| ("speed", speed.to_string())));
        }
        let answer = api.get(&format!("/api/v1/calls/{id}/{noun}"), &query, &[]).await?;
        if answer.headers.get("x-tapline-whole").is_some_and(|whole| whole == "false") {
            output.note(&format!("not all of this {noun} was kept"));
        }
        answer
            .pour(|bytes| {
                output.bytes(&bytes)?;
                if args.paced {
                    output.flush()?;
                }
                Ok(())
            })
            .await?;
        return Ok(output.flush()?);
    }
    let path = format!("/api/v1/calls/{id}");
    if args.json {
        let whole: Value = api.json(&path, &[]).await?;
        output.line(&serde_json::to_string_pretty(&whole)?)?;
    } else {
        let whole: CallWhole = api.json(&path, &[]).await?;
        let text = show_text::call(&whole, args.headers, output);
        output.write(&text)?;
    }
    Ok(output.flush()?)
}

pub(super) async fn last(api: &Api) -> anyhow::Result<String> {
    let list: CallList = api.json("/api/v1/calls", &[("limit", "1".to_owned())]).await?;
    let newest = list.calls.into_iter().next();
    newest.map(|call| call.id).ok_or_else(|| Stop::error(FAILED, "no call was found"))
}
