//! Another configuration while the application runs. Everything new is made before anything old goes, so that a
//! wrong configuration changes nothing; what cannot change without a restart is named.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Settings, exporting::Exporting, prices, upstreams};
use crate::{
    capture::{recorder::Recorder, settle::Settler},
    config::Loaded,
    events::{ConfigRejected, ConfigReloaded, SetLevel},
    proxy,
    telemetry::Telemetry,
};

/// Keys that take effect without a restart: these, and those that begin with one of these and a dot.
const LIVE: [&str; 7] = ["upstream", "upstreams", "proxy", "capture", "export", "prices", "log.level"];

/// A handle on what can be changed. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    parts: Arc<Parts>,
}

pub(super) struct Parts {
    pub(super) telemetry: Telemetry,
    pub(super) proxy: proxy::State,
    pub(super) recorder: Recorder,
    pub(super) settler: Settler,
    pub(super) exporting: Arc<Exporting>,
    /// One at a time.
    pub(super) turn: Mutex<()>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

/// What a new configuration changed: keys that are in force, and keys that wait for a restart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    pub changed: Vec<String>,
    pub after_restart: Vec<String>,
}

impl Reloader {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Puts `newer` in force where `before` was. `started` is what the process began with. Whether it worked is
    /// told in the log as well.
    pub async fn reload(
        &self,
        started: &Loaded,
        before: &Loaded,
        newer: anyhow::Result<Loaded>,
        set_level: &SetLevel,
    ) -> anyhow::Result<Loaded> {
        let _turn = self.parts.turn.lock().await;
        let applied = match newer {
            Ok(newer) => self.apply(&newer, set_level).await.map(|()| newer),
            Err(error) => Err(error),
        };
        match &applied {
            Ok(newer) => {
                let Reloaded { changed, after_restart } = told(started, before, newer);
                ConfigReloaded { changed: &changed, after_restart: &after_restart }
                    .emit(&self.parts.telemetry);
            }
            Err(error) => {
                ConfigRejected { reason: &format!("{error:#}") }.emit(&self.parts.telemetry);
            }
        }
        applied
    }

    async fn apply(&self, newer: &Loaded, set_level: &SetLevel) -> anyhow::Result<()> {
        let parts = &*self.parts;
        let settings = Settings::try_from(newer.settings.clone())?;
        let upstreams = upstreams(&settings)?;
        let prices = Arc::new(prices(&settings.prices, &upstreams)?);
        let ways = parts.proxy.ways().changed(settings.proxy, upstreams)?;
        let exporter = parts.exporting.prepare(settings.export)?;
        set_level(newer.settings.log.level.as_str())?;
        // From here on nothing can fail.
        parts.proxy.follow(ways);
        parts.recorder.reconfigure(settings.capture);
        parts.settler.price_by(prices);
        parts.settler.place_by(settings.active_run);
        parts.exporting.follow(exporter).await;
        Ok(())
    }
}

/// Live keys are compared with the configuration before, all others with the one that the process began with.
fn told(started: &Loaded, before: &Loaded, newer: &Loaded) -> Reloaded {
    Reloaded {
        changed: before.changed(newer).into_iter().filter(|key| is_live(key)).collect(),
        after_restart: started.changed(newer).into_iter().filter(|key| !is_live(key)).collect(),
    }
}

fn is_live(key: &str) -> bool {
    let within =
        |name: &&str| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    LIVE.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_and_stores_waits_for_a_restart() {
        for live in ["upstream", "upstreams.a.url", "proxy.idle_timeout", "export.headers", "log.level"] {
            assert!(is_live(live), "{live}");
        }
        for fixed in
            ["listen", "data", "allow_wide_bind", "journal.mode", "store.readers", "log.format", "proxyx"]
        {
            assert!(!is_live(fixed), "{fixed}");
        }
    }
}
