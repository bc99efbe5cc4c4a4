//! From made-up traffic to the store, by the path that every call takes behind the journal.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tapline::{
    capture::{assemble::Finished, settle::Settler},
    model::{
        CallId, SpanId, TraceId, UnixNanos,
        filter::{CallFilter, PageRequest, SessionFilter},
        record::{Answered, Closed, Opened, Outcome, Scope},
    },
    pricing::PriceTable,
    store::Store,
    wire::Limits,
};

use super::{
    score::Placed,
    world::{Call, Wire},
};

/// Calls per transaction.
const BATCH: usize = 64;

pub fn settler() -> Settler {
    let prices = PriceTable::embedded().expect("the price table is compiled in and a test reads it");
    Settler::new(Arc::new(prices), Limits::default())
}

fn id(number: usize) -> CallId {
    let mut bytes = [0u8; 16];
    bytes[..2].copy_from_slice(&[0x01, 0x9a]);
    let hash = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[2..8].copy_from_slice(&(number as u64).to_be_bytes()[2..]);
    bytes[8..].copy_from_slice(&hash.to_be_bytes());
    CallId(bytes)
}

/// A call as the journal gives it back.
pub fn finished(number: usize, call: &Call) -> Finished {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut headers = vec![header("content-type", "application/json")];
    headers.extend(call.headers.iter().cloned());
    let body = Bytes::from(call.body.to_string());
    let response = Bytes::from(call.response.clone());
    let streamed = response.starts_with(b"data:") || response.starts_with(b"event:");
    let kind = if streamed { "text/event-stream" } else { "application/json" };
    let (upstream, provider, host) = match call.wire {
        Wire::Messages => ("claude", "anthropic", "api.anthropic.com"),
        _ => ("default", "openai", "api.openai.com"),
    };
    let (at, until) = (UnixNanos(call.at), UnixNanos(call.until));
    Finished {
        opened: Opened {
            call: id(number),
            trace: TraceId(id(number).0),
            span: SpanId((number as u64 + 1).to_be_bytes()),
            parent_span: None,
            at,
            method: "POST".into(),
            target: call.wire.target().into(),
            upstream: upstream.into(),
            provider: provider.into(),
            server_address: host.into(),
            server_port: 443,
            scope: Scope::default(),
            headers,
            peer: Some(call.peer.clone()),
            key_fingerprint: Some(call.key.clone()),
        },
        answered: (call.status > 0).then(|| Answered {
            call: id(number),
            at: until,
            status: call.status,
            headers: vec![header("content-type", kind)],
        }),
        frames: if response.is_empty() { Vec::new() } else { vec![(until, response.len())] },
        closed: Closed {
            call: id(number),
            at: until,
            outcome: if call.status == 0 { Outcome::ClientGone } else { Outcome::Completed },
            failure: None,
            sent_bytes: body.len() as u64,
            sent_recorded: body.len() as u64,
            received_bytes: response.len() as u64,
            received_recorded: response.len() as u64,
            drained_bytes: 0,
        },
        sent: body,
        received: response,
    }
}

/// Stores every call; gives where each was put in the end, and how long decoding and storing took.
pub async fn feed(calls: &[Call], store: &Store) -> (Vec<Placed>, Duration, Duration) {
    let settler = settler();
    let (mut decoding, mut storing) = (Duration::ZERO, Duration::ZERO);
    for (batch, chunk) in calls.chunks(BATCH).enumerate() {
        let begun = std::time::Instant::now();
        let numbered = chunk.iter().enumerate();
        let settled =
            numbered.map(|(at, call)| settler.settle(&mut finished(batch * BATCH + at, call))).collect();
        decoding += begun.elapsed();
        let begun = std::time::Instant::now();
        store.settle(settled).await.expect("the store takes calls");
        storing += begun.elapsed();
    }
    let mut sessions: HashMap<CallId, Option<String>> = HashMap::new();
    let mut page = PageRequest { limit: 1_000, cursor: None };
    loop {
        let found = store.calls(CallFilter::default(), page.clone()).await.expect("the store gives calls");
        sessions.extend(found.items.into_iter().map(|call| (call.id, call.session)));
        page.cursor = found.next;
        if page.cursor.is_none() {
            break;
        }
    }
    let all =
        store.sessions(SessionFilter::default(), usize::MAX, None).await.expect("the store gives sessions");
    let parents: HashMap<String, Option<String>> =
        all.into_iter().map(|session| (session.id, session.parent)).collect();
    let placed = calls.iter().enumerate().map(|(number, call)| {
        let found = sessions.get(&id(number)).cloned().flatten();
        Placed {
            scenario: call.scenario,
            truth: call.session,
            comes_from: found.as_ref().and_then(|found| parents.get(found).cloned().flatten()),
            found,
            works_for: call.works_for,
        }
    });
    (placed.collect(), decoding, storing)
}
