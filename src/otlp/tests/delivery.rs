//! Deliveries: every span once and in order, whatever the collector does, and nothing waits for it.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};

use super::collector::{Collector, Reply};
use crate::{
    model::{
        call::{Dialect, Placement, Settled},
        content::Body,
    },
    otlp::{ExportConfig, Exporter, Headers, Protocol, Stats},
    store::{Config, Store},
    telemetry::{Telemetry, tests::call},
};

/// Long enough that only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

fn open(directory: &Path) -> Store {
    Store::open(&Config::default(), directory).unwrap()
}

/// Stores calls `numbers`; their span ids are `number + 1`.
async fn settle(store: &Store, numbers: std::ops::Range<u64>) {
    let all = numbers
        .map(|number| {
            let mut call = call(number);
            call.dialect = Dialect::Http;
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
        })
        .collect();
    store.settle(all).await.unwrap();
}

fn ids(numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    numbers.map(|number| (number + 1).to_be_bytes().to_vec()).collect()
}

fn id(number: u64) -> Vec<u8> {
    (number + 1).to_be_bytes().to_vec()
}

struct Running {
    stats: Stats,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(HANG, self.task).await.unwrap().unwrap();
    }
}

fn quick(endpoint: String, protocol: Protocol) -> ExportConfig {
    ExportConfig {
        endpoint,
        protocol,
        delay_ms: 1,
        retry_initial_ms: 1,
        retry_max_ms: 20,
        ..ExportConfig::default()
    }
}

fn start(config: &ExportConfig, store: &Store) -> Running {
    let exporter = Exporter::new(config, store.clone(), &Telemetry::new()).unwrap();
    let stats = exporter.stats();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(exporter.run(async move { drop(stopped.await) }));
    Running { stats, stop, task }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(HANG, wait).await.is_ok(), "never: {what}");
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, format!("http://{address}"))
}

/// A collector, its endpoint, and a store.
async fn set_up(protocol: Protocol) -> (Collector, ExportConfig, tempfile::TempDir, Store) {
    let collector = Collector::default();
    let (listener, endpoint) = listen().await;
    let serving = collector.clone();
    tokio::spawn(async move {
        match protocol {
            Protocol::Http => serving.http(listener).await,
            Protocol::Grpc => serving.grpc(listener).await,
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    (collector, quick(endpoint, protocol), directory, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_once_and_in_order() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let (collector, mut config, _directory, store) = set_up(protocol).await;
        config.batch = 7;
        config.headers = Headers::parse("x-tenant=a%20b").unwrap();
        // Stored before the exporter is there, while it starts, and while it waits.
        settle(&store, 0..30).await;
        let running = start(&config, &store);
        settle(&store, 30..50).await;
        until("50 spans", || collector.ids().len() >= 50).await;
        settle(&store, 50..60).await;
        until("60 spans", || collector.ids().len() >= 60).await;
        until("60 counted", || running.stats.exported() == 60).await;
        assert_eq!(collector.ids(), ids(0..60), "{protocol:?}");
        assert_eq!(running.stats.failed(), 0);
        collector.with(|memory| {
            assert_eq!(memory.headers["x-tenant"], "a b");
            let agent = memory.headers["user-agent"].to_str().unwrap().to_owned();
            assert!(agent.contains("tapline/"), "{agent}");
        });
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_loses_nothing_and_slows_nothing() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let (listener, endpoint) = listen().await;
        let address = listener.local_addr().unwrap();
        drop(listener);
        let running = start(&quick(endpoint, protocol), &store);
        settle(&store, 0..20).await;
        until("failed attempts", || running.stats.failed() >= 3).await;
        // The store takes more while nothing can be delivered.
        timeout(HANG, settle(&store, 20..40)).await.unwrap();
        until("the backlog is seen", || running.stats.lag() >= 40).await;
        assert!(running.stats.failing());
        let collector = Collector::default();
        let serving = collector.clone();
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            match protocol {
                Protocol::Http => serving.http(listener).await,
                Protocol::Grpc => serving.grpc(listener).await,
            }
        });
        until("40 spans", || collector.ids().len() >= 40).await;
        until("recovered", || running.stats.exported() == 40 && !running.stats.failing()).await;
        assert_eq!(collector.ids(), ids(0..40), "{protocol:?}");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_cursor_is() {
    let (collector, config, _directory, store) = set_up(Protocol::Http).await;
    settle(&store, 0..10).await;
    let first = start(&config, &store);
    until("10 spans", || collector.ids().len() >= 10).await;
    first.stop().await;
    settle(&store, 10..20).await;
    let second = start(&config, &store);
    until("20 spans", || collector.ids().len() >= 20).await;
    second.stop().await;
    assert_eq!(collector.ids(), ids(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_delivers_what_is_left() {
    let (collector, mut config, _directory, store) = set_up(Protocol::Http).await;
    config.delay_ms = 3_600_000;
    let running = start(&config, &store);
    settle(&store, 0..5).await;
    running.stop().await;
    assert_eq!(collector.ids(), ids(0..5));
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let (collector, config, _directory, store) = set_up(Protocol::Http).await;
    collector.with(|memory| memory.script.push_back(Reply::Status(503, Some(1))));
    settle(&store, 0..3).await;
    let running = start(&config, &store);
    until("3 spans", || collector.ids().len() >= 3).await;
    collector.with(|memory| {
        let [first, second] = memory.requests[..] else { panic!("{} requests", memory.requests.len()) };
        assert!(second - first >= Duration::from_secs(1), "after {:?}", second - first);
    });
    running.stop().await;
    assert_eq!(collector.ids(), ids(0..3));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_span_that_is_refused_costs_only_itself() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let (collector, config, _directory, store) = set_up(protocol).await;
        collector.with(|memory| memory.poison = [id(3), id(17)].into());
        settle(&store, 0..20).await;
        let running = start(&config, &store);
        until("18 spans and 2 rejected", || {
            collector.ids().len() >= 18 && running.stats.rejected() == 2 && running.stats.lag() == 0
        })
        .await;
        let expected: Vec<Vec<u8>> =
            ids(0..20).into_iter().filter(|span| *span != id(3) && *span != id(17)).collect();
        assert_eq!(collector.ids(), expected, "{protocol:?}");
        // It is not tried again, and what follows is not held up.
        settle(&store, 20..21).await;
        until("the next one", || collector.ids().last() == Some(&id(20))).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_span_that_stands_alone_waits_for_another_to_be_taken() {
    let (collector, config, _directory, store) = set_up(Protocol::Http).await;
    collector.with(|memory| memory.poison = [id(0)].into());
    settle(&store, 0..1).await;
    let running = start(&config, &store);
    until("refusals", || running.stats.failed() >= 3).await;
    assert_eq!((running.stats.rejected(), running.stats.lag()), (0, 1));
    settle(&store, 1..2).await;
    until("the cursor is past both", || running.stats.rejected() == 1 && running.stats.lag() == 0).await;
    assert!(collector.ids().iter().all(|span| *span == id(1)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_everything_loses_nothing() {
    for status in [400, 401, 404, 500, 503] {
        let (collector, config, _directory, store) = set_up(Protocol::Http).await;
        collector.with(|memory| memory.always = Some(status));
        settle(&store, 0..100).await;
        let running = start(&config, &store);
        until("refusals", || running.stats.failed() >= 2).await;
        assert_eq!((running.stats.rejected(), running.stats.exported()), (0, 0), "{status}");
        collector.with(|memory| memory.always = None);
        until("100 spans", || collector.ids().len() >= 100).await;
        running.stop().await;
        assert_eq!(collector.ids(), ids(0..100), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_too_large_become_smaller() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let (collector, config, _directory, store) = set_up(protocol).await;
        collector.with(|memory| memory.most = Some(3));
        settle(&store, 0..20).await;
        let running = start(&config, &store);
        until("20 spans", || collector.ids().len() >= 20).await;
        running.stop().await;
        assert_eq!(collector.ids(), ids(0..20), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_success_is_counted_and_not_sent_again() {
    let (collector, config, _directory, store) = set_up(Protocol::Http).await;
    collector.with(|memory| memory.script.push_back(Reply::Partial(2)));
    settle(&store, 0..5).await;
    let running = start(&config, &store);
    until("3 taken, 2 dropped", || running.stats.exported() == 3 && running.stats.dropped() == 2).await;
    running.stop().await;
    collector.with(|memory| assert_eq!(memory.requests.len(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bodies_become_messages_and_a_missing_parent_decision_is_kept() {
    let (collector, config, _directory, store) = set_up(Protocol::Http).await;
    let mut chat = call(0);
    chat.request_headers = vec![("content-type".to_owned(), "application/json".to_owned())].into();
    chat.response_headers = vec![("content-type".to_owned(), "application/json".to_owned())].into();
    let request = br#"{"model":"gpt-6","temperature":0.5,"messages":[{"role":"user","content":"say hi"}]}"#;
    let response = br#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-6-2026-05-01","choices":[
        {"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hi there"}}]}"#;
    let mut unsampled = call(1);
    unsampled.dialect = Dialect::Http;
    unsampled.request_headers =
        vec![("traceparent".to_owned(), format!("00-{}-00f067aa0ba902b7-00", unsampled.trace_id))].into();
    let settled = |call, request: &[u8], response: &[u8]| Settled {
        call,
        placement: Placement::default(),
        job: None,
        charges: Vec::new(),
        token_sample: None,
        request: Body::raw(Bytes::copy_from_slice(request)),
        response: Body::raw(Bytes::copy_from_slice(response)),
        arrivals: Vec::new(),
        lineage: Default::default(),
    };
    store.settle(vec![settled(chat, request, response), settled(unsampled, b"", b"")]).await.unwrap();
    let running = start(&config, &store);
    until("the span", || running.stats.exported() == 1 && running.stats.unsampled() == 1).await;
    running.stop().await;
    let span = collector.with(|memory| format!("{:?}", memory.spans));
    for part in ["say hi", "hi there", "gen_ai.request.temperature"] {
        assert!(span.contains(part), "{part} in {span}");
    }
    assert_eq!(collector.ids(), ids(0..1));
}
