//! What a run came to, told when it is over.

use std::{process::ExitStatus, time::Duration};

use serde_json::json;

use super::child;
use crate::{
    cli::{output::Output, reach::Reach},
    report::{RunRow, cost, figures},
};

#[derive(Debug)]
pub(super) struct Outcome {
    base: String,
    run: RunRow,
    exit_code: u8,
    duration: Duration,
}

impl Outcome {
    /// What the server has of the run; it waits for calls that have just ended.
    pub(super) async fn read(
        base: &str,
        id: &str,
        status: ExitStatus,
        duration: Duration,
    ) -> anyhow::Result<Self> {
        let api = Reach::to(Some(base), None).server().await?;
        let run = api.json(&format!("/api/v1/runs/{id}"), &[]).await?;
        Ok(Self { base: base.to_owned(), run, exit_code: child::code(status), duration })
    }

    pub(super) fn tell(&self, as_json: bool, output: &Output) -> anyhow::Result<()> {
        let Self { base, run, exit_code, duration } = self;
        if as_json {
            let told = json!({
                "run": run, "exit_code": exit_code, "duration_s": duration.as_secs_f64(), "url": base,
            });
            output.aside(&told.to_string());
            return Ok(());
        }
        let totals = &run.totals;
        output.note(&format!(
            "run {} {} after {}: {} calls, {} + {} tokens, {}",
            run.name,
            run.status.as_str(),
            figures::duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)),
            totals.calls,
            totals.input_tokens,
            totals.output_tokens,
            totals.cost().map_or_else(|| "cost unknown".to_owned(), figures::money),
        ));
        for caveat in cost::caveats(totals) {
            output.note(&caveat);
        }
        Ok(())
    }
}
