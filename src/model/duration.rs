//! Durations as a person writes them in a configuration: `250ms`, `10s`, `5m`, `2h`, or whole seconds as
//! a number. For `#[serde(with = "crate::model::duration")]`. Zero means what the field says it means.

use std::{fmt, time::Duration};

use serde::{Deserializer, Serializer, de};

use super::Error;

/// Reads `250ms`, `10s`, `5m` or `2h`.
pub fn parse(text: &str) -> Result<Duration, Error> {
    let wrong = || {
        Error::invalid(format!(
            "expected a duration such as 250ms, 10s, 5m or 2h, found {text:?}; add a unit"
        ))
    };
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (digits, unit) = text.split_at(unit_at);
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    count.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// The shortest text that `parse` reads back; parts below a millisecond are lost.
pub fn print(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis > 0 && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") }
}

pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print(*duration))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Reader;
    impl de::Visitor<'_> for Reader {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"10s\", or whole seconds")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
            Ok(Duration::from_secs(seconds))
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
            u64::try_from(seconds)
                .map(Duration::from_secs)
                .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
        }
    }
    deserializer.deserialize_any(Reader)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(millis in 0u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&print(duration)), Ok(duration));
        }
    }

    #[test]
    fn units_are_demanded() {
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(print(Duration::from_secs(600)), "10m");
        for wrong in ["", "10", "s", "-1s", "1d", "1 s", "99999999999999999999s", "ü"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
