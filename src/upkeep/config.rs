//! How long things are kept, as it was set.

use std::{collections::BTreeMap, time::Duration};

use crate::{model::UnixNanos, store::Cutoffs};

/// How long things live; `None` is for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Life {
    /// Bodies, headers and arrivals.
    pub payload: Option<Duration>,
    /// The calls themselves.
    pub metadata: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub general: Life,
    /// By experiment name or id, each in place of the general one.
    pub payload_of: BTreeMap<String, Option<Duration>>,
    pub metadata_of: BTreeMap<String, Option<Duration>>,
    /// Between two rounds.
    pub every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            general: Life::default(),
            payload_of: BTreeMap::new(),
            metadata_of: BTreeMap::new(),
            every: Duration::from_secs(600),
        }
    }
}

impl Config {
    /// Whether anything ever goes.
    pub(super) fn removes(&self) -> bool {
        let set = |of: &BTreeMap<String, Option<Duration>>| of.values().any(Option::is_some);
        self.general != Life::default() || set(&self.payload_of) || set(&self.metadata_of)
    }

    pub(super) fn payloads(&self, now: UnixNanos) -> Cutoffs {
        cutoffs(self.general.payload, &self.payload_of, now)
    }

    pub(super) fn calls(&self, now: UnixNanos) -> Cutoffs {
        cutoffs(self.general.metadata, &self.metadata_of, now)
    }
}

fn cutoffs(general: Option<Duration>, of: &BTreeMap<String, Option<Duration>>, now: UnixNanos) -> Cutoffs {
    let before =
        |life: Duration| UnixNanos(now.0.saturating_sub(i64::try_from(life.as_nanos()).unwrap_or(i64::MAX)));
    Cutoffs {
        general: general.map(before),
        of_experiment: of.iter().map(|(name, life)| (name.clone(), life.map(before))).collect(),
    }
}
