//! The tapline that a program's calls go through: the one that runs, else one inside this process for as long
//! as the program takes, with the settings and the data that `tapline serve` here would have.

use std::path::Path;

use anyhow::Context as _;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    api::UpstreamList,
    app::{App, Settings},
    cli::{
        Stop, UNREACHABLE,
        output::Output,
        reach::{self, Reach},
    },
    config::{self, Loaded},
    events, upstream,
};

const ANTHROPIC: &str = "anthropic";

pub(super) struct Server {
    /// `http://127.0.0.1:4000`, no slash at its end.
    pub(super) base: String,
    upstreams: UpstreamList,
    /// Ends the one inside this process, and resolves when it has.
    inside: Option<Inside>,
}

struct Inside {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    pub(super) async fn find(
        url: Option<&str>,
        data: Option<&Path>,
        upstream: Option<&str>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let reach = Reach::to(url, None);
        // Where the data or the upstream is named, another server's is not meant.
        let own = url.is_none() && (data.is_some() || upstream.is_some());
        if !own {
            match reach.find().await? {
                reach::Found::Server(api) => {
                    let base = api.base().context("expected a server, found a store")?;
                    let upstreams = api.json("/api/v1/upstreams", &[]).await?;
                    return Ok(Self { base, upstreams, inside: None });
                }
                reach::Found::Nobody { named, cause, .. } if url.is_some() => {
                    return Err(Stop::error(
                        UNREACHABLE,
                        format!(
                            "expected a tapline at {named}, found none ({cause}); without --url (or TAPLINE_URL) one is \
                             started for the time of the program"
                        ),
                    ));
                }
                reach::Found::Nobody { .. } => {}
            }
        }
        Self::start(data, upstream, output).await
    }

    async fn start(data: Option<&Path>, upstream: Option<&str>, output: &Output) -> anyhow::Result<Self> {
        let mut arguments = vec!["tapline".into(), "--listen".into(), "127.0.0.1:0".into()];
        if let Some(data) = data {
            arguments.extend(["--data".into(), data.as_os_str().to_owned()]);
        }
        if let Some(upstream) = upstream {
            arguments.extend(["--upstream".into(), upstream.into()]);
        }
        let matches = clap::Command::new("tapline").args(config::args()).try_get_matches_from(arguments)?;
        let Loaded { settings, .. } =
            config::load(&matches, config::environment(), &std::env::current_dir()?)
                .map_err(|error| Stop::error(crate::cli::USAGE, error.message))?;
        drop(events::init_logging("warn", events::LogFormat::Auto)?);
        let data = settings.data.clone();
        let mut settings = Settings::try_from(settings)?;
        // Nobody else uses this server, so there is no configuration to be true to in this.
        if !settings.upstreams.values().any(is_anthropic) && !settings.upstreams.contains_key(ANTHROPIC) {
            let url = "https://api.anthropic.com".to_owned();
            let config = upstream::Config { url, ..upstream::Config::default() };
            settings.upstreams.insert(ANTHROPIC.to_owned(), config);
        }
        let app = App::open(settings).await.with_context(|| {
            format!("no tapline runs and none could be started on the data in {}", data.display())
        })?;
        let base = format!("http://{}", app.address());
        output.note(&format!("no tapline runs; this run is served here and recorded in {}", data.display()));
        let (stop, stopped) = oneshot::channel::<()>();
        #[expect(
            clippy::async_yields_async,
            reason = "a second signal would be a future that the first gives"
        )]
        let serving = tokio::spawn(app.serve(async move {
            // However the other end goes, it is time; nothing hurries what is under way then.
            drop(stopped.await);
            std::future::pending::<()>()
        }));
        let upstreams =
            Reach::to(Some(&base), None).open(output).await?.json("/api/v1/upstreams", &[]).await?;
        Ok(Self { base, upstreams, inside: Some(Inside { stop, serving }) })
    }

    /// The path under which Anthropic's API is: an upstream of its own, or the default one where that may be a
    /// gateway that speaks both. OpenAI's own does not.
    pub(super) fn anthropic(&self) -> Option<String> {
        let upstreams = &self.upstreams.upstreams;
        if let Some(own) = upstreams.iter().find(|one| one.provider == ANTHROPIC) {
            let is_default = own.name == upstream::DEFAULT;
            return Some(if is_default { String::new() } else { format!("/to/{}", own.name) });
        }
        let default = upstreams.iter().find(|one| one.name == upstream::DEFAULT)?;
        (default.provider != "openai").then(String::new)
    }

    /// Drains and stops what was started here.
    pub(super) async fn stop(self) {
        if let Some(Inside { stop, serving }) = self.inside {
            drop(stop);
            if let Ok(Err(error)) = serving.await {
                tracing::error!(%error, "the server of this run ended badly");
            }
        }
    }
}

fn is_anthropic(config: &upstream::Config) -> bool {
    config.provider.as_deref() == Some(ANTHROPIC) || config.url.contains("api.anthropic.com")
}
