//! What the figures must hold, and a call to count (used by other tests, too).

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::model::{
    CallId, NanoUsd, SpanId, TraceId, UnixNanos,
    call::{CallStatus, Rules},
    record::Outcome,
    usage::Usage,
};

/// A plain chat completion that went well.
pub(crate) fn call(number: u64) -> Call {
    let mut id = [7u8; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    Call {
        id: CallId(id),
        trace_id: TraceId([0xab; 16]),
        span_id: SpanId((number + 1).to_be_bytes()),
        parent_span_id: None,
        name: "chat gpt-6".to_owned(),
        started_at: UnixNanos(1_700_000_000_000_000_000 + number as i64 * 1_000_000_000),
        ended_at: UnixNanos(1_700_000_000_250_000_000 + number as i64 * 1_000_000_000),
        experiment_id: "0".to_owned(),
        run_id: None,
        session: None,
        rules: Rules::default(),
        user: None,
        tags: Vec::new(),
        metadata: serde_json::Map::new(),
        upstream: "openai".to_owned(),
        provider: "openai".to_owned(),
        server_address: "api.openai.com".to_owned(),
        server_port: 443,
        dialect: Dialect::ChatCompletions,
        operation: "chat".to_owned(),
        request_model: Some("gpt-6".to_owned()),
        response_model: Some("gpt-6-2026-05-01".to_owned()),
        streamed: false,
        method: "POST".to_owned(),
        target: "/chat/completions".to_owned(),
        peer: Some("127.0.0.1:50000".to_owned()),
        key_fingerprint: None,
        status: CallStatus::Ok,
        outcome: Outcome::Completed,
        http_status: Some(200),
        error_type: None,
        error_source: None,
        error_message: None,
        finish_reasons: vec!["stop".to_owned()],
        response_id: Some("chatcmpl-1".to_owned()),
        request_id: Some("req_1".to_owned()),
        retry_count: Some(0),
        service_tier: Some("default".to_owned()),
        region: None,
        tool_calls: 0,
        usage: Usage { input: Some(12), output: Some(3), ..Usage::default() },
        usage_source: Some(UsageSource::Reported),
        cost: Some(NanoUsd(12_345)),
        billed: Some(NanoUsd(12_345)),
        price_id: Some("2026-11/openai/gpt-6@2026-05-01".to_owned()),
        first_byte_ns: Some(200_000_000),
        first_token_ns: None,
        last_token_ns: None,
        chunks: 1,
        sent_bytes: 120,
        received_bytes: 480,
        request_whole: true,
        response_whole: true,
        request_headers: Default::default(),
        response_headers: Default::default(),
        notes: Vec::new(),
    }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "expected the line {line:?} in\n{text}");
}

#[test]
fn a_settled_call_is_counted_by_upstream_dialect_status_model_and_class() {
    let telemetry = Telemetry::new();
    telemetry.observe(&call(1));
    let mut streamed = call(2);
    streamed.streamed = true;
    streamed.first_token_ns = Some(30_000_000);
    streamed.usage.cache_read = Some(5);
    telemetry.observe(&streamed);
    let text = telemetry.encode();
    has(&text, r#"tapline_calls_total{upstream="openai",dialect="chat_completions",status="ok"} 2"#);
    has(&text, r#"tapline_tokens_total{model="gpt-6-2026-05-01",class="input",source="reported"} 24"#);
    has(&text, r#"tapline_tokens_total{model="gpt-6-2026-05-01",class="cache_read",source="reported"} 5"#);
    has(&text, r#"tapline_call_duration_seconds_count{upstream="openai",operation="chat"} 2"#);
    has(
        &text,
        r#"tapline_time_to_first_token_seconds_bucket{le="0.04",upstream="openai",operation="chat"} 1"#,
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn inv6_an_unknown_cost_is_counted_apart_and_never_as_zero() {
    let telemetry = Telemetry::new();
    let mut unknown = call(1);
    unknown.cost = None;
    telemetry.observe(&unknown);
    let text = telemetry.encode();
    has(&text, r#"tapline_calls_unpriced_total{upstream="openai",model="gpt-6-2026-05-01"} 1"#);
    assert!(!text.contains("tapline_cost_usd_total{"), "{text}");
}

#[test]
fn money_is_summed_exactly() {
    let telemetry = Telemetry::new();
    for number in 0..1_000 {
        let mut call = call(number);
        call.cost = Some(NanoUsd(1));
        telemetry.observe(&call);
    }
    let text = telemetry.encode();
    has(&text, r#"tapline_cost_usd_total{upstream="openai",model="gpt-6-2026-05-01"} 0.000001"#);
}

#[test]
fn invented_models_do_not_grow_the_labels() {
    let telemetry = Telemetry::new();
    for number in 0..500 {
        let mut call = call(number);
        call.response_model = Some(format!("made-up-{number}"));
        call.upstream = format!("made-up-{number}");
        telemetry.observe(&call);
    }
    let text = telemetry.encode();
    let of = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
    assert_eq!(of("tapline_calls_total{"), MAX_MODELS + 1);
    assert_eq!(of("tapline_cost_usd_total{"), MAX_MODELS + 1);
    has(
        &text,
        &format!(
            r#"tapline_tokens_total{{model="other",class="output",source="reported"}} {}"#,
            3 * (500 - MAX_MODELS)
        ),
    );
}

#[test]
fn figures_of_others_are_asked_for_at_every_scrape() {
    let telemetry = Telemetry::new();
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    telemetry.on_scrape(move |scrape| {
        let times = counted.fetch_add(1, Ordering::Relaxed) + 1;
        scrape.counter("journal_dropped_records", "Records lost", times);
        scrape.gauge_of("lag", "How far behind", &[("who", "a \"quoted\" one")], 2.5);
    });
    drop(telemetry.encode());
    let text = telemetry.encode();
    has(&text, "tapline_journal_dropped_records_total 2");
    has(&text, r#"tapline_lag{who="a \"quoted\" one"} 2.5"#);
}

#[test]
fn plain_http_has_no_tokens_and_no_model() {
    let telemetry = Telemetry::new();
    let mut plain = call(1);
    plain.dialect = Dialect::Http;
    telemetry.observe(&plain);
    let text = telemetry.encode();
    has(&text, r#"tapline_call_duration_seconds_count{upstream="openai",operation="http"} 1"#);
    assert!(!text.contains("tapline_tokens_total{"), "{text}");
}
