//! The recording end of a call: what the proxy holds while a call runs. Every method is cheap, never
//! waits and never fails; only the `Ack` of the end may be waited for. No decoding, hashing or
//! compression happens here: that is the projector's, behind the journal.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::redact::{self, Fingerprints};
pub use crate::model::record::Destination;
use crate::{
    journal::{Ack, Journal},
    model::{
        CallId, SpanId, TraceId, UnixNanos,
        record::{Answered, Closed, Failure, Opened, Outcome, Record, Scope},
    },
    wire::TraceParent,
};

/// What is kept of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keep request and response bodies; without them only facts are kept.
    pub content: bool,
    /// Bytes kept of one request body; the rest is counted.
    pub max_request_bytes: u64,
    /// Bytes kept of one response body; the rest is counted.
    pub max_response_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { content: true, max_request_bytes: 32 << 20, max_response_bytes: 32 << 20 }
    }
}

/// Everything known of a call before its first byte goes upstream.
#[derive(Debug)]
pub struct Begin<'a> {
    pub at: UnixNanos,
    pub method: &'a str,
    /// Path and query relative to the upstream's base.
    pub target: &'a str,
    pub headers: &'a HeaderMap,
    pub destination: &'a Destination,
    pub scope: Scope,
    pub peer: Option<std::net::SocketAddr>,
}

/// Opens calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    journal: Journal,
    config: Config,
    fingerprints: Fingerprints,
}

impl Recorder {
    pub fn new(journal: Journal, config: Config, fingerprints: Fingerprints) -> Self {
        Self { shared: Arc::new(Shared { journal, config, fingerprints }) }
    }

    /// Journals the intent and returns the call's recording. Dropping the recording without `close`
    /// closes it as `ClientGone`: a call ends exactly once however it ends (invariant 3).
    pub fn open(&self, begin: Begin<'_>) -> Recording {
        let call = CallId(*uuid::Uuid::now_v7().as_bytes());
        // More than one traceparent is as good as none (W3C trace context, level 2).
        let mut parents = begin.headers.get_all("traceparent").iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(only), None) => only.to_str().ok().and_then(TraceParent::parse),
            _ => None,
        };
        let opened = Opened {
            call,
            trace: parent.map_or_else(|| TraceId(random()), |parent| parent.trace),
            span: SpanId(random()),
            parent_span: parent.map(|parent| parent.parent),
            at: begin.at,
            method: begin.method.to_owned(),
            target: redact::target(begin.target),
            upstream: begin.destination.upstream.clone(),
            provider: begin.destination.provider.clone(),
            server_address: begin.destination.server_address.clone(),
            server_port: begin.destination.server_port,
            scope: begin.scope,
            headers: redact::headers(begin.headers),
            peer: begin.peer.map(|peer| peer.to_string()),
            key_fingerprint: self.shared.fingerprints.of(begin.headers),
        };
        self.shared.journal.append(Record::Opened(Box::new(opened)));
        Recording {
            state: Arc::new(State {
                shared: Arc::clone(&self.shared),
                call,
                closed: AtomicBool::new(false),
                sent: Tally::default(),
                received: Tally::default(),
            }),
        }
    }
}

/// Random bytes for a trace or span id; never all zero, which W3C calls invalid.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    let source = uuid::Uuid::new_v4();
    bytes.copy_from_slice(&source.as_bytes()[16 - N..]);
    if bytes == [0; N] {
        bytes[N - 1] = 1;
    }
    bytes
}

/// One call's recording; clones share it (the request's and the response's side hold one each).
#[derive(Debug, Clone)]
pub struct Recording {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    shared: Arc<Shared>,
    call: CallId,
    closed: AtomicBool,
    sent: Tally,
    received: Tally,
}

/// Bytes that crossed, and of those the bytes that were journalled. Once a piece could not be kept
/// nothing after it is: what is kept is always a prefix.
#[derive(Debug, Default)]
struct Tally {
    crossed: AtomicU64,
    recorded: AtomicU64,
    cut: AtomicBool,
}

impl Tally {
    fn take(&self, bytes: &Bytes, limit: u64) -> Option<Bytes> {
        self.crossed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.cut.load(Ordering::Relaxed) {
            return None;
        }
        let room = limit.saturating_sub(self.recorded.load(Ordering::Relaxed));
        let kept = if (bytes.len() as u64) <= room {
            bytes.clone()
        } else {
            self.cut.store(true, Ordering::Relaxed);
            bytes.slice(..room as usize)
        };
        (!kept.is_empty()).then_some(kept)
    }

    fn pass(&self, length: u64) {
        self.crossed.fetch_add(length, Ordering::Relaxed);
        self.cut.store(true, Ordering::Relaxed);
    }

    fn settle(&self, journalled: bool, length: u64) {
        if journalled {
            self.recorded.fetch_add(length, Ordering::Relaxed);
        } else {
            self.cut.store(true, Ordering::Relaxed);
        }
    }
}

impl Recording {
    pub fn id(&self) -> CallId {
        self.state.call
    }

    /// Bytes of the request body, in order: on their way upstream, or read away where no upstream took them.
    pub fn sent(&self, bytes: &Bytes) {
        let state = &*self.state;
        let limit = if state.shared.config.content { state.shared.config.max_request_bytes } else { 0 };
        if let Some(kept) = state.sent.take(bytes, limit) {
            let length = kept.len() as u64;
            let journalled = state.shared.journal.append(Record::Sent { call: state.call, bytes: kept });
            state.sent.settle(journalled, length);
        }
    }

    /// The response's head.
    pub fn answered(&self, at: UnixNanos, status: u16, headers: &HeaderMap) {
        let state = &*self.state;
        state.shared.journal.append(Record::Answered(Box::new(Answered {
            call: state.call,
            at,
            status,
            headers: redact::headers(headers),
        })));
    }

    /// Bytes of the response body, as one frame came.
    pub fn received(&self, at: UnixNanos, bytes: &Bytes) {
        let state = &*self.state;
        let limit = if state.shared.config.content { state.shared.config.max_response_bytes } else { 0 };
        if let Some(kept) = state.received.take(bytes, limit) {
            let length = kept.len() as u64;
            let journalled =
                state.shared.journal.append(Record::Received { call: state.call, at, bytes: kept });
            state.received.settle(journalled, length);
        }
    }

    /// Bytes that crossed and are not to be kept: a tunnel's.
    pub fn passed(&self, sent: u64, received: u64) {
        self.state.sent.pass(sent);
        self.state.received.pass(received);
    }

    /// Ends the call. The first close wins; later ones return `None`. The returned future resolves when
    /// the end, and so all of the call, is journalled as the mode demands.
    pub fn close(&self, at: UnixNanos, outcome: Outcome, failure: Option<Failure>) -> Option<Ack> {
        self.state.close(at, outcome, failure)
    }

    pub fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Acquire)
    }
}

impl State {
    fn close(&self, at: UnixNanos, outcome: Outcome, failure: Option<Failure>) -> Option<Ack> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return None;
        }
        let closed = Closed {
            call: self.call,
            at,
            outcome,
            failure,
            sent_bytes: self.sent.crossed.load(Ordering::Relaxed),
            sent_recorded: self.sent.recorded.load(Ordering::Relaxed),
            received_bytes: self.received.crossed.load(Ordering::Relaxed),
            received_recorded: self.received.recorded.load(Ordering::Relaxed),
        };
        Some(self.shared.journal.append_acked(Record::Closed(Box::new(closed))))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if !*self.closed.get_mut() {
            // The proxy's tasks were dropped mid-way (hyper drops a connection's future when its peer
            // goes): the client is gone.
            drop(self.close(now(), Outcome::ClientGone, None));
        }
    }
}

/// Wall-clock time for records.
pub fn now() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
