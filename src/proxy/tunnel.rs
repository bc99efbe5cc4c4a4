//! What follows a 101: bytes both ways, whatever they mean. One tunnel is one call; a copy of its bytes is
//! recorded, and read behind the journal.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Body, BoxError, call::Call, headers};
use crate::{
    capture::recorder::{Recording, now},
    model::record::{Failure, Outcome, Source},
    upstream::Fault,
};

const PIECE: usize = 16 << 10;

/// The client's side of a tunnel, if it asks for one. Only WebSocket: a client that switches to anything
/// else (`h2c`) could carry further calls past the recording, so that wish is not passed on.
pub(super) fn wanted(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let asks = request.version() == Version::HTTP_11 && is_websocket(request.headers());
    asks.then(|| hyper::upgrade::on(request))
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name, token: &[u8]| {
        let mut tokens =
            headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token))
    };
    has(header::CONNECTION, b"upgrade") && has(header::UPGRADE, b"websocket")
}

/// Passes the 101 on and ties both sides together in the background.
pub(super) fn join(call: Call, client: OnUpgrade, mut response: Response<Incoming>) -> Response<Body> {
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    head.headers = headers::response(&head.headers, Version::HTTP_11, true);
    let mut cut = call.state().shared.cut.subscribe();
    tokio::spawn(async move {
        tokio::select! {
            () = run(&call, client, upstream) => {}
            // The call was ended as `Shutdown` by whoever cut it.
            _ = cut.wait_for(|cut| *cut) => {}
        }
    });
    Response::from_parts(head, Empty::<Bytes>::new().map_err(BoxError::from).boxed_unsync())
}

async fn run(call: &Call, client: OnUpgrade, upstream: OnUpgrade) {
    let ended = match tokio::try_join!(
        async { client.await.map_err(|error| (Source::Client, io::Error::other(error))) },
        async { upstream.await.map_err(|error| (Source::Upstream, io::Error::other(error))) },
    ) {
        Ok((client, upstream)) => copy(call.recording(), client, upstream).await,
        Err(broken) => Err(broken),
    };
    let (outcome, failure) = match ended {
        Ok(()) => (Outcome::Completed, None),
        Err((source, error)) => {
            let fault = Fault::of(&error);
            let (outcome, code) = match source {
                Source::Client => (Outcome::ClientGone, "client_disconnect"),
                _ => (Outcome::UpstreamFailed, fault.code),
            };
            (outcome, Some(Failure { source, code: code.to_owned(), message: fault.message }))
        }
    };
    call.end_settled(outcome, failure).await;
}

async fn copy(
    recording: &Recording,
    client: Upgraded,
    upstream: Upgraded,
) -> Result<(), (Source, io::Error)> {
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_upstream, to_upstream) = tokio::io::split(TokioIo::new(upstream));
    // Recorded as it crosses, so that a tunnel that is cut has its bytes too.
    let up =
        pump(from_client, to_upstream, (Source::Client, Source::Upstream), |bytes| recording.sent(&bytes));
    let down = pump(from_upstream, to_client, (Source::Upstream, Source::Client), |bytes| {
        recording.received(now(), &bytes);
    });
    tokio::try_join!(up, down)?;
    Ok(())
}

/// Copies one direction to its end and passes the end on; an error names the side it came from.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (reader, writer): (Source, Source),
    crossed: impl Fn(Bytes),
) -> Result<(), (Source, io::Error)> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await.map_err(|error| (reader, error))?;
        let bytes = piece.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return to.shutdown().await.map_err(|error| (writer, error));
        }
        to.write_all(bytes).await.map_err(|error| (writer, error))?;
        to.flush().await.map_err(|error| (writer, error))?;
        crossed(Bytes::copy_from_slice(bytes));
    }
}
