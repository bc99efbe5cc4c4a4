//! The yardstick: the least that a proxy on hyper can do. It forwards heads and bodies and keeps nothing.

use http::{Request, Response, Uri};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

use crate::roles;

/// The runtime is the kind that tapline runs on.
pub fn run(upstream: u16) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Incoming> =
            Client::builder(TokioExecutor::new()).set_host(false).build(connector);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        roles::ready(listener.local_addr()?.port())?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let client = client.clone();
            let service = service_fn(move |request| forward(client.clone(), upstream, request));
            tokio::spawn(async move {
                // A connection that breaks is its client's to notice.
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    })
}

async fn forward(
    client: Client<HttpConnector, Incoming>,
    upstream: u16,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = format!("http://127.0.0.1:{upstream}{path}").parse::<Uri>()?;
    Ok(client.request(request).await?)
}
