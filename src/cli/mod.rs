//! The command line (layer 5): one file per verb. Reading verbs speak the query API and nothing else, over
//! HTTP or, where no server runs, inside this process on the store itself.
//!
//! A verb is added by its file, its line in `Command` and its line in `Command::run`.

mod blame;
mod budgets;
mod calls;
mod config;
mod cost;
mod db;
mod demo;
mod diff;
mod erase;
mod experiments;
mod export;
mod filter;
mod import;
mod line;
mod log;
mod output;
mod prices;
mod reach;
mod run;
mod runs;
mod search;
mod serve;
mod sessions;
mod show;
mod show_run;
mod show_text;
mod signals;
mod simulate;
mod stats;
mod status;
mod step;
mod tail;
#[cfg(test)]
mod tests;

use std::{fmt, io, process::ExitCode};

use clap::{Parser, Subcommand};

use output::Output;

/// Exit codes; 2, for a command that cannot be, is also clap's.
pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const UNREACHABLE: u8 = 3;

/// Records every LLM call that passes through it, and shows what was recorded.
#[derive(Debug, Parser)]
#[command(
    name = "tapline",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 nothing found or failed, 2 wrong usage, 3 no server and no store to read."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: the recording proxy, the query API and the web page on one port.
    #[command(
        after_help = "Example: tapline serve --upstream https://api.openai.com/v1 --data ./tapline-data\n\n\
        Every flag is also a key of the configuration file and an environment variable: --journal-mode is \
        mode under [journal] and TAPLINE_JOURNAL_MODE. `tapline config` shows them all."
    )]
    Serve(serve::Args),
    /// Show every setting, its value and where it came from.
    Config(config::Args),
    /// See it work: a server, a small workload through it, its cost report, and where to look.
    Demo(demo::Args),
    /// Serve an OpenAI-compatible provider that makes its answers up.
    Simulate(simulate::Args),
    /// Show how a running server is, and where every call and record is.
    Status(status::Args),
    /// Run a program as a run: its calls and its tracking go there.
    Run(run::Args),
    /// Follow calls live, one line each.
    Tail(tail::Args),
    /// List calls, newest first.
    Calls(calls::Args),
    /// Show one call whole, or one run.
    Show(show::Args),
    /// List sessions: conversations and jobs, the one that was active last first.
    Sessions(sessions::Args),
    /// A session as it was spoken, call by call.
    Log(log::Args),
    /// Two calls side by side, message by message and word by word.
    Diff(diff::Args),
    /// Which call brought each tool and message into a call's prompt.
    Blame(blame::Args),
    /// List runs, newest first.
    Runs(runs::Args),
    /// List experiments.
    Experiments(experiments::Args),
    /// Bring experiments over from an MLflow server, its folder or its SQLite file.
    Import(import::Args),
    /// Send experiments to an MLflow server.
    Export(export::Args),
    /// Find prompts and answers by their words.
    Search(search::Args),
    /// Report what calls cost.
    Cost(cost::Args),
    /// Show prices, what is missing among them, and how a cost comes about.
    Prices(prices::Args),
    /// Show budgets, and give a run one of its own.
    #[command(visible_alias = "budget")]
    Budgets(budgets::Args),
    /// Show what tapline's own figures are worth.
    Stats(stats::Args),
    /// Erase a call, session, run or experiment.
    Erase(erase::Args),
    /// Look after the store: sizes, retention, dictionaries, index.
    Db(db::Args),
}

impl Command {
    async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::Serve(args) => serve::run(args, output).await,
            Self::Config(args) => config::run(&args, output),
            Self::Demo(args) => demo::run(args, output).await,
            Self::Simulate(args) => simulate::run(args, output).await,
            Self::Status(args) => status::run(args, output).await,
            Self::Run(args) => run::run(args, output).await,
            Self::Tail(args) => tail::run(args, output).await,
            Self::Calls(args) => calls::run(args, output).await,
            Self::Show(args) => show::run(args, output).await,
            Self::Sessions(args) => sessions::run(args, output).await,
            Self::Log(args) => log::run(args, output).await,
            Self::Diff(args) => diff::run(args, output).await,
            Self::Blame(args) => blame::run(args, output).await,
            Self::Runs(args) => runs::run(args, output).await,
            Self::Experiments(args) => experiments::run(args, output).await,
            Self::Import(args) => import::run(args, output).await,
            Self::Export(args) => export::run(args, output).await,
            Self::Search(args) => search::run(args, output).await,
            Self::Cost(args) => cost::run(args, output).await,
            Self::Prices(args) => prices::run(args, output).await,
            Self::Budgets(args) => budgets::run(args, output).await,
            Self::Stats(args) => stats::run(args, output).await,
            Self::Erase(args) => erase::run(args, output).await,
            Self::Db(args) => db::run(args, output).await,
        }
    }
}

/// An end with a code of its own.
#[derive(Debug)]
pub struct Stop {
    pub code: u8,
    pub message: String,
}

impl Stop {
    pub fn error(code: u8, message: impl Into<String>) -> anyhow::Error {
        Self { code, message: message.into() }.into()
    }

    /// An end that somebody else has explained.
    pub fn silent(code: u8) -> anyhow::Error {
        Self { code, message: String::new() }.into()
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Stop {}

/// Reads the arguments, does what they say, and says how it went.
pub fn main() -> ExitCode {
    // Read while there is one thread: the offset cannot be read soundly later.
    let mut output = Output::of_process();
    let cli = Cli::parse();
    install_tls();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return ended(&output, Err(anyhow::Error::new(error).context("no runtime could be started")));
        }
    };
    let result = runtime.block_on(cli.command.run(&mut output));
    // A reader that went away must not be waited for.
    runtime.shutdown_background();
    let result = result.and_then(|()| output.flush().map_err(Into::into));
    ended(&output, result)
}

/// Names the one implementation of TLS that the whole process uses. Fails only when one is named already,
/// which is as good.
pub fn install_tls() {
    rustls::crypto::ring::default_provider().install_default().ok();
}

fn ended(output: &Output, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    let stop = error.downcast_ref::<Stop>();
    if stop.is_none_or(|stop| !stop.message.is_empty()) {
        output.complain(&format!("{error:#}"));
    }
    ExitCode::from(stop.map_or(FAILED, |stop| stop.code))
}

/// Whoever read our output has seen enough (`| head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
