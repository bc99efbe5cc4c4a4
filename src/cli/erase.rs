//! `tapline erase`: removes one call, session, run or experiment from every file of a running tapline.

use http::Method;

use super::{
    Stop, USAGE,
    output::Output,
    reach::{Reach, segment},
};
use crate::{report::figures, upkeep::EraseReport};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline erase --session support-agent-1 --yes\n\n\
    What others share stays: a system prompt that other sessions were given, too. Sums in reports are corrected.")]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// Do it; without this nothing is erased.
    #[arg(long)]
    yes: bool,
    /// What was erased as one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// Call id, or the first digits of one.
    #[arg(long)]
    call: Option<String>,
    #[arg(long)]
    session: Option<String>,
    /// Run id or name.
    #[arg(long)]
    run: Option<String>,
    /// Experiment id or name.
    #[arg(long)]
    experiment: Option<String>,
}

impl Target {
    fn path(&self) -> anyhow::Result<String> {
        let all = [
            ("calls", &self.call),
            ("sessions", &self.session),
            ("runs", &self.run),
            ("experiments", &self.experiment),
        ];
        for (noun, value) in all {
            if let Some(value) = value {
                return Ok(format!("/api/v1/{noun}/{}", segment(value)?));
            }
        }
        Err(Stop::error(USAGE, "expected --call, --session, --run or --experiment"))
    }
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let path = args.target.path()?;
    if !args.yes {
        return Err(Stop::error(USAGE, "erasing cannot be undone: say --yes to do it"));
    }
    let report: EraseReport = args.reach.open(output).await?.change(Method::DELETE, &path, &[]).await?;
    if args.json {
        output.line(&serde_json::to_string_pretty(&report)?)?;
    } else {
        output.line(&format!(
            "erased {} calls, {} contents ({}) that nobody else had, {} records of the journal",
            report.calls,
            report.swept.contents,
            figures::bytes(report.swept.bytes),
            report.journal_records
        ))?;
        if report.artifacts > 0 {
            output.line(&format!("erased the artifacts of {} runs and models", report.artifacts))?;
        }
        if report.artifacts_elsewhere > 0 {
            output.line(&format!(
                "the artifacts of {} runs and models are kept elsewhere and stay there",
                report.artifacts_elsewhere
            ))?;
        }
        if report.swept.damaged > 0 {
            output
                .line(&format!("{} stored rows are damaged and could not be read", report.swept.damaged))?;
        }
        if report.dictionaries {
            output.line("dictionaries had learned from them: everything is packed anew")?;
        }
    }
    Ok(output.flush()?)
}
