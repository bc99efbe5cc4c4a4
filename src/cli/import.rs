//! `tapline import mlflow`: what an MLflow server, its folder or its SQLite file has, into the store here.
//! A server may run on the store meanwhile.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::{FAILED, Stop, UNREACHABLE, output::Output};
use crate::{
    artifacts::{self, Artifacts},
    config::{self, Loaded},
    model::ErrorCode,
    report::figures,
    store::{self, Store},
    transfer::{Import, Report, Source, Watch},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tapline import mlflow ./mlruns")]
pub(super) struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// From MLflow: runs keep their ids. Done again, it goes on where it stopped and changes nothing twice.
    #[command(after_help = "Example: tapline import mlflow http://127.0.0.1:5000\n         \
        tapline import mlflow ./mlruns\n         \
        tapline import mlflow mlflow.db --artifacts ./mlartifacts --verify")]
    Mlflow(Mlflow),
}

#[derive(Debug, clap::Args)]
struct Mlflow {
    /// The address of a server, an mlruns folder, or a SQLite file.
    source: String,
    /// This experiment only; may be given several times.
    #[arg(long = "experiment", short = 'e', value_name = "NAME")]
    experiments: Vec<String>,
    /// Where the server kept the artifacts that it served, for a SQLite file: a folder, or s3://bucket/prefix
    /// [default: mlartifacts beside it].
    #[arg(long, value_name = "PLACE")]
    artifacts: Option<String>,
    /// Afterwards read both sides whole and tell every difference.
    #[arg(long)]
    verify: bool,
    /// Where the store is that it goes into [default: as configured, ./tapline-data].
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// Tell the outcome as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let From::Mlflow(args) = args.from;
    let source = Source::open(&args.source, args.artifacts.as_deref()).await?;
    let Place { store, artifacts } = place(args.data.as_deref(), true)?;
    let import = Import { source: &source, store: &store, artifacts: &artifacts, only: &args.experiments };
    let mut report = import.run(&Bars::new("imported", args.json)).await.map_err(unreachable)?;
    if args.verify {
        let checked = import.verify(&Bars::new("compared", args.json)).await.map_err(unreachable)?;
        report.problems.extend(checked.problems);
    }
    store.close().await;
    tell(&report, "imported", args.verify, args.json, output)
}

/// A store and its artifacts, as they are configured here.
pub(super) struct Place {
    pub(super) store: Store,
    pub(super) artifacts: Artifacts,
}

pub(super) fn place(data: Option<&Path>, write: bool) -> anyhow::Result<Place> {
    let mut arguments = vec!["tapline".into()];
    if let Some(data) = data {
        arguments.extend(["--data".into(), data.as_os_str().to_owned()]);
    }
    let matches = clap::Command::new("tapline").args(config::args()).try_get_matches_from(arguments)?;
    let Loaded { settings, .. } = config::load(&matches, config::environment(), &std::env::current_dir()?)?;
    let config = store::Config::default();
    let store = match write {
        true => Store::open(&config, &settings.data)?,
        false => Store::open_read_only(&config, &settings.data)?,
    };
    let kept = artifacts::Config { location: settings.artifacts.location };
    let artifacts = Artifacts::open(&kept, &settings.data)?;
    Ok(Place { store, artifacts })
}

/// An error of a server that is not there has the exit code for it.
pub(super) fn unreachable(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<crate::model::Error>() {
        Some(cause) if cause.code == ErrorCode::Busy => Stop::error(UNREACHABLE, format!("{error:#}")),
        _ => error,
    }
}

pub(super) fn tell(
    report: &Report,
    verb: &str,
    verified: bool,
    as_json: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
    if as_json {
        output.line(&serde_json::to_string_pretty(report)?)?;
    } else {
        let count = figures::count;
        output.line(&format!(
            "{verb} {} experiments, {} runs ({} were there already), {} params, {} metric points, {} models, {} files \
             ({} bytes)",
            count(report.experiments),
            count(report.runs),
            count(report.skipped_runs),
            count(report.params),
            count(report.metric_points),
            count(report.models),
            count(report.files),
            count(report.bytes),
        ))?;
        for problem in &report.problems {
            output.line(&format!("  {}", figures::printable(problem)))?;
        }
        if verified && report.problems.is_empty() {
            output.line("verified: both sides are the same")?;
        }
    }
    output.flush()?;
    match report.problems.len() {
        0 => Ok(()),
        problems => Err(Stop::error(FAILED, format!("{problems} things are not as they are at the source"))),
    }
}

/// Progress at a terminal: the experiment, and how many of its runs.
pub(super) struct Bars {
    bar: ProgressBar,
}

impl Bars {
    pub(super) fn new(verb: &str, hidden: bool) -> Self {
        if hidden {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template(&format!("{verb} {{pos}}/{{len}} runs of {{msg}}")) {
            bar.set_style(style);
        }
        Self { bar }
    }
}

impl Watch for Bars {
    fn experiment(&self, name: &str, runs: Option<u64>) {
        self.bar.set_message(figures::printable(name));
        self.bar.set_position(0);
        match runs {
            Some(runs) => self.bar.set_length(runs),
            None => self.bar.unset_length(),
        }
    }

    fn run(&self, _name: &str) {
        self.bar.inc(1);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
