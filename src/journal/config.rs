//! The journal's configuration. Values only: nothing here touches a disk.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When the last frame of a response may leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// When the call's end is written (invariant 4).
    #[default]
    Strict,
    /// At once; a crash loses up to one tick.
    Relaxed,
}

/// What survives a loss of power (a crash of the process alone loses nothing that is written).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fsync {
    /// What the operating system wrote back by itself.
    Never,
    /// All but the last `fsync_interval`.
    #[default]
    Interval,
    /// Everything that was acknowledged.
    Always,
}

/// What happens to calls while the journal has no room or its disk does not work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Calls pass, unrecorded and counted.
    #[default]
    Pass,
    /// New calls are answered 503.
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub mode: Mode,
    pub fsync: Fsync,
    #[serde(with = "duration")]
    pub fsync_interval: Duration,
    /// The longest a record that nobody waits for stays in memory.
    #[serde(with = "duration")]
    pub tick: Duration,
    /// A segment is closed before it outgrows this. At most an eighth of `max_bytes` is used, so that
    /// there is always a closed segment to release.
    pub segment_bytes: u64,
    /// Bytes of the journal on disk.
    pub max_bytes: u64,
    pub when_full: WhenFull,
    /// How long an acknowledgement is waited for.
    #[serde(with = "duration")]
    pub ack_timeout: Duration,
    /// Bytes that wait in memory for a disk that is slow or broken.
    pub max_queued_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Strict,
            fsync: Fsync::Interval,
            fsync_interval: Duration::from_secs(1),
            tick: Duration::from_millis(20),
            segment_bytes: 32 << 20,
            max_bytes: 2 << 30,
            when_full: WhenFull::Pass,
            ack_timeout: Duration::from_millis(250),
            max_queued_bytes: 64 << 20,
        }
    }
}

impl Config {
    pub(super) fn segment_limit(&self) -> u64 {
        self.segment_bytes.min(self.max_bytes / 8).max(1)
    }
}

/// Durations as people write them: `250ms`, `1s`, `5m`, `2h`.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        let (unit, size) =
            UNITS.into_iter().rfind(|(_, size)| millis != 0 && millis % size == 0).unwrap_or(UNITS[0]);
        serializer.collect_str(&format_args!("{}{unit}", millis / size))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text.strip_prefix(digits).unwrap_or_default();
        UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .and_then(|(_, size)| digits.parse::<u64>().ok()?.checked_mul(size))
            .map(Duration::from_millis)
            .ok_or_else(|| {
                D::Error::custom(format!("expected a duration such as 250ms, 1s, 5m or 2h, found {text:?}"))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_reads_back_and_refuses_unknown_keys() {
        let written = toml::to_string(&Config::default()).unwrap();
        assert!(written.contains("ack_timeout = \"250ms\""), "{written}");
        assert!(written.contains("fsync_interval = \"1s\""), "{written}");
        assert_eq!(toml::from_str::<Config>(&written).unwrap(), Config::default());
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
        assert_eq!(toml::from_str::<Config>("tick = '2m'").unwrap().tick, Duration::from_secs(120));
        assert_eq!(toml::from_str::<Config>("mode = 'relaxed'").unwrap().mode, Mode::Relaxed);
        for wrong in ["modus = 1", "tick = '20'", "tick = 'ms'", "tick = '1d'", "tick = '-1s'", "mode = 'x'"]
        {
            assert!(toml::from_str::<Config>(wrong).is_err(), "{wrong}");
        }
    }
}
