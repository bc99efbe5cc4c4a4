//! A call as an OpenTelemetry span: a pure mapping, the names of OpenTelemetry's GenAI conventions as they
//! stand in `semantic-conventions-genai` (cache tokens in the newer spelling `cache_read`, `cache_write`), and
//! tapline's own under `tapline.`. Reads nothing, decides nothing about delivery.

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    resource::v1::Resource,
    trace::v1::{
        Span, Status,
        span::{Event, SpanKind},
        status::StatusCode,
    },
};
use serde_json::{Map, Value};

use super::{
    attributes::{Attributes, cut},
    config::Conventions,
    content, openinference,
};
use crate::{
    model::{
        UnixNanos,
        call::{Call, CallStatus, Dialect},
        exchange::Exchange,
    },
    wire::TraceParent,
};

/// OTLP's span flags beyond W3C's: the parent's remoteness is known, and it is remote.
const PARENT_IS_REMOTE: u32 = 0x100 | 0x200;
/// W3C's `sampled`.
const SAMPLED: u8 = 0x01;
/// Metadata fields written as attributes of their own; more go together as one JSON text.
const MAX_METADATA_FIELDS: usize = 32;

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub content: bool,
    pub max_attribute_bytes: usize,
    pub conventions: Conventions,
}

/// Who speaks: the resource of every span.
pub fn resource(service_name: &str) -> Resource {
    let mut attributes = Attributes::new(1 << 10);
    attributes.text("service.name", service_name);
    attributes.text("service.version", env!("CARGO_PKG_VERSION"));
    attributes.text("telemetry.sdk.name", "tapline");
    attributes.text("telemetry.sdk.language", "rust");
    attributes.text("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    Resource { attributes: attributes.finish(), ..Resource::default() }
}

pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "tapline".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// The caller's trace context, when the call has one and it is this call's.
fn parent(call: &Call) -> Option<TraceParent> {
    let mut lines = call.request_headers.iter().filter(|(name, _)| name == "traceparent");
    let (Some((_, value)), None) = (lines.next(), lines.next()) else { return None };
    TraceParent::parse(value).filter(|parent| parent.trace == call.trace_id)
}

/// Whether the caller decided against sampling the trace that this call is part of.
pub(super) fn unsampled(call: &Call) -> bool {
    parent(call).is_some_and(|parent| parent.flags & SAMPLED == 0)
}

/// The span of a call; `exchange` is its decoded view, where there is one.
pub fn span(call: &Call, exchange: Option<&Exchange>, options: &Options) -> Span {
    let parent = parent(call);
    let trace_state = match parent {
        Some(_) => joined(call, "tracestate"),
        None => String::new(),
    };
    let flags = parent.map_or(SAMPLED, |parent| parent.flags);
    let remote = if call.parent_span_id.is_some() { PARENT_IS_REMOTE } else { 0 };
    Span {
        trace_id: call.trace_id.0.to_vec(),
        span_id: call.span_id.0.to_vec(),
        trace_state,
        parent_span_id: call.parent_span_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        flags: u32::from(flags) | remote,
        name: call.name.clone(),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: unsigned(call.started_at),
        end_time_unix_nano: unsigned(call.ended_at.max(call.started_at)),
        attributes: attributes(call, exchange, options),
        events: events(call),
        status: status(call, options.max_attribute_bytes),
        ..Span::default()
    }
}

/// Marks a span whose content was left out because it was too large to be delivered.
pub(super) fn without_content() -> Vec<KeyValue> {
    let mut to = Attributes::new(1 << 10);
    to.mark_truncated("gen_ai.input.messages");
    to.mark_truncated("gen_ai.output.messages");
    to.finish()
}

fn unsigned(at: UnixNanos) -> u64 {
    u64::try_from(at.0).unwrap_or(0)
}

fn joined(call: &Call, header: &str) -> String {
    let lines: Vec<&str> = call
        .request_headers
        .iter()
        .filter_map(|(name, value)| (name == header).then_some(value.as_str()))
        .collect();
    lines.join(",")
}

/// Unset on success, as OpenTelemetry asks of instrumentations.
fn status(call: &Call, limit: usize) -> Option<Status> {
    if call.status == CallStatus::Ok {
        return None;
    }
    let mut message = match &call.error_message {
        Some(message) => message.clone(),
        None => call.status.as_str().to_owned(),
    };
    cut(&mut message, limit.min(4 << 10));
    Some(Status { message, code: StatusCode::Error.into() })
}

fn events(call: &Call) -> Vec<Event> {
    let first = call.first_token_ns.filter(|_| call.streamed);
    first
        .map(|after| Event {
            time_unix_nano: unsigned(UnixNanos(call.started_at.0.saturating_add(after))),
            name: "first_token".to_owned(),
            ..Event::default()
        })
        .into_iter()
        .collect()
}

fn attributes(call: &Call, exchange: Option<&Exchange>, options: &Options) -> Vec<KeyValue> {
    let mut to = Attributes::new(options.max_attribute_bytes);
    wire_facts(&mut to, call);
    if call.dialect != Dialect::Http {
        genai(&mut to, call, exchange);
        if let Some(exchange) = exchange {
            parameters(&mut to, call.dialect, &exchange.request.parameters);
            if options.content {
                messages(&mut to, exchange);
            }
        }
    }
    own(&mut to, call);
    if options.conventions == Conventions::Openinference {
        openinference::write(&mut to, call, exchange, options.content);
    }
    to.finish()
}

fn wire_facts(to: &mut Attributes, call: &Call) {
    to.maybe_text("server.address", Some(&call.server_address));
    if call.server_port != 0 {
        to.int("server.port", i64::from(call.server_port));
    }
    if let Some((address, port)) = call.peer.as_deref().and_then(|peer| peer.rsplit_once(':')) {
        to.maybe_text("client.address", Some(address.trim_matches(['[', ']'])));
        if let Ok(port) = port.parse() {
            to.int("client.port", port);
        }
    }
    to.text("http.request.method", call.method.as_str());
    // Relative to the upstream's base, secrets in the query masked when it was recorded.
    let (path, query) = call.target.split_once('?').unwrap_or((&call.target, ""));
    to.maybe_text("url.path", Some(path));
    to.maybe_text("url.query", Some(query));
    if let Some(status) = call.http_status {
        to.int("http.response.status_code", i64::from(status));
    }
    to.count("http.request.body.size", Some(call.sent_bytes));
    to.count("http.response.body.size", Some(call.received_bytes));
    if let Some(count) = call.retry_count.filter(|count| *count > 0) {
        to.int("http.request.resend_count", i64::from(count));
    }
    if call.status != CallStatus::Ok {
        to.text(
            "error.type",
            call.error_type.as_deref().unwrap_or(match call.status {
                CallStatus::Cancelled => "cancelled",
                CallStatus::Interrupted => "interrupted",
                CallStatus::Error | CallStatus::Ok => "_OTHER",
            }),
        );
    }
}

fn genai(to: &mut Attributes, call: &Call, exchange: Option<&Exchange>) {
    to.text("gen_ai.operation.name", call.operation.as_str());
    to.text("gen_ai.provider.name", call.provider.as_str());
    to.maybe_text("gen_ai.request.model", call.request_model.as_deref());
    to.maybe_text("gen_ai.response.model", call.response_model.as_deref());
    to.maybe_text("gen_ai.response.id", call.response_id.as_deref());
    to.texts("gen_ai.response.finish_reasons", &finish_reasons(call, exchange));
    if call.streamed {
        to.flag("gen_ai.request.stream", true);
        to.seconds("gen_ai.response.time_to_first_chunk", call.first_token_ns);
    }
    // Only a session that somebody named is a conversation; one that tapline inferred is not.
    if let Some(session) = call.session.as_deref().filter(|_| !inferred(call.rules.session.as_deref())) {
        to.text("gen_ai.conversation.id", session);
    }
    let usage = &call.usage;
    to.count("gen_ai.usage.input_tokens", usage.input);
    to.count("gen_ai.usage.output_tokens", usage.output);
    to.count("gen_ai.usage.cache_read.input_tokens", usage.cache_read);
    to.count("gen_ai.usage.cache_write.input_tokens", usage.cache_write);
    to.count("gen_ai.usage.audio.input_tokens", usage.input_audio);
    to.count("gen_ai.usage.image.input_tokens", usage.input_image);
    to.count("gen_ai.usage.reasoning.output_tokens", usage.reasoning);
    to.count("gen_ai.usage.audio.output_tokens", usage.output_audio);
    to.count("gen_ai.usage.image.output_tokens", usage.output_image);
    if matches!(call.dialect, Dialect::ChatCompletions | Dialect::Responses) {
        to.text("openai.api.type", call.dialect.as_str());
        to.maybe_text("openai.response.service_tier", call.service_tier.as_deref());
        let response = exchange.map(|exchange| &exchange.response);
        let fingerprint = response.and_then(|response| response.system_fingerprint.as_deref());
        to.maybe_text("openai.response.system_fingerprint", fingerprint);
    }
}

/// Rules by which tapline itself found a session (`inferred:…`, the shared prefix, the trace's id).
fn inferred(rule: Option<&str>) -> bool {
    rule.is_some_and(|rule| ["infer", "prefix", "trace"].iter().any(|word| rule.contains(word)))
}

/// In the order of the choices; a choice that never said why it ended counts as `error`.
fn finish_reasons(call: &Call, exchange: Option<&Exchange>) -> Vec<String> {
    let choices = exchange.map(|exchange| exchange.response.choices.as_slice()).unwrap_or_default();
    if call.dialect == Dialect::Embeddings || choices.is_empty() {
        return call.finish_reasons.clone();
    }
    choices.iter().map(|choice| choice.finish_reason.clone().unwrap_or_else(|| "error".to_owned())).collect()
}

fn parameters(to: &mut Attributes, dialect: Dialect, given: &Map<String, Value>) {
    let number = |name: &str| given.get(name).and_then(Value::as_f64);
    let whole = |name: &str| given.get(name).and_then(Value::as_i64);
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    for name in ["temperature", "top_p", "frequency_penalty", "presence_penalty"] {
        if let Some(value) = number(name) {
            to.double(format!("gen_ai.request.{name}"), value);
        }
    }
    for name in ["top_k", "seed"] {
        if let Some(value) = whole(name) {
            to.int(format!("gen_ai.request.{name}"), value);
        }
    }
    let most = ["max_completion_tokens", "max_output_tokens", "max_tokens"];
    if let Some(value) = most.iter().find_map(|name| whole(name)) {
        to.int("gen_ai.request.max_tokens", value);
    }
    if let Some(count) = whole("n").filter(|count| *count != 1) {
        to.int("gen_ai.request.choice.count", count);
    }
    match given.get("stop").or_else(|| given.get("stop_sequences")) {
        Some(Value::String(one)) => to.texts("gen_ai.request.stop_sequences", &[one]),
        Some(Value::Array(all)) => {
            let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
            to.texts("gen_ai.request.stop_sequences", &all);
        }
        _ => {}
    }
    let nested = |outer: &str, inner: &str| given.get(outer)?.get(inner)?.as_str();
    to.maybe_text(
        "gen_ai.request.reasoning.level",
        text("reasoning_effort").or_else(|| nested("reasoning", "effort")),
    );
    to.maybe_text("gen_ai.request.previous_response.id", text("previous_response_id"));
    to.maybe_text("gen_ai.output.type", output_type(given));
    if dialect == Dialect::Embeddings {
        if let Some(format) = text("encoding_format") {
            to.texts("gen_ai.request.encoding_formats", &[format]);
        }
        if let Some(dimensions) = whole("dimensions") {
            to.int("gen_ai.embeddings.dimension.count", dimensions);
        }
    }
    if matches!(dialect, Dialect::ChatCompletions | Dialect::Responses) {
        to.maybe_text("openai.request.service_tier", text("service_tier"));
    }
}

/// `gen_ai.output.type`, where the request asked for one.
fn output_type(given: &Map<String, Value>) -> Option<&'static str> {
    let audio = Value::from("audio");
    if given.get("modalities").and_then(Value::as_array).is_some_and(|all| all.contains(&audio)) {
        return Some("speech");
    }
    let format = given.get("response_format").or_else(|| given.get("text")?.get("format"))?;
    match format.get("type")?.as_str()? {
        "text" => Some("text"),
        "json_object" | "json_schema" => Some("json"),
        _ => None,
    }
}

fn messages(to: &mut Attributes, exchange: &Exchange) {
    let limit = to.limit();
    let request = &exchange.request;
    if !request.system_instructions.is_empty() {
        let text = content::system_instructions(&request.system_instructions, limit);
        to.fitted("gen_ai.system_instructions", text);
    }
    if !request.messages.is_empty() {
        to.fitted("gen_ai.input.messages", content::input_messages(&request.messages, limit));
    }
    if !exchange.response.choices.is_empty() {
        to.fitted("gen_ai.output.messages", content::output_messages(&exchange.response.choices, limit));
    }
    if !request.tools.is_empty() {
        to.fitted("gen_ai.tool.definitions", content::tool_definitions(&request.tools, limit));
    }
}

/// What only tapline knows.
fn own(to: &mut Attributes, call: &Call) {
    to.maybe_text("session.id", call.session.as_deref());
    to.maybe_text("user.id", call.user.as_deref());
    // The span of whoever was in between: where the application makes a span of its own for the same model
    // call, sums take one of the two.
    to.text("tapline.role", "proxy");
    to.text("tapline.call.id", call.id.to_string());
    to.text("tapline.experiment.id", call.experiment_id.as_str());
    to.maybe_text("tapline.run.id", call.run_id.as_deref());
    to.maybe_text("tapline.rules.experiment", call.rules.experiment.as_deref());
    to.maybe_text("tapline.rules.run", call.rules.run.as_deref());
    to.maybe_text("tapline.rules.session", call.rules.session.as_deref());
    to.text("tapline.upstream", call.upstream.as_str());
    to.text("tapline.dialect", call.dialect.as_str());
    to.text("tapline.outcome", call.outcome.as_str());
    if call.status != CallStatus::Ok
        && let Some(source) = call.error_source
    {
        to.text("tapline.error.source", format!("{source:?}").to_lowercase());
    }
    // Unknown is left out, never zero (invariant 6).
    if let Some(cost) = call.cost {
        to.double("tapline.cost.usd", cost.as_usd());
        to.int("tapline.cost.nano_usd", cost.0);
    }
    if let Some(billed) = call.billed.filter(|billed| Some(*billed) != call.cost) {
        to.int("tapline.billed.nano_usd", billed.0);
    }
    to.maybe_text("tapline.region", call.region.as_deref());
    to.maybe_text("tapline.price.id", call.price_id.as_deref());
    to.maybe_text("tapline.usage.source", call.usage_source.map(|source| source.as_str()));
    to.maybe_text("tapline.request.id", call.request_id.as_deref());
    to.maybe_text("tapline.key.fingerprint", call.key_fingerprint.as_deref());
    if call.tool_calls > 0 {
        to.int("tapline.tool_calls", i64::from(call.tool_calls));
    }
    to.seconds("tapline.time_to_first_byte", call.first_byte_ns);
    to.seconds("tapline.time_to_last_token", call.last_token_ns.filter(|_| call.streamed));
    if call.streamed {
        to.count("tapline.chunks", Some(call.chunks));
    }
    for (name, whole) in [("request", call.request_whole), ("response", call.response_whole)] {
        if !whole {
            to.flag(format!("tapline.{name}.whole"), false);
        }
    }
    to.texts("tapline.tags", &call.tags);
    metadata(to, &call.metadata);
    to.texts("tapline.notes", &call.notes);
}

fn metadata(to: &mut Attributes, metadata: &Map<String, Value>) {
    if metadata.len() > MAX_METADATA_FIELDS {
        to.text("tapline.metadata", Value::Object(metadata.clone()).to_string());
        return;
    }
    for (key, value) in metadata {
        let name = format!("tapline.metadata.{key}");
        match value {
            Value::Null => {}
            Value::Bool(value) => to.flag(name, *value),
            Value::String(value) => to.text(name, value.as_str()),
            Value::Number(value) => match (value.as_i64(), value.as_f64()) {
                (Some(value), _) => to.int(name, value),
                (None, Some(value)) => to.double(name, value),
                (None, None) => to.text(name, value.to_string()),
            },
            Value::Array(_) | Value::Object(_) => to.text(name, value.to_string()),
        }
    }
}
