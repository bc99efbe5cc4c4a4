//! Sessions and their calls as the faces show them.

use serde::{Deserialize, Serialize};

use super::{
    figures::{self, instant, ms, usd},
    table::{Cell, Column, Table, Tone},
};
use crate::{
    chain,
    model::{
        NanoUsd,
        call::CallStatus,
        lineage::{CacheCause, CacheEntry, ElementKind, Link, LinkKind, LinkRule, Session, SessionCall},
    },
};

/// A conversation or job with the sums of its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionRow {
    pub id: String,
    /// The session that it comes from.
    pub parent: Option<String>,
    /// True when tapline found it, false when a caller named it.
    pub inferred: bool,
    /// The call that began it.
    pub first_call: String,
    pub started_at: String,
    /// The end of its newest call.
    pub last_at: String,
    pub experiment_id: String,
    /// The experiment's name.
    pub experiment: Option<String>,
    pub run_id: Option<String>,
    /// The run's name.
    pub run: Option<String>,
    pub user: Option<String>,
    pub model: Option<String>,
    pub calls: u64,
    pub errors: u64,
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub output_tokens: u64,
    /// Exact, in 10⁻⁹ dollars; null when no call has a known cost.
    pub cost_nano_usd: Option<i64>,
    pub cost_usd: Option<String>,
    /// Calls with usage but without a known price: in no sum.
    pub unpriced_calls: u64,
    /// Input tokens that a prompt cache could have served and did not, and what they cost more.
    pub missed_tokens: u64,
    pub lost_nano_usd: i64,
}

impl SessionRow {
    /// `experiment` and `run` are names, which a session itself does not carry.
    pub fn new(session: &Session, experiment: Option<String>, run: Option<String>) -> Self {
        let cost = (session.priced_calls > 0).then_some(session.cost);
        Self {
            id: session.id.clone(),
            parent: session.parent.clone(),
            inferred: session.inferred,
            first_call: session.first_call.to_string(),
            started_at: instant(session.started_at),
            last_at: instant(session.last_at),
            experiment_id: session.experiment_id.clone(),
            experiment,
            run_id: session.run_id.clone(),
            run,
            user: session.user.clone(),
            model: session.model.clone(),
            calls: session.calls,
            errors: session.errors,
            input_tokens: session.input_tokens,
            cache_read_tokens: session.cache_read_tokens,
            output_tokens: session.output_tokens,
            cost_nano_usd: cost.map(|cost| cost.0),
            cost_usd: cost.map(usd),
            unpriced_calls: session.unpriced_calls,
            missed_tokens: session.missed_tokens,
            lost_nano_usd: session.lost.0,
        }
    }

    pub fn cost(&self) -> Option<NanoUsd> {
        self.cost_nano_usd.map(NanoUsd)
    }
}

/// How a call hangs under another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LinkRow {
    pub parent: String,
    pub kind: LinkKind,
    pub rule: LinkRule,
    /// From 0 to 1.
    pub confidence: f64,
    /// Messages of the history that both have.
    pub matched: u32,
    /// What differs from the parent apart from new messages.
    pub changed: Vec<String>,
    /// All of it in a sentence.
    pub why: String,
}

impl From<&Link> for LinkRow {
    fn from(link: &Link) -> Self {
        Self {
            parent: link.parent.to_string(),
            kind: link.kind,
            rule: link.rule,
            confidence: f64::from(link.confidence) / 1_000.0,
            matched: link.matched,
            changed: link.changes.words(),
            why: chain::why(link),
        }
    }
}

/// What a prompt cache could have read of a call's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CacheView {
    /// Input tokens that could have been a cache read; of these, read less than could be.
    pub cacheable_tokens: u64,
    pub missed_tokens: u64,
    /// What the missed tokens cost more, in 10⁻⁹ dollars; null where the price is not known.
    pub lost_nano_usd: Option<i64>,
    pub lost_usd: Option<String>,
    pub cause: Option<CacheCause>,
    /// The kind of the first element of the prompt that differs, and which one of its kind it is, from 0.
    pub broke_kind: Option<ElementKind>,
    pub broke_at: Option<u32>,
    /// The call that was compared with.
    pub compared_with: Option<String>,
    /// The provider's own diagnosis, in its word, and whether it contradicts.
    pub provider_says: Option<String>,
    pub disputed: bool,
    /// All of it in a sentence.
    pub why: Option<String>,
}

impl From<&CacheEntry> for CacheView {
    fn from(entry: &CacheEntry) -> Self {
        Self {
            cacheable_tokens: entry.cacheable,
            missed_tokens: entry.missed,
            lost_nano_usd: entry.lost.map(|lost| lost.0),
            lost_usd: entry.lost.map(usd),
            cause: entry.cause,
            broke_kind: entry.broke_at.map(|(kind, _)| kind),
            broke_at: entry.broke_at.map(|(_, at)| at),
            compared_with: entry.reference.map(|call| call.to_string()),
            provider_says: entry.says.clone(),
            disputed: entry.disputed,
            why: entry.cause.map(|cause| cause_in_words(cause, entry.broke_at)),
        }
    }
}

/// What broke a prefix, in a few words.
pub fn cause_in_words(cause: CacheCause, broke_at: Option<(ElementKind, u32)>) -> String {
    let which = broke_at.map_or_else(String::new, |(_, at)| format!(" {}", at + 1));
    match cause {
        CacheCause::Tool => format!("tool{which} is another than before"),
        CacheCause::System => "the system prompt changed".to_owned(),
        CacheCause::Volatile => "a date, time, id or counter in the system prompt changed".to_owned(),
        CacheCause::Parameter => "a parameter that the cache depends on changed".to_owned(),
        CacheCause::Message => format!("message{which} is another than before"),
        CacheCause::Model => "another model was asked".to_owned(),
        CacheCause::Key => "another key was used".to_owned(),
        CacheCause::Expired => "the cache had not been used for longer than it lives".to_owned(),
        CacheCause::NotMarked => "nothing in the request was marked for caching (cache_control)".to_owned(),
        CacheCause::Concurrent => "the call that would have filled the cache was still running".to_owned(),
        CacheCause::Provider => "the prefix was intact and the provider did not serve it".to_owned(),
        CacheCause::Unknown => {
            "the prefix was intact; whether the cache still had it is not known".to_owned()
        }
    }
}

/// One call of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StepRow {
    pub id: String,
    pub session: String,
    pub name: String,
    pub started_at: String,
    pub duration_ms: f64,
    pub status: CallStatus,
    pub error_type: Option<String>,
    pub model: Option<String>,
    /// Which of several agents in one session.
    pub agent: Option<String>,
    pub tool_calls: u32,
    pub input_tokens: Option<u64>,
    pub cache_read_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cost_nano_usd: Option<i64>,
    /// Null where it begins a conversation.
    pub link: Option<LinkRow>,
    /// Input tokens that a prompt cache could have served and did not; null where that does not apply.
    pub missed_tokens: Option<u64>,
    pub lost_nano_usd: Option<i64>,
}

impl From<&SessionCall> for StepRow {
    fn from(call: &SessionCall) -> Self {
        Self {
            id: call.id.to_string(),
            session: call.session.clone(),
            name: call.name.clone(),
            started_at: instant(call.started_at),
            duration_ms: ms(call.ended_at.since(call.started_at)),
            status: call.status,
            error_type: call.error_type.clone(),
            model: call.model.clone(),
            agent: call.agent.clone(),
            tool_calls: call.tool_calls,
            input_tokens: call.input_tokens,
            cache_read_tokens: call.cache_read_tokens,
            output_tokens: call.output_tokens,
            cost_nano_usd: call.cost.map(|cost| cost.0),
            link: call.link.as_ref().map(LinkRow::from),
            missed_tokens: call.missed_tokens,
            lost_nano_usd: call.lost.map(|lost| lost.0),
        }
    }
}

type Field = (&'static str, bool, fn(&SessionRow) -> Cell);

/// Every fact, for CSV.
pub fn exact(rows: &[SessionRow]) -> Table {
    const FIELDS: &[Field] = &[
        ("id", false, |row| Cell::text(&row.id)),
        ("parent", false, |row| Cell::maybe(row.parent.as_deref())),
        ("inferred", false, |row| Cell::figure(row.inferred)),
        ("first_call", false, |row| Cell::text(&row.first_call)),
        ("started_at", false, |row| Cell::text(&row.started_at)),
        ("last_at", false, |row| Cell::text(&row.last_at)),
        ("experiment", false, |row| Cell::maybe(row.experiment.as_deref())),
        ("run", false, |row| Cell::maybe(row.run.as_deref())),
        ("user", false, |row| Cell::maybe(row.user.as_deref())),
        ("model", false, |row| Cell::maybe(row.model.as_deref())),
        ("calls", true, |row| Cell::figure(row.calls)),
        ("errors", true, |row| Cell::figure(row.errors)),
        ("input_tokens", true, |row| Cell::figure(row.input_tokens)),
        ("cache_read_tokens", true, |row| Cell::figure(row.cache_read_tokens)),
        ("output_tokens", true, |row| Cell::figure(row.output_tokens)),
        ("cost_usd", true, |row| Cell::maybe_figure(row.cost_usd.as_deref())),
        ("missed_tokens", true, |row| Cell::figure(row.missed_tokens)),
        ("lost_usd", true, |row| Cell::figure(usd(NanoUsd(row.lost_nano_usd)))),
    ];
    columns(FIELDS, rows)
}

fn columns(fields: &[Field], rows: &[SessionRow]) -> Table {
    let column = |(name, right, _): &Field| if *right { Column::right(*name) } else { Column::left(*name) };
    let mut table = Table::new(fields.iter().map(column).collect());
    table.rows = rows.iter().map(|row| fields.iter().map(|(.., cell)| cell(row)).collect()).collect();
    table
}

/// `when` writes a point in time as the reader's clock shows it.
pub fn readable(rows: &[SessionRow], when: impl Fn(&str) -> String) -> Table {
    let mut columns: Vec<_> = ["session", "last active", "model", "named by"].map(Column::left).into();
    columns.extend(["calls", "errors", "input", "cached", "output", "cost", "cache loss"].map(Column::right));
    let mut table = Table::new(columns);
    table.rows = rows
        .iter()
        .map(|row| {
            let errors = if row.errors > 0 { Tone::Bad } else { Tone::Faint };
            let lost = NanoUsd(row.lost_nano_usd);
            vec![
                Cell::text(&row.id),
                Cell::text(when(&row.last_at)),
                Cell::maybe(row.model.as_deref()),
                Cell::Toned(Tone::Faint, if row.inferred { "tapline" } else { "caller" }.to_owned()),
                Cell::figure(figures::count(row.calls)),
                Cell::Toned(errors, figures::count(row.errors)),
                Cell::figure(figures::count(row.input_tokens)),
                Cell::figure(figures::count(row.cache_read_tokens)),
                Cell::figure(figures::count(row.output_tokens)),
                Cell::maybe_figure(row.cost().map(figures::money)),
                if lost.0 > 0 { Cell::Toned(Tone::Warning, figures::money(lost)) } else { Cell::Empty },
            ]
        })
        .collect();
    table
}
