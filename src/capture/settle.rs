//! One finished call becomes one row: decoded, placed, counted, priced. Pure apart from the tables it is
//! given; whatever it cannot understand becomes a note, never an error.

use std::{mem::take, sync::Arc};

use arc_swap::ArcSwap;

use super::{
    assemble::Finished,
    group::{self, ActiveRun},
    redact,
    sample::Sampler,
};
use crate::{
    chain,
    model::{
        NanoUsd, UnixNanos,
        call::{Call, CallStatus, Dialect, Settled},
        content::{Arrival, Body},
        exchange::{Exchange, MessagePart, Request, Response, Timing},
        lineage::{Lineage, Saving},
        record::{self, Closed, Header, Opened, Outcome, Source},
        usage::{Usage, UsageSource},
    },
    pricing::{Billing, PriceTable},
    tokens, upstream,
    wire::{self, CallReader, Limits},
};

/// Turns finished calls into rows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Settler {
    prices: Arc<ArcSwap<PriceTable>>,
    active_run: Arc<ArcSwap<ActiveRun>>,
    limits: Limits,
    grouping: Arc<group::Config>,
    samples: Arc<Sampler>,
}

impl Settler {
    pub fn new(prices: Arc<PriceTable>, limits: Limits) -> Self {
        Self {
            prices: Arc::new(ArcSwap::new(prices)),
            active_run: Arc::new(ArcSwap::from_pointee(ActiveRun::default())),
            limits,
            grouping: Arc::default(),
            samples: Arc::default(),
        }
    }

    /// Calls that are settled from now on, by any clone, are priced by another table.
    pub fn price_by(&self, prices: Arc<PriceTable>) {
        self.prices.store(prices);
    }

    /// Calls that are settled from now on, by any clone, are placed by another rule.
    pub fn place_by(&self, active_run: ActiveRun) {
        self.active_run.store(Arc::new(active_run));
    }

    /// With what the operator says of keys.
    pub fn grouping(self, config: group::Config) -> Self {
        Self { grouping: Arc::new(config), ..self }
    }

    /// The table that calls are priced by now.
    pub fn prices(&self) -> Arc<PriceTable> {
        self.prices.load_full()
    }

    /// The call's texts move into the row; when this panics they are still there.
    pub fn settle(&self, finished: &mut Finished) -> Settled {
        let exchange = self.read(finished);
        self.settle_as(finished, exchange)
    }

    /// The row of a call whose decoding panicked: the facts of the wire, the bodies as they are.
    pub fn settle_undecoded(&self, finished: &mut Finished) -> Settled {
        let exchange = Exchange {
            dialect: Dialect::Http,
            operation: "http".to_owned(),
            request: Request::default(),
            response: Response::default(),
            streamed: false,
            timing: Timing::default(),
            notes: vec!["decoding this call failed; its bodies are kept as they crossed the wire".to_owned()],
        };
        self.settle_as(finished, exchange)
    }

    fn settle_as(&self, finished: &mut Finished, mut exchange: Exchange) -> Settled {
        let mut grouping = group::group(&self.grouping, &finished.opened, &exchange);
        grouping.placement.peer = group::peer(&finished.opened, **self.active_run.load());
        let marked = memchr::memmem::find(&finished.sent, b"\"cache_control\"").is_some();
        let outline = chain::outline(&exchange, marked);
        let Finished { opened, sent, answered, received, frames, closed } = finished;

        let mut notes = take(&mut exchange.notes);
        notes.extend(grouping.notes);
        let request_whole = closed.sent_recorded == closed.sent_bytes;
        let response_whole = closed.received_recorded == closed.received_bytes;
        for (whole, what, recorded, crossed) in [
            (request_whole, "request", closed.sent_recorded, closed.sent_bytes),
            (response_whole, "response", closed.received_recorded, closed.received_bytes),
        ] {
            if !whole {
                notes.push(format!("{what} body: {recorded} of {crossed} bytes were kept"));
            }
        }

        if closed.drained_bytes > 0 {
            notes.push(format!(
                "the client left; {} bytes of the response were read from the upstream without it",
                closed.drained_bytes
            ));
        }

        let http_status = answered.as_ref().map(|answered| answered.status);
        let verdict = judge(closed, http_status, &exchange);
        let (usage, usage_source) = self.usage(&exchange, verdict.status, &mut notes);
        let region = exchange.response.region.clone().or_else(|| {
            upstream::provider::region(&opened.server_address, &opened.provider).map(str::to_owned)
        });
        let token_sample = self.samples.take(&exchange, &usage, usage_source);
        // What is billed by the request alone has a cost without counts, but an answer must have come.
        let billable =
            usage_source.is_some() || (verdict.status == CallStatus::Ok && exchange.response.job.is_none());
        let billed = billable.then(|| {
            self.prices.load().cost(
                &usage,
                &Billing {
                    upstream: &opened.upstream,
                    provider: &opened.provider,
                    response_model: exchange.response.model.as_deref(),
                    request_model: exchange.request.model.as_deref(),
                    service_tier: exchange.response.service_tier.as_deref(),
                    region: region.as_deref(),
                    at: opened.at,
                },
            )
        });
        let cost = billed.flatten();

        let saving = self.saving(&usage, usage_source, opened, &exchange);
        let begun = opened.at;
        let since = |at: UnixNanos| at.since(begun).max(0);
        let name = span_name(&exchange, &opened.method, &opened.target);
        let retry_count =
            header(&opened.headers, "x-stainless-retry-count").and_then(|text| text.parse().ok());
        let request_id = ["x-request-id", "request-id", "apim-request-id", "x-generation-id"]
            .iter()
            .find_map(|name| header(&answered.as_ref()?.headers, name));
        let tool_calls = tool_calls(&exchange);
        let request = wire::split(exchange.dialect, sent);
        let arrivals = frames
            .iter()
            .map(|(at, length)| Arrival {
                offset_us: u64::try_from(since(*at) / 1_000).unwrap_or(0),
                length: *length as u64,
            })
            .collect();
        let choices = exchange.response.choices.iter_mut();
        let finish_reasons = choices.filter_map(|choice| choice.finish_reason.take()).collect();
        let mut response_headers = answered.as_mut().map(|answered| take(&mut answered.headers));
        if let Some(headers) = &mut response_headers {
            headers.retain(|(name, value)| {
                let ours = name == record::ASKED;
                if ours {
                    notes.push(asked(value, taken(&opened.provider, exchange.streamed, received)));
                }
                !ours
            });
        }
        let call = Call {
            id: opened.call,
            trace_id: opened.trace,
            span_id: opened.span,
            parent_span_id: opened.parent_span,
            name,
            started_at: opened.at,
            // The clock may step back while a call runs; a call never ends before it began.
            ended_at: closed.at.max(opened.at),
            experiment_id: String::new(),
            run_id: None,
            session: grouping.session,
            rules: grouping.rules,
            user: grouping.user,
            tags: grouping.tags,
            metadata: grouping.metadata,
            upstream: take(&mut opened.upstream),
            provider: take(&mut opened.provider),
            server_address: take(&mut opened.server_address),
            server_port: opened.server_port,
            dialect: exchange.dialect,
            operation: exchange.operation,
            request_model: exchange.request.model,
            response_model: exchange.response.model,
            streamed: exchange.streamed,
            method: take(&mut opened.method),
            target: take(&mut opened.target),
            peer: take(&mut opened.peer),
            key_fingerprint: take(&mut opened.key_fingerprint),
            status: verdict.status,
            outcome: closed.outcome,
            http_status,
            error_type: verdict.error_type,
            error_source: verdict.source,
            // Some upstreams repeat the key that they refuse.
            error_message: verdict.message.map(|message| redact::text(&message)),
            finish_reasons,
            response_id: exchange.response.id,
            request_id,
            retry_count,
            service_tier: exchange.response.service_tier,
            region,
            tool_calls,
            usage,
            usage_source,
            cost: cost.as_ref().map(|cost| cost.total),
            // The store settles it, once the call has its experiment.
            billed: None,
            price_id: cost.as_ref().map(|cost| cost.price_id.clone()),
            first_byte_ns: answered.as_ref().map(|answered| since(answered.at)),
            first_token_ns: exchange.timing.first_token.filter(|_| exchange.streamed).map(since),
            last_token_ns: exchange.timing.last_token.filter(|_| exchange.streamed).map(since),
            chunks: if exchange.streamed { exchange.timing.events } else { frames.len() as u64 },
            sent_bytes: closed.sent_bytes,
            received_bytes: closed.received_bytes,
            request_whole,
            response_whole,
            request_headers: take(&mut opened.headers).into(),
            response_headers: response_headers.unwrap_or_default().into(),
            notes,
        };
        Settled {
            call,
            placement: grouping.placement,
            job: exchange.response.job,
            charges: cost.map(|cost| cost.charges).unwrap_or_default(),
            token_sample,
            request,
            response: Body::raw(take(received)),
            arrivals,
            lineage: Lineage {
                outline,
                parent_session: grouping.parent_session,
                agent: grouping.agent,
                previous_response: grouping.previous_response,
                saving,
                cache_diagnosis: exchange.response.cache_diagnosis,
            },
        }
    }

    /// What a prompt cache that had everything would have taken off the price of the input. `None` where the
    /// price is not known, or tells cached input from other input in no way.
    fn saving(
        &self,
        usage: &Usage,
        source: Option<UsageSource>,
        opened: &Opened,
        exchange: &Exchange,
    ) -> Option<Saving> {
        let input = usage.input.filter(|_| source == Some(UsageSource::Reported))?;
        let tokens = input.saturating_sub(usage.cache_read.unwrap_or(0));
        if tokens == 0 || input < chain::cache::LEAST_CACHED {
            return None;
        }
        let billing = Billing {
            upstream: &opened.upstream,
            region: exchange.response.region.as_deref(),
            provider: &opened.provider,
            response_model: exchange.response.model.as_deref(),
            request_model: exchange.request.model.as_deref(),
            service_tier: exchange.response.service_tier.as_deref(),
            at: opened.at,
        };
        // By the price table, also where the provider named the amount: it names no other.
        let paid = Usage { reported_cost_nano_usd: None, ..usage.clone() };
        let full = self.prices.load().cost(&paid, &billing)?.total;
        let cached = Usage { cache_read: Some(input), cache_write: None, cache_write_long: None, ..paid };
        let amount = full.0 - self.prices.load().cost(&cached, &billing)?.total.0;
        (amount > 0).then_some(Saving { amount: NanoUsd(amount), tokens })
    }

    fn read(&self, finished: &Finished) -> Exchange {
        let opened = &finished.opened;
        let mut reader = CallReader::new(&opened.method, &opened.target, &opened.headers, self.limits);
        reader.request(&finished.sent);
        if let Some(answered) = &finished.answered {
            reader.answered(answered.status, &answered.headers);
        }
        let mut rest = finished.received.as_ref();
        for (at, length) in &finished.frames {
            let (frame, after) = rest.split_at_checked(*length).unwrap_or((rest, &[]));
            reader.response(frame, *at);
            rest = after;
        }
        reader.finish(finished.closed.outcome == Outcome::Completed)
    }

    /// Reported usage, else our own count of what was said (invariant 6: never without its source).
    fn usage(
        &self,
        exchange: &Exchange,
        status: CallStatus,
        notes: &mut Vec<String>,
    ) -> (Usage, Option<UsageSource>) {
        if let Some(usage) = &exchange.response.usage
            && !usage.is_empty()
        {
            // A count of the beginning is not what the whole cost.
            let uncounted = exchange.response.uncounted;
            if let Some(output) = uncounted.and_then(|uncounted| tokens::counted_on(exchange, uncounted)) {
                let reported = usage.output.unwrap_or(0);
                notes.push(format!(
                    "usage: the stream was cut before its last count; the output is estimated from what came \
                     ({reported} were reported), the input is as reported"
                ));
                return (Usage { output: Some(output), ..usage.clone() }, Some(UsageSource::Estimated));
            }
            return (usage.clone(), Some(UsageSource::Reported));
        }
        // An answer made apart has its usage where it is fetched; a guess here would count it twice.
        if exchange.response.job.is_some() {
            return (Usage::default(), None);
        }
        let said_something = exchange.response.choices.iter().any(|choice| !choice.message.parts.is_empty());
        if exchange.dialect == Dialect::Http || (status == CallStatus::Error && !said_something) {
            return (Usage::default(), None);
        }
        // A call that was cut before any output may still have been billed for its input.
        match tokens::estimate(exchange) {
            Some(estimate) if !estimate.usage.is_empty() => {
                notes.extend(estimate.notes);
                (estimate.usage, Some(UsageSource::Estimated))
            }
            _ => (Usage::default(), None),
        }
    }
}

struct Verdict {
    status: CallStatus,
    error_type: Option<String>,
    source: Option<Source>,
    message: Option<String>,
}

/// How the call went and who is to blame, from the wire's end, the HTTP status and the body, in that order.
fn judge(closed: &Closed, http_status: Option<u16>, exchange: &Exchange) -> Verdict {
    let bad = |status, error_type: String, source, message: String| Verdict {
        status,
        error_type: Some(error_type),
        source: Some(source),
        message: Some(message),
    };
    let failure = closed.failure.as_ref();
    let said = exchange.response.error.as_ref();
    // An upstream that finished its answer in its own dialect finished, whatever became of the connection.
    let whole =
        exchange.response.complete && said.is_none() && http_status.is_some_and(|status| status < 400);
    match closed.outcome {
        _ if whole && closed.outcome != Outcome::UpstreamFailed && closed.drained_bytes == 0 => {
            Verdict { status: CallStatus::Ok, error_type: None, source: None, message: None }
        }
        Outcome::Completed | Outcome::ClientError
            if http_status.is_some_and(|status| status >= 400) || said.is_some() =>
        {
            let status = http_status.unwrap_or_default();
            let source = match failure {
                Some(failure) => failure.source,
                None if (400..500).contains(&status) && !matches!(status, 408 | 429) => Source::Client,
                None => Source::Upstream,
            };
            let kind = failure
                .map(|failure| failure.code.clone())
                .or_else(|| said.map(|error| error.kind.clone()).filter(|kind| !kind.is_empty()))
                .unwrap_or_else(|| status.to_string());
            let message = failure
                .map(|failure| failure.message.clone())
                .or_else(|| said.map(|error| error.message.clone()))
                .unwrap_or_else(|| format!("the upstream answered {status}"));
            bad(CallStatus::Error, kind, source, message)
        }
        Outcome::Completed => {
            Verdict { status: CallStatus::Ok, error_type: None, source: None, message: None }
        }
        // It left because of what it was told; whether the upstream hangs up before that is a race.
        Outcome::ClientGone if said.is_some() && closed.drained_bytes == 0 => {
            let kind = said.map(|error| error.kind.clone()).filter(|kind| !kind.is_empty());
            let message = said.map(|error| error.message.clone()).unwrap_or_default();
            bad(CallStatus::Error, kind.unwrap_or_else(|| "error".to_owned()), Source::Upstream, message)
        }
        Outcome::ClientGone => bad(
            CallStatus::Cancelled,
            "client_disconnect".to_owned(),
            Source::Client,
            "the client left before the end of the response".to_owned(),
        ),
        Outcome::ClientError | Outcome::UpstreamFailed => {
            let default =
                if closed.outcome == Outcome::ClientError { Source::Client } else { Source::Upstream };
            bad(
                CallStatus::Error,
                failure.map_or_else(|| closed.outcome.as_str().to_owned(), |failure| failure.code.clone()),
                failure.map_or(default, |failure| failure.source),
                failure
                    .map_or_else(|| "the exchange broke off".to_owned(), |failure| failure.message.clone()),
            )
        }
        Outcome::Shutdown => bad(
            CallStatus::Interrupted,
            "shutdown".to_owned(),
            Source::Internal,
            "tapline shut down before the response ended".to_owned(),
        ),
        Outcome::Interrupted => bad(
            CallStatus::Interrupted,
            "interrupted".to_owned(),
            Source::Internal,
            "tapline stopped without warning while the call was in flight; this is what had come".to_owned(),
        ),
    }
}

/// Bytes of a response that the client did not get, because they answered what tapline had asked.
fn taken(provider: &str, streamed: bool, received: &[u8]) -> usize {
    if !streamed {
        return 0;
    }
    let mut filter = wire::ask::Filter::new(wire::flavour::of(provider).asked);
    received.len() - filter.push(received).len() - filter.finish().len()
}

/// What was done on the client's behalf, as a note.
fn asked(how: &str, taken: usize) -> String {
    let asking = "usage: stream_options.include_usage was added to the request (usage = \"ask\")";
    match (how, taken) {
        (record::ASKED_REFUSED, _) => {
            "usage: stream_options.include_usage was refused by the upstream (usage = \"ask\"), and the request \
             was sent again as it was"
                .to_owned()
        }
        (_, 0) => format!("{asking}; nothing had to be taken out of the response"),
        _ => format!("{asking}; the answer, {taken} bytes, was taken out of the response"),
    }
}

fn span_name(exchange: &Exchange, method: &str, target: &str) -> String {
    if exchange.dialect == Dialect::Http {
        let path = target.split('?').next().unwrap_or(target);
        return format!("{method} {path}");
    }
    match &exchange.request.model {
        Some(model) => format!("{} {model}", exchange.operation),
        None => exchange.operation.clone(),
    }
}

fn tool_calls(exchange: &Exchange) -> u32 {
    let parts = exchange.response.choices.iter().flat_map(|choice| &choice.message.parts);
    u32::try_from(parts.filter(|part| matches!(part, MessagePart::ToolCall { .. })).count())
        .unwrap_or(u32::MAX)
}

fn header(headers: &[Header], name: &str) -> Option<String> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CallId, UnixNanos, exchange::UpstreamError};

    fn exchange(error: Option<UpstreamError>) -> Exchange {
        Exchange {
            dialect: Dialect::ChatCompletions,
            operation: "chat".to_owned(),
            request: Request::default(),
            response: Response { error, ..Response::default() },
            streamed: true,
            timing: Timing::default(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_client_that_leaves_because_of_an_error_it_was_told_is_not_to_blame() {
        let left = |drained_bytes| Closed {
            call: CallId([1; 16]),
            at: UnixNanos(1),
            outcome: Outcome::ClientGone,
            failure: None,
            sent_bytes: 1,
            sent_recorded: 1,
            received_bytes: 9,
            received_recorded: 9,
            drained_bytes,
        };
        let told = UpstreamError { kind: "server_error".to_owned(), message: "overloaded".to_owned() };
        let seen = |closed: &Closed, error| {
            let verdict = judge(closed, Some(200), &exchange(error));
            (verdict.status, verdict.source, verdict.error_type)
        };
        let cancelled = (CallStatus::Cancelled, Some(Source::Client), Some("client_disconnect".to_owned()));
        assert_eq!(
            seen(&left(0), Some(told.clone())),
            (CallStatus::Error, Some(Source::Upstream), Some("server_error".to_owned()))
        );
        assert_eq!(seen(&left(0), None), cancelled);
        // The error came when nobody was there any more.
        assert_eq!(seen(&left(4), Some(told)), cancelled);
    }
}
