//! The mapping, held by snapshots: one call of every kind.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::Span,
};
use serde_json::{Map, Value, json};

use crate::{
    model::{
        SpanId, TraceId,
        call::{Call, CallStatus, Dialect},
        exchange::{Choice, Exchange, Message, MessagePart, Request, Response, Timing},
        record::{Outcome, Source},
        usage::{Usage, UsageSource},
    },
    otlp::{Conventions, Options, resource, span},
    telemetry::tests::call,
};

const OPTIONS: Options =
    Options { content: true, max_attribute_bytes: 32 << 10, conventions: Conventions::Genai };

fn value(value: &AnyValue) -> Value {
    match value.value.as_ref().unwrap() {
        Any::StringValue(text) => Value::from(text.as_str()),
        Any::BoolValue(flag) => Value::from(*flag),
        Any::IntValue(number) => Value::from(*number),
        Any::DoubleValue(number) => Value::from(*number),
        Any::ArrayValue(array) => array.values.iter().map(self::value).collect(),
        other => panic!("no such value is written: {other:?}"),
    }
}

fn pairs(attributes: &[KeyValue]) -> Map<String, Value> {
    let all: Map<String, Value> =
        attributes.iter().map(|pair| (pair.key.clone(), value(pair.value.as_ref().unwrap()))).collect();
    assert_eq!(all.len(), attributes.len(), "an attribute is written twice: {attributes:?}");
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A span as a person reads it.
fn shown(span: &Span) -> Value {
    json!({
        "trace_id": hex(&span.trace_id),
        "span_id": hex(&span.span_id),
        "parent_span_id": hex(&span.parent_span_id),
        "trace_state": span.trace_state,
        "flags": format!("{:#x}", span.flags),
        "name": span.name,
        "kind": span.kind().as_str_name(),
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "status": span.status.as_ref().map(|status| json!({
            "code": status.code().as_str_name(), "message": status.message,
        })),
        "events": span.events.iter().map(|event| json!({
            "name": event.name, "at": event.time_unix_nano,
        })).collect::<Vec<_>>(),
        "attributes": pairs(&span.attributes),
    })
}

fn said(role: &str, parts: Vec<MessagePart>) -> Message {
    Message { role: role.to_owned(), name: None, parts }
}

fn text(content: &str) -> MessagePart {
    MessagePart::Text { content: content.to_owned() }
}

fn exchange(dialect: Dialect) -> Exchange {
    Exchange {
        dialect,
        operation: "chat".to_owned(),
        request: Request::default(),
        response: Response::default(),
        streamed: false,
        timing: Timing::default(),
        notes: Vec::new(),
    }
}

fn plain() -> (Call, Exchange) {
    let mut exchange = exchange(Dialect::ChatCompletions);
    exchange.request.messages = vec![
        said("system", vec![text("be brief")]),
        said(
            "user",
            vec![
                text("what is this?"),
                MessagePart::blob("image", Some("image/png".to_owned()), 900),
                MessagePart::uri("image", "https://x.example/a.png".to_owned()),
            ],
        ),
    ];
    let parameters = json!({
        "temperature": 0.5, "top_p": 1, "seed": 7, "max_completion_tokens": 64, "stop": ["\n"],
        "response_format": {"type": "json_object"}, "reasoning_effort": "low", "n": 1,
        "service_tier": "auto",
    });
    exchange.request.parameters = parameters.as_object().unwrap().clone();
    exchange.response.system_fingerprint = Some("fp_1".to_owned());
    exchange.response.choices = vec![Choice {
        message: said("assistant", vec![text("{\"cat\":true}")]),
        finish_reason: Some("stop".to_owned()),
        ..Choice::default()
    }];
    let mut call = call(1);
    call.run_id = Some("run-1".to_owned());
    call.session = Some("s-1".to_owned());
    call.user = Some("ada".to_owned());
    call.rules.run = Some("header:x-tapline-run".to_owned());
    call.rules.session = Some("header:x-tapline-session".to_owned());
    call.tags = vec!["nightly".to_owned(), "eval".to_owned()];
    let metadata = json!({"team": "search", "attempt": 2, "ratio": 0.5, "dry": true, "who": {"a": 1}});
    call.metadata = metadata.as_object().unwrap().clone();
    call.key_fingerprint = Some("0123456789abcdef".to_owned());
    (call, exchange)
}

fn tools() -> (Call, Exchange) {
    let mut exchange = exchange(Dialect::Responses);
    exchange.request.system_instructions = vec![text("use the tools")];
    exchange.request.messages = vec![
        said("user", vec![text("weather in Oslo?")]),
        said(
            "assistant",
            vec![MessagePart::ToolCall {
                id: Some("call_0".to_owned()),
                name: "locate".to_owned(),
                arguments: json!({"city": "Oslo"}),
            }],
        ),
        said(
            "tool",
            vec![MessagePart::ToolCallResponse {
                id: Some("call_0".to_owned()),
                response: json!("59.9,10.7"),
            }],
        ),
    ];
    exchange.request.tools = vec![
        json!({"type": "function", "name": "weather", "description": "now", "parameters": {"type": "object"}}),
    ];
    exchange.request.parameters = json!({"reasoning": {"effort": "high"}, "previous_response_id": "resp_0"})
        .as_object()
        .unwrap()
        .clone();
    exchange.response.choices = vec![Choice {
        message: said(
            "assistant",
            vec![
                MessagePart::Reasoning { content: "look it up".to_owned() },
                MessagePart::ToolCall {
                    id: Some("call_1".to_owned()),
                    name: "weather".to_owned(),
                    arguments: json!({"at": "59.9,10.7"}),
                },
            ],
        ),
        finish_reason: Some("tool_calls".to_owned()),
        ..Choice::default()
    }];
    let mut call = call(2);
    call.dialect = Dialect::Responses;
    call.target = "/responses?beta=true".to_owned();
    call.trace_id = TraceId([0x4b; 16]);
    call.parent_span_id = Some(SpanId([0x11; 8]));
    call.streamed = true;
    call.chunks = 17;
    call.first_token_ns = Some(40_000_000);
    call.last_token_ns = Some(240_000_000);
    call.finish_reasons = vec!["tool_calls".to_owned()];
    call.tool_calls = 1;
    call.retry_count = Some(2);
    call.usage = Usage {
        input: Some(1_000),
        cache_read: Some(800),
        cache_write: Some(100),
        output: Some(50),
        reasoning: Some(30),
        ..Usage::default()
    };
    (call, exchange)
}

fn failed() -> Call {
    let mut call = call(3);
    call.status = CallStatus::Error;
    call.http_status = Some(429);
    call.error_type = Some("rate_limit_exceeded".to_owned());
    call.error_source = Some(Source::Upstream);
    call.error_message = Some("slow down".to_owned());
    call.response_model = None;
    call.response_id = None;
    call.finish_reasons = Vec::new();
    call.usage = Usage::default();
    call.usage_source = None;
    call.cost = None;
    call.price_id = None;
    call
}

#[test]
fn a_plain_chat_call() {
    let (call, exchange) = plain();
    insta::assert_json_snapshot!(shown(&span(&call, Some(&exchange), &OPTIONS)));
}

#[test]
fn a_streamed_call_with_tool_calls() {
    let (call, exchange) = tools();
    insta::assert_json_snapshot!(shown(&span(&call, Some(&exchange), &OPTIONS)));
}

#[test]
fn a_failed_call() {
    insta::assert_json_snapshot!(shown(&span(&failed(), None, &OPTIONS)));
}

#[test]
fn a_cancelled_call() {
    let (mut call, mut exchange) = tools();
    call.status = CallStatus::Cancelled;
    call.outcome = Outcome::ClientGone;
    call.error_type = Some("client_disconnect".to_owned());
    call.error_source = Some(Source::Client);
    call.response_whole = false;
    call.usage_source = Some(UsageSource::Estimated);
    exchange.response.choices[0].finish_reason = None;
    insta::assert_json_snapshot!(shown(&span(&call, Some(&exchange), &OPTIONS)));
}

#[test]
fn an_embeddings_call() {
    let mut exchange = exchange(Dialect::Embeddings);
    exchange.request.messages = vec![said("user", vec![text("one")]), said("user", vec![text("two")])];
    exchange.request.parameters =
        json!({"encoding_format": "base64", "dimensions": 256}).as_object().unwrap().clone();
    let mut call = call(4);
    call.dialect = Dialect::Embeddings;
    call.operation = "embeddings".to_owned();
    call.name = "embeddings text-embedding-3-small".to_owned();
    call.request_model = Some("text-embedding-3-small".to_owned());
    call.response_model = call.request_model.clone();
    call.target = "/embeddings".to_owned();
    call.usage = Usage { input: Some(2), ..Usage::default() };
    call.finish_reasons = Vec::new();
    let options = Options { conventions: Conventions::Openinference, ..OPTIONS };
    insta::assert_json_snapshot!(shown(&span(&call, Some(&exchange), &options)));
}

#[test]
fn a_plain_http_call() {
    let mut call = failed();
    call.dialect = Dialect::Http;
    call.operation = "http".to_owned();
    call.name = "GET /models".to_owned();
    call.method = "GET".to_owned();
    call.target = "/models?key=***".to_owned();
    call.status = CallStatus::Interrupted;
    call.outcome = Outcome::Interrupted;
    call.http_status = None;
    call.error_type = None;
    call.error_message = None;
    call.request_model = None;
    insta::assert_json_snapshot!(shown(&span(&call, None, &OPTIONS)));
}

#[test]
fn openinference_stands_beside_genai() {
    let options = Options { conventions: Conventions::Openinference, ..OPTIONS };
    let (call, exchange) = tools();
    insta::assert_json_snapshot!("openinference_tools", shown(&span(&call, Some(&exchange), &options)));
    let (call, exchange) = plain();
    insta::assert_json_snapshot!("openinference_plain", shown(&span(&call, Some(&exchange), &options)));
}

#[test]
fn who_speaks() {
    insta::assert_json_snapshot!(pairs(&resource("tapline").attributes));
}

#[test]
fn without_content_only_facts_leave() {
    let (call, mut exchange) = tools();
    exchange.request.parameters.insert("suffix".to_owned(), json!("the city of Oslo"));
    for conventions in [Conventions::Genai, Conventions::Openinference] {
        let options = Options { content: false, conventions, ..OPTIONS };
        let said = format!("{:?}", span(&call, Some(&exchange), &options));
        for secret in ["Oslo", "59.9", "look it up", "use the tools", "locate"] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
        assert!(said.contains("gen_ai.request.reasoning.level"), "{said}");
    }
}

#[test]
fn long_values_are_cut_and_named() {
    let (call, mut exchange) = plain();
    exchange.request.messages.push(said("user", vec![text(&"long ".repeat(4_000))]));
    let options = Options { max_attribute_bytes: 1_000, ..OPTIONS };
    let all = pairs(&span(&call, Some(&exchange), &options).attributes);
    assert_eq!(all["tapline.truncated"], json!(["gen_ai.input.messages"]));
    for (name, value) in &all {
        assert!(value.as_str().is_none_or(|text| text.len() <= 1_000), "{name}");
    }
    let messages: Vec<Value> = serde_json::from_str(all["gen_ai.input.messages"].as_str().unwrap()).unwrap();
    assert_eq!(messages.len(), 3);
}

#[test]
fn a_session_that_nobody_named_is_no_conversation() {
    let (mut call, _) = plain();
    call.rules.session = Some("inferred:prefix".to_owned());
    let all = pairs(&span(&call, None, &OPTIONS).attributes);
    assert_eq!(all["session.id"], "s-1");
    assert!(!all.contains_key("gen_ai.conversation.id"));
}

#[test]
fn a_clock_that_went_back_gives_no_negative_span() {
    let mut call = call(1);
    call.ended_at.0 = call.started_at.0 - 5;
    let made = span(&call, None, &OPTIONS);
    assert_eq!(made.start_time_unix_nano, made.end_time_unix_nano);
}

#[test]
fn the_callers_trace_context_is_kept() {
    let mut call = call(1);
    call.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap();
    call.parent_span_id = Some("00f067aa0ba902b7".parse().unwrap());
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut headers = vec![
        ("traceparent".to_owned(), traceparent.to_owned()),
        ("tracestate".to_owned(), "a=1".to_owned()),
        ("tracestate".to_owned(), "b=2".to_owned()),
    ];
    call.request_headers = headers.clone().into();
    let made = span(&call, None, &OPTIONS);
    assert_eq!((made.flags, made.trace_state.as_str()), (0x301, "a=1,b=2"));
    assert_eq!(hex(&made.parent_span_id), "00f067aa0ba902b7");
    headers[0].1 = traceparent.replace("-01", "-00");
    call.request_headers = headers.into();
    assert!(span::unsampled(&call));
    assert_eq!(span(&call, None, &OPTIONS).flags, 0x300);
}
