//! Where the reading verbs get their answers: the query API of a running tapline, or, when none runs, the
//! same routes inside this process over the store's files, opened for reading only.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use reqwest::Url;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use super::{FAILED, Stop, UNREACHABLE, USAGE, output::Output};
use crate::{
    api::{self, ErrorBody},
    capture::recorder,
    store::{self, Store},
};

const DEFAULT_URL: &str = "http://127.0.0.1:4000";
const DEFAULT_DATA: &str = "./tapline-data";
/// The store's file inside its directory.
const STORE_FILE: &str = "tapline.db";

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where to read")]
pub(super) struct Reach {
    /// The running tapline to ask [default: http://127.0.0.1:4000].
    #[arg(long, env = "TAPLINE_URL", value_name = "URL")]
    url: Option<String>,
    /// The store to read when no tapline runs; alone, it is read without asking any server
    /// [default: ./tapline-data].
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
}

/// An answer that was not an error.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

#[derive(Debug)]
enum Place {
    Server { client: reqwest::Client, base: Url },
    Store(axum::Router),
}

/// A place that answers queries.
#[derive(Debug)]
pub(super) struct Api {
    place: Place,
}

/// What is at an address.
#[derive(Debug)]
pub(super) enum Found {
    Server(Api),
    Nobody { named: String, local: bool, cause: String },
}

impl Reach {
    pub(super) fn to(url: Option<&str>, data: Option<&Path>) -> Self {
        Self { url: url.map(str::to_owned), data: data.map(Path::to_owned) }
    }

    /// Finds out who answers: the server, else the store. Says on standard error when it is the store.
    pub(super) async fn open(&self, output: &Output) -> anyhow::Result<Api> {
        if let (None, Some(data)) = (&self.url, &self.data) {
            return Api::of_store(data);
        }
        let (named, local, cause) = match self.find().await? {
            Found::Server(api) => return Ok(api),
            Found::Nobody { named, local, cause } => (named, local, cause),
        };
        let data = self.data.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        // The files here say nothing about a tapline on another machine.
        let stands_in = local || self.data.is_some();
        if stands_in && data.join(STORE_FILE).is_file() {
            output.note(&format!(
                "no tapline at {named}; reading the store in {} itself, without calls that are still in its journal",
                data.display()
            ));
            return Api::of_store(&data);
        }
        let store = if stands_in {
            format!(
                " and no store in {}; start one with `tapline serve` or name its directory with --data",
                data.display()
            )
        } else {
            String::new()
        };
        Err(Stop::error(UNREACHABLE, format!("expected a tapline at {named}, found none ({cause}){store}")))
    }

    /// The running tapline at the address, if one runs there.
    pub(super) async fn find(&self) -> anyhow::Result<Found> {
        let named = self.url.as_deref().unwrap_or(DEFAULT_URL);
        let base = base(named)?;
        let local = is_loopback(&base);
        let client = client(local)?;
        match client.get(at(&base, "/api/v1/openapi.json", &[])).send().await {
            Ok(response) if response.status().is_success() => {
                Ok(Found::Server(Api { place: Place::Server { client, base } }))
            }
            Ok(response) => Err(Stop::error(
                FAILED,
                format!("expected a tapline at {named}, found something that answers {}", response.status()),
            )),
            Err(error) => Ok(Found::Nobody { named: named.to_owned(), local, cause: cause(&error) }),
        }
    }

    /// The server alone: for what only a running one can say.
    pub(super) async fn server(&self) -> anyhow::Result<Api> {
        let named = self.url.as_deref().unwrap_or(DEFAULT_URL);
        let base = base(named)?;
        let client = client(is_loopback(&base))?;
        match client.get(at(&base, "/readyz", &[])).send().await {
            Ok(_) => Ok(Api { place: Place::Server { client, base } }),
            Err(error) => Err(Stop::error(
                UNREACHABLE,
                format!("expected a tapline at {named}, found none ({})", cause(&error)),
            )),
        }
    }
}

impl Api {
    fn of_store(directory: &Path) -> anyhow::Result<Self> {
        let store = Store::open_read_only(&store::Config::default(), directory).map_err(|error| {
            Stop::error(UNREACHABLE, format!("the store in {} cannot be read: {error}", directory.display()))
        })?;
        Ok(Self::of_router(api::router(api::State::settled(store, recorder::now))))
    }

    pub(super) fn of_router(router: axum::Router) -> Self {
        Self { place: Place::Store(router) }
    }

    /// The server's address without a slash at its end; a store has none.
    pub(super) fn base(&self) -> Option<String> {
        match &self.place {
            Place::Server { base, .. } => Some(base.as_str().trim_end_matches('/').to_owned()),
            Place::Store(_) => None,
        }
    }

    /// Asks; an error answer becomes an error with the exit code that fits it.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
        headers: &[(&'static str, String)],
    ) -> anyhow::Result<Answer> {
        self.request(http::Method::GET, path, query, headers).await
    }

    /// As `get`, with a method that changes something.
    pub(super) async fn ask(
        &self,
        method: http::Method,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<Answer> {
        self.request(method, path, query, &[]).await
    }

    async fn request(
        &self,
        method: http::Method,
        path: &str,
        query: &[(&str, String)],
        headers: &[(&'static str, String)],
    ) -> anyhow::Result<Answer> {
        let (status, headers, body) = match &self.place {
            Place::Server { client, base } => {
                let mut request = client.request(method, at(base, path, query));
                for (name, value) in headers {
                    request = request.header(*name, value);
                }
                let response = request.send().await.map_err(|error| {
                    Stop::error(UNREACHABLE, format!("tapline at {base} went away ({})", cause(&error)))
                })?;
                let (status, headers) = (response.status(), response.headers().clone());
                // A broken connection is an error of this stream.
                (status, headers, Body::from_stream(response.bytes_stream()))
            }
            Place::Store(router) => {
                let url = at(&base(DEFAULT_URL)?, path, query);
                let target = url
                    .query()
                    .map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
                let mut request =
                    http::Request::builder().method(method).uri(target).header(header::HOST, "tapline.local");
                for (name, value) in headers {
                    request = request.header(*name, value);
                }
                let response = router.clone().oneshot(request.body(Body::empty())?).await?;
                let (parts, body) = response.into_parts();
                (parts.status, parts.headers, body)
            }
        };
        if status.is_success() {
            return Ok(Answer { headers, body });
        }
        let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(refused(status, &bytes))
    }

    /// Asks for a change, or with a question too long for an address; the body is JSON both ways.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: http::Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
    ) -> anyhow::Result<T> {
        let text = body.map(serde_json::to_vec).transpose()?;
        let (status, bytes) = match &self.place {
            Place::Server { client, base } => {
                let mut request = client.request(method, at(base, path, &[]));
                if let Some(text) = text {
                    request = request.header(header::CONTENT_TYPE, "application/json").body(text);
                }
                let away = |error| {
                    Stop::error(UNREACHABLE, format!("tapline at {base} went away ({})", cause(&error)))
                };
                let response = request.send().await.map_err(away)?;
                (response.status(), response.bytes().await.context("the answer broke off")?)
            }
            Place::Store(router) => {
                let request = http::Request::builder()
                    .method(method)
                    .uri(path)
                    .header(header::HOST, "tapline.local")
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Body::from(text.unwrap_or_default()))?;
                let response = router.clone().oneshot(request).await?;
                (response.status(), response.into_body().collect().await?.to_bytes())
            }
        };
        if !status.is_success() {
            return Err(refused(status, &bytes));
        }
        let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(text)
            .context("the answer is not what this version expects; is the server of another version?")
    }

    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        let answer =
            self.get(path, query, &[(header::ACCEPT.as_str(), "application/json".to_owned())]).await?;
        answer.json().await
    }

    /// Asks with a method that changes something, and reads what came of it.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        method: http::Method,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        self.ask(method, path, query).await?.json().await
    }
}

impl Answer {
    async fn json<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        let bytes = self.body.collect().await.context("the answer broke off")?.to_bytes();
        serde_json::from_slice(&bytes)
            .context("the answer is not what this version expects; is the server of another version?")
    }

    /// Hands the body on as it comes.
    pub(super) async fn pour(self, mut into: impl FnMut(Bytes) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut stream = self.body.into_data_stream();
        while let Some(piece) = stream.next().await {
            into(piece.context("the answer broke off")?)?;
        }
        Ok(())
    }
}

fn refused(status: StatusCode, bytes: &[u8]) -> anyhow::Error {
    let message = match serde_json::from_slice::<ErrorBody>(bytes) {
        Ok(body) => body.error.message,
        Err(_) => format!("expected an answer of tapline, found status {status}"),
    };
    Stop::error(if status == StatusCode::BAD_REQUEST { USAGE } else { FAILED }, message)
}

fn base(text: &str) -> anyhow::Result<Url> {
    let wrong =
        || Stop::error(USAGE, format!("--url: expected an address such as {DEFAULT_URL}, found {text:?}"));
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong());
    }
    // People paste the base URL that their client uses.
    let path = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// `path` (already encoded where it needs to be) below `base`.
fn at(base: &Url, path: &str, query: &[(&str, String)]) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// One segment of a path, with everything encoded that is not safe in one.
pub(super) fn segment(text: &str) -> anyhow::Result<String> {
    // `.` and `..` would be resolved away by whoever reads the address.
    if text.is_empty() || text == "." || text == ".." {
        return Err(Stop::error(USAGE, format!("expected an id or a name, found {text:?}")));
    }
    Ok(text
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect())
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    })
}

fn client(local: bool) -> anyhow::Result<reqwest::Client> {
    // Bodies are wanted exactly as stored, so nothing may be decompressed on the way.
    let builder = reqwest::Client::builder()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .user_agent(concat!("tapline/", env!("CARGO_PKG_VERSION")));
    let builder = if local { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| anyhow!(error).context("no HTTP client could be made"))
}

/// The innermost reason, which is what a person can act on.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_joined() {
        let joined = |text: &str| {
            at(&base(text).unwrap(), "/api/v1/runs/a%2Fb", &[("model", "a b&c".to_owned())]).to_string()
        };
        let expected = "http://h:1/api/v1/runs/a%2Fb?model=a+b%26c";
        for text in ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"] {
            assert_eq!(joined(text), expected, "{text}");
        }
        assert_eq!(at(&base("https://h/tap/").unwrap(), "/x", &[]).as_str(), "https://h/tap/x");
        for wrong in ["", "localhost:4000", "ftp://h", "4000"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_become_one_segment() {
        assert_eq!(segment("a/b ü?").unwrap(), "a%2Fb%20%C3%BC%3F");
        assert!(segment("..").is_err());
    }

    #[test]
    fn only_this_machine_has_a_stand_in() {
        for (url, local) in [
            ("http://127.0.0.1:4000", true),
            ("http://[::1]:4000", true),
            ("http://localhost", true),
            ("http://h", false),
        ] {
            assert_eq!(is_loopback(&base(url).unwrap()), local, "{url}");
        }
    }
}
