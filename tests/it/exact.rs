//! Invariant 8 on the whole way behind the journal: whatever a client sent and a provider answered, it comes back
//! byte for byte, however little of it is JSON, and however much of it was stored before.

use std::sync::Arc;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select};
use tapline::{
    capture::{assemble::Finished, settle::Settler},
    model::{
        CallId, SpanId, TraceId, UnixNanos,
        record::{Answered, Closed, Opened, Outcome, Scope},
    },
    pricing::PriceTable,
    store::{Config, Side, Store},
    wire::Limits,
};

const TARGETS: [&str; 3] = ["/chat/completions", "/responses", "/messages"];

/// The inside of a JSON string, as it is written.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 .,{}\\[\\]:]{0,30}",
        select(vec!["\\u00e9\\ud83d\\ude00", "\\ud800 alone", "\\/\\n\\\"", "é😀", "\u{2028}", "\\u0000"])
            .prop_map(str::to_owned),
        (1..12usize).prop_map(|times| "the same long sentence that many say. ".repeat(times)),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", " ", "\n  ", "\t", "\r\n"])
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        text().prop_map(|text| format!("\"{text}\"")),
        select(vec!["1e400", "-0.0", "1.000", "12345678901234567890123", "true", "null", "0.1e+1"])
            .prop_map(str::to_owned),
    ]
}

fn object(fields: Vec<(String, String)>, space: &str) -> String {
    let fields: Vec<_> =
        fields.into_iter().map(|(key, value)| format!("\"{key}\"{space}:{space}{value}")).collect();
    format!("{{{space}{}{space}}}", fields.join(&format!("{space},{space}")))
}

/// A message, an item or a block of any of the dialects, with keys that repeat and keys that nobody knows.
fn message() -> impl Strategy<Value = String> {
    let block = (select(vec!["text", "input_text", "output_text", "thinking", "odd"]), text(), space())
        .prop_map(|(kind, text, space)| {
            object(
                vec![
                    ("type".into(), format!("\"{kind}\"")),
                    ("text".into(), format!("\"{text}\"")),
                    ("cache_control".into(), "{\"type\":\"ephemeral\"}".into()),
                ],
                space,
            )
        });
    let content = prop_oneof![
        text().prop_map(|text| format!("\"{text}\"")),
        vec(block, 0..3).prop_map(|blocks| format!("[{}]", blocks.join(", "))),
        scalar(),
    ];
    let role = select(vec!["system", "developer", "user", "assistant", "tool", "odd"]);
    (
        role,
        content,
        vec((select(vec!["role", "content", "id", "name", "tool_calls", "odd"]), scalar()), 0..3),
        space(),
    )
        .prop_map(|(role, content, more, space)| {
            let mut fields = vec![("role".into(), format!("\"{role}\"")), ("content".into(), content)];
            fields.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
            object(fields, space)
        })
}

/// A request that resends the first so many of the conversation's messages; maybe cut or spoilt.
#[derive(Debug, Clone)]
struct Request {
    target: &'static str,
    sent: usize,
    between: &'static str,
    more: Vec<(&'static str, String)>,
    again: bool,
    /// A byte in the middle of it, and where, in thousandths of its length.
    spoilt: Option<(u8, usize)>,
    cut: Option<usize>,
}

fn request() -> impl Strategy<Value = Request> {
    let more = vec(
        (
            select(vec![
                "model",
                "previous_response_id",
                "conversation",
                "tools",
                "system",
                "instructions",
                "odd",
            ]),
            prop_oneof![
                scalar(),
                Just("[{\"type\":\"function\",\"name\":\"f\"},{\"name\":\"f\"}]".to_owned())
            ],
        ),
        0..4,
    );
    let spoilt = proptest::option::weighted(0.3, (any::<u8>(), 0..1_000usize));
    let cut = proptest::option::weighted(0.15, 0..1_000usize);
    (select(TARGETS.to_vec()), 0..7usize, space(), more, any::<bool>(), spoilt, cut).prop_map(
        |(target, sent, between, more, again, spoilt, cut)| Request {
            target,
            sent,
            between,
            more,
            again,
            spoilt,
            cut,
        },
    )
}

impl Request {
    fn bytes(&self, messages: &[String]) -> Bytes {
        let key = if self.target == "/responses" { "input" } else { "messages" };
        let sent = &messages[..self.sent.min(messages.len())];
        let list = format!("[{}]", sent.join(&format!("{},{}", self.between, self.between)));
        let mut fields = vec![(key.to_owned(), list.clone())];
        fields.extend(self.more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        if self.again {
            fields.push((key.to_owned(), list));
        }
        let mut bytes = object(fields, self.between).into_bytes();
        if let Some((byte, at)) = self.spoilt {
            let at = at * bytes.len() / 1_000;
            bytes[at] = byte;
        }
        if let Some(at) = self.cut {
            bytes.truncate(at * bytes.len() / 1_000);
        }
        bytes.into()
    }
}

/// An answer: a document, events, or anything.
fn response() -> impl Strategy<Value = Bytes> {
    let events = vec(
        (
            select(vec!["data: ", "data:", "event: x\ndata: ", ": "]),
            scalar(),
            select(vec!["\n\n", "\r\n\r\n", "\n"]),
        ),
        0..20,
    )
    .prop_map(|events| {
        let lines = events.into_iter().map(|(before, value, after)| {
            format!("{before}{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{value}}}}}]}}{after}")
        });
        lines.collect::<String>()
    });
    prop_oneof![
        message().prop_map(|message| format!(
            "{{\"id\":\"x\",\"choices\":[{{\"index\":0,\"message\":{message}}}]}}"
        )
        .into()),
        message().prop_map(|message| format!(
            "{{\"id\":\"resp_1\",\"output\":[{message}],\"content\":[{message}]}}"
        )
        .into()),
        events.prop_map(Bytes::from),
        vec(any::<u8>(), 0..300).prop_map(Bytes::from),
    ]
}

fn finished(number: u64, target: &str, sent: Bytes, received: Bytes) -> Finished {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&(number + 1).to_be_bytes());
    let (call, at) = (CallId(id), UnixNanos(UnixNanos::DAY + number as i64 * UnixNanos::SECOND));
    let kind = if received.starts_with(b"{") { "application/json" } else { "text/event-stream" };
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Finished {
        opened: Opened {
            call,
            trace: TraceId(id),
            span: SpanId((number + 1).to_be_bytes()),
            parent_span: None,
            at,
            method: "POST".into(),
            target: target.into(),
            upstream: "default".into(),
            provider: "openai".into(),
            server_address: "h".into(),
            server_port: 443,
            scope: Scope::default(),
            headers: vec![header("content-type", "application/json")],
            peer: None,
            key_fingerprint: None,
        },
        answered: Some(Answered { call, at, status: 200, headers: vec![header("content-type", kind)] }),
        frames: if received.is_empty() { Vec::new() } else { vec![(at, received.len())] },
        closed: Closed {
            call,
            at,
            outcome: Outcome::Completed,
            failure: None,
            sent_bytes: sent.len() as u64,
            sent_recorded: sent.len() as u64,
            received_bytes: received.len() as u64,
            received_recorded: received.len() as u64,
            drained_bytes: 0,
        },
        sent,
        received,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inv8_whatever_was_said_comes_back_from_the_store(
        messages in vec(message(), 0..7), calls in vec((request(), response()), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::TempDir::new().unwrap();
            let store = Store::open(&Config::default(), directory.path()).unwrap();
            let settler = Settler::new(Arc::new(PriceTable::embedded().unwrap()), Limits::default());
            let mut expected = Vec::new();
            for (number, (request, response)) in (0..).zip(&calls) {
                let mut one = finished(number, request.target, request.bytes(&messages), response.clone());
                expected.push((one.opened.call, one.sent.clone(), one.received.clone()));
                store.settle(vec![settler.settle(&mut one)]).await.unwrap();
            }
            for (call, sent, received) in expected {
                assert_eq!(store.body(call, Side::Request).await.unwrap().bytes, sent);
                assert_eq!(store.body(call, Side::Response).await.unwrap().bytes, received);
            }
            store.close().await;
        });
    }
}
