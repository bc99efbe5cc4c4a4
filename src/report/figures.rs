//! How single figures are written: money, durations, counts, points in time. Exact where a program may
//! read them back, short where only a person does.

use crate::model::{Error, NanoUsd, UnixNanos};

/// What stands where a figure is unknown; never a zero (invariant 6).
pub const UNKNOWN: &str = "-";

/// The amount as a plain decimal of dollars, exact: `0.001234`, `12.00`.
pub fn usd(amount: NanoUsd) -> String {
    amount.to_string().replacen('$', "", 1)
}

/// Reads a decimal of dollars exactly; floats never touch it. At most nine decimals.
pub fn parse_usd(text: &str) -> Result<NanoUsd, Error> {
    let wrong = || {
        Error::invalid(format!(
            "expected an amount in US dollars such as 0.05 with at most nine decimals, found {text:?}"
        ))
    };
    let digits = text.strip_prefix('$').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let only_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty())
        || fraction.len() > 9
        || !only_digits(whole)
        || !only_digits(fraction)
    {
        return Err(wrong());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|nanos| nanos.checked_add(fraction))
        .map(NanoUsd)
        .ok_or_else(wrong)
}

/// Reads a length of time: `250ms`, `1.5s`, `2m`, `1h`; a bare number is seconds. Nanoseconds.
pub fn parse_duration_ns(text: &str) -> Result<i64, Error> {
    let wrong =
        || Error::invalid(format!("expected a duration such as 250ms, 1.5s, 2m or 1h, found {text:?}"));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let unit_ns = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" | "" => 1e9,
        "m" => 60e9,
        "h" => 3_600e9,
        _ => return Err(wrong()),
    };
    let count: f64 = number.parse().map_err(|_| wrong())?;
    let nanos = (count * unit_ns).round();
    if !nanos.is_finite() || nanos >= 9e18 {
        return Err(wrong());
    }
    Ok(nanos as i64)
}

/// An amount for a column of a table: four significant digits below a cent, cents above a dollar.
pub fn money(amount: NanoUsd) -> String {
    let dollars = amount.as_usd().abs();
    let sign = if amount.0 < 0 { "-" } else { "" };
    if amount == NanoUsd::ZERO {
        "$0.00".to_owned()
    } else if dollars >= 1.0 {
        format!("{sign}${dollars:.2}")
    } else if dollars >= 0.01 {
        format!("{sign}${dollars:.4}")
    } else if dollars >= 0.000_001 {
        format!("{sign}${dollars:.6}")
    } else {
        amount.to_string()
    }
}

/// `830µs`, `12ms`, `1.24s`, `2m05s`, `1h02m`.
pub fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    // Rounded before the unit is chosen, so that 59.999 s is 1m00s and never 60.00s.
    let text = if ns < 1_000_000 {
        format!("{}µs", ns / 1_000)
    } else if ns < 999_500_000 {
        format!("{}ms", (ns + 500_000) / 1_000_000)
    } else if ns < 59_995_000_000 {
        format!("{:.2}s", ns as f64 / 1e9)
    } else {
        let seconds = (ns + 500_000_000) / 1_000_000_000;
        if seconds < 3_600 {
            format!("{}m{:02}s", seconds / 60, seconds % 60)
        } else {
            format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60)
        }
    };
    format!("{sign}{text}")
}

/// Nanoseconds as milliseconds, the unit of every `…_ms` field.
pub fn ms(ns: i64) -> f64 {
    ns as f64 / 1e6
}

/// Back from a `…_ms` field.
pub fn ns_of_ms(ms: f64) -> i64 {
    (ms * 1e6).round() as i64
}

/// A size with three digits at most: `512 B`, `1.21 KB`, `34.5 MB`.
pub fn bytes(size: u64) -> String {
    if size < 1_000 {
        return format!("{size} B");
    }
    let (mut size, mut unit) = (size as f64, "B");
    for larger in ["KB", "MB", "GB", "TB"] {
        if size < 999.5 {
            break;
        }
        (size, unit) = (size / 1e3, larger);
    }
    let decimals = if size < 10.0 { 2 } else { usize::from(size < 100.0) };
    format!("{size:.decimals$} {unit}")
}

/// A count with thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A point in time as RFC 3339 with all nine decimals: what was recorded, nothing lost. (As a JSON number
/// it would not survive a reader whose numbers are doubles.)
pub fn instant(at: UnixNanos) -> String {
    let millis = at.rfc3339();
    format!("{}{:06}Z", millis.trim_end_matches('Z'), at.0.rem_euclid(1_000_000))
}

/// Text that cannot steer a terminal: control characters (escape sequences among them) become visible
/// stand-ins. Recorded text comes from outside, so everything printed passes here; new lines and tabs stay.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            '\u{7f}' => '\u{2421}',
            '\u{80}'..='\u{9f}' => '\u{fffd}',
            // Direction overrides can make a line read as something else.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            _ => c,
        })
        .collect()
}

/// `printable`, on one line and at most `width` characters long.
pub fn one_line(text: &str, width: usize) -> String {
    let flat: String = printable(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= width {
        return flat;
    }
    let mut cut: String = flat.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        assert_eq!(parse_usd("0.05"), Ok(NanoUsd(50_000_000)));
        assert_eq!(parse_usd("$12"), Ok(NanoUsd(12_000_000_000)));
        assert_eq!(parse_usd(".000000001"), Ok(NanoUsd(1)));
        for wrong in ["", ".", "-1", "1e3", "0.0000000001", "1,5", "99999999999", "NaN"] {
            assert!(parse_usd(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        assert_eq!(parse_duration_ns("1.5s"), Ok(1_500_000_000));
        assert_eq!(parse_duration_ns("250ms"), Ok(250_000_000));
        assert_eq!(parse_duration_ns("2"), Ok(2_000_000_000));
        for wrong in ["", "s", "1d", "1.2.3s", "-1s", "1 s", "1e9s", "99999999999h"] {
            assert!(parse_duration_ns(wrong).is_err(), "{wrong}");
        }
        let written = [
            (830_000, "830µs"),
            (12_400_000, "12ms"),
            (999_700_000, "1.00s"),
            (1_240_000_000, "1.24s"),
            (59_999_000_000, "1m00s"),
            (125_000_000_000, "2m05s"),
            (3_720_000_000_000, "1h02m"),
            (-5_000_000, "-5ms"),
        ];
        for (ns, text) in written {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn figures_are_short_for_people() {
        assert_eq!(money(NanoUsd(0)), "$0.00");
        assert_eq!(money(NanoUsd(1_234_567_890)), "$1.23");
        assert_eq!(money(NanoUsd(12_345_678)), "$0.0123");
        assert_eq!(money(NanoUsd(123_456)), "$0.000123");
        assert_eq!(money(NanoUsd(12)), "$0.000000012");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn a_terminal_cannot_be_steered() {
        let shown = printable("a\u{1b}[2Jb\u{9b}31m\r\nc\u{202e}");
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
        assert!(!shown.contains('\u{202e}'));
        assert_eq!(one_line("a\n  b\tc", 10), "a b c");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }

    proptest! {
        #[test]
        fn amounts_survive_being_written(nanos in 0i64..i64::MAX) {
            prop_assert_eq!(parse_usd(&usd(NanoUsd(nanos))), Ok(NanoUsd(nanos)));
        }

        #[test]
        fn instants_survive_being_written(nanos in 0i64..i64::MAX) {
            let at = UnixNanos(nanos);
            prop_assert_eq!(UnixNanos::parse(&instant(at), UnixNanos(0)), Ok(at));
        }
    }
}
