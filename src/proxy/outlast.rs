//! Calls that go on when their client has left, where their upstream is configured so: an upstream that is cut
//! off before its last event has cost what it cost, and only that event would tell. Bounded in time and bytes.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use super::{Body as AnyBody, BoxError, State, Ways, download::Download, respond};
use crate::capture::recorder::Recording;

/// Runs an exchange until its response, also when nobody waits for that any more. A response without its client
/// ends as any other does that loses its client.
pub(super) async fn exchange(
    state: &State,
    ways: Arc<Ways>,
    recording: Recording,
    exchange: impl Future<Output = Response<AnyBody>> + Send + 'static,
) -> Response<AnyBody> {
    let (answer, answered) = oneshot::channel();
    let mut cut = state.shared.cut.subscribe();
    tokio::spawn(async move {
        let mut answer = answer;
        let response = {
            let left = async {
                answer.closed().await;
                recording.client_left();
                sleep(ways.config.client_gone_timeout).await;
            };
            tokio::select! {
                response = exchange => Some(response),
                () = left => None,
                // The call was ended as `Shutdown` by whoever cut it.
                _ = cut.wait_for(|cut| *cut) => None,
            }
        };
        if let Some(response) = response {
            // Nobody there: the response's body goes on without a reader, if it has one.
            drop(answer.send(response));
        }
    });
    // Only a cut ends the exchange without a response while somebody waits.
    answered.await.unwrap_or_else(|_| respond::cut())
}

/// A response body that is read to its end also when its client has left.
pub(super) struct Outlasting {
    inner: Option<Download>,
    ways: Arc<Ways>,
    cut: watch::Receiver<bool>,
}

impl Outlasting {
    pub(super) fn new(inner: Download, ways: Arc<Ways>, state: &State) -> Self {
        Self { inner: Some(inner), ways, cut: state.shared.cut.subscribe() }
    }
}

impl Body for Outlasting {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.inner.as_mut().map_or(Poll::Ready(None), |inner| Pin::new(inner).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Outlasting {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        let recording = inner.recording().clone();
        let (Ok(runtime), false) = (tokio::runtime::Handle::try_current(), recording.is_closed()) else {
            return;
        };
        recording.client_left();
        let limit =
            self.ways.config.client_gone_timeout.saturating_sub(recording.left_for().unwrap_or_default());
        let (bytes, mut cut) = (self.ways.config.client_gone_bytes, self.cut.clone());
        runtime.spawn(async move {
            tokio::select! {
                () = drain(inner, limit, bytes) => {}
                _ = cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}

/// Reads on for so long and so much. Dropping what is left lets the upstream go.
async fn drain(mut body: Download, limit: Duration, bytes: u64) {
    let read = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, |data| data.len() as u64);
            if read >= bytes {
                return;
            }
        }
    };
    drop(timeout(limit, read).await);
}
