//! Money as an integer of nano-USD (10⁻⁹ dollars). Floats never enter a sum; an unknown amount is
//! `Option::None` at the place that holds it, never zero.

use std::{fmt, iter::Sum, ops::Add};

use serde::{Deserialize, Serialize};

/// Nano-USD: one dollar is 1,000,000,000. `i64` holds ±9.2 billion dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    pub const ZERO: Self = Self(0);

    /// For display and for figures that leave as JSON numbers; never for arithmetic.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// From a decimal dollar amount as a provider reports it; rounds to the nearest nano-dollar.
    /// `None` when it is not a finite amount that fits.
    pub fn from_usd(usd: f64) -> Option<Self> {
        let nanos = (usd * 1e9).round();
        (nanos.is_finite() && nanos.abs() < 9e18).then_some(Self(nanos as i64))
    }
}

impl Add for NanoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// `$0.001234` with as many decimals as are needed, at least two and at most nine.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let fraction = format!("{:09}", nanos % 1_000_000_000);
        let kept = fraction.trim_end_matches('0').len().max(2);
        f.pad(&format!("{sign}${}.{}", nanos / 1_000_000_000, fraction.get(..kept).unwrap_or("00")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_exactly() {
        assert_eq!(NanoUsd(0).to_string(), "$0.00");
        assert_eq!(NanoUsd(1).to_string(), "$0.000000001");
        assert_eq!(NanoUsd(12_340_000_000).to_string(), "$12.34");
        assert_eq!(NanoUsd(-1_500_000_000).to_string(), "-$1.50");
    }

    #[test]
    fn reported_dollars_become_nanos() {
        assert_eq!(NanoUsd::from_usd(0.000_012_3), Some(NanoUsd(12_300)));
        assert_eq!(NanoUsd::from_usd(f64::NAN), None);
        assert_eq!(NanoUsd::from_usd(1e30), None);
    }
}
