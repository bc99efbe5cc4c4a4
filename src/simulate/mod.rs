//! A built-in provider that speaks the OpenAI API, and Anthropic's: for the demo, for tests, and for trying a program
//! without a key. It makes answers up, deterministically, and misbehaves on demand; it imports nothing of
//! the proxy, so that what the proxy is tested against is not the proxy's own reading of the API.

mod answer;
mod ask;
mod audio;
mod batches;
mod cache;
mod call;
mod chat;
mod completions;
mod dice;
mod embeddings;
mod endpoint;
mod form;
mod images;
mod instance;
mod messages;
mod models;
mod moderations;
mod prose;
mod refusal;
mod rerank;
mod responses;
mod script;
mod shelf;
mod simulator;
mod socket;
mod stored;
mod text;
mod videos;
mod wire;

#[cfg(test)]
mod tests;

use std::{io, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::net::TcpListener;

use simulator::Simulator;
use wire::{Link, Socket};

/// Chat models that are always there, and the embedding model.
pub const SMALL: &str = "sim-small";
/// Thinks before it answers (`reasoning_content`).
pub const LARGE: &str = "sim-large";
pub const EMBED: &str = "sim-embed";

/// How long answers in flight may take after shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
pub struct Config {
    /// From the request to the first byte of the answer.
    pub latency: Duration,
    /// Between two events of a stream.
    pub chunk_interval: Duration,
    /// With a seed, equal requests get equal bodies, ids and times included; without one the words are still
    /// the same, and ids and times are fresh.
    pub seed: Option<u64>,
    /// Accepted API keys; any key, or none, when empty.
    pub keys: Vec<String>,
}

/// Serves until `shutdown` resolves; then answers in flight get a few seconds to end.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    // The encoding takes a noticeable part of a second to load; the first caller should not wait for it.
    drop(tokio::task::spawn_blocking(|| text::count("warm")));
    let simulator = Arc::new(Simulator::new(config));
    let graceful = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, or a peer that left at once: neither ends the server.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        stream.set_nodelay(true)?;
        let link = Link::default();
        let socket = Socket::new(stream, link.clone());
        let simulator = Arc::clone(&simulator);
        let service = service_fn(move |request| {
            let (simulator, link) = (Arc::clone(&simulator), link.clone());
            async move { simulator.answer(request, link).await }
        });
        let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
        http.http1().timer(TokioTimer::new());
        let connection = http.serve_connection_with_upgrades(TokioIo::new(socket), service);
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("answers were still in flight at the end of the drain time and were cut");
    }
    Ok(())
}
