//! Fills a store with made-up calls, as the projector would hand them over: 90 days of several models,
//! experiments, runs and sessions. In process, because a million calls over a socket measure the socket.

use std::path::Path;

use bytes::Bytes;
use tapline::{
    model::{
        CallId, NanoUsd, SpanId, TraceId, UnixNanos,
        call::{Call, CallStatus, Dialect, Placement, Rules, Settled},
        content::Body,
        record::{Outcome, Source},
        usage::{Usage, UsageSource},
    },
    store::{Config, Store},
};

use crate::load::unix_nanos;

const BATCH: u64 = 5_000;
const DAYS: i64 = 90;

pub fn run(data: &Path, spans: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&Config::default(), data)?;
        let now = i64::try_from(unix_nanos())?;
        let mut number = 0;
        while number < spans {
            let end = (number + BATCH).min(spans);
            store.settle((number..end).map(|number| settled(number, spans, now)).collect()).await?;
            number = end;
        }
        store.close().await;
        Ok(())
    })
}

/// Spreads a number over all values; the same for the same number.
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn settled(number: u64, spans: u64, now: i64) -> Settled {
    let dice = scatter(number);
    let pick = |shift: u32, of: u64| (dice >> shift) % of;
    let text = |value: &str| value.to_owned();
    let step = DAYS * UnixNanos::DAY / i64::try_from(spans.max(1)).unwrap_or(i64::MAX);
    let at = now - DAYS * UnixNanos::DAY + step * i64::try_from(number).unwrap_or_default();
    let duration = 200_000_000 + i64::try_from(pick(3, 9_000)).unwrap_or_default() * 1_000_000;
    let model = match pick(7, 10) {
        0..6 => "sim-small",
        6..9 => "sim-large",
        _ => "sim-embed",
    };
    let embeds = model == "sim-embed";
    let failed = pick(11, 50) == 0;
    let (input, output) = (pick(13, 4_000), pick(17, 800));
    let cost = (!failed).then(|| NanoUsd((input * 150 + output * 600) as i64));
    let experiment = pick(19, 8);
    let mut id = [0; 16];
    id[..6].copy_from_slice(&(at / 1_000_000).to_be_bytes()[2..]);
    id[8..].copy_from_slice(&number.to_be_bytes());
    let mut trace = [1; 16];
    trace[..8].copy_from_slice(&dice.to_be_bytes());
    let operation = if embeds { "embeddings" } else { "chat" };
    let call = Call {
        id: CallId(id),
        trace_id: TraceId(trace),
        span_id: SpanId(scatter(dice).max(1).to_be_bytes()),
        parent_span_id: None,
        name: format!("{operation} {model}"),
        started_at: UnixNanos(at),
        ended_at: UnixNanos(at + duration),
        experiment_id: String::new(),
        run_id: None,
        session: Some(format!("session-{}", number / 10)),
        rules: Rules::default(),
        user: Some(format!("user-{}", pick(23, 500))),
        tags: if pick(5, 20_000) == 0 { vec![text("rare")] } else { vec![text("nightly")] },
        metadata: serde_json::Map::new(),
        upstream: text("default"),
        provider: text("openai"),
        server_address: text("api.example"),
        server_port: 443,
        dialect: if embeds { Dialect::Embeddings } else { Dialect::ChatCompletions },
        operation: text(operation),
        request_model: Some(text(model)),
        response_model: Some(text(model)),
        streamed: pick(29, 2) == 0,
        method: text("POST"),
        target: text("/chat/completions"),
        peer: Some(text("127.0.0.1:5000")),
        key_fingerprint: Some(format!("key-{}", pick(31, 6))),
        status: if failed { CallStatus::Error } else { CallStatus::Ok },
        outcome: Outcome::Completed,
        http_status: Some(if failed { 500 } else { 200 }),
        error_type: failed.then(|| text("server_error")),
        error_source: failed.then_some(Source::Upstream),
        error_message: failed.then(|| text("the upstream answered 500")),
        finish_reasons: vec![text("stop")],
        response_id: Some(format!("chatcmpl-{number:012}")),
        request_id: Some(format!("req-{number:012}")),
        retry_count: Some(0),
        region: None,
        service_tier: None,
        tool_calls: 0,
        usage: Usage { input: Some(input), output: Some(output), ..Usage::default() },
        usage_source: (!failed).then_some(UsageSource::Reported),
        cost,
        billed: None,
        price_id: cost.map(|_| text("made-up")),
        first_byte_ns: Some(duration / 4),
        first_token_ns: None,
        last_token_ns: None,
        chunks: 1,
        sent_bytes: 200,
        received_bytes: 200,
        request_whole: true,
        response_whole: true,
        request_headers: vec![(text("content-type"), text("application/json"))].into(),
        response_headers: vec![(text("content-type"), text("application/json"))].into(),
        notes: Vec::new(),
    };
    Settled {
        call,
        job: None,
        charges: Vec::new(),
        token_sample: None,
        placement: Placement {
            experiment: Some(format!("experiment-{experiment}")),
            run: Some(format!("run-{}", experiment * 100 + (number * 100 / spans.max(1)))),
            peer: None,
        },
        request: Body::raw(Bytes::from(format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":"question {number}"}}]}}"#
        ))),
        response: Body::raw(Bytes::from(format!(
            r#"{{"choices":[{{"message":{{"role":"assistant","content":"answer {number}"}}}}]}}"#
        ))),
        arrivals: Vec::new(),
        lineage: Default::default(),
    }
}
