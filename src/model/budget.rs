//! Budgets: how much may be spent by whom in which time, and what happens then.

use serde::{Deserialize, Serialize};

use super::{Error, Glob, NanoUsd, UnixNanos};

/// A calendar window, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    Hour,
    Day,
    Month,
    Total,
}

impl Window {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Hour, Self::Day, Self::Month, Self::Total].into_iter().find(|window| window.as_str() == text)
    }

    /// When the window around `at` began; the epoch for the one that never ends.
    pub fn start(self, at: UnixNanos) -> UnixNanos {
        const HOUR: i64 = 3_600 * UnixNanos::SECOND;
        let floor = |step: i64| UnixNanos(at.0 - at.0.rem_euclid(step));
        match self {
            Self::Hour => floor(HOUR),
            Self::Day => floor(UnixNanos::DAY),
            Self::Month => {
                let month: String = at.date().chars().take(7).collect();
                UnixNanos::parse(&format!("{month}-01"), at).unwrap_or_else(|_| floor(UnixNanos::DAY))
            }
            Self::Total => UnixNanos(0),
        }
    }

    /// When the window around `at` ends; `None` for the one that never does.
    pub fn end(self, at: UnixNanos) -> Option<UnixNanos> {
        let start = self.start(at);
        match self {
            Self::Hour => Some(UnixNanos(start.0 + 3_600 * UnixNanos::SECOND)),
            Self::Day => Some(UnixNanos(start.0 + UnixNanos::DAY)),
            // No month has more than 31 days, none less than 28.
            Self::Month => Some(self.start(UnixNanos(start.0 + 32 * UnixNanos::DAY))),
            Self::Total => None,
        }
    }
}

/// What happens when a budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is said: in the log, in the metrics, in the list of budgets.
    Warn,
    /// Further calls are refused.
    Stop,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Stop => "stop",
        }
    }

    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "warn" => Ok(Self::Warn),
            "stop" => Ok(Self::Stop),
            _ => Err(Error::invalid(format!("expected warn or stop, found {text:?}"))),
        }
    }
}

/// What a budget may be kept apart by: one account for each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Each {
    Experiment,
    Run,
    Key,
    User,
    Upstream,
    Model,
}

impl Each {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "experiment" => Self::Experiment,
            "run" => Self::Run,
            "key" => Self::Key,
            "user" => Self::User,
            "upstream" => Self::Upstream,
            "model" => Self::Model,
            _ => return None,
        })
    }
}

/// Whose calls count: all patterns that are given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spender {
    pub experiment: Option<Glob>,
    pub run: Option<Glob>,
    pub key: Option<Glob>,
    pub user: Option<Glob>,
    pub upstream: Option<Glob>,
    pub model: Option<Glob>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub name: String,
    pub spender: Spender,
    pub each: Option<Each>,
    pub limit: NanoUsd,
    pub window: Window,
    pub action: Action,
    /// Percent of the limit at which it is said that the end is near.
    pub warn_at: u8,
}

/// A run's own budget, for all its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunBudget {
    pub limit: NanoUsd,
    pub action: Action,
}

/// What some calls of one place have spent, as the store sums it up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spending {
    pub experiment: Option<String>,
    pub run_id: Option<String>,
    pub run: Option<String>,
    pub key: Option<String>,
    pub user: Option<String>,
    pub upstream: String,
    pub model: Option<String>,
    pub billed: NanoUsd,
    pub calls: u64,
    /// Of them those that have a cost, and those whose cost is not known; what was refused has neither.
    pub priced_calls: u64,
    pub unknown_calls: u64,
}

/// Reads `5usd`, `$5`, `5.00` exactly.
pub fn parse_limit(text: &str) -> Result<NanoUsd, Error> {
    let wrong = || {
        Error::invalid(format!(
            "expected an amount of US dollars such as 5usd or $0.50 with at most nine decimals, found {text:?}"
        ))
    };
    let amount = text.trim();
    let lower = amount.to_ascii_lowercase();
    let amount = lower.strip_suffix("usd").unwrap_or(&lower).trim().trim_start_matches('$');
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || !digits(whole) || fraction.len() > 9 || !digits(fraction) {
        return Err(wrong());
    }
    let whole: i64 = whole.parse().map_err(|_| wrong())?;
    let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    Ok(NanoUsd(whole * 1_000_000_000 + fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixNanos {
        UnixNanos::parse(text, UnixNanos(0)).unwrap()
    }

    #[test]
    fn windows_are_the_calendar_s() {
        let now = at("2026-12-31T23:59:59Z");
        assert_eq!(Window::Hour.start(now), at("2026-12-31T23:00:00Z"));
        assert_eq!(Window::Day.end(now), Some(at("2027-01-01")));
        assert_eq!(Window::Month.start(now), at("2026-12-01"));
        assert_eq!(Window::Month.end(now), Some(at("2027-01-01")));
        assert_eq!(Window::Month.end(at("2026-02-01")), Some(at("2026-03-01")));
        assert_eq!((Window::Total.start(now), Window::Total.end(now)), (UnixNanos(0), None));
    }

    #[test]
    fn limits_are_read_exactly() {
        for (text, nanos) in [
            ("5usd", 5_000_000_000),
            ("$0.50", 500_000_000),
            (" 5 USD ", 5_000_000_000),
            ("0.000000001", 1),
            ("0", 0),
        ] {
            assert_eq!(parse_limit(text), Ok(NanoUsd(nanos)), "{text}");
        }
        for wrong in ["", "usd", "-1", "1e3", "5eur", ".5", "1.0000000001", "9999999999"] {
            assert!(parse_limit(wrong).is_err(), "{wrong}");
        }
    }
}
