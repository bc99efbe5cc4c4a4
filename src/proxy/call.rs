//! A call's one beginning and one end (invariant 3). Whoever holds the `Call` is the side that the client
//! waits on: dropped before its end, the client is gone.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{Response, request};
use tokio::sync::Notify;

use super::{
    State,
    ask::Question,
    route::{Lost, Route},
};
use crate::{
    capture::recorder::{Begin, Destination, Recording, client_left},
    journal::Ack,
    model::{
        CallId, UnixNanos,
        record::{Failure, Outcome, Source},
    },
    upstream::provider,
};

#[derive(Debug)]
pub(super) struct Call {
    recording: Recording,
    state: State,
}

impl Call {
    pub(super) fn open(
        state: &State,
        at: UnixNanos,
        head: &request::Parts,
        routed: Result<&Route, &Lost>,
        peer: SocketAddr,
    ) -> Self {
        let nowhere;
        let (destination, scope, target) = match routed {
            Ok(route) => (&route.upstream.destination, route.scope.clone(), route.target.as_str()),
            Err(lost) => {
                nowhere = Destination {
                    upstream: lost.upstream.clone().unwrap_or_default(),
                    provider: provider::CUSTOM.to_owned(),
                    server_address: String::new(),
                    server_port: 0,
                };
                let target = head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
                (&nowhere, lost.scope.clone(), target)
            }
        };
        let recording = state.shared.recorder.open(Begin {
            at,
            method: head.method.as_str(),
            target,
            headers: &head.headers,
            destination,
            scope,
            peer: Some(peer),
        });
        state.shared.counters.requests.up();
        state.shared.counters.in_flight.up();
        state.shared.live.enter(&recording);
        Self { recording, state: state.clone() }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn recording(&self) -> &Recording {
        &self.recording
    }

    /// `question`: what was asked of the upstream on the client's behalf; the record says so.
    pub(super) fn answered<B>(&self, response: &Response<B>, question: Option<&Question>) {
        let (at, status) = (self.recording.now(), response.status().as_u16());
        match question {
            None => self.recording.answered(at, status, response.headers()),
            Some(question) => self.recording.answered(at, status, &question.recorded(response.headers())),
        }
    }

    /// A piece of the response. What comes after the end (behind a stream's `[DONE]`) is not recorded.
    pub(super) fn received(&self, bytes: &Bytes) {
        if !self.recording.is_closed() {
            self.recording.received(self.recording.now(), bytes);
        }
    }

    /// Ends the call; `None` when it had ended before. The last byte of a response waits for the `Ack`.
    pub(super) fn end(&self, outcome: Outcome, failure: Option<Failure>) -> Option<Ack> {
        let ack = self.recording.close(self.recording.now(), outcome, failure);
        if ack.is_some() {
            self.state.shared.counters.ended(as_kept(&self.recording, outcome));
        }
        self.state.shared.live.leave(self.recording.id());
        ack
    }

    /// Ends the call and waits until the journal has it.
    pub(super) async fn end_settled(&self, outcome: Outcome, failure: Option<Failure>) {
        if let Some(ack) = self.end(outcome, failure) {
            // Whatever became of it (written, late, dropped), the client has waited long enough.
            let _: crate::journal::Appended = ack.await;
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let (outcome, failure) = if *self.state.shared.cut.borrow() {
            (Outcome::Shutdown, shutdown())
        } else {
            (Outcome::ClientGone, client_left())
        };
        drop(self.end(outcome, Some(failure)));
        self.state.shared.counters.in_flight.down();
    }
}

/// A call whose client left ended so, however it went on.
fn as_kept(recording: &Recording, outcome: Outcome) -> Outcome {
    if recording.left_for().is_some() { Outcome::ClientGone } else { outcome }
}

fn shutdown() -> Failure {
    Failure {
        source: Source::Internal,
        code: "shutdown".to_owned(),
        message: "tapline shut down and cut the call".to_owned(),
    }
}

/// The calls that have not ended, so that shutting down can end them.
#[derive(Debug, Default)]
pub(super) struct Live {
    calls: Mutex<HashMap<CallId, Recording>>,
    emptied: Notify,
}

impl Live {
    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Recording>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, recording: &Recording) {
        self.lock().insert(recording.id(), recording.clone());
    }

    fn leave(&self, call: CallId) {
        let mut calls = self.lock();
        if calls.remove(&call).is_some() && calls.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Resolves when no call is running.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Ends every running call as `Shutdown`, and waits until the journal has that.
    pub(super) async fn cut(&self, state: &State) {
        let running: Vec<Recording> = self.lock().drain().map(|(_, recording)| recording).collect();
        let acks: Vec<Ack> = running
            .iter()
            .filter_map(|recording| {
                let ack = recording.close(recording.now(), Outcome::Shutdown, Some(shutdown()))?;
                state.shared.counters.ended(as_kept(recording, Outcome::Shutdown));
                Some(ack)
            })
            .collect();
        for ack in acks {
            let _: crate::journal::Appended = ack.await;
        }
        self.emptied.notify_waiters();
    }
}
