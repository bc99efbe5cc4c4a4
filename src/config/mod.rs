//! Layered configuration (layer 5): defaults < file < environment < flags, all from one declaration,
//! `config/default.toml`. Everything is read and checked here, before any port is bound; nothing below
//! reads the environment or a configuration file.

mod keys;
mod layers;
mod render;
mod settings;
#[cfg(test)]
mod tests;
pub mod units;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

pub use self::{
    render::render,
    settings::{
        ActiveRun, ArtifactsSection, BudgetSection, CaptureSection, Conventions, ExportSection, Fsync,
        Headers, JournalMode, JournalSection, LogFormat, LogLevel, LogSection, OnClientGone, PricesSection,
        Protocol, ProxySection, Settings, StoreSection, UpstreamSection, UsageWish, WhenFull,
    },
};
use crate::model::Error;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// File and line.
    File(PathBuf, usize),
    /// The variable.
    Environment(String),
    /// The flag, dashes included.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The settings, and for each key its value as text (secrets masked) and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub settings: Settings,
    pub origins: BTreeMap<String, (String, Origin)>,
}

/// One clap argument per key, `--config FILE` and `--upstreams NAME=URL`.
pub fn args() -> Vec<clap::Arg> {
    layers::args()
}

/// This process's environment, as far as it is text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Merges all layers and checks the whole. Relative paths of configuration files are taken from `cwd`.
pub fn load(
    matches: &clap::ArgMatches,
    env: impl Iterator<Item = (String, String)>,
    cwd: &Path,
) -> Result<Loaded, Error> {
    let env: Vec<_> = env.collect();
    let mut given = Vec::new();
    if let Some(file) = layers::file(matches, &env, cwd) {
        let text = std::fs::read_to_string(cwd.join(&file)).map_err(|error| {
            Error::invalid(format!("{}: expected a readable configuration file: {error}", file.display()))
        })?;
        given = layers::from_file(&text, &file)?;
    }
    let mut named: Vec<String> = given.iter().filter_map(|given| upstream_of(&given.path)).collect();
    named.dedup();
    given.extend(layers::from_environment(&env, &named)?);
    given.extend(layers::from_flags(matches)?);

    let mut origins: BTreeMap<String, (String, Origin)> = BTreeMap::new();
    for key in keys::keys() {
        origins.insert(key.path.clone(), (masked(&key.path, &key.default), Origin::Default));
    }
    let mut table = keys::defaults();
    let mut settings =
        typed(table.clone()).map_err(|message| Error::internal(format!("default.toml: {message}")))?;
    for layers::Given { path, value, origin } in given {
        let shown = masked(&path, &value);
        keys::set(&mut table, &path, value);
        // What came before was right, so what is wrong now is this value.
        settings = typed(table.clone())
            .map_err(|message| Error::invalid(format!("{path} (from {origin}): {message}")))?;
        origins.insert(path, (shown, origin));
    }
    check(&settings, &origins, &env)?;
    Ok(Loaded { settings, origins })
}

impl Loaded {
    /// The keys whose values are others in `newer`, in order.
    pub fn changed(&self, newer: &Self) -> Vec<String> {
        let keys: std::collections::BTreeSet<&String> =
            self.origins.keys().chain(newer.origins.keys()).collect();
        let shown = |loaded: &Self, key: &String| loaded.origins.get(key).map(|(value, _)| value.clone());
        // What is masked looks alike whatever it is.
        let secret = |key: &String| {
            keys::is_secret(key) && self.settings.export.headers != newer.settings.export.headers
        };
        let differs = |key: &&&String| shown(self, key) != shown(newer, key) || secret(key);
        keys.iter().filter(differs).map(|key| (*key).clone()).collect()
    }
}

fn typed(table: Table) -> Result<Settings, String> {
    table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

fn upstream_of(path: &str) -> Option<String> {
    let (name, _) = path.strip_prefix("upstreams.")?.split_once('.')?;
    Some(name.to_owned())
}

/// A value as it may be shown: of a secret only the names.
fn masked(path: &str, value: &Value) -> String {
    let text = keys::shown(value);
    if !keys::is_secret(path) {
        return text;
    }
    let entries = text.split(',').filter(|entry| !entry.trim().is_empty());
    let masked = entries.map(|entry| match entry.split_once('=') {
        Some((name, _)) => format!("{}=***", name.trim()),
        None => "***".to_owned(),
    });
    masked.collect::<Vec<_>>().join(",")
}

/// What no single key can tell.
fn check(
    settings: &Settings,
    origins: &BTreeMap<String, (String, Origin)>,
    env: &[(String, String)],
) -> Result<(), Error> {
    let wrong = |path: &str, message: String| {
        let from = origins.get(path).map(|(_, origin)| format!(" (from {origin})")).unwrap_or_default();
        Error::invalid(format!("{path}{from}: {message}"))
    };
    if !settings.listen.ip().is_loopback() && !settings.allow_wide_bind {
        return Err(wrong(
            "listen",
            format!(
                "expected a loopback address such as 127.0.0.1:{}, found {}, which others can reach; set \
                 allow_wide_bind = true if that is meant",
                settings.listen.port(),
                settings.listen
            ),
        ));
    }
    for (name, upstream) in &settings.upstreams {
        if upstream.url.is_empty() {
            let table = format!("upstreams.{name}.");
            let path = origins.keys().find(|path| path.starts_with(&table)).unwrap_or(&table);
            return Err(wrong(
                path,
                format!("expected upstreams.{name}.url to be set too, found it empty or missing"),
            ));
        }
        if let Some(variable) = &upstream.key_env
            && !env.iter().any(|(name, key)| name == variable && !key.is_empty())
        {
            let path = format!("upstreams.{name}.key_env");
            return Err(wrong(
                &path,
                format!(
                    "expected the environment variable {variable} to hold a key, found it unset or empty"
                ),
            ));
        }
    }
    let journal = &settings.journal;
    if journal.segment_bytes > journal.max_bytes {
        let (segment, max) = (journal.segment_bytes, journal.max_bytes);
        // The one that was set is the one to mend.
        let is_default = matches!(origins.get("journal.segment_bytes"), Some((_, Origin::Default)));
        return Err(if is_default {
            wrong(
                "journal.max_bytes",
                format!("expected at least journal.segment_bytes, which is {segment}, found {max}"),
            )
        } else {
            wrong(
                "journal.segment_bytes",
                format!("expected at most journal.max_bytes, which is {max}, found {segment}"),
            )
        });
    }
    Ok(())
}
