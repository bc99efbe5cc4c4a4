//! `tapline config`: every setting, its value and where that came from. Takes the flags of `serve`, so that
//! a command line can be tried before it is used.

use super::{output::Output, serve};
use crate::config;

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example: tapline config --journal-mode relaxed\n         \
    TAPLINE_LISTEN=127.0.0.1:4001 tapline config --json")]
pub struct Args {
    #[command(flatten)]
    settings: serve::Args,
    /// Print a JSON object by key.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, output: &mut Output) -> anyhow::Result<()> {
    output.write(&config::render(&args.settings.load()?, args.json))?;
    Ok(())
}
