//! A client of MLflow's tracking API: tapline's own face, and MLflow's own server. JSON in, JSON out; what a
//! server refuses is an error with its own sentence.

use std::time::Duration;

use anyhow::Context as _;
use http::{StatusCode, header};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::{artifacts::Content, model::Error};

/// Longer than any one answer takes; MLflow's own client waits as long.
const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Clone)]
pub struct Tracking {
    client: reqwest::Client,
    base: Url,
    credentials: Option<Credentials>,
}

#[derive(Clone)]
enum Credentials {
    Basic(String, String),
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// A server said no.
#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {})", self.message, self.status.as_u16(), self.code)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// Whether an error is a server's word that something is not there.
    pub fn is_missing(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Self>().is_some_and(|refused| refused.code == "RESOURCE_DOES_NOT_EXIST")
    }
}

impl Tracking {
    /// The server at an address such as `http://127.0.0.1:5000`. Credentials are those that MLflow's client
    /// takes from its environment.
    pub fn at(address: &str) -> anyhow::Result<Self> {
        let wrong = || {
            Error::invalid(format!("expected an address such as http://127.0.0.1:5000, found {address:?}"))
        };
        let mut base = Url::parse(address).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(wrong().into());
        }
        base.set_query(None);
        base.set_fragment(None);
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let credentials = match (set("MLFLOW_TRACKING_USERNAME"), set("MLFLOW_TRACKING_TOKEN")) {
            (Some(user), _) => {
                Some(Credentials::Basic(user, set("MLFLOW_TRACKING_PASSWORD").unwrap_or_default()))
            }
            (None, token) => token.map(Credentials::Bearer),
        };
        let builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(TIMEOUT)
            .user_agent(concat!("tapline/", env!("CARGO_PKG_VERSION")));
        let builder = if is_loopback(&base) { builder.no_proxy() } else { builder };
        let client = builder.build().context("no HTTP client could be made")?;
        Ok(Self { client, base, credentials })
    }

    /// A request to a path below the server's base, credentials included.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let request = self.client.request(method, url);
        match &self.credentials {
            Some(Credentials::Basic(user, password)) => request.basic_auth(user, Some(password)),
            Some(Credentials::Bearer(token)) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.json(self.request(Method::GET, &api(path)).query(query)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, &api(path));
        self.json(request.header(header::CONTENT_TYPE, "application/json").body(body.to_string())).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.request(Method::PATCH, &api(path));
        self.json(request.header(header::CONTENT_TYPE, "application/json").body(body.to_string())).await
    }

    /// Puts a file where the server keeps artifacts.
    pub async fn upload(&self, path: &str, size: u64, content: Content) -> anyhow::Result<()> {
        // Pieces come as they are read; the length is told, so that a file that is cut short is refused.
        let request = self
            .request(Method::PUT, &format!("/api/2.0/mlflow-artifacts/artifacts/{path}"))
            .timeout(TIMEOUT * 30)
            .header(header::CONTENT_LENGTH, size)
            .body(reqwest::Body::wrap_stream(content));
        self.send(request).await?;
        Ok(())
    }

    async fn json(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let bytes = self.send(request).await?.bytes().await.context("the answer broke off")?;
        serde_json::from_slice(&bytes).with_context(|| format!("expected JSON from {}", self.base))
    }

    /// Sends; an answer that is an error is one here.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let response = request.send().await.map_err(|error| {
            Error::busy(format!(
                "expected a tracking server at {}, found none ({})",
                self.base,
                cause(&error)
            ))
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        Err(Refused {
            status,
            code: text("error_code").unwrap_or_else(|| "no error code".to_owned()),
            message: text("message").unwrap_or_else(|| format!("the server at {} refused", self.base)),
        }
        .into())
    }

    /// The id of the experiment of this name, made when there is none.
    pub async fn experiment(&self, name: &str) -> anyhow::Result<String> {
        let found = match self.get("experiments/get-by-name", &[("experiment_name", name)]).await {
            Ok(found) => found["experiment"].clone(),
            Err(error) if Refused::is_missing(&error) => {
                self.post("experiments/create", &serde_json::json!({ "name": name })).await?
            }
            Err(error) => return Err(error),
        };
        if found["lifecycle_stage"] == "deleted" {
            return Err(Error::conflict(format!(
                "expected an active experiment {name:?}, found it deleted: restore it or name another"
            ))
            .into());
        }
        found["experiment_id"]
            .as_str()
            .map(str::to_owned)
            .context("expected the experiment's id from the server")
    }
}

fn api(path: &str) -> String {
    format!("/api/2.0/mlflow/{path}")
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    })
}

/// The innermost reason, which is what a person can act on.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().to_lowercase()
}
