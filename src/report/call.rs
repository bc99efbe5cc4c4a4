//! A call as every face shows it: one flat row, the same in lists, in the live tail and on its own page.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    figures::{instant, ms, usd},
    table::{Cell, Column, Table},
};
use crate::model::{
    NanoUsd,
    call::{Call, CallStatus, Dialect, Rules},
    record::{Outcome, Source},
    usage::{Usage, UsageSource},
};

/// One call. Times are RFC 3339 (UTC, nanoseconds), lengths of time are milliseconds from the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CallRow {
    /// 32 hex digits.
    pub id: String,
    pub trace_id: String,
    pub span_id: String,
    pub parent_span_id: Option<String>,
    pub name: String,
    pub status: CallStatus,
    pub started_at: String,
    pub ended_at: String,
    pub duration_ms: f64,
    /// Until the response's head.
    pub first_byte_ms: Option<f64>,
    /// Until the first event with content.
    pub first_token_ms: Option<f64>,
    /// Until the last event with content.
    pub last_token_ms: Option<f64>,

    pub experiment_id: String,
    /// The experiment's name.
    pub experiment: Option<String>,
    pub run_id: Option<String>,
    /// The run's name.
    pub run: Option<String>,
    pub session: Option<String>,
    /// Which rule placed the call in its experiment, run and session.
    pub rules: Rules,
    pub user: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,

    pub upstream: String,
    pub provider: String,
    pub server_address: String,
    pub server_port: u16,
    pub dialect: Dialect,
    /// `gen_ai.operation.name`; `http` for plain HTTP.
    pub operation: String,
    /// The model that answered, else the one that was asked for.
    pub model: Option<String>,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    pub streamed: bool,
    pub method: String,
    /// Path and query relative to the upstream's base, secrets masked.
    pub target: String,
    pub peer: Option<String>,
    /// Salted fingerprint of the API key; never the key.
    pub key_fingerprint: Option<String>,

    pub outcome: Outcome,
    pub http_status: Option<u16>,
    pub error_type: Option<String>,
    /// Who is to blame.
    pub error_source: Option<Source>,
    pub error_message: Option<String>,

    pub finish_reasons: Vec<String>,
    pub response_id: Option<String>,
    /// The upstream's `x-request-id` or its like.
    pub request_id: Option<String>,
    pub retry_count: Option<u32>,
    /// As served, not as asked.
    pub service_tier: Option<String>,
    /// Where it was processed, if the answer or the endpoint tells.
    pub region: Option<String>,
    pub tool_calls: u32,

    pub usage: Usage,
    /// Whether the upstream reported the usage or tapline counted it.
    pub usage_source: Option<UsageSource>,
    /// Exact, in 10⁻⁹ dollars; null is unknown, never zero.
    pub cost_nano_usd: Option<i64>,
    /// The same amount as an exact decimal of dollars.
    pub cost_usd: Option<String>,
    /// The cost after discounts and margins.
    pub billed_nano_usd: Option<i64>,
    pub billed_usd: Option<String>,
    /// The price that made the cost, or `reported` where the provider named the amount; behind a `*` the
    /// rule that made of it what is billed.
    pub price_id: Option<String>,

    /// Events of a stream, or frames where it is not one.
    pub chunks: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// False when the body is not whole in the store; `notes` says why.
    pub request_whole: bool,
    pub response_whole: bool,
    pub notes: Vec<String>,
}

impl CallRow {
    /// `experiment` and `run` are names, which a call itself does not carry.
    pub fn new(call: &Call, experiment: Option<String>, run: Option<String>) -> Self {
        let call_ms = |ns: Option<i64>| ns.map(ms);
        Self {
            id: call.id.to_string(),
            trace_id: call.trace_id.to_string(),
            span_id: call.span_id.to_string(),
            parent_span_id: call.parent_span_id.map(|id| id.to_string()),
            name: call.name.clone(),
            status: call.status,
            started_at: instant(call.started_at),
            ended_at: instant(call.ended_at),
            duration_ms: ms(call.duration_ns()),
            first_byte_ms: call_ms(call.first_byte_ns),
            first_token_ms: call_ms(call.first_token_ns),
            last_token_ms: call_ms(call.last_token_ns),
            experiment_id: call.experiment_id.clone(),
            experiment,
            run_id: call.run_id.clone(),
            run,
            session: call.session.clone(),
            rules: call.rules.clone(),
            user: call.user.clone(),
            tags: call.tags.clone(),
            metadata: call.metadata.clone(),
            upstream: call.upstream.clone(),
            provider: call.provider.clone(),
            server_address: call.server_address.clone(),
            server_port: call.server_port,
            dialect: call.dialect,
            operation: call.operation.clone(),
            model: call.model().map(str::to_owned),
            request_model: call.request_model.clone(),
            response_model: call.response_model.clone(),
            streamed: call.streamed,
            method: call.method.clone(),
            target: call.target.clone(),
            peer: call.peer.clone(),
            key_fingerprint: call.key_fingerprint.clone(),
            outcome: call.outcome,
            http_status: call.http_status,
            error_type: call.error_type.clone(),
            error_source: call.error_source,
            error_message: call.error_message.clone(),
            finish_reasons: call.finish_reasons.clone(),
            response_id: call.response_id.clone(),
            request_id: call.request_id.clone(),
            retry_count: call.retry_count,
            service_tier: call.service_tier.clone(),
            region: call.region.clone(),
            tool_calls: call.tool_calls,
            usage: call.usage.clone(),
            usage_source: call.usage_source,
            cost_nano_usd: call.cost.map(|cost| cost.0),
            cost_usd: call.cost.map(usd),
            billed_nano_usd: call.billed.map(|billed| billed.0),
            billed_usd: call.billed.map(usd),
            price_id: call.price_id.clone(),
            chunks: call.chunks,
            sent_bytes: call.sent_bytes,
            received_bytes: call.received_bytes,
            request_whole: call.request_whole,
            response_whole: call.response_whole,
            notes: call.notes.clone(),
        }
    }

    pub fn cost(&self) -> Option<NanoUsd> {
        self.cost_nano_usd.map(NanoUsd)
    }

    /// Output tokens per second between the first and the last of them, where that is long enough to tell.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let spent = self.last_token_ms? - self.first_token_ms?;
        let output = self.usage.output?;
        (spent >= 1.0 && output > 1).then(|| (output - 1) as f64 / spent * 1e3)
    }
}

/// Every fact of the rows in columns, for CSV.
pub fn table(rows: &[CallRow]) -> Table {
    type Field = (&'static str, fn(&CallRow) -> Cell);
    fn list(items: &[String]) -> Cell {
        if items.is_empty() { Cell::Empty } else { Cell::Text(items.join(" ")) }
    }
    const FIELDS: &[Field] = &[
        ("id", |row| Cell::text(&row.id)),
        ("started_at", |row| Cell::text(&row.started_at)),
        ("status", |row| Cell::text(row.status.as_str())),
        ("operation", |row| Cell::text(&row.operation)),
        ("model", |row| Cell::maybe(row.model.as_deref())),
        ("request_model", |row| Cell::maybe(row.request_model.as_deref())),
        ("provider", |row| Cell::text(&row.provider)),
        ("upstream", |row| Cell::text(&row.upstream)),
        ("experiment_id", |row| Cell::text(&row.experiment_id)),
        ("experiment", |row| Cell::maybe(row.experiment.as_deref())),
        ("run_id", |row| Cell::maybe(row.run_id.as_deref())),
        ("run", |row| Cell::maybe(row.run.as_deref())),
        ("session", |row| Cell::maybe(row.session.as_deref())),
        ("user", |row| Cell::maybe(row.user.as_deref())),
        ("tags", |row| list(&row.tags)),
        ("streamed", |row| Cell::figure(row.streamed)),
        ("http_status", |row| Cell::maybe_figure(row.http_status)),
        ("outcome", |row| Cell::text(row.outcome.as_str())),
        ("duration_ms", |row| Cell::figure(row.duration_ms)),
        ("first_byte_ms", |row| Cell::maybe_figure(row.first_byte_ms)),
        ("first_token_ms", |row| Cell::maybe_figure(row.first_token_ms)),
        ("last_token_ms", |row| Cell::maybe_figure(row.last_token_ms)),
        ("input_tokens", |row| Cell::maybe_figure(row.usage.input)),
        ("cache_read_tokens", |row| Cell::maybe_figure(row.usage.cache_read)),
        ("cache_write_tokens", |row| Cell::maybe_figure(row.usage.cache_write)),
        ("output_tokens", |row| Cell::maybe_figure(row.usage.output)),
        ("reasoning_tokens", |row| Cell::maybe_figure(row.usage.reasoning)),
        ("usage_source", |row| Cell::maybe(row.usage_source.map(UsageSource::as_str))),
        ("cost_usd", |row| Cell::maybe_figure(row.cost_usd.as_deref())),
        ("billed_usd", |row| Cell::maybe_figure(row.billed_usd.as_deref())),
        ("price_id", |row| Cell::maybe(row.price_id.as_deref())),
        ("tool_calls", |row| Cell::figure(row.tool_calls)),
        ("finish_reasons", |row| list(&row.finish_reasons)),
        ("error_type", |row| Cell::maybe(row.error_type.as_deref())),
        ("error_source", |row| Cell::maybe(row.error_source.map(blame))),
        ("error_message", |row| Cell::maybe(row.error_message.as_deref())),
        ("sent_bytes", |row| Cell::figure(row.sent_bytes)),
        ("received_bytes", |row| Cell::figure(row.received_bytes)),
        ("request_id", |row| Cell::maybe(row.request_id.as_deref())),
        ("trace_id", |row| Cell::text(&row.trace_id)),
        ("span_id", |row| Cell::text(&row.span_id)),
        ("parent_span_id", |row| Cell::maybe(row.parent_span_id.as_deref())),
    ];
    let mut table = Table::new(FIELDS.iter().map(|(name, _)| Column::left(*name)).collect());
    table.rows = rows.iter().map(|row| FIELDS.iter().map(|(_, cell)| cell(row)).collect()).collect();
    table
}

/// Who is to blame, in a word.
pub fn blame(source: Source) -> &'static str {
    match source {
        Source::Client => "client",
        Source::Upstream => "upstream",
        Source::Internal => "internal",
    }
}
