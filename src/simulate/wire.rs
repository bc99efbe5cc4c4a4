//! Bodies as they go out: paced, and broken where a script says so; and the socket that can reset itself.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::script::Break;

pub(super) type Body = UnsyncBoxBody<Bytes, Broken>;

/// The scripted end of a connection, as the error that makes the server drop it.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was broken off as scripted")
    }
}

impl std::error::Error for Broken {}

/// The connection's switch from closing orderly to resetting.
#[derive(Debug, Clone, Default)]
pub(super) struct Link(Arc<AtomicBool>);

impl Link {
    pub(super) fn reset_on_close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How the events of a stream leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    /// A pause once, before this event.
    pub(super) stall: Option<(usize, Duration)>,
}

pub(super) fn plain(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Frames one after the other, `pace` apart; after the last the orderly end, or the break.
pub(super) fn paced(frames: Vec<Bytes>, pace: Pace, breaks: Option<Break>, link: Link) -> Body {
    let steps = frames.into_iter().enumerate();
    StreamBody::new(stream::unfold((steps, link, false), move |(mut steps, link, over)| async move {
        match steps.next() {
            Some((index, frame)) => {
                if index > 0 && !pace.interval.is_zero() {
                    tokio::time::sleep(pace.interval).await;
                }
                if let Some((_, pause)) = pace.stall.filter(|(before, _)| *before == index) {
                    tokio::time::sleep(pause).await;
                }
                Some((Ok(Frame::data(frame)), (steps, link, false)))
            }
            None if over => None,
            None => {
                match breaks? {
                    Break::Error(_) => return None,
                    Break::Cut(_) => {}
                    Break::Reset(_) => link.reset_on_close(),
                }
                // Gives the server the turn in which it writes out what it holds: an error drops the rest.
                tokio::time::sleep(Duration::from_millis(2)).await;
                Some((Err(Broken), (steps, link, true)))
            }
        }
    }))
    .boxed_unsync()
}

/// A TCP stream that is reset, not closed, once its `Link` says so.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    link: Link,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, link: Link) -> Self {
        Self { stream, link }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.link.0.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "could not arm the scripted reset");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
