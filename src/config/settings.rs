//! The configuration as types: one struct per section of `config/default.toml`, field for key. No field
//! has a default here: the defaults are the file's, and a field that the file lacks fails a test.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};

use crate::model::{
    NanoUsd,
    budget::{Action, Each, Window, parse_limit},
};

use super::units::{
    duration, expect, expect_private, flag, holds_no_key, parse_duration, positive_duration, size, text,
};

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "folder")]
    pub data: PathBuf,
    /// Base URL of the default upstream.
    #[serde(deserialize_with = "base_url")]
    pub upstream: String,
    #[serde(deserialize_with = "flag")]
    pub allow_wide_bind: bool,
    /// Named upstreams; the only free table, empty by default.
    #[serde(default)]
    pub upstreams: BTreeMap<String, UpstreamSection>,
    pub proxy: ProxySection,
    pub capture: CaptureSection,
    pub journal: JournalSection,
    pub store: StoreSection,
    pub sessions: SessionsSection,
    pub retention: RetentionSection,
    pub export: ExportSection,
    pub artifacts: ArtifactsSection,
    /// `[[budgets]]`, none by default.
    #[serde(default)]
    pub budgets: Vec<BudgetSection>,
    pub prices: PricesSection,
    pub log: LogSection,
}

/// `[upstreams.<name>]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSection {
    /// Never empty once loaded: the keys of a table may come from several layers, so that it is there is
    /// checked when all are merged.
    #[serde(default, deserialize_with = "base_url")]
    pub url: String,
    /// OpenTelemetry's spelling; `None` is detected from the host.
    #[serde(default, deserialize_with = "provider")]
    pub provider: Option<String>,
    /// Name of the environment variable with the key; its value is never part of the settings.
    #[serde(default, deserialize_with = "variable")]
    pub key_env: Option<String>,
    /// `None`: as the proxy's own key says.
    #[serde(default)]
    pub on_client_gone: Option<OnClientGone>,
    #[serde(default)]
    pub usage: Option<UsageWish>,
    /// In place of those under `[proxy]`.
    #[serde(default, deserialize_with = "own_duration")]
    pub response_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "own_duration")]
    pub idle_timeout: Option<Duration>,
    /// A price file whose rows hold at this upstream only.
    #[serde(default, deserialize_with = "optional_file")]
    pub prices: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxySection {
    #[serde(deserialize_with = "positive_duration")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "positive_duration")]
    pub response_timeout: Duration,
    /// Zero: no limit.
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
    /// Zero: no limit.
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub drain_timeout: Duration,
    pub on_client_gone: OnClientGone,
    #[serde(deserialize_with = "duration")]
    pub client_gone_timeout: Duration,
    #[serde(deserialize_with = "size")]
    pub client_gone_bytes: u64,
    #[serde(deserialize_with = "header_bytes")]
    pub max_header_bytes: u64,
    #[serde(deserialize_with = "list")]
    pub allowed_upstreams: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub allowed_hosts: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub allowed_origins: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureSection {
    #[serde(deserialize_with = "flag")]
    pub content: bool,
    #[serde(deserialize_with = "size")]
    pub max_request_bytes: u64,
    #[serde(deserialize_with = "size")]
    pub max_response_bytes: u64,
    pub active_run: ActiveRun,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSection {
    pub mode: JournalMode,
    pub fsync: Fsync,
    #[serde(deserialize_with = "positive_duration")]
    pub fsync_interval: Duration,
    #[serde(deserialize_with = "positive_duration")]
    pub tick: Duration,
    #[serde(deserialize_with = "positive_size")]
    pub segment_bytes: u64,
    #[serde(deserialize_with = "positive_size")]
    pub max_bytes: u64,
    pub when_full: WhenFull,
    #[serde(deserialize_with = "positive_duration")]
    pub ack_timeout: Duration,
    #[serde(deserialize_with = "positive_size")]
    pub max_queued_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    #[serde(deserialize_with = "readers")]
    pub readers: u32,
    #[serde(deserialize_with = "duration")]
    pub busy_timeout: Duration,
    #[serde(deserialize_with = "compression_level")]
    pub compression_level: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionsSection {
    #[serde(deserialize_with = "flag")]
    pub infer: bool,
    #[serde(deserialize_with = "list")]
    pub except: Vec<String>,
    /// Experiment by fingerprint of the key.
    #[serde(deserialize_with = "pairs")]
    pub keys: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSection {
    /// Zero: for ever.
    #[serde(deserialize_with = "duration")]
    pub payload: Duration,
    #[serde(deserialize_with = "duration")]
    pub metadata: Duration,
    /// By experiment name or id.
    #[serde(deserialize_with = "lives")]
    pub payload_by_experiment: BTreeMap<String, Duration>,
    #[serde(deserialize_with = "lives")]
    pub metadata_by_experiment: BTreeMap<String, Duration>,
    #[serde(deserialize_with = "positive_duration")]
    pub every: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportSection {
    /// `None`: export is off.
    #[serde(deserialize_with = "optional_base_url")]
    pub endpoint: Option<String>,
    pub protocol: Protocol,
    pub headers: Headers,
    #[serde(deserialize_with = "positive_duration")]
    pub timeout: Duration,
    #[serde(deserialize_with = "batch")]
    pub batch: u32,
    #[serde(deserialize_with = "flag")]
    pub content: bool,
    #[serde(deserialize_with = "positive_size")]
    pub max_attribute_bytes: u64,
    #[serde(deserialize_with = "filled")]
    pub service_name: String,
    pub conventions: Conventions,
}

/// `[[budgets]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSection {
    #[serde(deserialize_with = "filled")]
    pub name: String,
    #[serde(default)]
    pub experiment: Option<String>,
    #[serde(default)]
    pub run: Option<String>,
    #[serde(default)]
    pub key: Option<String>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub upstream: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default, deserialize_with = "each")]
    pub each: Option<Each>,
    #[serde(deserialize_with = "limit")]
    pub limit: NanoUsd,
    #[serde(deserialize_with = "window")]
    pub window: Window,
    #[serde(deserialize_with = "action")]
    pub action: Action,
    #[serde(default = "eighty", deserialize_with = "percent")]
    pub warn_at: u8,
}

fn each<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Each>, D::Error> {
    expect(deserializer, "one of experiment, run, key, user, upstream, model", |value| {
        Each::parse(value.as_str()?).map(Some)
    })
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NanoUsd, D::Error> {
    expect(deserializer, "an amount of US dollars, such as \"5usd\" or \"0.50\"", |value| match value {
        toml::Value::Integer(dollars) => parse_limit(&dollars.to_string()).ok(),
        other => parse_limit(other.as_str()?).ok(),
    })
}

fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Window, D::Error> {
    expect(deserializer, "one of hour, day, month, total", |value| Window::parse(value.as_str()?))
}

fn action<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    expect(deserializer, "warn or stop", |value| Action::parse(value.as_str()?).ok())
}

fn eighty() -> u8 {
    80
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    whole(deserializer, "a percentage from 1 to 100", 1..=100)
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactsSection {
    /// Empty: a folder in the data folder.
    #[serde(deserialize_with = "place")]
    pub location: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricesSection {
    /// `None`: the built-in rows only.
    #[serde(deserialize_with = "optional_file")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// An enum over the words that a key accepts; the error lists them.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let expected = format!("one of {}", [$($word),+].join(", "));
                expect(deserializer, &expected, |value| match value.as_str()? {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                })
            }
        }
    };
}

choices! {
    /// Whose calls are put into the run that their address has open.
    ActiveRun { Off = "off", Loopback = "loopback", Any = "any" }
}
choices! {
    /// When the last frame of a response is released.
    JournalMode { Strict = "strict", Relaxed = "relaxed" }
}
choices! {
    /// What becomes of a call whose client leaves.
    OnClientGone { Cancel = "cancel", Drain = "drain" }
}
choices! {
    /// Whether streams are asked for their usage where the client does not ask.
    UsageWish { Pass = "pass", Ask = "ask" }
}
choices! {
    /// When the journal is forced to disk.
    Fsync { Never = "never", Interval = "interval", Always = "always" }
}
choices! {
    /// What happens to calls while the journal is full.
    WhenFull { Pass = "pass", Refuse = "refuse" }
}
choices! {
    /// OTLP's transports.
    Protocol { HttpProtobuf = "http/protobuf", Grpc = "grpc" }
}
choices! {
    /// Names of exported attributes.
    Conventions { GenAi = "genai", OpenInference = "openinference" }
}
choices! {
    LogLevel {
        Off = "off", Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace",
    }
}
choices! {
    LogFormat { Auto = "auto", Text = "text", Json = "json" }
}

/// Header names and values; the values are secret and no `Debug` shows them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        expect_private(
            deserializer,
            "headers as in \"name=value,name2=value2\"",
            |_| false,
            |value| {
                let entries = value.as_str()?.split(',').map(str::trim).filter(|entry| !entry.is_empty());
                entries.map(header).collect::<Option<Vec<_>>>().map(Self)
            },
        )
    }
}

fn header(entry: &str) -> Option<(String, String)> {
    let (name, value) = entry.split_once('=')?;
    let name = http::HeaderName::try_from(name.trim()).ok()?;
    http::HeaderValue::try_from(value.trim()).ok()?;
    Some((name.to_string(), value.trim().to_owned()))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    expect(deserializer, "an IP address and a port, such as 127.0.0.1:4000 or [::1]:4000", |value| {
        value.as_str()?.parse().ok()
    })
}

fn folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    expect(deserializer, "the path of a folder", |value| {
        value.as_str().filter(|path| !path.is_empty()).map(PathBuf::from)
    })
}

/// A folder or a bucket; empty for the default.
fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    expect(deserializer, "a folder, s3://bucket/prefix, or nothing", |value| {
        value
            .as_str()
            .filter(|text| !text.contains("://") || text.len() > 5 && text.starts_with("s3://"))
            .map(str::to_owned)
    })
}

fn optional_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(Some(text(deserializer)?).filter(|path| !path.is_empty()).map(PathBuf::from))
}

/// Words between commas; none when empty.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let words = text(deserializer)?;
    Ok(words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

/// Names and values between commas; none when empty.
fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    expect(deserializer, "names and values as in \"name=value, name2=value2\"", |value| {
        let pairs = value.as_str()?.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=')?;
                let (name, value) = (name.trim(), value.trim());
                (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
            })
            .collect()
    })
}

fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    expect(deserializer, "text that is not empty", |value| {
        value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
    })
}

const BASE_URL: &str = "an http or https URL with a host, without user, query or fragment";

fn base_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    expect_private(deserializer, BASE_URL, holds_no_key, |value| {
        value.as_str().filter(|url| is_base_url(url)).map(str::to_owned)
    })
}

fn optional_base_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    expect_private(deserializer, BASE_URL, holds_no_key, |value| match value.as_str()? {
        "" => Some(None),
        url => is_base_url(url).then(|| Some(url.to_owned())),
    })
}

/// A user or password in a URL would be shown and stored with it; keys have their own place.
fn is_base_url(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host().is_some_and(|host| !host.is_empty());
    let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    scheme && host && !user && uri.query().is_none() && !url.contains('#')
}

fn provider<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    expect(
        deserializer,
        "a provider in OpenTelemetry's spelling, such as openai or azure.ai.openai",
        |value| {
            let name = value.as_str()?;
            let letters =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            (name.bytes().all(letters) && !name.is_empty()).then(|| Some(name.to_owned()))
        },
    )
}

fn own_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn variable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    expect_private(
        deserializer,
        "the name of an environment variable, not a key itself",
        |_| false,
        |value| {
            let name = value.as_str()?;
            let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            (letters && !name.is_empty()).then(|| Some(name.to_owned()))
        },
    )
}

fn lives<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Duration>, D::Error> {
    expect(deserializer, "experiments and durations, such as \"prompt-dev=7d, evaluation=0s\"", |value| {
        let pairs = value.as_str()?.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, life) = pair.rsplit_once('=')?;
                Some((name.trim().to_owned(), parse_duration(life)?))
            })
            .collect()
    })
}

fn positive_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    at_least(deserializer, 1, "a size above zero in bytes, or text such as \"64KiB\" or \"32MiB\"")
}

/// hyper refuses to work with less.
fn header_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    at_least(deserializer, 8_192, "a size of at least 8192 bytes, or text such as \"256KiB\"")
}

fn at_least<'de, D: Deserializer<'de>>(deserializer: D, least: u64, expected: &str) -> Result<u64, D::Error> {
    use serde::de::IntoDeserializer as _;
    expect(deserializer, expected, |value| {
        size(value.clone().into_deserializer()).ok().filter(|bytes| *bytes >= least)
    })
}

fn readers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole(deserializer, "a whole number from 1 to 64", 1..=64)
}

fn batch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole(deserializer, "a whole number from 1 to 10000", 1..=10_000)
}

fn compression_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    whole(deserializer, "a whole number from 1 to 22", 1..=22)
}

fn whole<'de, D: Deserializer<'de>, N: TryFrom<i64>>(
    deserializer: D,
    expected: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<N, D::Error> {
    expect(deserializer, expected, |value| {
        N::try_from(value.as_integer().filter(|number| range.contains(number))?).ok()
    })
}
