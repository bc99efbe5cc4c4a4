//! `tapline serve`: the proxy and every face on one port, until a signal ends it.

use std::time::Instant;

use clap::{ArgMatches, Command};

use super::{Stop, USAGE, output::Output, signals};
use crate::{
    app::{App, Settings},
    config::{self, Loaded, LogFormat},
    events,
};

/// Every key of the configuration as a flag; the declaration is `config/default.toml`.
#[derive(Debug, Clone)]
pub struct Args(ArgMatches);

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        command.args(config::args())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(matches.clone()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = matches.clone();
        Ok(())
    }
}

impl Args {
    /// All layers, merged and checked.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        // A wrong setting is wrong usage, wherever it was written.
        config::load(&self.0, config::environment(), &std::env::current_dir()?)
            .map_err(|error| Stop::error(USAGE, error.message))
    }
}

pub async fn run(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let began = Instant::now();
    let loaded = args.load()?;
    let settings = loaded.settings.clone();
    let format = match settings.log.format {
        LogFormat::Auto => events::LogFormat::Auto,
        LogFormat::Text => events::LogFormat::Text,
        LogFormat::Json => events::LogFormat::Json,
    };
    let set_level = events::init_logging(settings.log.level.as_str(), format)?;
    let mut hangup = signals::Hangup::heed();
    let (upstream, data) = (settings.upstream.clone(), settings.data.clone());
    let app = App::open(Settings::try_from(settings)?).await?;
    let url = format!("http://{}", app.address());
    output.line(&format!("tapline on {url}, ready in {} ms", began.elapsed().as_millis()))?;
    output.line(&format!("  point a client at it   export OPENAI_BASE_URL={url}/v1"))?;
    output.line(&format!("  calls go to            {upstream}"))?;
    output.line(&format!("  look                   {url}/   or: tapline tail --url {url}"))?;
    output.line(&format!("  records                {}", data.display()))?;
    output.flush()?;
    let reloader = app.reloader();
    let reloading = async {
        let mut before = loaded.clone();
        loop {
            hangup.next().await;
            // Said in the log whichever way it goes.
            if let Ok(newer) = reloader.reload(&loaded, &before, args.load(), &set_level).await {
                before = newer;
            }
        }
    };
    tokio::select! {
        served = app.serve(signals::stop_twice()) => served,
        never = reloading => never,
    }
}
