//! Durations and sizes as people write them, and the readers of a configured value. Pure: each takes a
//! value and gives the typed one, or says what was expected and what was found. The error never says
//! where the value came from; the loader knows that.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Value;

/// `1h30m`, `250ms`: whole numbers, each with its unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let step = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3_600)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            _ => return None,
        };
        total = total.checked_add(step)?;
        rest = after;
    }
    Some(total)
}

/// `32MiB`, `1GB`, `512`: bytes. Units of 1,024 have an i.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number(text.trim())?;
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Leading digits and what follows them.
fn number(text: &str) -> Option<(u64, &str)> {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    Some((digits.parse().ok()?, rest))
}

/// A value as an error quotes it.
pub(super) fn quoted(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// Reads a value with `read`, which gives `None` for what is not `expected`.
pub(super) fn expect<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    read(&value).ok_or_else(|| D::Error::custom(format!("expected {expected}, found {}", quoted(&value))))
}

/// Whether a URL can be quoted: passwords stand before an @, keys in a query.
pub(super) fn holds_no_key(url: &str) -> bool {
    !url.contains(['@', '?'])
}

/// Text that may be a URL, as an error quotes it.
pub(super) fn quoted_url(text: &str) -> String {
    if holds_no_key(text) { format!("{text:?}") } else { HIDDEN.to_owned() }
}

const HIDDEN: &str = "other text, not shown because it may be secret";

/// As `expect`, for values that may hold a key or password, if only by mistake: text is quoted only when
/// `harmless` says so.
pub(super) fn expect_private<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    harmless: impl FnOnce(&str) -> bool,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    read(&value).ok_or_else(|| {
        let found = match value.as_str() {
            Some(text) if !harmless(text) => HIDDEN.to_owned(),
            _ => quoted(&value),
        };
        D::Error::custom(format!("expected {expected}, found {found}"))
    })
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    expect(deserializer, "a duration such as \"250ms\", \"30s\", \"15m\" or \"1h30m\"", |value| {
        parse_duration(value.as_str()?)
    })
}

pub(super) fn positive_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    expect(deserializer, "a duration above zero, such as \"250ms\", \"30s\", \"15m\" or \"1h30m\"", |value| {
        parse_duration(value.as_str()?).filter(|duration| !duration.is_zero())
    })
}

pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    expect(deserializer, "a size in bytes, or text such as \"64KiB\" or \"32MiB\"", |value| match value {
        Value::String(text) => parse_size(text),
        other => u64::try_from(other.as_integer()?).ok(),
    })
}

pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    expect(deserializer, "true or false", Value::as_bool)
}

pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    expect(deserializer, "text", |value| value.as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        assert_eq!(parse_duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("2d"), Some(Duration::from_secs(172_800)));
        for wrong in ["", " ", "5", "s", "1.5s", "-1s", "1 s", "1x", "30s5", "1µs", "99999999999999999999s"]
        {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse_duration(&format!("{}h", u64::MAX)), None);
    }

    #[test]
    fn sizes_are_bytes() {
        assert_eq!(parse_size("512"), Some(512));
        assert_eq!(parse_size("512B"), Some(512));
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("32 MiB"), Some(33_554_432));
        assert_eq!(parse_size("2GiB"), Some(2_147_483_648));
        assert_eq!(parse_size("1MB"), Some(1_000_000));
        for wrong in ["", "MiB", "-1", "1.5MiB", "1mib", "1TiB", "0x10", "18446744073709551615KiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,16}") {
            let _: (Option<Duration>, Option<u64>) = (parse_duration(&text), parse_size(&text));
        }

        #[test]
        fn what_is_written_is_read(millis in 0_u64..1 << 40, bytes in any::<u64>()) {
            prop_assert_eq!(parse_duration(&format!("{millis}ms")), Some(Duration::from_millis(millis)));
            prop_assert_eq!(parse_size(&bytes.to_string()), Some(bytes));
        }
    }
}
