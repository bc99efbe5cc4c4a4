//! A store in a directory of its own with the router over it, and calls to put there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::{
    api::{State, router},
    model::{
        CallId, NanoUsd, SpanId, TraceId, UnixNanos,
        call::{Call, CallStatus, Dialect, Placement, Rules, Settled},
        content::{self, Arrival},
        record::Outcome,
        usage::{Usage, UsageSource},
    },
    store::{Config, Store},
};

/// 2026-11-23T08:00:00Z, one hour before `now`.
pub(super) const START: i64 = 1_795_420_800 * UnixNanos::SECOND;

pub(super) const REQUEST: &[u8] =
    br#"{"model": "gpt-4o",  "stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
pub(super) const FRAMES: [&[u8]; 3] = [
    b"data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"}}]}\n\n",
    b"data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n",
    b"data: [DONE]\n\n",
];

/// A streamed chat call in run `run-1` of experiment `tuning`; later numbers started later.
pub(in crate::api) fn call(number: u8) -> Settled {
    let at = START + i64::from(number) * UnixNanos::SECOND;
    let mut id = [number; 16];
    id[..2].copy_from_slice(&[0x01, 0x9a]);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let call = Call {
        id: CallId(id),
        trace_id: TraceId([number; 16]),
        span_id: SpanId([number; 8]),
        parent_span_id: None,
        name: "chat gpt-4o".to_owned(),
        started_at: UnixNanos(at),
        ended_at: UnixNanos(at + 1_500_000_000),
        experiment_id: String::new(),
        run_id: None,
        session: Some(format!("session-{number}")),
        rules: Rules { run: Some("header".to_owned()), ..Rules::default() },
        user: Some("ada".to_owned()),
        tags: vec!["nightly".to_owned()],
        metadata: serde_json::Map::new(),
        upstream: "main".to_owned(),
        provider: "openai".to_owned(),
        server_address: "api.example".to_owned(),
        server_port: 443,
        dialect: Dialect::ChatCompletions,
        operation: "chat".to_owned(),
        request_model: Some("gpt-4o".to_owned()),
        response_model: None,
        streamed: true,
        method: "POST".to_owned(),
        target: "/chat/completions".to_owned(),
        peer: Some("127.0.0.1:5000".to_owned()),
        key_fingerprint: Some("abc".to_owned()),
        status: CallStatus::Ok,
        outcome: Outcome::Completed,
        http_status: Some(200),
        error_type: None,
        error_source: None,
        error_message: None,
        finish_reasons: vec!["stop".to_owned()],
        response_id: Some("c1".to_owned()),
        request_id: Some("req-1".to_owned()),
        retry_count: None,
        service_tier: None,
        region: None,
        tool_calls: 0,
        usage: Usage { input: Some(100), output: Some(20), cache_read: Some(40), ..Usage::default() },
        usage_source: Some(UsageSource::Reported),
        cost: Some(NanoUsd(i64::from(number) * 1_000_000)),
        billed: None,
        price_id: Some("2026-11/openai/gpt-4o@2026-01-01".to_owned()),
        first_byte_ns: Some(200_000_000),
        first_token_ns: Some(300_000_000),
        last_token_ns: Some(1_400_000_000),
        chunks: 3,
        sent_bytes: REQUEST.len() as u64,
        received_bytes: FRAMES.concat().len() as u64,
        request_whole: true,
        response_whole: true,
        request_headers: vec![
            header("content-type", "application/json"),
            header("authorization", "Bearer ***"),
        ]
        .into(),
        response_headers: vec![header("content-type", "text/event-stream; charset=utf-8")].into(),
        notes: Vec::new(),
    };
    Settled {
        call,
        placement: Placement {
            experiment: Some("tuning".to_owned()),
            run: Some("run-1".to_owned()),
            peer: None,
        },
        job: None,
        charges: Vec::new(),
        token_sample: None,
        request: content::Body::raw(Bytes::from_static(REQUEST)),
        response: content::Body::raw(FRAMES.concat().into()),
        arrivals: FRAMES
            .iter()
            .zip([300_000, 1_400_000, 1_450_000])
            .map(|(frame, offset_us)| Arrival { offset_us, length: frame.len() as u64 })
            .collect(),
        lineage: Default::default(),
    }
}

pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) stop: watch::Sender<bool>,
    router: axum::Router,
    freshened: Arc<AtomicUsize>,
    _directory: TempDir,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let store = Store::open(&Config::default(), directory.path()).unwrap();
        let freshened = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&freshened);
        let (stop, stopped) = watch::channel(false);
        let state = State::new(
            store.clone(),
            Arc::new(move || {
                let counter = Arc::clone(&counter);
                Box::pin(async move {
                    counter.fetch_add(1, Ordering::SeqCst);
                })
            }),
            || UnixNanos(START + 3_600 * UnixNanos::SECOND),
        )
        .stopping(stopped);
        Self { router: router(state), store, stop, freshened, _directory: directory }
    }

    pub(super) fn freshened(&self) -> usize {
        self.freshened.load(Ordering::SeqCst)
    }

    pub(super) async fn settle(&self, calls: impl IntoIterator<Item = Settled>) {
        self.store.settle(calls.into_iter().collect()).await.unwrap();
    }

    async fn answer(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> axum::response::Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, HeaderMap, Bytes) {
        let (parts, body) = self.answer(method, path, headers).await.into_parts();
        (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
    }

    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Bytes) {
        self.send("GET", path, headers).await
    }

    pub(super) async fn status(&self, path: &str) -> u16 {
        self.answer("GET", path, &[]).await.status().as_u16()
    }

    pub(super) async fn json(&self, path: &str) -> Value {
        let (_, _, body) = self.get(path, &[]).await;
        serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{path}: {body:?}"))
    }

    /// The sessions of the calls that a path lists, in its order.
    pub(super) async fn sessions(&self, path: &str) -> Vec<String> {
        let list = self.json(path).await;
        let calls = list["calls"].as_array().unwrap_or_else(|| panic!("{path}: {list}"));
        calls.iter().map(|call| call["session"].as_str().unwrap().to_owned()).collect()
    }

    /// The message of the error that a path answers with status 400.
    pub(super) async fn refused(&self, path: &str) -> String {
        let (status, _, body) = self.get(path, &[]).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["error"]["code"]), (400, &Value::from("invalid")), "{path}: {body}");
        body["error"]["message"].as_str().unwrap().to_owned()
    }

    pub(super) async fn tail(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let response = self.answer("GET", path, headers).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { stream: StreamExt::boxed(response.into_body().into_data_stream()), buffer: String::new() }
    }
}

/// A live tail's events, as text blocks.
pub(super) struct Events {
    stream: futures_util::stream::BoxStream<'static, Result<Bytes, axum::Error>>,
    buffer: String,
}

impl Events {
    /// The next block; `None` at the end. Gives up after ten seconds, which only a broken tail takes.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let block = block.to_owned();
                self.buffer = rest.to_owned();
                return Some(block);
            }
            let piece = tokio::time::timeout(Duration::from_secs(10), self.stream.next()).await.unwrap();
            self.buffer.push_str(std::str::from_utf8(&piece?.unwrap()).unwrap());
        }
    }

    /// The next call's place and session.
    pub(super) async fn next_call(&mut self) -> (i64, String) {
        loop {
            let block = self.next().await.unwrap();
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                assert_eq!(field("event: "), Some("call"));
                let call: Value = serde_json::from_str(data).unwrap();
                return (
                    field("id: ").unwrap().parse().unwrap(),
                    call["session"].as_str().unwrap().to_owned(),
                );
            }
        }
    }
}
