//! Upstreams that are asked for a stream's usage on the client's behalf (`usage = "ask"`). The one place where the
//! data path changes bytes, and only where the operator chose so: the question goes into the request, the
//! answer to it out of the response. What is changed and how is `wire::ask`'s.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request};
use http_body_util::BodyExt as _;

use super::{
    Upload, Ways, blame::Blame, budget::Ahead, download::is_event_stream, route::Route, upload::Progress,
};
use crate::{
    capture::recorder::Recording,
    model::{call::Dialect, record},
    upstream::UsageWish,
    wire::{self, ask::Filter, flavour},
};

/// A larger request is passed on unasked: it would have to be held whole.
const MAX_REQUEST: u64 = 8 << 20;

/// Whether a request can be asked for its usage, from its head.
pub(super) fn wanted(head: &request::Parts, route: &Route) -> bool {
    let stated = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    route.upstream.usage == UsageWish::Ask
        && asked(route) != flavour::Asked::Nothing
        && head.method == Method::POST
        && !head.headers.contains_key(header::CONTENT_ENCODING)
        && !head.headers.contains_key(header::TRANSFER_ENCODING)
        && stated(header::CONTENT_LENGTH)
            .and_then(|length| length.parse().ok())
            .is_some_and(|length: u64| length <= MAX_REQUEST)
        && matches!(
            wire::detect("POST", &route.target).dialect,
            Dialect::ChatCompletions | Dialect::Completions
        )
}

fn asked(route: &Route) -> flavour::Asked {
    flavour::of(&route.upstream.destination.provider).asked
}

/// A request that was read whole to see whether there is something to ask.
pub(super) struct Question {
    plain: Bytes,
    asking: Option<Bytes>,
    asked: flavour::Asked,
    refused: bool,
}

impl Question {
    /// Reads the body, recording it as it comes: what the client sent is what is recorded. No upstream waits for
    /// it yet, so a client that falls silent is let go by a time-out of its own.
    pub(super) async fn read(
        body: Ahead,
        recording: &Recording,
        ways: &Ways,
        route: &Route,
    ) -> Result<Self, Blame> {
        let limit = ways.config.request_timeout;
        let silence = if limit.is_zero() { Duration::MAX } else { limit };
        let mut whole = BytesMut::new();
        for data in &body.read {
            recording.sent(data);
            whole.extend_from_slice(data);
        }
        let mut body = body.rest;
        while let Some(frame) = tokio::time::timeout(silence, body.frame())
            .await
            .map_err(|_| Blame::slow_upload(whole.len(), limit))?
        {
            let frame = frame.map_err(|error| Blame::of_upload(&error))?;
            if let Some(data) = frame.data_ref() {
                recording.sent(data);
                whole.extend_from_slice(data);
            }
        }
        let plain = whole.freeze();
        let asking = wire::ask::request(&plain);
        Ok(Self { plain, asking, asked: asked(route), refused: false })
    }

    /// The request to send now, its head fitted to it.
    pub(super) fn upload(
        &self,
        head: &request::Parts,
        recording: &Recording,
    ) -> (request::Parts, Upload, Arc<Progress>) {
        let mut head = head.clone();
        let asking = self.asking.as_ref().filter(|_| !self.refused);
        if let Some(body) = asking {
            head.headers.insert(header::CONTENT_LENGTH, body.len().into());
            // Nothing can be taken out of a compressed stream.
            head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let (upload, progress) = Upload::known(asking.unwrap_or(&self.plain).clone(), recording);
        (head, upload, progress)
    }

    /// Whether the answer refuses the question: the plain request is then sent in its place. Nothing was
    /// generated, so nothing is done twice.
    pub(super) fn is_refused<B>(&mut self, response: &Response<B>) -> bool {
        let refusal = matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        let refused = refusal && self.asking.is_some() && !self.refused;
        self.refused |= refused;
        refused
    }

    /// The response's head as it is recorded: it says what was done.
    pub(super) fn recorded(&self, headers: &HeaderMap) -> HeaderMap {
        let mut headers = headers.clone();
        if self.asking.is_some() {
            let done = if self.refused { record::ASKED_REFUSED } else { record::ASKED_DONE };
            headers.insert(record::ASKED, HeaderValue::from_static(done));
        }
        headers
    }

    /// What takes the answer out again, where there is one. The length that was stated is no longer true.
    pub(super) fn filter(&self, headers: &mut HeaderMap) -> Option<Filter> {
        let open = self.asking.is_some() && !self.refused && is_event_stream(headers);
        open.then(|| {
            headers.remove(header::CONTENT_LENGTH);
            Filter::new(self.asked)
        })
    }
}
