//! `tapline config`: every setting, its value and where that came from. Takes the flags of `serve`, so that
//! a command line can be tried before it is used.

use super::{Stop, USAGE, output::Output, serve};
use crate::{
    app::{App, Settings},
    config,
};

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example: tapline config --journal-mode relaxed\n         \
    TAPLINE_LISTEN=127.0.0.1:4001 tapline config --json\n         \
    tapline config --check && kill -HUP $(pidof tapline)")]
pub struct Args {
    #[command(flatten)]
    settings: serve::Args,
    /// Print a JSON object by key.
    #[arg(long)]
    json: bool,
    /// Print nothing but whether a server would start with these settings; exit code 2 when it would not.
    #[arg(long, conflicts_with = "json")]
    check: bool,
}

pub fn run(args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let loaded = args.settings.load()?;
    if args.check {
        let checked = Settings::try_from(loaded.settings).map_err(Into::into).and_then(App::check);
        checked.map_err(|error| Stop::error(USAGE, format!("{error:#}")))?;
        output.line("the configuration is right")?;
        return Ok(());
    }
    output.write(&config::render(&loaded, args.json))?;
    Ok(())
}
