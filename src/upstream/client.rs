//! The one outbound client: HTTP/1.1 only (one call per connection, so nothing queues behind another),
//! a pool per host, header case kept. It adds nothing to a request, follows no redirect, reads no proxy
//! variable.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::{Deserialize, Serialize};

use super::Upstreams;
use crate::model::{Error, duration};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How connections to upstreams are made and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name look-up, TCP and TLS together.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Below what upstreams themselves allow (a load balancer's 60 s), so that the pool never hands out
    /// a connection that is closing.
    #[serde(with = "duration")]
    pub pool_idle_timeout: Duration,
    pub pool_max_idle_per_host: usize,
    #[serde(with = "duration")]
    pub tcp_keepalive: Duration,
    /// Headers of one response; hyper refuses a response with more.
    pub max_headers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            pool_idle_timeout: Duration::from_secs(45),
            pool_max_idle_per_host: 256,
            tcp_keepalive: Duration::from_secs(60),
            max_headers: 256,
        }
    }
}

pub type Client<B> = legacy::Client<Connector, B>;

/// Builds the client. Certificates come from the system (`SSL_CERT_FILE` is honoured); they are only
/// demanded when an upstream needs them.
pub fn client<B>(config: &Config, upstreams: &Upstreams) -> Result<Client<B>, Error>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(config.tcp_keepalive));
    http.set_connect_timeout(Some(config.connect_timeout));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(upstreams.is_secure())?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(config.pool_idle_timeout)
        .pool_max_idle_per_host(config.pool_max_idle_per_host)
        .http1_preserve_header_case(true)
        .http1_max_headers(config.max_headers)
        .set_host(false)
        .build(Connector { inner: https, timeout: config.connect_timeout }))
}

fn tls(needed: bool) -> Result<rustls::ClientConfig, Error> {
    let builder =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal(format!("cannot set up tls: {error}")))?;
    if !needed {
        return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    let builder = hyper_rustls::ConfigBuilderExt::with_native_roots(builder).map_err(|error| {
        Error::invalid(format!(
            "expected the system's root certificates, found none that are usable: {error}; install them or set \
             SSL_CERT_FILE"
        ))
    })?;
    Ok(builder.with_no_client_auth())
}

/// Bounds the whole of connecting: the inner time-out covers TCP alone, and a TLS peer that never
/// answers would hold a call for ever.
#[derive(Debug, Clone)]
pub struct Connector {
    inner: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

/// Connecting took too long.
#[derive(Debug)]
pub struct ConnectTimedOut(pub Duration);

impl fmt::Display for ConnectTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection within {}", duration::print(self.0))
    }
}

impl std::error::Error for ConnectTimedOut {}

impl tower::Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector> as tower::Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        tower::Service::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tower::Service::call(&mut self.inner, uri);
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectTimedOut(timeout).into()),
            }
        })
    }
}
