//! The request body on its way up: each frame goes on as it came, and a copy of it to the recording.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::Notify;

use super::{blame::Blame, budget::Ahead};
use crate::capture::recorder::Recording;

/// What is read, and for how long, of a body that no upstream takes any more. A client that writes its
/// whole request before it reads would otherwise see a reset instead of the answer.
const LINGER_BYTES: u64 = 64 << 20;
const LINGER_TIME: Duration = Duration::from_secs(30);
/// How long an answer of our own waits for the rest of the request, so that a call that reached nobody still
/// tells what was asked. A client that has sent everything costs microseconds.
const REST_TIME: Duration = Duration::from_millis(100);

/// How an upload fares, seen from the response's side.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds from `began` to the last frame.
    last: AtomicU64,
    blame: OnceLock<Blame>,
    /// Told once when nothing more of the body will be recorded.
    ended: Notify,
}

impl Progress {
    /// Waits, a little, until the body that no upstream took is read and recorded.
    pub(super) async fn rest(&self) {
        // In time or not: what came is recorded.
        drop(tokio::time::timeout(REST_TIME, self.ended.notified()).await);
    }

    fn touch(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// How long ago the last frame went up.
    pub(super) fn quiet_for(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// Why the client's body broke, if it did: then nothing that follows is the upstream's fault.
    pub(super) fn blame(&self) -> Option<Blame> {
        self.blame.get().cloned()
    }
}

#[derive(Debug)]
pub(super) struct Upload {
    /// What was read before the call was let through; it goes first.
    ahead: VecDeque<Bytes>,
    /// Until its end or its failure.
    inner: Option<Incoming>,
    /// A body that is known and recorded already.
    known: Option<Bytes>,
    recording: Recording,
    progress: Arc<Progress>,
    lingers: bool,
}

impl Upload {
    pub(super) fn new(body: Ahead, recording: &Recording, headers: &HeaderMap) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress {
            began: Instant::now(),
            last: AtomicU64::new(0),
            blame: OnceLock::new(),
            ended: Notify::new(),
        });
        let upload = Self {
            ahead: body.read,
            inner: Some(body.rest),
            known: None,
            recording: recording.clone(),
            progress: Arc::clone(&progress),
            lingers: may_linger(headers),
        };
        (upload, progress)
    }

    /// A body that was read and recorded before.
    pub(super) fn known(body: Bytes, recording: &Recording) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress {
            began: Instant::now(),
            last: AtomicU64::new(0),
            blame: OnceLock::new(),
            ended: Notify::new(),
        });
        let upload = Self {
            ahead: VecDeque::new(),
            inner: None,
            known: Some(body).filter(|body| !body.is_empty()),
            recording: recording.clone(),
            progress: Arc::clone(&progress),
            lingers: false,
        };
        (upload, progress)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(data) = self.ahead.pop_front() {
            self.progress.touch();
            if !self.recording.is_closed() {
                self.recording.sent(&data);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(self.known.take().map(|body| Ok(Frame::data(body))));
        };
        let polled = std::task::ready!(Pin::new(inner).poll_frame(cx));
        self.progress.touch();
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref()
                    && !self.recording.is_closed()
                {
                    self.recording.sent(data);
                }
            }
            Some(Err(error)) => {
                // Only the first word counts; a second error of the same body says nothing new.
                self.progress.blame.get_or_init(|| Blame::of_upload(error));
                self.inner = None;
            }
            None => self.inner = None,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.known.is_none() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let known = self.known.as_ref().map_or(0, |body| body.len() as u64);
        let rest = self.inner.as_ref().map_or_else(|| SizeHint::with_exact(known), Body::size_hint);
        let ahead: u64 = self.ahead.iter().map(|data| data.len() as u64).sum();
        let mut whole = SizeHint::new();
        whole.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            whole.set_upper(upper + ahead);
        }
        whole
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        match self.inner.take() {
            Some(body) if self.lingers => {
                let (recording, progress) = (self.recording.clone(), Arc::clone(&self.progress));
                linger(body, move |frame| match frame {
                    Some(data) if !recording.is_closed() => recording.sent(data),
                    Some(_) => {}
                    None => progress.ended.notify_one(),
                });
            }
            _ => self.progress.ended.notify_one(),
        }
    }
}

/// A client that waits for `100 Continue` has sent nothing, and reading would make hyper ask for it.
pub(super) fn may_linger(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::EXPECT)
}

/// Reads a body away in the background, within bounds. `seen` is given each frame's data, and `None` at the end.
pub(super) fn linger(mut body: Incoming, mut seen: impl FnMut(Option<&Bytes>) + Send + 'static) {
    let runtime = tokio::runtime::Handle::try_current();
    let (Ok(runtime), false) = (runtime, body.is_end_stream()) else {
        seen(None);
        return;
    };
    runtime.spawn(async move {
        let read_away = async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                let Some(data) = frame.data_ref() else { continue };
                seen(Some(data));
                read += data.len() as u64;
                if read > LINGER_BYTES {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(LINGER_TIME, read_away).await);
        seen(None);
    });
}
