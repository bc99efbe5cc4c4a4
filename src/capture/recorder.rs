//! The recording end of a call: what the proxy holds while a call runs. Every method is cheap, never
//! waits and never fails; only the `Ack` of the end may be waited for. No decoding, hashing or
//! compression happens here: that is the projector's, behind the journal.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::redact::{self, Fingerprints};
pub use crate::model::record::Destination;
use crate::{
    journal::{Ack, Journal},
    model::{
        CallId, SpanId, TraceId, UnixNanos,
        record::{Answered, Closed, Failure, Opened, Outcome, Record, Scope, Source},
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
    config: ArcSwap<Config>,
    fingerprints: Fingerprints,
    panics: AtomicU64,
    unrecorded: AtomicU64,
    /// Records that shall panic on their way.
    #[cfg(test)]
    bombs: AtomicU64,
}

impl Shared {
    /// A fault of ours costs a part of the recording, never the traffic (invariant 2).
    fn guarded<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let work = || {
            #[cfg(test)]
            self.explode();
            work()
        };
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!("recording panicked; the call goes on and what is missing is noted on it");
        }
        done.ok()
    }

    #[cfg(test)]
    fn explode(&self) {
        let lit = self.bombs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(lit.is_err(), "as the test asked");
    }
}

impl Recorder {
    pub fn new(journal: Journal, config: Config, fingerprints: Fingerprints) -> Self {
        Self {
            shared: Arc::new(Shared {
                journal,
                config: ArcSwap::from_pointee(config),
                fingerprints,
                panics: AtomicU64::new(0),
                unrecorded: AtomicU64::new(0),
                #[cfg(test)]
                bombs: AtomicU64::new(0),
            }),
        }
    }

    /// Calls that open from now on are kept as `config` says.
    pub fn reconfigure(&self, config: Config) {
        self.shared.config.store(Arc::new(config));
    }

    /// Faults of our own while something was recorded.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// Calls of which such a fault left nothing.
    pub fn unrecorded_calls(&self) -> u64 {
        self.shared.unrecorded.load(Ordering::Relaxed)
    }

    /// Of the key that a request carries, as recordings have it.
    pub fn key_fingerprint(&self, headers: &HeaderMap) -> Option<String> {
        self.shared.fingerprints.of(headers)
    }

    /// Journals the intent and returns the call's recording. Dropping the recording without `close`
    /// closes it as `ClientGone`: a call ends exactly once however it ends (invariant 3).
    pub fn open(&self, begin: Begin<'_>) -> Recording {
        let call = CallId(*uuid::Uuid::now_v7().as_bytes());
        let (at, began) = (begin.at, Instant::now());
        let opened = self.shared.guarded(|| self.intend(call, begin));
        if opened.is_none() {
            self.shared.unrecorded.fetch_add(1, Ordering::Relaxed);
        }
        Recording {
            state: Arc::new(State {
                config: self.shared.config.load_full(),
                shared: Arc::clone(&self.shared),
                call,
                at,
                began,
                closed: AtomicBool::new(opened.is_none()),
                left: OnceLock::new(),
                sent: Tally::default(),
                received: Tally::default(),
            }),
        }
    }

    /// The intent into the journal.
    fn intend(&self, call: CallId, begin: Begin<'_>) {
        // More than one traceparent is as good as none (W3C trace context, level 2).
        let mut parents = begin.headers.get_all("traceparent").iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(only), None) => only.to_str().ok().and_then(TraceParent::parse),
            _ => None,
        };
        let opened = Opened {
            call,
            // A trace that begins here has the call's own id: one more that sorts by time costs the store less.
            trace: parent.map_or(TraceId(call.0), |parent| parent.trace),
            span: SpanId::of(call),
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
    }
}

/// One call's recording; clones share it (the request's and the response's side hold one each).
#[derive(Debug, Clone)]
pub struct Recording {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    shared: Arc<Shared>,
    /// As it was when the call opened.
    config: Arc<Config>,
    call: CallId,
    /// The wall clock is read once a call. Every later time is this and what the monotonic clock says since, so
    /// that a clock that is set while the call runs changes none of its durations.
    at: UnixNanos,
    began: Instant,
    closed: AtomicBool,
    /// When the client left and what had been received until then, where the call goes on without it.
    left: OnceLock<(Instant, u64)>,
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

    /// The time for the call's records.
    pub fn now(&self) -> UnixNanos {
        self.state.now()
    }

    /// Bytes of the request body, in order: on their way upstream, or read away where no upstream took them.
    pub fn sent(&self, bytes: &Bytes) {
        let state = &*self.state;
        let limit = if state.config.content { state.config.max_request_bytes } else { 0 };
        state.keep(&state.sent, bytes, limit, |call, bytes| Record::Sent { call, bytes });
    }

    /// The response's head.
    pub fn answered(&self, at: UnixNanos, status: u16, headers: &HeaderMap) {
        let state = &*self.state;
        if self.is_closed() {
            return;
        }
        state.shared.guarded(|| {
            state.shared.journal.append(Record::Answered(Box::new(Answered {
                call: state.call,
                at,
                status,
                headers: redact::headers(headers),
            })));
        });
    }

    /// Bytes of the response body, as one frame came.
    pub fn received(&self, at: UnixNanos, bytes: &Bytes) {
        let state = &*self.state;
        let limit = if state.config.content { state.config.max_response_bytes } else { 0 };
        state.keep(&state.received, bytes, limit, |call, bytes| Record::Received { call, at, bytes });
    }

    /// The client left, and the call goes on without it: however it ends now, that is how it ended.
    pub fn client_left(&self) {
        let state = &*self.state;
        state.left.get_or_init(|| (Instant::now(), state.received.crossed.load(Ordering::Relaxed)));
    }

    /// How long the call has gone on without its client.
    pub fn left_for(&self) -> Option<Duration> {
        self.state.left.get().map(|(since, _)| since.elapsed())
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
    fn now(&self) -> UnixNanos {
        let since = i64::try_from(self.began.elapsed().as_nanos()).unwrap_or(i64::MAX);
        UnixNanos(self.at.0.saturating_add(since))
    }

    /// Counts a piece of a body and journals what of it is to be kept.
    fn keep(&self, tally: &Tally, bytes: &Bytes, limit: u64, record: impl FnOnce(CallId, Bytes) -> Record) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let Some(kept) = tally.take(bytes, limit) else { return };
        let length = kept.len() as u64;
        let journalled = self.shared.guarded(|| self.shared.journal.append(record(self.call, kept)));
        tally.settle(journalled == Some(true), length);
    }

    fn close(&self, at: UnixNanos, outcome: Outcome, failure: Option<Failure>) -> Option<Ack> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return None;
        }
        let received_bytes = self.received.crossed.load(Ordering::Relaxed);
        let (outcome, failure, drained_bytes) = match self.left.get() {
            Some((_, before)) => {
                (Outcome::ClientGone, Some(client_left()), received_bytes.saturating_sub(*before))
            }
            None => (outcome, failure, 0),
        };
        let closed = Closed {
            call: self.call,
            at,
            outcome,
            failure,
            sent_bytes: self.sent.crossed.load(Ordering::Relaxed),
            sent_recorded: self.sent.recorded.load(Ordering::Relaxed),
            received_bytes,
            received_recorded: self.received.recorded.load(Ordering::Relaxed),
            drained_bytes,
        };
        let append = || self.shared.journal.append_acked(Record::Closed(Box::new(closed.clone())));
        // Without its end the call would stay open until the next start: worth a second try.
        self.shared.guarded(append).or_else(|| self.shared.guarded(append))
    }
}

/// What is said of a client that did not wait for the end.
pub fn client_left() -> Failure {
    Failure {
        source: Source::Client,
        code: "client_disconnect".to_owned(),
        message: "the client left before the end of the response".to_owned(),
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if !*self.closed.get_mut() {
            // The proxy's tasks were dropped mid-way (hyper drops a connection's future when its peer
            // goes): the client is gone.
            drop(self.close(self.now(), Outcome::ClientGone, None));
        }
    }
}

/// Wall-clock time for records.
pub fn now() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
