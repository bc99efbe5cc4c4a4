//! What a store may be asked: fields, bounds and page tokens as data. No SQL, no HTTP.

pub mod search;

use serde::{Deserialize, Serialize};

use super::{CallId, NanoUsd, TraceId, UnixNanos, call::CallStatus};

/// Which calls. Every field that is set must hold. Newest first unless `oldest_first`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// Experiment id or name.
    pub experiment: Option<String>,
    /// Run id, or name (any run of that name).
    pub run: Option<String>,
    pub session: Option<String>,
    /// Response model, or the asked one where no response named any.
    pub model: Option<String>,
    pub provider: Option<String>,
    pub upstream: Option<String>,
    pub operation: Option<String>,
    pub status: Option<CallStatus>,
    pub user: Option<String>,
    pub tag: Option<String>,
    pub trace: Option<TraceId>,
    /// Started at or after / before.
    pub since: Option<UnixNanos>,
    pub until: Option<UnixNanos>,
    /// Cost at least; a call of unknown cost does not match.
    pub min_cost: Option<NanoUsd>,
    /// Duration at least, nanoseconds.
    pub min_duration_ns: Option<i64>,
}

/// A page of a list: how many, and where the last one ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    pub limit: usize,
    /// `Page::next` of the page before.
    pub cursor: Option<Cursor>,
}

/// Where a page ended: the sort key of its last row. Opaque outside (`encode`/`decode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub started_at: UnixNanos,
    pub id: CallId,
}

impl Cursor {
    pub fn encode(self) -> String {
        format!("{:016x}{}", self.started_at.0, self.id)
    }

    pub fn decode(text: &str) -> Result<Self, super::Error> {
        let wrong = || {
            super::Error::invalid(format!(
                "expected the `next_cursor` of an earlier page, found {:?}",
                text.chars().take(80).collect::<String>()
            ))
        };
        let (at, id) = text.split_at_checked(16).ok_or_else(wrong)?;
        Ok(Self {
            started_at: UnixNanos(i64::from_str_radix(at, 16).map_err(|_| wrong())?),
            id: id.parse().map_err(|_| wrong())?,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

/// What a cost report may be grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    Day,
    Hour,
    Experiment,
    Run,
    Model,
    Provider,
    Upstream,
    Operation,
    Key,
}

impl Dimension {
    pub const ALL: [Self; 9] = [
        Self::Day,
        Self::Hour,
        Self::Experiment,
        Self::Run,
        Self::Model,
        Self::Provider,
        Self::Upstream,
        Self::Operation,
        Self::Key,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Experiment => "experiment",
            Self::Run => "run",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Upstream => "upstream",
            Self::Operation => "operation",
            Self::Key => "key",
        }
    }

    pub fn parse(text: &str) -> Result<Self, super::Error> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|dimension| dimension.as_str()).collect();
            super::Error::invalid(format!("expected one of {} to group by, found {text:?}", all.join(", ")))
        })
    }
}

/// Which rollups a cost report sums.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostQuery {
    pub by: Vec<Dimension>,
    /// Whole hours: `since` is rounded down, `until` up.
    pub since: Option<UnixNanos>,
    pub until: Option<UnixNanos>,
    /// Experiment id or name; run id or name.
    pub experiment: Option<String>,
    pub run: Option<String>,
}

/// One line of a cost report. Sums never count unknown as zero: `cost` covers `priced_calls` only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostRow {
    /// One value per dimension of the query, in its order: names, not ids, for experiments and runs;
    /// `2026-11-23` for days; `2026-11-23T08:00Z` for hours; `None` where the call had none.
    pub key: Vec<Option<String>>,
    pub calls: u64,
    pub errors: u64,
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    /// Calls whose usage tapline counted itself, and calls with no usage at all.
    pub estimated_calls: u64,
    pub usageless_calls: u64,
    pub cost: NanoUsd,
    /// The cost after discounts and margins.
    pub billed: NanoUsd,
    /// ⊂ cost: amounts that the provider named itself.
    pub cost_reported: NanoUsd,
    pub reported_calls: u64,
    /// ⊂ cost: from estimated usage.
    pub cost_estimated: NanoUsd,
    pub priced_calls: u64,
    /// Calls with usage but no known price: their cost is unknown and in no sum.
    pub unpriced_calls: u64,
    pub duration_ns: i64,
}

/// How far own counts of one model's tokens are from reported ones, over the calls that were counted twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenError {
    pub model: String,
    /// `output` (hidden reasoning left out), `input`, or `input with tools`, `images`, `sound` or `documents`.
    pub side: String,
    pub calls: u64,
    pub reported: u64,
    pub estimated: u64,
    /// Sum of |estimated - reported|.
    pub abs_error: u64,
    /// Of one call, in thousandths of what was reported.
    pub worst_thousandths: u64,
}

impl TokenError {
    /// Estimated over reported, less one: above zero where too much was counted.
    pub fn bias(&self) -> f64 {
        self.estimated as f64 / self.reported.max(1) as f64 - 1.0
    }

    /// What a call is off by on average, as a share of what was reported.
    pub fn mean_error(&self) -> f64 {
        self.abs_error as f64 / self.reported.max(1) as f64
    }
}

/// A run as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    #[serde(flatten)]
    pub run: super::run::Run,
    pub experiment: String,
    pub totals: CostRow,
}

/// An experiment as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentSummary {
    #[serde(flatten)]
    pub experiment: super::run::Experiment,
    pub runs: u64,
    pub totals: CostRow,
}

/// Which sessions. Every field that is set must hold. The one that was active last comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Experiment id or name.
    pub experiment: Option<String>,
    /// Run id or name.
    pub run: Option<String>,
    pub user: Option<String>,
    /// The session that they come from.
    pub parent: Option<String>,
    /// Found by tapline, or named by a caller.
    pub inferred: Option<bool>,
    /// Active at or after / before.
    pub since: Option<UnixNanos>,
    pub until: Option<UnixNanos>,
    /// With at least so many calls.
    pub min_calls: Option<u64>,
}

/// Where a page of sessions ended. Opaque outside (`encode`/`decode`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCursor {
    pub last_at: UnixNanos,
    pub id: String,
}

impl SessionCursor {
    pub fn encode(&self) -> String {
        format!("{:016x}{}", self.last_at.0, self.id)
    }

    pub fn decode(text: &str) -> Result<Self, super::Error> {
        let wrong = || {
            super::Error::invalid(format!(
                "expected the `next_cursor` of an earlier page, found {:?}",
                text.chars().take(80).collect::<String>()
            ))
        };
        let (at, id) = text.split_at_checked(16).ok_or_else(wrong)?;
        let at = i64::from_str_radix(at, 16).map_err(|_| wrong())?;
        Ok(Self { last_at: UnixNanos(at), id: id.to_owned() })
    }
}
