//! The response on its way down: each frame goes on as it came and a copy of it to the recording; only
//! the last byte waits, until the journal has the call (invariant 4).

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Response, Version, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::{
    Body as AnyBody, BoxError, Ways, ask::Question, blame::Blame, call::Call, headers, outlast::Outlasting,
    route::Route, upload::Progress,
};
use crate::{
    capture::recorder::Recording,
    journal::Ack,
    model::{duration, record::Outcome},
    upstream::{Fault, OnClientGone},
    wire::ask::Filter,
};

/// The upstream's response as the client gets it.
pub(super) async fn relay(
    call: Call,
    ways: Arc<Ways>,
    route: &Route,
    response: Response<Incoming>,
    version: Version,
    progress: Arc<Progress>,
    question: Option<Question>,
) -> Response<AnyBody> {
    let (mut head, body) = response.into_parts();
    head.headers = headers::response(&head.headers, version, false);
    let filter = question.and_then(|question| question.filter(&mut head.headers));
    // The version is this hop's own. Passed on, an upstream's HTTP/1.0 would make hyper end the body with
    // the connection, and a body that broke off would look whole.
    head.version = Version::HTTP_11;
    let body = if body.is_end_stream() {
        // The head is all there is, so the head waits.
        call.end_settled(Outcome::Completed, None).await;
        match stated_length(&head.headers) {
            Some(length) if version <= Version::HTTP_11 => {
                Stated(length).map_err(BoxError::from).boxed_unsync()
            }
            _ => Empty::new().map_err(BoxError::from).boxed_unsync(),
        }
    } else {
        let state = call.state().clone();
        let idle_timeout = route.upstream.idle_timeout.unwrap_or(ways.config.idle_timeout);
        let mut download =
            Download { filter, ..Download::new(call, &head.headers, body, progress, idle_timeout) };
        download.begin().await;
        match route.upstream.on_client_gone {
            OnClientGone::Cancel => download.boxed_unsync(),
            OnClientGone::Drain => Outlasting::new(download, ways, &state).boxed_unsync(),
        }
    };
    Response::from_parts(head, body)
}

fn stated_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// No body, under a head that states a length (304, HEAD, or just zero): hyper drops that header, or moves
/// it to the end, for a body that it knows to be empty.
struct Stated(u64);

impl Body for Stated {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

enum Phase {
    Streaming,
    /// A frame (or, without one, the end of the stream) waits for the journal.
    Holding {
        ack: Pin<Box<Ack>>,
        frame: Option<Frame<Bytes>>,
        ends: bool,
    },
    /// The upstream broke off. The client's connection is told at the next poll, after what is buffered
    /// had its chance to leave.
    Breaking {
        error: BoxError,
        told: bool,
    },
    Ended,
}

pub(super) struct Download {
    call: Call,
    inner: Incoming,
    progress: Arc<Progress>,
    phase: Phase,
    /// What is still to come, where the framing tells.
    remaining: Option<u64>,
    /// Looks for the dialect's own end in an event stream.
    done: Option<DoneMark>,
    idle_timeout: Duration,
    waiting_since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Takes the usage out that was asked for on the client's behalf.
    filter: Option<Filter>,
    /// What came with the head, and leaves with it.
    ahead: Option<Result<Frame<Bytes>, BoxError>>,
}

impl Download {
    fn new(
        call: Call,
        headers: &HeaderMap,
        inner: Incoming,
        progress: Arc<Progress>,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            remaining: inner.size_hint().exact(),
            done: is_event_stream(headers).then(DoneMark::default),
            idle_timeout,
            phase: Phase::Streaming,
            waiting_since: None,
            alarm: None,
            filter: None,
            ahead: None,
            call,
            inner,
            progress,
        }
    }

    /// Takes what came with the head. Where that is all there is, head and body leave together once the journal has
    /// the call: the last byte waits in any case, and two writes cost the client and us twice. A head that came
    /// alone leaves alone.
    async fn begin(&mut self) {
        poll_fn(|cx| match Pin::new(&mut *self).poll_frame(cx) {
            Poll::Pending if matches!(self.phase, Phase::Holding { .. }) => Poll::Pending,
            Poll::Pending => {
                // The head has still to leave before the client is told.
                if let Phase::Breaking { told, .. } = &mut self.phase {
                    *told = false;
                }
                Poll::Ready(())
            }
            Poll::Ready(Some(first)) => {
                self.ahead = Some(first);
                Poll::Ready(())
            }
            // Told once more, so that an empty body keeps the framing it came in.
            Poll::Ready(None) => {
                self.phase = Phase::Streaming;
                Poll::Ready(())
            }
        })
        .await;
    }

    pub(super) fn recording(&self) -> &Recording {
        self.call.recording()
    }

    /// Takes a frame's copy; returns the frame if it may leave at once.
    fn pass(&mut self, mut frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let (ends, holds) = match frame.data_ref() {
            Some(data) => {
                self.call.received(data);
                if let Some(remaining) = &mut self.remaining {
                    *remaining = remaining.saturating_sub(data.len() as u64);
                }
                let ends = self.remaining == Some(0);
                // Many clients read no further than the dialect's end, so it counts as the last byte.
                (ends, ends || self.done.as_mut().is_some_and(|done| done.push(data)))
            }
            // Trailers are the last of a stream.
            None => (true, true),
        };
        if let (Some(filter), Some(data)) = (&mut self.filter, frame.data_ref()) {
            let mut left = filter.push(data);
            if ends {
                left = [left, filter.finish()].concat().into();
            }
            frame = Frame::data(left);
        }
        let empty = self.filter.is_some() && frame.data_ref().is_some_and(Bytes::is_empty);
        if holds { self.hold(Some(frame).filter(|_| !empty), ends) } else { Some(frame).filter(|_| !empty) }
    }

    /// What the filter holds when nothing more comes.
    fn rest(&mut self) -> Option<Frame<Bytes>> {
        let rest = self.filter.as_mut()?.finish();
        (!rest.is_empty()).then(|| Frame::data(rest))
    }

    /// Ends the call and holds the frame until the journal has that.
    fn hold(&mut self, frame: Option<Frame<Bytes>>, ends: bool) -> Option<Frame<Bytes>> {
        match self.call.end(Outcome::Completed, None) {
            Some(ack) => {
                self.phase = Phase::Holding { ack: Box::pin(ack), frame, ends };
                None
            }
            // It had ended before: behind `[DONE]`, or cut.
            None => {
                if ends {
                    self.phase = Phase::Ended;
                }
                frame
            }
        }
    }

    fn break_off(&mut self, blame: &Blame, error: BoxError) {
        drop(self.call.end(blame.outcome(), Some(blame.failure())));
        self.phase = Phase::Breaking { error, told: false };
    }

    /// Ready when the upstream has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.idle_timeout.is_zero() {
            return Poll::Pending;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let deadline = since + self.idle_timeout;
        // One alarm for the whole stream: it rings too early and is then set on, never per frame.
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        loop {
            ready!(alarm.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline.into());
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(ahead) = this.ahead.take() {
            return Poll::Ready(Some(ahead));
        }
        loop {
            match &mut this.phase {
                Phase::Streaming => match Pin::new(&mut this.inner).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        this.waiting_since = None;
                        if let Some(frame) = this.pass(frame) {
                            return Poll::Ready(Some(Ok(frame)));
                        }
                    }
                    Poll::Ready(None) => {
                        // A stream without a stated length ends here, and its end is its last byte.
                        let rest = this.rest();
                        if let Some(rest) = this.hold(rest, true) {
                            return Poll::Ready(Some(Ok(rest)));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        let blame = this.progress.blame().unwrap_or_else(|| Blame::of_download(&error));
                        this.break_off(&blame, error.into());
                        if let Some(rest) = this.rest() {
                            return Poll::Ready(Some(Ok(rest)));
                        }
                    }
                    Poll::Pending => {
                        ready!(this.poll_silence(cx));
                        let silence = duration::print(this.idle_timeout);
                        let message = format!("the upstream fell silent inside its response for {silence}");
                        let blame = Blame::Upstream(Fault::timeout(message.clone()));
                        this.break_off(&blame, message.into());
                    }
                },
                Phase::Holding { ack, frame, ends } => {
                    // Written, late or dropped: the client waits no longer.
                    let _: crate::journal::Appended = ready!(ack.as_mut().poll(cx));
                    let frame = frame.take();
                    this.phase = if *ends { Phase::Ended } else { Phase::Streaming };
                    if let Some(frame) = frame {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Phase::Breaking { told, .. } if !*told => {
                    *told = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Phase::Breaking { .. } => {
                    return match std::mem::replace(&mut this.phase, Phase::Ended) {
                        Phase::Breaking { error, .. } => Poll::Ready(Some(Err(error))),
                        _ => Poll::Ready(None),
                    };
                }
                Phase::Ended => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Ended) && self.ahead.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let stated = self.remaining.filter(|_| self.filter.is_none());
        let ahead = self
            .ahead
            .iter()
            .flatten()
            .filter_map(Frame::data_ref)
            .map(|data| data.len() as u64)
            .sum::<u64>();
        stated.map_or_else(SizeHint::default, |remaining| SizeHint::with_exact(remaining + ahead))
    }
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let plain = !headers.contains_key(header::CONTENT_ENCODING);
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let event_stream = b"text/event-stream";
    plain && kind.get(..event_stream.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(event_stream))
}

/// Finds `data: [DONE]` and its blank line at the end of what has come, however the frames cut it.
#[derive(Debug, Default)]
struct DoneMark {
    tail: Vec<u8>,
}

impl DoneMark {
    /// The mark with its longest line ends, and the byte before it.
    const WINDOW: usize = 20;

    fn push(&mut self, data: &[u8]) -> bool {
        let from = data.len().saturating_sub(Self::WINDOW);
        self.tail.extend_from_slice(data.get(from..).unwrap_or_default());
        let excess = self.tail.len().saturating_sub(Self::WINDOW);
        self.tail.drain(..excess);
        let tail = &self.tail[..];
        let line = [&b"\r\n\r\n"[..], b"\n\n", b"\r\r"].iter().find_map(|blank| tail.strip_suffix(*blank));
        let before = line.and_then(|line| {
            line.strip_suffix(b"data: [DONE]").or_else(|| line.strip_suffix(b"data:[DONE]"))
        });
        before.is_some_and(|before| matches!(before.last(), None | Some(b'\n' | b'\r')))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_mark_is_found_however_frames_cut_it(
            cuts in proptest::collection::vec(0usize..60, 0..6),
            end in prop_oneof![Just("\n\n"), Just("\r\n\r\n"), Just("\r\r")],
            space in prop_oneof![Just(" "), Just("")],
        ) {
            let text = format!("data: {{\"x\":1}}\n\ndata:{space}[DONE]{end}");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut mark = DoneMark::default();
            let mut from = 0;
            let mut found = Vec::new();
            for cut in cuts {
                found.push(mark.push(&text.as_bytes()[from..cut]));
                from = cut;
            }
            prop_assert_eq!(found.last(), Some(&true));
        }
    }

    #[test]
    fn nothing_else_is_the_mark() {
        for text in [
            "data: [DONE]\n",
            "data: [DONE]",
            "data: {\"a\":\"data: [DONE]\"}\n\n",
            "xdata: [DONE]\n\n",
            "\n\n",
            "",
        ] {
            assert!(!DoneMark::default().push(text.as_bytes()), "{text:?}");
        }
        assert!(DoneMark::default().push(b"data: [DONE]\n\n"));
    }
}
