//! The composition root: opens what the settings name, in the order in which each needs the other, wires
//! the parts together, serves, and takes them down in reverse. The only place that knows all of them.

mod budgets;
mod exporting;
mod operations;
mod reload;
mod settings;

use std::{
    future::Future,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinHandle,
};

use crate::{
    api,
    artifacts::Artifacts,
    capture::{
        projector::{OnSettled, Projector},
        recorder::{Recorder, now},
        redact::Fingerprints,
        settle::Settler,
    },
    events,
    journal::{self, Journal},
    mlflow,
    pricing::PriceTable,
    proxy,
    store::Store,
    telemetry::Telemetry,
    ui,
    upkeep::{Indexer, Upkeep},
    upstream::{self, Upstream, Upstreams},
    wire::Limits,
};

use exporting::Exporting;
pub use reload::Reloader;
pub use settings::Settings;

/// How long a read waits for what was journalled before it; an answer that is a little old is better than none.
const FRESH_LIMIT: Duration = Duration::from_secs(2);
/// How long the rest of the journal may take into the store at shutdown; what is left is replayed at the next start.
const FINISH_LIMIT: Duration = Duration::from_secs(10);

/// A tapline that listens.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    telemetry: Telemetry,
    upstream: String,
    listener: TcpListener,
    proxy: proxy::State,
    faces: axum::Router,
    journal: Journal,
    projector: Projector,
    store: Store,
    exporting: Arc<Exporting>,
    indexer: Indexer,
    /// Retention and dictionaries, and what ends them.
    keeping: JoinHandle<()>,
    upkeep_stop: watch::Sender<bool>,
    reloader: Reloader,
    watch: JoinHandle<()>,
    /// Ends live tails, at the first signal.
    tails: watch::Sender<bool>,
    draining: Arc<AtomicBool>,
}

impl App {
    /// Opens everything and binds; nothing is served yet. Whatever is wrong with the settings is said before
    /// the port is taken.
    pub async fn open(settings: Settings) -> anyhow::Result<Self> {
        let telemetry = Telemetry::new();
        let upstreams = upstreams(&settings)?;
        let reachable: Vec<_> = upstreams.iter().map(|one| upstream_row(one)).collect();
        let prices = Arc::new(prices(&settings.prices, &upstreams)?);
        let upstream =
            settings.upstreams.get(upstream::DEFAULT).map(|one| one.url.clone()).unwrap_or_default();

        let directory = &settings.data;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("the data directory {} cannot be made", directory.display()))?;
        // The journal first: its lock keeps a second process off the store.
        let (journal, reader) = Journal::open(&settings.journal, directory, now())?;
        let store = Store::open(&settings.store, directory)?;
        let fingerprints = Fingerprints::new(salt(directory)?);
        let recorder = Recorder::new(journal.clone(), settings.capture.clone(), fingerprints);
        let counting = budgets::Counting::default();
        let on_settled: OnSettled = {
            let (telemetry, store, counting) = (telemetry.clone(), store.clone(), counting.clone());
            let runtime = tokio::runtime::Handle::current();
            Arc::new(move |call| {
                events::CallSettled { call }.emit(&telemetry);
                counting.settled(call, &store, &runtime, &telemetry);
            })
        };
        let settler = Settler::new(prices, Limits::default()).grouping(settings.grouping);
        settler.place_by(settings.active_run);
        let pricing = settler.clone();
        let durable = settings.journal.fsync != journal::Fsync::Never;
        let projector =
            Projector::start(journal.clone(), reader, settler, store.clone(), durable, on_settled)?;

        let proxy = {
            let journal = journal.clone();
            proxy::State::refusing(settings.proxy, upstreams, recorder.clone(), move || journal.refuses())?
        };
        let budgets = counting.start(settings.budgets, &store, &projector, &telemetry).await?;
        proxy.count_against(budgets.clone());
        let (tails, tails_stop) = watch::channel(false);
        let exporting = Arc::new(Exporting::new(store.clone(), telemetry.clone()));
        exporting.follow(exporting.prepare(settings.export)?).await;
        let indexer = Indexer::start(store.clone()).context("cannot start the thread that indexes texts")?;
        let draining = Arc::new(AtomicBool::new(false));
        let parts = operations::Parts {
            journal: journal.clone(),
            recorder: recorder.clone(),
            projector: projector.clone(),
            proxy: proxy.clone(),
        };
        let health = operations::health(parts.clone(), &draining);
        operations::scrape(&telemetry, parts);
        let reloader = Reloader::new(reload::Parts {
            telemetry: telemetry.clone(),
            proxy: proxy.clone(),
            recorder,
            settler: pricing.clone(),
            exporting: Arc::clone(&exporting),
            turn: Mutex::default(),
        });
        let watch = tokio::spawn(operations::watch(journal.clone(), projector.clone(), telemetry.clone()));
        let fresh: api::Fresh = {
            let projector = projector.clone();
            Arc::new(move || {
                let projector = projector.clone();
                Box::pin(async move {
                    projector.caught_up(FRESH_LIMIT).await;
                })
            })
        };
        let artifacts = Artifacts::open(&settings.artifacts, directory)?;
        let upkeep = Upkeep::new(
            settings.upkeep,
            store.clone(),
            journal.clone(),
            artifacts.clone(),
            Arc::clone(&fresh),
            now,
        );
        let (upkeep_stop, upkeep_stopped) = watch::channel(false);
        let keeping = tokio::spawn(upkeep.clone().run(upkeep_stopped));
        let asked = api::operations::State { telemetry: telemetry.clone(), health };
        let tracking = mlflow::State { store: store.clone(), artifacts, fresh: Arc::clone(&fresh), now };
        let prices: api::Prices = Arc::new(move || pricing.prices());
        let reading = api::State::new(store.clone(), fresh, now)
            .billing(prices, budgets)
            .stopping(tails_stop)
            .with_upstreams(reachable)
            .kept(upkeep);
        let faces = api::router(reading)
            .merge(api::operations::router(asked))
            .merge(mlflow::router(tracking))
            .merge(ui::router());

        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("cannot listen on {}; choose another with --listen", settings.listen))?;
        Ok(Self {
            address: listener.local_addr().context("the listener has no address")?,
            telemetry,
            upstream,
            listener,
            proxy,
            faces,
            journal,
            projector,
            store,
            exporting,
            indexer,
            keeping,
            upkeep_stop,
            reloader,
            watch,
            tails,
            draining,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What changes the configuration while this serves.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Whether a server would start with these settings, as far as that can be told without starting one.
    pub fn check(settings: Settings) -> anyhow::Result<()> {
        let upstreams = upstreams(&settings)?;
        prices(&settings.prices, &upstreams)?;
        proxy::Ways::new(settings.proxy, upstreams)?;
        settings.export.check()?;
        Ok(())
    }

    /// Serves until `shutdown` resolves, then drains: running calls end within the drain time-out (or at once,
    /// when what `shutdown` resolved to resolves itself), what is journalled goes into the store, exports go out.
    pub async fn serve<S, H>(self, shutdown: S) -> anyhow::Result<()>
    where
        S: Future<Output = H>,
        H: Future<Output = ()>,
    {
        let address = self.address.to_string();
        events::ServerStarted { address: &address, upstream: &self.upstream }.emit(&self.telemetry);
        let faces =
            tower::util::MapRequest::new(self.faces, |request: http::Request<hyper::body::Incoming>| {
                request.map(axum::body::Body::new)
            });
        let (draining, tails) = (Arc::clone(&self.draining), self.tails.clone());
        let (telemetry, proxy) = (self.telemetry.clone(), self.proxy.clone());
        #[expect(clippy::async_yields_async, reason = "the second signal is a future that the first gives")]
        let shutdown = async move {
            let hurry = shutdown.await;
            draining.store(true, Ordering::Relaxed);
            events::ServerStopping { in_flight: proxy.counters().in_flight.get() }.emit(&telemetry);
            tails.send_replace(true);
            hurry
        };
        proxy::serve(self.listener, self.proxy, faces, shutdown).await;
        self.watch.abort();
        self.journal.close();
        self.projector.finish(FINISH_LIMIT).await;
        self.exporting.end().await;
        self.upkeep_stop.send_replace(true);
        // A panic is in the log.
        drop(self.keeping.await);
        self.indexer.end().await;
        self.store.close().await;
        Ok(())
    }
}

fn upstreams(settings: &Settings) -> anyhow::Result<Upstreams> {
    let mut all = Vec::new();
    for (name, config) in &settings.upstreams {
        let key = match &config.key_env {
            Some(variable) => Some(std::env::var(variable).with_context(|| {
                format!(
                    "upstream {name:?}: expected the API key in the environment variable {variable} (key_env)"
                )
            })?),
            None => None,
        };
        let parsed = Upstream::parse(name, &config.url, config.provider.as_deref(), key.as_deref())?;
        all.push(parsed.behaving(config));
    }
    Ok(Upstreams::new(all)?.allowing(&settings.allowed_upstreams)?)
}

fn upstream_row(upstream: &Upstream) -> api::UpstreamRow {
    api::UpstreamRow {
        name: upstream.name.clone(),
        provider: upstream.destination.provider.clone(),
        server: upstream.place(),
    }
}

/// The embedded table, the operator's before it, and before both what holds at one upstream.
fn prices(files: &settings::Prices, upstreams: &Upstreams) -> anyhow::Result<PriceTable> {
    let read = |file: &Path| {
        std::fs::read_to_string(file)
            .with_context(|| format!("the price file {} cannot be read", file.display()))
    };
    let mut table = PriceTable::embedded()?;
    if let Some(file) = &files.file {
        table = table.with_overrides(&read(file)?, &file.display().to_string())?;
    }
    for (name, file) in &files.upstreams {
        let provider = &upstreams.get(name)?.destination.provider;
        table = table.with_upstream(name, provider, &read(file)?, &file.display().to_string())?;
    }
    Ok(table)
}

/// The store's own salt for key fingerprints, made at the first start and readable by the owner only.
fn salt(directory: &Path) -> anyhow::Result<[u8; 32]> {
    let file = directory.join("salt");
    match std::fs::read(&file) {
        Ok(bytes) => bytes.try_into().map_err(|bytes: Vec<u8>| {
            anyhow::anyhow!(
                "expected 32 bytes of salt in {}, found {}; restore it, or delete it to start new fingerprints",
                file.display(),
                bytes.len()
            )
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut salt = [0u8; 32];
            let (left, right) = salt.split_at_mut(16);
            left.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
            right.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let written = options.open(&file).and_then(|mut file| file.write_all(&salt));
            written.with_context(|| format!("the salt {} cannot be written", file.display()))?;
            Ok(salt)
        }
        Err(error) => Err(error).with_context(|| format!("the salt {} cannot be read", file.display())),
    }
}
