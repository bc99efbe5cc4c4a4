//! Decimal text to scaled integers, exactly. A price never passes through a float, so what the file
//! says is what is charged.

/// Amounts from here on are refused: far above any price, and low enough that price × `u64` tokens ×
/// multiplier stays well inside `i128`.
const LIMIT: i128 = 1_000_000;

/// `text` × 10^`scale`. The error says what was expected, to be completed with where and what was found.
pub(super) fn scaled(text: &str, scale: u32) -> Result<i128, String> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || text.ends_with('.') {
        return Err("a plain decimal amount of zero or more, such as 2.50".to_owned());
    }
    let fraction = fraction.trim_end_matches('0');
    let decimals = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
    if decimals > scale {
        return Err(format!("at most {scale} decimals"));
    }
    let whole = whole.trim_start_matches('0');
    let number = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<i128>().ok() };
    match (number(whole), number(fraction)) {
        (Some(whole), Some(fraction)) if whole < LIMIT => {
            Ok(whole * 10_i128.pow(scale) + fraction * 10_i128.pow(scale - decimals))
        }
        _ => Err(format!("an amount below {LIMIT}")),
    }
}

/// `units` / 10^`scale` as decimal text, exact, without zeros at its end.
pub(super) fn shown(units: i128, scale: u32) -> String {
    let one = 10_i128.pow(scale);
    let (whole, fraction) = (units / one, units % one);
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{:0>width$}", fraction, width = scale as usize);
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_digit_by_digit() {
        assert_eq!(scaled("0.0375", 9), Ok(37_500_000));
        assert_eq!(scaled("0.003625", 9), Ok(3_625_000));
        assert_eq!(scaled("10", 9), Ok(10_000_000_000));
        assert_eq!(scaled("2.50", 9), Ok(2_500_000_000));
        assert_eq!(scaled("007.0", 1), Ok(70));
        assert_eq!(scaled("0", 0), Ok(0));
        assert_eq!(scaled("999999.999999999", 9), Ok(999_999_999_999_999));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for wrong in ["", ".", "1.", ".5", "-1", "1e-3", "nan", "inf", "1,5", "1 ", "$1", "٣", "--1", "1.2.3"]
        {
            let refusal = scaled(wrong, 9).unwrap_err();
            assert!(refusal.starts_with("a plain decimal amount"), "{wrong:?}: {refusal}");
        }
        assert_eq!(scaled("0.0000000001", 9).unwrap_err(), "at most 9 decimals");
        assert_eq!(scaled("1000000", 9).unwrap_err(), "an amount below 1000000");
        assert!(scaled(&"9".repeat(60), 9).is_err());
    }

    proptest! {
        #[test]
        fn text_and_integer_agree(units in 0_i128..999_999_000_000_000) {
            let text = format!("{}.{:09}", units / 1_000_000_000, units % 1_000_000_000);
            prop_assert_eq!(scaled(&text, 9), Ok(units));
            prop_assert_eq!(scaled(&shown(units, 9), 9), Ok(units));
        }
    }
}
