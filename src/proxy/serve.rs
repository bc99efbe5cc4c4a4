//! Connections: accepted, kept, drained. Tells the proxy's paths from the management faces', and lets the
//! guard see both.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::ServiceExt as _;

use super::{
    Body, BoxError, Config, State, handle,
    respond::{self, Refusal},
    route::{Owner, classify},
};

/// Larger than the default 64 KiB, which would pace a big prompt by round trips.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = 4 << 20;
/// Finds HTTP/2 peers that vanished without a word.
const H2_PING: Duration = Duration::from_secs(30);
/// How long to wait after the system refused a connection for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whoever answers the paths that are not the proxy's. Any infallible `tower::Service` is one; the peer's
/// `SocketAddr` is in the request's extensions.
pub trait Face: Clone + Send + 'static {
    fn answer(self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

impl<S, B> Face for S
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        match self.oneshot(request).await {
            Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(never) => match never {},
        }
    }
}

/// Serves until `shutdown` resolves; then takes no more connections and lets running calls go on, until
/// they are done, the drain time-out is over, or what `shutdown` resolved to resolves itself (a second
/// signal). What still runs then ends as `Shutdown`, is journalled, and is cut.
pub async fn serve<S, H>(listener: TcpListener, state: State, face: impl Face, shutdown: S)
where
    S: Future<Output = H>,
    H: Future<Output = ()>,
{
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let hurry = loop {
        let accepted = tokio::select! {
            hurry = &mut shutdown => break hurry,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = Connection { state: state.clone(), face: face.clone(), peer };
                connections.spawn(connection.run(stream, graceful.watcher()));
            }
            Err(error) => pause(&error).await,
        }
    };
    drop(listener);
    drain(&state, graceful, hurry).await;
    connections.shutdown().await;
}

/// Lets running calls end, then ends those that did not.
async fn drain(state: &State, graceful: GracefulShutdown, hurry: impl Future<Output = ()>) {
    let done = async {
        graceful.shutdown().await;
        // Tunnels outlive their connections.
        state.shared.live.empty().await;
    };
    tokio::select! {
        () = done => return,
        () = hurry => tracing::info!("second signal: cutting the calls that still run"),
        () = tokio::time::sleep(state.ways().config.drain_timeout) => {
            tracing::info!("drain time-out: cutting the calls that still run");
        }
    }
    state.shared.cut.send_replace(true);
    state.shared.live.cut(state).await;
}

async fn pause(error: &io::Error) {
    let of_the_peer = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    );
    if !of_the_peer {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

pub(super) type Server = auto::Builder<TokioExecutor>;

pub(super) fn server(config: &Config) -> Server {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(config.max_headers)
        // hyper panics below its own smallest buffer.
        .max_buf_size(config.max_header_bytes.max(8192))
        .preserve_header_case(true)
        .auto_date_header(false)
        // A client that closes its writing side has left: that is how most leave.
        .half_close(false);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .keep_alive_interval(H2_PING)
        .auto_date_header(false);
    server
}

struct Connection<F> {
    state: State,
    face: F,
    peer: SocketAddr,
}

impl<F: Face> Connection<F> {
    async fn run(self, stream: TcpStream, watcher: hyper_util::server::graceful::Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let Self { state, face, peer } = self;
        let ways = state.ways();
        let header_timeout = ways.config.header_timeout;
        let spoke = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&spoke);
        let service = service_fn(move |request: Request<Incoming>| {
            heard.store(true, Ordering::Relaxed);
            let (state, face) = (state.clone(), face.clone());
            // hyper keeps room for this as long as the connection lives, and it is needed only until the head of
            // the response is there; a stream may go on for hours.
            Box::pin(async move { Ok::<_, Infallible>(answer(state, face, peer, request).await) })
        });
        let connection = ways.server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(watcher.watch(connection.into_owned()));
        // hyper's own time-out starts only once it knows the protocol, from the first bytes.
        let first = tokio::select! {
            ended = &mut connection => Some(ended),
            () = tokio::time::sleep(header_timeout) => None,
        };
        let ended = match first {
            Some(ended) => ended,
            None if spoke.load(Ordering::Relaxed) => connection.await,
            None => return,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "connection ended early");
        }
    }
}

/// HTTP/1.1 has exactly one (RFC 9112, 3.2); whoever sends more means different things to different hops.
fn hosts(headers: &HeaderMap) -> usize {
    headers.get_all(header::HOST).iter().count()
}

async fn answer<F: Face>(
    state: State,
    face: F,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let ways = state.ways();
    let owner = classify(request.uri().path());
    let refusal = if request.method() == Method::CONNECT {
        Err(Refusal::connect())
    } else if request.version() == Version::HTTP_11 && hosts(request.headers()) != 1 {
        Err(Refusal::host(hosts(request.headers())))
    } else {
        ways.guard.check(request.uri(), request.headers(), owner)
    };
    if let Err(refusal) = refusal {
        let (head, body) = request.into_parts();
        return respond::refuse(&refusal, &head.headers, body);
    }
    match owner {
        Owner::Proxy => handle(&state, ways, peer, request).await,
        Owner::Management => {
            request.extensions_mut().insert(peer);
            face.answer(request).await
        }
    }
}
