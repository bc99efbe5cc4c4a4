//! From a path to an upstream: who owns a path, which scopes it opens with, and what of it goes up. Works
//! on the raw bytes: nothing is normalised, and only a scope's own value is percent-decoded.

use std::sync::Arc;

use http::{HeaderMap, Uri};

use crate::{
    model::{Error, id::check_name, record::Scope},
    upstream::{self, Upstream, Upstreams},
};

/// Who answers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Proxy,
    /// The query API, MLflow's, OTLP ingest, operations, and the web UI, which has everything else.
    Management,
}

/// The one path under `/v1` that is ours: OTLP ingest, never forwarded.
pub const TRACES: &str = "/v1/traces";

pub fn classify(path: &str) -> Owner {
    let Some(rest) = path.strip_prefix('/') else {
        return Owner::Management;
    };
    if path.trim_end_matches('/') == TRACES {
        return Owner::Management;
    }
    match rest.split_once('/') {
        Some(("to" | "run" | "exp" | "s", _)) => Owner::Proxy,
        // Azure's spelling: `/openai/deployments/…`, `/openai/v1/…`.
        Some(("openai", _)) => Owner::Proxy,
        // `v1`, and its kin `v1beta`, `v1alpha`.
        Some((first, _)) if first.starts_with("v1") => Owner::Proxy,
        None if rest.starts_with("v1") => Owner::Proxy,
        _ => Owner::Management,
    }
}

/// Where a call goes.
#[derive(Debug, Clone)]
pub struct Route {
    pub upstream: Arc<Upstream>,
    pub scope: Scope,
    /// Path and query relative to the upstream's base, byte for byte.
    pub target: String,
}

/// A path that leads nowhere; what was read of it until then.
#[derive(Debug)]
pub struct Lost {
    pub error: Error,
    pub scope: Scope,
    pub upstream: Option<String>,
}

/// Reads `[/run/<id>] [/exp/<name>] [/s/<session>] [/to/<upstream>]`, in any order, each at most once,
/// then the API's path. Its leading `/v1` stands for the upstream's base path; a path without it is put
/// after the base as it is. Where the path names no upstream, a header may.
pub fn route(upstreams: &Upstreams, uri: &Uri, headers: &HeaderMap) -> Result<Route, Box<Lost>> {
    let mut scope = Scope::default();
    let mut to = None;
    let rest = match scopes(uri.path(), &mut scope, &mut to) {
        Ok(rest) => rest,
        Err(error) => return Err(Box::new(Lost { error, scope, upstream: to })),
    };
    let mut whole_path = false;
    let found = match &to {
        Some(_) if headers.contains_key(upstream::UPSTREAM) => Err(Error::invalid(format!(
            "expected one upstream, found /to/ in the path and the header {}; leave one out",
            upstream::UPSTREAM
        ))),
        Some(name) => upstreams.get(name).map(Arc::clone),
        None => upstreams.chosen(headers).map(|chosen| match chosen {
            Some(chosen) => {
                whole_path = chosen.whole_path;
                Arc::new(chosen.upstream)
            }
            None => Arc::clone(upstreams.default_one()),
        }),
    };
    let upstream = match found {
        Ok(upstream) => upstream,
        Err(error) => return Err(Box::new(Lost { error, scope, upstream: to })),
    };
    let path = match rest.strip_prefix("/v1") {
        Some(after) if !whole_path && (after.is_empty() || after.starts_with('/')) => after,
        _ => rest,
    };
    let mut target = path.to_owned();
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    Ok(Route { upstream, scope, target })
}

fn scopes<'a>(path: &'a str, scope: &mut Scope, to: &mut Option<String>) -> Result<&'a str, Error> {
    let mut rest = path;
    while let Some((word, value, after)) = segment(rest) {
        let (slot, what) = match word {
            "run" => (&mut scope.run, "a run"),
            "exp" => (&mut scope.experiment, "an experiment"),
            "s" => (&mut scope.session, "a session"),
            "to" => (&mut *to, "an upstream"),
            _ => break,
        };
        let value = decode(value)?;
        check_name(&format!("{what} after /{word}/"), &value)?;
        if slot.is_some() {
            return Err(Error::invalid(format!(
                "expected /{word}/ at most once in the path, found it twice"
            )));
        }
        *slot = Some(value);
        rest = after;
    }
    if rest.is_empty() && to.is_none() {
        return Err(Error::invalid(
            "expected an API path after the scopes, such as /v1/chat/completions, found none",
        ));
    }
    Ok(rest)
}

/// `/word/value…` in its three parts; the last begins with a slash or is empty.
fn segment(path: &str) -> Option<(&str, &str, &str)> {
    let (word, tail) = path.strip_prefix('/')?.split_once('/')?;
    let end = tail.find('/').unwrap_or(tail.len());
    let (value, after) = tail.split_at(end);
    Some((word, value, after))
}

fn decode(text: &str) -> Result<String, Error> {
    let wrong =
        || Error::invalid(format!("expected percent-encoded UTF-8 as a scope in the path, found {text:?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else { return Err(wrong()) };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(wrong);
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn upstreams() -> Upstreams {
        Upstreams::new([
            Upstream::parse("default", "http://d/v1", None, None).unwrap(),
            Upstream::parse("groq", "http://g/openai/v1", None, None).unwrap(),
        ])
        .unwrap()
    }

    fn at(path: &str) -> Result<(String, Scope), String> {
        let uri: Uri = path.parse().unwrap();
        let route = route(&upstreams(), &uri, &HeaderMap::new()).map_err(|lost| lost.error.message)?;
        Ok((route.upstream.uri(&route.target).unwrap().to_string(), route.scope))
    }

    #[test]
    fn paths_have_one_owner() {
        for path in [
            "/v1/chat/completions",
            "/v1",
            "/v1beta/models",
            "/to/x",
            "/run/a/v1/x",
            "/exp/a/",
            "/s/",
            "/openai/x",
        ] {
            assert_eq!(classify(path), Owner::Proxy, "{path}");
        }
        for path in [
            "/",
            "*",
            "/v1/traces",
            "/v1/traces/",
            "/api/v1/calls",
            "/ajax-api/2.0/x",
            "/healthz",
            "/metrics",
            "/runs/a",
            "/s",
            "/to",
            "/openai",
            "/version",
            "/assets/v1/x",
        ] {
            assert_eq!(classify(path), Owner::Management, "{path}");
        }
    }

    #[test]
    fn v1_stands_for_the_base() {
        for (path, there) in [
            ("/v1/chat/completions?a=%2F", "http://d/v1/chat/completions?a=%2F"),
            ("/v1", "http://d/v1"),
            ("/v1//x/../y%2f", "http://d/v1//x/../y%2f"),
            ("/v1beta/x", "http://d/v1/v1beta/x"),
            ("/to/groq/v1/models", "http://g/openai/v1/models"),
            ("/to/groq/foo", "http://g/openai/v1/foo"),
            ("/to/groq", "http://g/openai/v1"),
            ("/to/groq?x", "http://g/openai/v1?x"),
            ("http://elsewhere/v1/models", "http://d/v1/models"),
        ] {
            assert_eq!(at(path).unwrap().0, there, "{path}");
        }
    }

    #[test]
    fn a_target_of_another_gateway_gets_the_whole_path() {
        let upstreams = upstreams().allowing(&["https://api.groq.com".to_owned()]).unwrap();
        let go = |header: &'static str, url: &'static str, path: &str| {
            let headers = [(http::HeaderName::from_static(header), http::HeaderValue::from_static(url))];
            let found = route(&upstreams, &path.parse().unwrap(), &headers.into_iter().collect());
            found.map(|route| route.upstream.uri(&route.target).unwrap().to_string())
        };
        for (header, url, path, there) in [
            (
                "helicone-target-url",
                "https://api.groq.com",
                "/openai/v1/models",
                "https://api.groq.com/openai/v1/models",
            ),
            (
                "helicone-target-url",
                "https://api.groq.com/openai",
                "/run/a/v1/models",
                "https://api.groq.com/openai/v1/models",
            ),
            (
                "x-portkey-custom-host",
                "https://api.groq.com/openai/v1",
                "/v1/models",
                "https://api.groq.com/openai/v1/models",
            ),
            // The path's own word counts; the header is for a gateway behind it.
            (
                "helicone-target-url",
                "https://api.groq.com",
                "/to/groq/v1/models",
                "http://g/openai/v1/models",
            ),
        ] {
            assert_eq!(go(header, url, path).unwrap(), there, "{header}: {url} {path}");
        }
        assert!(go("helicone-target-url", "https://evil.example", "/v1/models").is_err());
    }

    #[test]
    fn scopes_come_in_any_order() {
        let all = Scope {
            run: Some("r/1".to_owned()),
            experiment: Some("my exp".to_owned()),
            session: Some("sé".to_owned()),
        };
        for path in [
            "/run/r%2F1/exp/my%20exp/s/s%C3%A9/to/groq/v1/x",
            "/to/groq/s/s%c3%a9/exp/my%20exp/run/r%2f1/v1/x",
        ] {
            assert_eq!(at(path), Ok(("http://g/openai/v1/x".to_owned(), all.clone())), "{path}");
        }
    }

    #[test]
    fn bad_scopes_say_why() {
        for (path, why) in [
            ("/run/a/run/b/v1/x", "at most once"),
            ("/run//v1/x", "a run after /run/"),
            ("/s/%0A/v1/x", "control"),
            ("/s/%ff/v1/x", "UTF-8"),
            ("/s/%f/v1/x", "UTF-8"),
            ("/s/a", "API path"),
            ("/to/nowhere/v1/x", "configured: default, groq"),
        ] {
            let error = at(path).unwrap_err();
            assert!(error.contains(why), "{path}: {error}");
        }
    }

    proptest! {
        #[test]
        fn inv1_what_follows_v1_goes_up_as_it_is(tail in "(/[a-zA-Z0-9._~%!$&'()*+,;=:@-]{0,8}){0,6}(\\?[a-z%&=/?+]{0,12})?") {
            let (there, scope) = at(&format!("/v1{tail}")).unwrap();
            prop_assert_eq!(there, format!("http://d/v1{tail}"));
            prop_assert_eq!(scope, Scope::default());
        }
    }
}
