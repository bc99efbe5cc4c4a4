//! `tapline demo`: starts tapline on embedded defaults, sends a small realistic workload through it, shows
//! what was recorded, and leaves the server up to look around in.

pub mod workload;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{output::Output, signals};
use crate::{
    app::{App, Settings},
    events,
    report::{
        cost::{self, CostReport},
        figures::printable,
    },
    simulate, upstream,
};
use workload::{EXPERIMENT, Models, RUNS, SESSION, STEPS, Summary, Workload};

/// See tapline work: a server, a workload through it, its cost report, and where to look.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example: tapline demo\n         \
    tapline demo --upstream http://127.0.0.1:8080/v1 --model smollm2-135m --once")]
pub struct Args {
    /// Send the workload to this OpenAI-compatible endpoint instead of the built-in simulated provider.
    #[arg(long, value_name = "URL", requires = "model")]
    pub upstream: Option<String>,
    /// Model to ask for, with --upstream.
    #[arg(long, requires = "upstream")]
    pub model: Option<String>,
    /// API key, with --upstream.
    #[arg(long, requires = "upstream")]
    pub key: Option<String>,
    /// Address tapline listens on.
    #[arg(long, default_value = "127.0.0.1:4000", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where tapline keeps what it records.
    #[arg(long, default_value = "tapline-data", value_name = "DIRECTORY")]
    pub data: PathBuf,
    /// Stop when done instead of leaving the server up.
    #[arg(long)]
    pub once: bool,
    /// Print the outcome as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// A tapline in this process.
struct Server {
    /// `http://127.0.0.1:4000`.
    base_url: String,
    /// Resolves when the server was stopped (Ctrl-C, SIGTERM) and has drained.
    stopped: std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>,
}

/// The application on embedded defaults with one upstream, listening on `args.listen`, recording into `args.data`.
async fn start_server(args: &Args, upstream_url: &str, provider: &str) -> anyhow::Result<Server> {
    let settings = Settings {
        listen: args.listen,
        data: args.data.clone(),
        upstreams: [(
            upstream::DEFAULT.to_owned(),
            upstream::Config {
                url: upstream_url.to_owned(),
                provider: Some(provider.to_owned()),
                ..upstream::Config::default()
            },
        )]
        .into(),
        ..Settings::default()
    };
    let app = App::open(settings).await?;
    let base_url = format!("http://{}", app.address());
    let serving = tokio::spawn(app.serve(signals::stop_twice()));
    Ok(Server { base_url, stopped: Box::pin(async move { serving.await? }) })
}

pub async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    drop(events::init_logging("warn", events::LogFormat::Auto)?);
    let (upstream_url, provider, models) = match (&args.upstream, &args.model) {
        (Some(url), Some(model)) => {
            let models = Models { chat: model.clone(), agent: model.clone(), embedding: model.clone() };
            (url.clone(), "openai_compatible", models)
        }
        _ => {
            let models = Models {
                chat: simulate::SMALL.to_owned(),
                agent: simulate::LARGE.to_owned(),
                embedding: simulate::EMBED.to_owned(),
            };
            (start_simulator().await?, "simulated", models)
        }
    };
    let server = start_server(&args, &upstream_url, provider).await?;
    let before = recorded(&server.base_url).await?;
    let progress = progress(args.json);
    let workload = Workload { base_url: server.base_url.clone(), models, key: args.key.clone() };
    let summary = workload.drive(&progress).await?;
    let shortfall = wait_until_recorded(&server.base_url, before + summary.calls).await?;
    let report = Report::read(&server.base_url).await?;
    if args.json {
        report.print_json(output, &server.base_url, &summary, shortfall)?;
    } else {
        report.print(output, &server.base_url, &args, &summary, shortfall)?;
    }
    if !args.once {
        server.stopped.await?;
    }
    if shortfall > 0 {
        anyhow::bail!("{shortfall} calls were sent and not recorded");
    }
    Ok(())
}

/// The built-in provider on a free port, for as long as the process lives.
async fn start_simulator() -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no free port on loopback")?;
    let address = listener.local_addr()?;
    let config = simulate::Config {
        latency: Duration::from_millis(60),
        chunk_interval: Duration::from_millis(4),
        ..simulate::Config::default()
    };
    tokio::spawn(async move {
        if let Err(error) = simulate::serve(listener, config, std::future::pending()).await {
            tracing::error!(%error, "the simulated provider ended");
        }
    });
    Ok(format!("http://{address}/v1"))
}

fn progress(hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(STEPS);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} calls  {msg}") {
        bar.set_style(style);
    }
    bar
}

async fn get(base_url: &str, path: &str) -> anyhow::Result<Value> {
    let url = format!("{base_url}/api/v1/{path}");
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build()?;
    let response = client.get(&url).send().await.with_context(|| format!("could not read {url}"))?;
    let response = response.error_for_status().with_context(|| format!("could not read {url}"))?;
    let bytes = response.bytes().await?;
    serde_json::from_slice(&bytes).with_context(|| format!("expected JSON from {url}"))
}

async fn recorded(base_url: &str) -> anyhow::Result<u64> {
    let report = get(base_url, "costs").await?;
    Ok(report.pointer("/totals/calls").and_then(Value::as_u64).unwrap_or(0))
}

/// Waits for the store to catch up with the journal; returns how many calls are missing in the end.
async fn wait_until_recorded(base_url: &str, expected: u64) -> anyhow::Result<u64> {
    let mut missing = expected;
    for _ in 0..100 {
        missing = expected.saturating_sub(recorded(base_url).await?);
        if missing == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(missing)
}

/// What tapline says about the workload, as its API gave it.
struct Report {
    by_run: CostReport,
    by_model: CostReport,
    failures: Value,
}

impl Report {
    async fn read(base_url: &str) -> anyhow::Result<Self> {
        let mut failures = Vec::new();
        for status in ["error", "cancelled"] {
            let page = get(base_url, &format!("calls?status={status}&limit=20")).await?;
            failures.extend(page["calls"].as_array().cloned().unwrap_or_default());
        }
        Ok(Self {
            by_run: serde_json::from_value(get(base_url, "costs?by=experiment,run").await?)?,
            by_model: serde_json::from_value(get(base_url, "costs?by=model").await?)?,
            failures: Value::Array(failures),
        })
    }

    fn print_json(
        &self,
        output: &mut Output,
        base_url: &str,
        summary: &Summary,
        missing: u64,
    ) -> anyhow::Result<()> {
        let outcome = json!({
            "url": base_url, "workload": summary, "missing_calls": missing,
            "costs": {"by_run": self.by_run, "by_model": self.by_model}, "failures": self.failures,
        });
        output.line(&serde_json::to_string_pretty(&outcome)?)?;
        Ok(output.flush()?)
    }

    fn print(
        &self,
        output: &mut Output,
        base_url: &str,
        args: &Args,
        summary: &Summary,
        missing: u64,
    ) -> anyhow::Result<()> {
        output.line(&format!(
            "{} calls went through tapline, {} were answered.",
            summary.calls, summary.answered
        ))?;
        if missing > 0 {
            let where_to =
                format!("{missing} of them are not recorded after ten seconds: look at {base_url}/readyz");
            output.line(&where_to)?;
        }
        for surprise in &summary.surprises {
            output.line(&format!("note: {}", printable(surprise)))?;
        }
        output.line("\nCost by experiment and run")?;
        output.table(&self.by_run.readable())?;
        output.line("\nCost by model")?;
        output.table(&self.by_model.readable())?;
        for caveat in cost::caveats(&self.by_model.totals) {
            output.line(&caveat)?;
        }
        output.line("\nFailures (one was provoked, one client hung up on purpose)")?;
        for call in self.failures.as_array().into_iter().flatten() {
            let text = |name: &str| printable(call[name].as_str().unwrap_or("-"));
            let id: String = text("id").chars().take(12).collect();
            let (status, kind) = (text("status"), text("error_type"));
            output.line(&format!("  {id}  {status:<10} {kind:<18} {}", text("error_message")))?;
        }
        let (data, run) = (args.data.display(), RUNS[1]);
        // As this very process was started: `tapline` need not be on the path.
        let tapline = std::env::args().next().unwrap_or_else(|| "tapline".to_owned());
        output.line("\nWhere to look")?;
        output.line(&format!("  {base_url}/    the latest calls and what they cost, in a browser"))?;
        output.line(&format!("  {tapline} calls --url {base_url} --run {run}"))?;
        output.line(&format!("  {tapline} show last --url {base_url}"))?;
        output.line(&format!("  {tapline} cost --url {base_url} --by run,model"))?;
        output.line(&format!("  {base_url}/api/v1/calls?session={SESSION}"))?;
        output.line(&format!("  {base_url}/api/v1/costs?experiment={EXPERIMENT}&by=run"))?;
        output.line(&format!("  what was recorded is in {data}; run the demo again to add to it"))?;
        if !args.once {
            output.line(&format!(
                "\ntapline is up. Your own program: export OPENAI_BASE_URL={base_url}/v1   Stop: Ctrl-C"
            ))?;
        }
        Ok(output.flush()?)
    }
}
