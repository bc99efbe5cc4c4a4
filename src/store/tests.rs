//! The store against real files: fixtures, and one test file per promise.

mod cache;
mod conversations;
mod failures;
mod jobs;
mod money;
mod pages;
mod placing;
mod schema;
mod standing;

use bytes::Bytes;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use super::{Config, FILE, Store};
use crate::model::{
    CallId, Error, NanoUsd, SpanId, TraceId, UnixNanos,
    call::{Call, CallStatus, Dialect, Placement, Rules, Settled},
    content::{Arrival, Body, Part},
    filter::{
        CallFilter, PageRequest,
        search::{RunSearch, Slice},
    },
    record::{Outcome, Source},
    usage::{Meter, Usage, UsageSource},
};

/// 2026-11-23T08:00:00Z.
const START: i64 = 1_795_420_800 * UnixNanos::SECOND;

/// The newest runs.
fn newest(limit: usize) -> RunSearch {
    RunSearch { page: Slice::first(limit), ..RunSearch::default() }
}

fn open() -> (TempDir, Store) {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    (directory, store)
}

/// A connection of somebody else's, for looking at rows and for standing in the way.
fn outside(directory: &TempDir) -> Connection {
    Connection::open(directory.path().join(FILE)).unwrap()
}

fn count(directory: &TempDir, table: &str) -> i64 {
    outside(directory).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// Spoils the recipe of the call at `sequence`, and the newest message of all.
pub(crate) fn damage(directory: &std::path::Path, sequence: i64) {
    let connection = Connection::open(directory.join(FILE)).unwrap();
    connection.execute("UPDATE payloads SET request = x'07' WHERE sequence = ?1", [sequence]).unwrap();
    let newest = "UPDATE contents SET body = x'00' WHERE id = (SELECT max(content) FROM turns)";
    assert_eq!(connection.execute(newest, []).unwrap(), 1);
}

fn id(number: u64) -> CallId {
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&(0x0197_0000_0000_0000 + (number << 16)).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    CallId(bytes)
}

/// A call in which every optional field is set, and every number is its own.
pub(super) fn full(number: u64) -> Call {
    let at = START + number as i64 * UnixNanos::SECOND;
    let mut trace = [7u8; 16];
    trace[8..].copy_from_slice(&(number / 2).to_be_bytes());
    Call {
        id: id(number),
        trace_id: TraceId(trace),
        span_id: SpanId((number + 1).to_be_bytes()),
        parent_span_id: Some(SpanId([9; 8])),
        name: "chat gpt-5".into(),
        started_at: UnixNanos(at),
        ended_at: UnixNanos(at + 1_500_000_001),
        experiment_id: "0".into(),
        run_id: None,
        session: Some("session ü".into()),
        rules: Rules { experiment: Some("header".into()), run: None, session: Some("body.user".into()) },
        user: Some("user-1".into()),
        tags: vec!["nightly".into(), "a \"quoted\" tag".into()],
        metadata: json!({"b": 1, "a": [true, null, {"z": 1.5}]}).as_object().unwrap().clone(),
        upstream: "openai".into(),
        provider: "openai".into(),
        server_address: "api.openai.com".into(),
        server_port: 443,
        dialect: Dialect::ChatCompletions,
        operation: "chat".into(),
        request_model: Some("gpt-5".into()),
        response_model: Some("gpt-5-2026-01-01".into()),
        streamed: true,
        method: "POST".into(),
        target: "/chat/completions?x=1".into(),
        peer: Some("127.0.0.1:5000".into()),
        key_fingerprint: Some("key-1".into()),
        status: CallStatus::Error,
        outcome: Outcome::UpstreamFailed,
        http_status: Some(502),
        error_type: Some("upstream_eof".into()),
        error_source: Some(Source::Upstream),
        error_message: Some("it\u{0}broke".into()),
        finish_reasons: vec!["stop".into(), "length".into()],
        response_id: Some("resp_1".into()),
        request_id: Some("req_1".into()),
        retry_count: Some(2),
        service_tier: Some("flex".into()),
        region: Some("eu".into()),
        tool_calls: 3,
        usage: Usage {
            input: Some(101),
            cache_read: Some(102),
            cache_write: Some(103),
            cache_write_long: Some(104),
            input_audio: Some(105),
            input_image: Some(106),
            output: Some(107),
            reasoning: Some(108),
            output_audio: Some(109),
            output_image: Some(110),
            web_searches: Some(111),
            seconds: Some(120),
            characters: Some(121),
            search_units: Some(122),
            meters: [(Meter::FileSearch, 123), (Meter::CacheReadAudio, 124)].into(),
            reported_cost_nano_usd: Some(112),
        },
        usage_source: Some(UsageSource::Reported),
        cost: Some(NanoUsd(113)),
        billed: Some(NanoUsd(113)),
        price_id: Some("openai/gpt-5@2026-01".into()),
        first_byte_ns: Some(114),
        first_token_ns: Some(115),
        last_token_ns: Some(116),
        chunks: 117,
        sent_bytes: 118,
        received_bytes: 119,
        request_whole: true,
        response_whole: false,
        request_headers: vec![("content-type".into(), "application/json".into()), ("x-ÿ".into(), "".into())]
            .into(),
        response_headers: vec![("server".into(), "x".into())].into(),
        notes: vec!["response: cut at 5 bytes".into()],
    }
}

/// A call for tests of those who use the store.
pub(crate) fn sample_call() -> Settled {
    settled(bare(1))
}

/// A call in which nothing optional is set.
fn bare(number: u64) -> Call {
    Call {
        parent_span_id: None,
        session: None,
        rules: Rules::default(),
        user: None,
        tags: Vec::new(),
        metadata: Default::default(),
        request_model: None,
        response_model: None,
        streamed: false,
        peer: None,
        key_fingerprint: None,
        status: CallStatus::Ok,
        outcome: Outcome::Completed,
        http_status: None,
        error_type: None,
        error_source: None,
        error_message: None,
        finish_reasons: Vec::new(),
        response_id: None,
        request_id: None,
        retry_count: None,
        service_tier: None,
        region: None,
        tool_calls: 0,
        usage: Usage::default(),
        usage_source: None,
        cost: None,
        billed: None,
        price_id: None,
        first_byte_ns: None,
        first_token_ns: None,
        last_token_ns: None,
        request_headers: Default::default(),
        response_headers: Default::default(),
        notes: Vec::new(),
        ..full(number)
    }
}

pub(super) fn settled(call: Call) -> Settled {
    Settled {
        call,
        placement: Placement::default(),
        job: None,
        charges: Vec::new(),
        token_sample: None,
        request: Body::default(),
        response: Body::default(),
        arrivals: Vec::new(),
        lineage: Default::default(),
    }
}

fn placed(number: u64, experiment: Option<&str>, run: Option<&str>) -> Settled {
    Settled {
        placement: Placement { experiment: experiment.map(Into::into), run: run.map(Into::into), peer: None },
        job: None,
        ..settled(bare(number))
    }
}

fn literal(bytes: impl Into<Vec<u8>>) -> Part {
    Part::Literal(Bytes::from(bytes.into()))
}

fn chain(items: &[&[u8]], separator: &[u8]) -> Part {
    Part::Chain {
        items: items.iter().map(|item| Bytes::copy_from_slice(item)).collect(),
        separator: Bytes::copy_from_slice(separator),
    }
}

#[tokio::test]
async fn every_field_comes_back_as_it_was_written() {
    let (_directory, store) = open();
    for call in [full(1), bare(2)] {
        let written = store.settle(vec![settled(call.clone())]).await.unwrap();
        assert_eq!(written, std::slice::from_ref(&call));
        assert_eq!(store.call(&call.id.to_string()).await.unwrap(), call);
    }
    let all = store.stored_after(0, 10).await.unwrap();
    assert_eq!(all.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(all[0].call, full(1));
}

#[tokio::test]
async fn counts_beyond_the_integers_of_the_file_are_kept_as_its_largest() {
    let (_directory, store) = open();
    for number in 1..=20 {
        let mut call = full(number);
        call.usage.input = Some(u64::MAX);
        call.usage.output = Some(u64::MAX);
        call.cost = Some(NanoUsd(i64::MAX));
        call.chunks = u64::MAX;
        call.started_at = UnixNanos(START);
        call.ended_at = UnixNanos(i64::MAX);
        store.settle(vec![settled(call)]).await.unwrap();
    }
    assert_eq!(store.call(&id(1).to_string()).await.unwrap().usage.input, Some(i64::MAX as u64));
    let total = &store.costs(Default::default()).await.unwrap()[0];
    assert_eq!((total.calls, total.priced_calls), (20, 20));
}

#[tokio::test]
async fn a_call_is_found_by_id_span_or_prefix() {
    let (_directory, store) = open();
    let calls: Vec<_> = (0..3).map(|number| settled(bare(number))).collect();
    store.settle(calls).await.unwrap();

    let whole = id(1).to_string();
    let first = |digits: usize| whole.get(..digits).unwrap();
    let uuid = uuid::Uuid::from_bytes(id(1).0).hyphenated().to_string();
    for text in [&whole, &whole.to_uppercase(), &uuid, first(12), first(13), first(16), "0000000000000002"] {
        assert_eq!(store.call(text).await.unwrap().id, id(1), "{text}");
    }

    let ambiguous = store.call(first(7)).await.unwrap_err();
    assert_eq!(ambiguous.code, crate::model::ErrorCode::Conflict);
    assert!(ambiguous.message.contains('3'), "{ambiguous}");
    for (text, code) in [
        ("01970", crate::model::ErrorCode::Invalid),
        ("not hex at all", crate::model::ErrorCode::Invalid),
        ("", crate::model::ErrorCode::Invalid),
        ("ffffffffffffffffffffffffffffffff", crate::model::ErrorCode::NotFound),
        ("ffffffffffffffff", crate::model::ErrorCode::NotFound),
    ] {
        assert_eq!(store.call(text).await.unwrap_err().code, code, "{text}");
    }
}

#[tokio::test]
async fn a_call_is_found_by_the_ids_that_follow_from_its_own() {
    let (directory, store) = open();
    let mut calls: Vec<_> = (0..40)
        .map(|number: u64| {
            let mut call = bare(number);
            // Years lie between the first and the last, and some share all but the highest bits of their time.
            call.id.0[..2].copy_from_slice(&(0x0190 + number as u16 % 8).to_be_bytes());
            (call.trace_id, call.span_id) = (TraceId(call.id.0), SpanId::of(call.id));
            call
        })
        .collect();
    calls[39].parent_span_id = None;
    calls[39].trace_id = calls[7].trace_id;
    store.settle(calls.iter().cloned().map(settled).collect()).await.unwrap();
    for call in &calls {
        assert_eq!(store.call(&call.span_id.to_string()).await.unwrap().id, call.id);
        let filter = CallFilter { trace: Some(call.trace_id), ..CallFilter::default() };
        let found = store.calls(filter, PageRequest::default()).await.unwrap().items;
        let expected: Vec<_> =
            calls.iter().rev().filter(|other| other.trace_id == call.trace_id).map(|call| call.id).collect();
        assert_eq!(found.iter().map(|call| call.id).collect::<Vec<_>>(), expected);
    }
    let kept = "SELECT count(trace_id), count(span_id) FROM spans";
    let kept: (i64, i64) =
        outside(&directory).query_row(kept, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(kept, (1, 0));
    assert_eq!(store.call("00000000000000ff").await.unwrap_err().code, crate::model::ErrorCode::NotFound);
}

#[tokio::test]
async fn what_calls_have_alike_is_kept_once_and_what_is_their_own_with_them() {
    let (directory, store) = open();
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let mut call = full(number);
            if number % 2 == 1 {
                call.target = format!("/responses/resp_68a1f0c9e2b4{number}");
                call.name = format!("GET {}", call.target);
                call.error_type = Some(format!("no such thing: {number}abcdefabcdef"));
            }
            call
        })
        .collect();
    store.settle(calls.iter().cloned().map(settled).collect()).await.unwrap();
    assert_eq!(count(&directory, "profiles"), 2);
    for call in &calls {
        assert_eq!(store.call(&call.id.to_string()).await.unwrap(), *call);
    }
    let shown = store.session_calls("session ü", 100).await.unwrap();
    for (shown, call) in shown.iter().zip(&calls) {
        assert_eq!((&shown.name, &shown.error_type), (&call.name, &call.error_type));
        assert_eq!((shown.ended_at, shown.status), (call.ended_at, call.status));
    }
    assert_eq!(shown.len(), calls.len());
    // They go with the last call that has them.
    let sequences = store.stored_after(0, 100).await.unwrap();
    let odd = sequences.iter().map(|one| one.sequence).filter(|sequence| sequence % 2 == 0);
    store.drop_calls(odd.collect(), true).await.unwrap();
    store.sweep().await.unwrap();
    assert_eq!(count(&directory, "profiles"), 1);
    store.settle(vec![settled(calls[1].clone())]).await.unwrap();
    assert_eq!(store.call(&calls[1].id.to_string()).await.unwrap(), calls[1]);
    store.drop_calls((1..30).collect(), true).await.unwrap();
    assert_eq!(count(&directory, "profiles"), 0, "no call is of their kind");
    store.settle(calls.iter().cloned().map(settled).collect()).await.unwrap();
    assert_eq!(store.call(&calls[0].id.to_string()).await.unwrap(), calls[0]);
}

#[tokio::test]
async fn consumers_keep_their_place_and_hear_of_commits() {
    let (directory, store) = open();
    let mut commits = store.subscribe();
    assert_eq!(store.last_sequence().await.unwrap(), 0);
    assert_eq!(store.cursor("otlp").await.unwrap(), 0);
    store.settle((0..5).map(|number| settled(bare(number))).collect()).await.unwrap();
    assert_eq!(commits.recv().await.unwrap(), 5);

    let first = store.stored_after(0, 3).await.unwrap();
    assert_eq!(first.iter().map(|stored| stored.call.id).collect::<Vec<_>>(), [id(0), id(1), id(2)]);
    store.set_cursor("otlp", 3).await.unwrap();
    store.close().await;

    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let at = store.cursor("otlp").await.unwrap();
    let rest = store.stored_after(at, 100).await.unwrap();
    assert_eq!(rest.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(store.last_sequence().await.unwrap(), 5);
}

#[tokio::test]
async fn sizes_are_told() {
    let (_directory, store) = open();
    let empty = store.stats().await.unwrap();
    assert_eq!((empty.calls, empty.contents, empty.turns), (0, 0, 0));
    let mut one = settled(bare(1));
    one.request.parts = vec![chain(&[b"a", b"b"], b",")];
    one.response.parts = vec![literal(vec![b'x'; 100])];
    one.arrivals = vec![Arrival { offset_us: 5, length: 100 }];
    store.settle(vec![one]).await.unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.calls, stats.contents, stats.turns), (1, 2, 2));
    assert!(stats.bytes > 0);
}
