//! Points in time as nanoseconds since the Unix epoch. The clock itself is never read here: whoever
//! reads it passes the value in.

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Error;

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    pub const SECOND: i64 = 1_000_000_000;
    pub const DAY: i64 = 86_400 * Self::SECOND;

    /// The distance from `earlier` in nanoseconds; negative when the clock went back.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Days since the epoch, UTC; the key of daily rollups.
    pub fn day(self) -> i64 {
        self.0.div_euclid(Self::DAY)
    }

    /// `2026-11-23`, UTC.
    pub fn date(self) -> String {
        let at = self.datetime();
        format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
    }

    /// `2026-11-23T08:15:00.123Z`, UTC, milliseconds.
    pub fn rfc3339(self) -> String {
        let at = self.datetime();
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }

    fn datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Reads what a person or program may write for a point in time: an RFC 3339 time, a date
    /// (`2026-11-23`, UTC midnight), or an age before `now` (`7d`, `12h`, `30m`, `45s`, `2w`).
    pub fn parse(text: &str, now: Self) -> Result<Self, Error> {
        let wrong = || {
            Error::invalid(format!(
                "expected a time such as 2026-11-23T08:00:00Z, a date such as 2026-11-23 or an age such as 7d, \
                 12h or 30m, found {text:?}"
            ))
        };
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
            return i64::try_from(at.unix_timestamp_nanos()).map(Self).map_err(|_| wrong());
        }
        if text.len() == 10
            && let Ok(at) = OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339)
        {
            return i64::try_from(at.unix_timestamp_nanos()).map(Self).map_err(|_| wrong());
        }
        let unit = match text.chars().last() {
            Some('s') => Self::SECOND,
            Some('m') => 60 * Self::SECOND,
            Some('h') => 3_600 * Self::SECOND,
            Some('d') => Self::DAY,
            Some('w') => 7 * Self::DAY,
            _ => return Err(wrong()),
        };
        let digits = text.get(..text.len() - 1).ok_or_else(wrong)?;
        let count: u32 = digits.parse().map_err(|_| wrong())?;
        let age = i64::from(count).checked_mul(unit).ok_or_else(wrong)?;
        now.0.checked_sub(age).map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_dates_and_times_are_read() {
        let now = UnixNanos(20_000 * UnixNanos::DAY);
        assert_eq!(UnixNanos::parse("7d", now), Ok(UnixNanos(19_993 * UnixNanos::DAY)));
        assert_eq!(UnixNanos::parse("1970-01-02", now), Ok(UnixNanos(UnixNanos::DAY)));
        assert_eq!(UnixNanos::parse("1970-01-01T00:00:01Z", now), Ok(UnixNanos(UnixNanos::SECOND)));
        for wrong in ["", "d", "7", "-1d", "7 d", "1970-13-01", "ü"] {
            assert!(UnixNanos::parse(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_print_as_utc() {
        let at = UnixNanos(1_700_000_000_123_456_789);
        assert_eq!(at.rfc3339(), "2023-11-14T22:13:20.123Z");
        assert_eq!(at.date(), "2023-11-14");
    }
}
