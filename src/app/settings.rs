//! What was configured, as each part of the application wants it. Nothing is defaulted or checked here:
//! `config` has done both.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    artifacts,
    capture::{
        group::{self, ActiveRun},
        recorder,
    },
    config::{self, Conventions, Fsync, JournalMode, OnClientGone, Protocol, WhenFull},
    journal,
    model::{
        Error, Glob,
        budget::{Budget, Spender},
    },
    otlp::{self, ExportConfig},
    proxy, store, upkeep, upstream,
};

/// Everything that can be set, each part by the module that owns it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub listen: SocketAddr,
    pub data: PathBuf,
    /// By name; `upstream::DEFAULT` is where calls go that name none.
    pub upstreams: BTreeMap<String, upstream::Config>,
    /// Origins that clients may choose by URL.
    pub allowed_upstreams: Vec<String>,
    pub proxy: proxy::Config,
    pub capture: recorder::Config,
    pub active_run: ActiveRun,
    pub journal: journal::Config,
    pub store: store::Config,
    pub grouping: group::Config,
    pub upkeep: upkeep::Config,
    pub export: ExportConfig,
    pub artifacts: artifacts::Config,
    pub prices: Prices,
    pub budgets: Vec<Budget>,
}

/// Price files, TOML: rows before the embedded ones, and rows that hold at one upstream only.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    pub file: Option<PathBuf>,
    pub upstreams: BTreeMap<String, PathBuf>,
}

fn budget(section: config::BudgetSection) -> Budget {
    let glob = |pattern: Option<String>| pattern.map(Glob::new);
    Budget {
        name: section.name,
        spender: Spender {
            experiment: glob(section.experiment),
            run: glob(section.run),
            key: glob(section.key),
            user: glob(section.user),
            upstream: glob(section.upstream),
            model: glob(section.model),
        },
        each: section.each,
        limit: section.limit,
        window: section.window,
        action: section.action,
        warn_at: section.warn_at,
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4000)),
            data: PathBuf::from("./tapline-data"),
            upstreams: [(upstream::DEFAULT.to_owned(), upstream::Config::default())].into(),
            allowed_upstreams: Vec::new(),
            proxy: proxy::Config::default(),
            capture: recorder::Config::default(),
            active_run: ActiveRun::default(),
            journal: journal::Config::default(),
            store: store::Config::default(),
            grouping: group::Config::default(),
            upkeep: upkeep::Config::default(),
            export: ExportConfig::default(),
            artifacts: artifacts::Config::default(),
            prices: Prices::default(),
            budgets: Vec::new(),
        }
    }
}

impl TryFrom<config::Settings> for Settings {
    type Error = Error;

    fn try_from(settings: config::Settings) -> Result<Self, Error> {
        let config::Settings {
            listen,
            data,
            upstream,
            upstreams,
            proxy,
            capture,
            journal,
            store,
            sessions,
            retention,
            export,
            ..
        } = settings;
        let own_prices =
            upstreams.iter().filter_map(|(name, one)| Some((name.clone(), one.prices.clone()?))).collect();
        let mut by_name: BTreeMap<String, upstream::Config> = upstreams
            .into_iter()
            .map(|(name, one)| {
                let on_client_gone = gone(one.on_client_gone.unwrap_or(proxy.on_client_gone));
                let usage = match one.usage {
                    Some(config::UsageWish::Ask) => upstream::UsageWish::Ask,
                    Some(config::UsageWish::Pass) | None => upstream::UsageWish::Pass,
                };
                let (url, provider, key_env) = (one.url, one.provider, one.key_env);
                let (response_timeout, idle_timeout) = (one.response_timeout, one.idle_timeout);
                (
                    name,
                    upstream::Config {
                        url,
                        provider,
                        key_env,
                        on_client_gone,
                        usage,
                        response_timeout,
                        idle_timeout,
                    },
                )
            })
            .collect();
        let on_client_gone = gone(proxy.on_client_gone);
        // A table named `default` says more about the default upstream than the one URL.
        by_name.entry(upstream::DEFAULT.to_owned()).or_insert_with(|| upstream::Config {
            url: upstream,
            on_client_gone,
            ..upstream::Config::default()
        });
        let mut proxied = proxy::Config {
            response_timeout: proxy.response_timeout,
            idle_timeout: proxy.idle_timeout,
            request_timeout: proxy.request_timeout,
            drain_timeout: proxy.drain_timeout,
            client_gone_timeout: proxy.client_gone_timeout,
            client_gone_bytes: proxy.client_gone_bytes,
            max_header_bytes: usize::try_from(proxy.max_header_bytes).unwrap_or(usize::MAX),
            ..proxy::Config::default()
        };
        proxied.client.connect_timeout = proxy.connect_timeout;
        proxied.guard.allowed_hosts = proxy.allowed_hosts;
        proxied.guard.allowed_origins = proxy.allowed_origins;
        Ok(Self {
            listen,
            data,
            upstreams: by_name,
            allowed_upstreams: proxy.allowed_upstreams,
            proxy: proxied,
            capture: recorder::Config {
                content: capture.content,
                max_request_bytes: capture.max_request_bytes,
                max_response_bytes: capture.max_response_bytes,
            },
            active_run: match capture.active_run {
                config::ActiveRun::Off => ActiveRun::Off,
                config::ActiveRun::Loopback => ActiveRun::Loopback,
                config::ActiveRun::Any => ActiveRun::Any,
            },
            journal: journal::Config {
                mode: match journal.mode {
                    JournalMode::Strict => journal::Mode::Strict,
                    JournalMode::Relaxed => journal::Mode::Relaxed,
                },
                fsync: match journal.fsync {
                    Fsync::Never => journal::Fsync::Never,
                    Fsync::Interval => journal::Fsync::Interval,
                    Fsync::Always => journal::Fsync::Always,
                },
                fsync_interval: journal.fsync_interval,
                tick: journal.tick,
                segment_bytes: journal.segment_bytes,
                max_bytes: journal.max_bytes,
                when_full: match journal.when_full {
                    WhenFull::Pass => journal::WhenFull::Pass,
                    WhenFull::Refuse => journal::WhenFull::Refuse,
                },
                ack_timeout: journal.ack_timeout,
                max_queued_bytes: journal.max_queued_bytes,
            },
            store: store::Config {
                readers: store.readers as usize,
                busy_timeout_ms: u64::try_from(store.busy_timeout.as_millis()).unwrap_or(u64::MAX),
                compression_level: store.compression_level,
                sessions: store::SessionsConfig { infer: sessions.infer, except: sessions.except },
            },
            grouping: group::Config { keys: sessions.keys },
            upkeep: {
                let life = |life: Duration| (!life.is_zero()).then_some(life);
                let lives = |of: BTreeMap<String, Duration>| {
                    of.into_iter().map(|(name, of)| (name, life(of))).collect()
                };
                upkeep::Config {
                    general: upkeep::Life {
                        payload: life(retention.payload),
                        metadata: life(retention.metadata),
                    },
                    payload_of: lives(retention.payload_by_experiment),
                    metadata_of: lives(retention.metadata_by_experiment),
                    every: retention.every,
                }
            },
            export: ExportConfig {
                endpoint: export.endpoint.unwrap_or_default(),
                protocol: match export.protocol {
                    Protocol::HttpProtobuf => otlp::Protocol::Http,
                    Protocol::Grpc => otlp::Protocol::Grpc,
                },
                headers: otlp::Headers::from_pairs(export.headers.0)?,
                timeout_ms: u64::try_from(export.timeout.as_millis()).unwrap_or(u64::MAX),
                batch: export.batch as usize,
                content: export.content,
                max_attribute_bytes: usize::try_from(export.max_attribute_bytes).unwrap_or(usize::MAX),
                service_name: export.service_name,
                conventions: match export.conventions {
                    Conventions::GenAi => otlp::Conventions::Genai,
                    Conventions::OpenInference => otlp::Conventions::Openinference,
                },
                ..ExportConfig::default()
            },
            artifacts: artifacts::Config { location: settings.artifacts.location },
            prices: Prices { file: settings.prices.file, upstreams: own_prices },
            budgets: settings.budgets.into_iter().map(budget).collect(),
        })
    }
}

fn gone(policy: OnClientGone) -> upstream::OnClientGone {
    match policy {
        OnClientGone::Cancel => upstream::OnClientGone::Cancel,
        OnClientGone::Drain => upstream::OnClientGone::Drain,
    }
}
