//! What is worth telling an operator: one struct per event, and `emit`, which writes the log line and counts
//! it in `tapline_events_total`. Importable by every layer. No event carries a secret or content (invariant
//! 7): names, counts, addresses, reasons.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing::Level;
use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::{
    model::{
        Error, NanoUsd,
        call::{Call, CallStatus},
    },
    telemetry::Telemetry,
};

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(Error::invalid(format!("expected the log format auto, text or json, found {text:?}"))),
        }
    }
}

/// Sets another level, as `init_logging` takes it, while logging runs.
pub type SetLevel = Box<dyn Fn(&str) -> Result<(), Error> + Send + Sync>;

/// Starts logging to stderr, and returns how its level is changed later. `level` is `error`, `warn`, `info`, `debug`, `trace` or `off`, which holds for
/// tapline (libraries speak from `warn` up), or a list of directives such as `tapline=debug,hyper=info`.
pub fn init_logging(level: &str, format: LogFormat) -> Result<SetLevel, Error> {
    let filter = filter(level)?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let refused = |error: &dyn std::fmt::Display| {
        Error::internal(format!("the log level could not be changed: {error}"))
    };
    let json = format == LogFormat::Json || (format == LogFormat::Auto && !terminal);
    let (started, set_level): (_, SetLevel) = if json {
        let builder = builder.json().flatten_event(true).with_current_span(false).with_filter_reloading();
        let handle = builder.reload_handle();
        let set: SetLevel =
            Box::new(move |level| handle.reload(self::filter(level)?).map_err(|error| refused(&error)));
        (builder.try_init(), set)
    } else {
        let builder = builder.with_ansi(terminal).with_target(false).with_filter_reloading();
        let handle = builder.reload_handle();
        let set: SetLevel =
            Box::new(move |level| handle.reload(self::filter(level)?).map_err(|error| refused(&error)));
        (builder.try_init(), set)
    };
    started.map_err(|error| Error::internal(format!("logging could not be started: {error}")))?;
    Ok(set_level)
}

fn filter(level: &str) -> Result<EnvFilter, Error> {
    let wrong = |error: ParseError| {
        Error::invalid(format!(
            "expected a log level (error, warn, info, debug, trace, off) or directives such as \
             tapline=debug,hyper=info, found {level:?}: {error}"
        ))
    };
    let directives = match level.trim() {
        "" => "warn,tapline=info".to_owned(),
        "off" => "off".to_owned(),
        // Below `warn`, HTTP libraries print frames and headers: only for those who ask by name.
        word if word.parse::<Level>().is_ok() => format!("warn,tapline={word}"),
        word if !word.contains(['=', ',']) => {
            return Err(Error::invalid(format!(
                "expected a log level (error, warn, info, debug, trace, off) or directives such as \
                 tapline=debug,hyper=info, found {word:?}"
            )));
        }
        list => list.to_owned(),
    };
    EnvFilter::builder().parse(directives).map_err(wrong)
}

/// The server listens. `address` is where; `upstream` where calls go that name none.
#[derive(Debug, Clone)]
pub struct ServerStarted<'a> {
    pub address: &'a str,
    pub upstream: &'a str,
}

impl ServerStarted<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("server_started");
        tracing::info!(
            event = "server_started",
            address = self.address,
            upstream = self.upstream,
            version = env!("CARGO_PKG_VERSION"),
            "listening on {}",
            self.address
        );
    }
}

/// The server stops; `in_flight` calls are given time to end.
#[derive(Debug, Clone)]
pub struct ServerStopping {
    pub in_flight: u64,
}

impl ServerStopping {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("server_stopping");
        tracing::info!(event = "server_stopping", in_flight = self.in_flight, "shutting down");
    }
}

/// A budget is near its end.
#[derive(Debug, Clone)]
pub struct BudgetNear<'a> {
    pub budget: &'a str,
    pub of: Option<&'a str>,
    pub spent: NanoUsd,
    pub limit: NanoUsd,
}

impl BudgetNear<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("budget_near");
        tracing::warn!(
            event = "budget_near",
            budget = self.budget,
            of = self.of,
            spent = %self.spent,
            limit = %self.limit,
            "the budget {} is near its end",
            self.budget
        );
    }
}

/// A budget is used up; `stops` says whether calls are refused from now on.
#[derive(Debug, Clone)]
pub struct BudgetUsedUp<'a> {
    pub budget: &'a str,
    pub of: Option<&'a str>,
    pub spent: NanoUsd,
    pub limit: NanoUsd,
    pub stops: bool,
}

impl BudgetUsedUp<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("budget_used_up");
        tracing::warn!(
            event = "budget_used_up",
            budget = self.budget,
            of = self.of,
            spent = %self.spent,
            limit = %self.limit,
            stops = self.stops,
            "the budget {} is used up{}",
            self.budget,
            if self.stops { ": further calls are refused" } else { "" }
        );
    }
}

/// A call is in the store. Counts the call's figures, too.
#[derive(Debug, Clone)]
pub struct CallSettled<'a> {
    pub call: &'a Call,
}

impl CallSettled<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        let call = self.call;
        telemetry.observe(call);
        tracing::debug!(
            event = "call_settled",
            call = %call.id,
            trace = %call.trace_id,
            upstream = call.upstream,
            dialect = call.dialect.as_str(),
            model = call.model(),
            status = call.status.as_str(),
            http_status = call.http_status,
            error_type = call.error_type,
            duration_ms = call.duration_ns() / 1_000_000,
            input_tokens = call.usage.input,
            output_tokens = call.usage.output,
            cost_usd = call.cost.map(|cost| cost.as_usd()),
            "{} {}",
            call.name,
            call.status.as_str()
        );
        let priced = call.cost.is_some() || call.usage.is_empty() || call.status != CallStatus::Ok;
        if let Some(model) = call.model().filter(|_| !priced) {
            PriceMissing { provider: &call.provider, model }.emit(telemetry);
        }
    }
}

/// No price is known for a model that was used; said once per model.
#[derive(Debug, Clone)]
pub struct PriceMissing<'a> {
    pub provider: &'a str,
    pub model: &'a str,
}

impl PriceMissing<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        if !telemetry.first_unpriced(self.model) {
            return;
        }
        telemetry.event("price_missing");
        tracing::warn!(
            event = "price_missing",
            provider = self.provider,
            model = self.model,
            "no price is known for {}: its cost stays unknown; add one to the price overrides",
            self.model
        );
    }
}

/// Appends no longer reach the journal: calls go on, unrecorded.
#[derive(Debug, Clone)]
pub struct JournalBroken<'a> {
    pub reason: &'a str,
}

impl JournalBroken<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("journal_broken");
        tracing::error!(
            event = "journal_broken",
            reason = self.reason,
            "the journal takes nothing more, calls pass unrecorded: {}",
            self.reason
        );
    }
}

/// The journal takes records again, after losing `dropped_records`.
#[derive(Debug, Clone)]
pub struct JournalRecovered {
    pub dropped_records: u64,
}

impl JournalRecovered {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("journal_recovered");
        tracing::info!(
            event = "journal_recovered",
            dropped_records = self.dropped_records,
            "the journal records again"
        );
    }
}

/// At start-up the journal ended in the middle of a record: what was not whole was cut.
#[derive(Debug, Clone)]
pub struct TornTailCut {
    pub bytes: u64,
}

impl TornTailCut {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("torn_tail_cut");
        tracing::warn!(
            event = "torn_tail_cut",
            bytes = self.bytes,
            "the journal's last record was not whole and was cut"
        );
    }
}

/// Records find no room: what comes now is forwarded and counted, and not recorded.
#[derive(Debug, Clone)]
pub struct RecordsDropped {
    pub dropped_calls: u64,
    pub dropped_records: u64,
}

impl RecordsDropped {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("records_dropped");
        tracing::error!(
            event = "records_dropped",
            dropped_calls = self.dropped_calls,
            dropped_records = self.dropped_records,
            "records find no room in the journal and are dropped; calls pass and are counted"
        );
    }
}

/// There is room again; how much was dropped since the start.
#[derive(Debug, Clone)]
pub struct RecordsTaken {
    pub dropped_calls: u64,
    pub dropped_records: u64,
}

impl RecordsTaken {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("records_taken");
        tracing::warn!(
            event = "records_taken",
            dropped_calls = self.dropped_calls,
            dropped_records = self.dropped_records,
            "the journal takes records again; {} calls and {} records were dropped since the start",
            self.dropped_calls,
            self.dropped_records
        );
    }
}

/// The configuration was read again and is in force, apart from the keys that need a restart.
#[derive(Debug, Clone)]
pub struct ConfigReloaded<'a> {
    pub changed: &'a [String],
    pub after_restart: &'a [String],
}

impl ConfigReloaded<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("config_reloaded");
        let (changed, later) = (self.changed.join(", "), self.after_restart.join(", "));
        tracing::info!(
            event = "config_reloaded",
            changed,
            after_restart = later,
            "the configuration was read again; changed: {}",
            if changed.is_empty() { "nothing" } else { &changed }
        );
        if !later.is_empty() {
            tracing::warn!(event = "config_needs_restart", after_restart = later, "needs a restart: {later}");
        }
    }
}

/// The configuration was read again and is wrong: the one before stays in force, whole.
#[derive(Debug, Clone)]
pub struct ConfigRejected<'a> {
    pub reason: &'a str,
}

impl ConfigRejected<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("config_rejected");
        tracing::error!(
            event = "config_rejected",
            reason = self.reason,
            "the configuration before stays in force: {}",
            self.reason
        );
    }
}

/// The exporter stopped by a fault of its own and begins anew, from its place in the store.
#[derive(Debug, Clone)]
pub struct ExportRestarted<'a> {
    pub reason: &'a str,
}

impl ExportRestarted<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("export_restarted");
        tracing::error!(
            event = "export_restarted",
            reason = self.reason,
            "the exporter stopped and begins anew: {}",
            self.reason
        );
    }
}

/// The store refuses to write; calls wait in the journal.
#[derive(Debug, Clone)]
pub struct StoreFailing<'a> {
    pub reason: &'a str,
}

impl StoreFailing<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("store_failing");
        tracing::error!(
            event = "store_failing",
            reason = self.reason,
            "the store cannot be written, calls wait in the journal: {}",
            self.reason
        );
    }
}

/// The store is written again.
#[derive(Debug, Clone)]
pub struct StoreRecovered {
    pub after_seconds: f64,
}

impl StoreRecovered {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("store_recovered");
        tracing::info!(
            event = "store_recovered",
            after_seconds = self.after_seconds,
            "the store is written again"
        );
    }
}

/// Spans cannot be delivered; they wait in the store. Said when it begins, not at every attempt.
#[derive(Debug, Clone)]
pub struct ExportFailing<'a> {
    pub endpoint: &'a str,
    pub reason: &'a str,
}

impl ExportFailing<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("export_failing");
        tracing::warn!(
            event = "export_failing",
            endpoint = self.endpoint,
            reason = self.reason,
            "spans cannot be exported to {}, they wait in the store: {}",
            self.endpoint,
            self.reason
        );
    }
}

/// Spans are delivered again.
#[derive(Debug, Clone)]
pub struct ExportRecovered<'a> {
    pub endpoint: &'a str,
    pub after_seconds: f64,
}

impl ExportRecovered<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("export_recovered");
        tracing::info!(
            event = "export_recovered",
            endpoint = self.endpoint,
            after_seconds = self.after_seconds,
            "spans are exported to {} again",
            self.endpoint
        );
    }
}

/// The collector took other spans but refuses this one: it is skipped, and stays in the store.
#[derive(Debug, Clone)]
pub struct SpanRejected<'a> {
    pub endpoint: &'a str,
    pub call: &'a str,
    pub reason: &'a str,
}

impl SpanRejected<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("span_rejected");
        tracing::warn!(
            event = "span_rejected",
            endpoint = self.endpoint,
            call = self.call,
            reason = self.reason,
            "the collector refuses the span of call {}, it is skipped: {}",
            self.call,
            self.reason
        );
    }
}

/// The collector took a request but says that it dropped some of its spans.
#[derive(Debug, Clone)]
pub struct PartialSuccess<'a> {
    pub endpoint: &'a str,
    pub rejected: u64,
    pub reason: &'a str,
}

impl PartialSuccess<'_> {
    pub fn emit(&self, telemetry: &Telemetry) {
        telemetry.event("export_partial_success");
        tracing::warn!(
            event = "export_partial_success",
            endpoint = self.endpoint,
            rejected = self.rejected,
            reason = self.reason,
            "the collector dropped {} spans of a request: {}",
            self.rejected,
            self.reason
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_holds_for_tapline_only() {
        let directives = |level: &str| {
            let text = filter(level).unwrap().to_string();
            let mut all: Vec<String> = text.split(',').map(str::to_owned).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(directives("debug"), ["tapline=debug", "warn"]);
        assert_eq!(directives(""), ["tapline=info", "warn"]);
        assert_eq!(directives("off"), ["off"]);
        assert_eq!(directives("tapline=trace,hyper=info"), ["hyper=info", "tapline=trace"]);
    }

    #[test]
    fn a_wrong_level_is_refused() {
        for wrong in ["loud", "tapline=loud"] {
            let error = filter(wrong).unwrap_err();
            assert!(error.message.contains("expected a log level"), "{error}");
        }
    }

    #[test]
    fn a_missing_price_is_said_once_per_model() {
        let telemetry = Telemetry::new();
        for model in ["a", "b", "a", "a"] {
            PriceMissing { provider: "p", model }.emit(&telemetry);
        }
        let text = telemetry.encode();
        assert!(text.contains("tapline_events_total{event=\"price_missing\"} 2"), "{text}");
    }
}
