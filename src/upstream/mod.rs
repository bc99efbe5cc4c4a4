//! Outbound HTTP of the data path (layer 2): which endpoints there are, where a path lands on them, and
//! the one client that talks to them. Knows nothing of recording, and never follows, retries or decodes.

mod choice;
pub mod client;
pub mod fault;
pub mod provider;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use serde::{Deserialize, Serialize};

use self::choice::Choice;
pub use self::{
    choice::{Chosen, UPSTREAM},
    client::Client,
    fault::Fault,
};
use crate::{
    model::{Error, id::check_name, record::Destination},
    wire::flavour,
};

/// The upstream that `/v1/…` goes to.
pub const DEFAULT: &str = "default";

/// One upstream as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What an application would have as its `OPENAI_BASE_URL`.
    pub url: String,
    /// `gen_ai.provider.name`; found from the host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The environment variable with the key that replaces the client's; the client's passes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    #[serde(default)]
    pub on_client_gone: OnClientGone,
    #[serde(default)]
    pub usage: UsageWish,
    /// In place of the proxy's own; zero: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "https://api.openai.com/v1".to_owned(),
            provider: None,
            key_env: None,
            on_client_gone: OnClientGone::default(),
            usage: UsageWish::default(),
            response_timeout: None,
            idle_timeout: None,
        }
    }
}

/// Whether streams are asked for their usage where the client does not ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageWish {
    /// No byte is changed; what is not reported is counted and marked as estimated.
    #[default]
    Pass,
    /// `stream_options.include_usage` is added, and the answer taken out of what the client gets.
    Ask,
}

/// What becomes of a call whose client leaves before its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnClientGone {
    /// The upstream is let go at once: it stops working, and what it counted until then stays unknown.
    #[default]
    Cancel,
    /// The upstream is read on, within limits, so that its usage is known.
    Drain,
}

/// The header that carries a configured key; its value never prints.
#[derive(Clone)]
pub struct Key {
    pub name: HeaderName,
    pub value: HeaderValue,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}: ***)", self.name)
    }
}

/// A configured endpoint.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub name: String,
    pub scheme: Scheme,
    pub authority: Authority,
    /// The base's path without a slash at its end; empty for an endpoint at the root.
    pub prefix: String,
    /// `Host` as the endpoint expects it.
    pub host: HeaderValue,
    pub destination: Destination,
    pub key: Option<Key>,
    pub on_client_gone: OnClientGone,
    pub usage: UsageWish,
    pub response_timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
}

impl Upstream {
    /// Reads one upstream: `key` is the value of the configured environment variable.
    pub fn parse(name: &str, url: &str, provider: Option<&str>, key: Option<&str>) -> Result<Self, Error> {
        check_name("an upstream's name", name)?;
        if name.contains('/') {
            return Err(Error::invalid(format!("expected an upstream's name without '/', found {name:?}")));
        }
        let wrong = |found: &str| {
            Error::invalid(format!(
                "expected the url of upstream {name:?} to be like https://api.openai.com/v1, {found}"
            ))
        };
        // The url itself may hold a credential: no message repeats it.
        let uri: Uri =
            url.trim().parse().map_err(|error| wrong(&format!("found one that is no url: {error}")))?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.ok_or_else(|| wrong("found no scheme; add http:// or https://"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(wrong(&format!("found the scheme {:?}; use http or https", scheme.as_str())));
        }
        let authority = parts.authority.ok_or_else(|| wrong("found no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("found a user or password in it; put the key into an environment variable"));
        }
        let path = parts.path_and_query.as_ref();
        if path.is_some_and(|path| path.query().is_some()) {
            return Err(wrong("found a query in it; clients add their own"));
        }
        let address = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if address.is_empty() {
            return Err(wrong("found no host"));
        }
        let server_port = authority.port_u16().unwrap_or(if scheme == Scheme::HTTPS { 443 } else { 80 });
        // A local server tells nothing by its address; its name here may.
        let detected = match provider::of_host(&address) {
            provider::CUSTOM => flavour::named(name).unwrap_or(provider::CUSTOM),
            known => known,
        };
        let mut prefix = path.map_or("", PathAndQuery::path).trim_end_matches('/').to_owned();
        if prefix.is_empty() && provider::is_versioned(&address) {
            "/v1".clone_into(&mut prefix);
        }
        let provider = provider.unwrap_or(detected).to_owned();
        let key = key.map(|key| provider::key_header(&provider, key).ok_or_else(|| {
            Error::invalid(format!(
                "expected the key of upstream {name:?} to be visible ASCII characters, found others; check the \
                 environment variable"
            ))
        }));
        let host =
            HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("found a host that is no host"))?;
        Ok(Self {
            name: name.to_owned(),
            scheme,
            authority,
            prefix,
            host,
            destination: Destination {
                upstream: name.to_owned(),
                provider,
                server_address: address,
                server_port,
            },
            key: key.transpose()?,
            on_client_gone: OnClientGone::default(),
            usage: UsageWish::default(),
            response_timeout: None,
            idle_timeout: None,
        })
    }

    /// With the ways that its configuration gives it.
    pub fn behaving(self, config: &Config) -> Self {
        let Config { on_client_gone, usage, response_timeout, idle_timeout, .. } = *config;
        Self { on_client_gone, usage, response_timeout, idle_timeout, ..self }
    }

    /// The absolute address of `target`, a path and query relative to the base, byte for byte.
    pub fn uri(&self, target: &str) -> Result<Uri, Error> {
        let mut path = String::with_capacity(self.prefix.len() + target.len() + 1);
        path.push_str(&self.prefix);
        path.push_str(target);
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
        // A query may hold a key: the message ends before it.
        let shown = path.split('?').next().unwrap_or_default().to_owned();
        let wrong = |error: http::Error| Error::invalid(format!("expected a path, found {shown:?}: {error}"));
        let path = PathAndQuery::from_maybe_shared(path.clone()).map_err(|error| wrong(error.into()))?;
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(wrong)
    }

    /// Where it is, for messages: `host:port`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.destination.server_address, self.destination.server_port)
    }

    /// True when a request to it needs TLS.
    pub fn is_secure(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// True for headers of the client that a configured key stands in for.
    pub fn replaces(&self, name: &HeaderName) -> bool {
        self.key.as_ref().is_some_and(|key| {
            *name == key.name
                || *name == header::AUTHORIZATION
                || *name == provider::X_API_KEY
                || *name == provider::API_KEY
        })
    }
}

/// The configured upstreams by name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstreams {
    by_name: Arc<BTreeMap<String, Arc<Upstream>>>,
    default: Arc<Upstream>,
    choice: Arc<Choice>,
}

impl Upstreams {
    /// One of them must be named `default`, or there must be only one.
    pub fn new(upstreams: impl IntoIterator<Item = Upstream>) -> Result<Self, Error> {
        let mut by_name = BTreeMap::new();
        for upstream in upstreams {
            if let Some(twice) = by_name.insert(upstream.name.clone(), Arc::new(upstream)) {
                return Err(Error::invalid(format!("expected one upstream {:?}, found two", twice.name)));
            }
        }
        let only = if by_name.len() == 1 { by_name.values().next() } else { None };
        let default = by_name.get(DEFAULT).or(only).cloned().ok_or_else(|| {
            Error::invalid(format!(
                "expected an upstream named {DEFAULT:?}, found {}; name one so",
                names(&by_name).unwrap_or_else(|| "none".to_owned())
            ))
        })?;
        Ok(Self { by_name: Arc::new(by_name), default, choice: Arc::default() })
    }

    /// With origins that clients may choose by URL.
    pub fn allowing(self, origins: &[String]) -> Result<Self, Error> {
        Ok(Self { choice: Arc::new(Choice::parse(origins)?), ..self })
    }

    /// The upstream that the client names by URL; `None` when it names none.
    pub fn chosen(&self, headers: &HeaderMap) -> Result<Option<Chosen>, Error> {
        self.choice.of(headers, self.default.on_client_gone)
    }

    /// True when any of them needs TLS.
    pub fn is_secure(&self) -> bool {
        self.choice.is_secure() || self.iter().any(|upstream| upstream.is_secure())
    }

    pub fn default_one(&self) -> &Arc<Upstream> {
        &self.default
    }

    /// The upstream of that name, or an error that names those there are.
    pub fn get(&self, name: &str) -> Result<&Arc<Upstream>, Error> {
        self.by_name.get(name).ok_or_else(|| {
            Error::not_found(format!(
                "expected a configured upstream, found {name:?}; configured: {}",
                names(&self.by_name).unwrap_or_default()
            ))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.by_name.values()
    }
}

fn names(by_name: &BTreeMap<String, Arc<Upstream>>) -> Option<String> {
    (!by_name.is_empty()).then(|| by_name.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests;
