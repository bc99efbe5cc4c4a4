//! Upstreams that a client chooses by their URL: only at origins that the operator listed, so that nobody
//! reaches through tapline what only tapline's machine can reach (server-side request forgery). No configured
//! key goes there: the client's own does.

use http::{HeaderMap, HeaderName, uri::Scheme};

use super::{OnClientGone, Upstream};
use crate::model::{Error, ErrorCode};

/// Where the client says its call shall go; never passed on.
pub const UPSTREAM: HeaderName = HeaderName::from_static("x-tapline-upstream");

/// Where clients of other gateways say the same; passed on, as all headers are. They count where anything may be
/// chosen at all, and where nothing of ours chooses. Helicone's name what the client's whole path is put behind,
/// Portkey's the base.
const FOREIGN: [(HeaderName, Base); 3] = [
    (HeaderName::from_static("helicone-target-url"), Base::OfPath),
    (HeaderName::from_static("helicone-openai-api-base"), Base::OfPath),
    (HeaderName::from_static("x-portkey-custom-host"), Base::OfApi),
];

/// What a URL stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    /// What a client has as its base URL: `/v1` of its path is that.
    OfApi,
    /// What comes before its path.
    OfPath,
}

/// An upstream that a client chose.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub upstream: Upstream,
    /// True when a path's `/v1` goes up too.
    pub whole_path: bool,
}

/// The origins that may be chosen; none by default.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    origins: Vec<Upstream>,
}

impl Choice {
    /// Entries are origins such as `https://api.groq.com` or `http://10.0.0.7:8000`; a host alone means https.
    pub(super) fn parse(entries: &[String]) -> Result<Self, Error> {
        let origins = entries.iter().map(|entry| {
            let url =
                if entry.contains("://") { entry.clone() } else { format!("{}://{entry}", Scheme::HTTPS) };
            let beyond_host = url.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?', '*']));
            if beyond_host {
                return Err(Error::invalid(format!(
                    "expected each of allowed_upstreams to be like https://api.groq.com or http://localhost:8000, \
                     a host by its whole name and no path, found {entry:?}"
                )));
            }
            Upstream::parse("allowed_upstreams", &url, None, None)
        });
        Ok(Self { origins: origins.collect::<Result<_, _>>()? })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.origins.iter().any(Upstream::is_secure)
    }

    /// The upstream that the client's header names; `None` without the header.
    pub(super) fn of(
        &self,
        headers: &HeaderMap,
        on_client_gone: OnClientGone,
    ) -> Result<Option<Chosen>, Error> {
        let foreign = FOREIGN.into_iter().filter(|_| !self.origins.is_empty());
        let mut known = std::iter::once((UPSTREAM, Base::OfApi)).chain(foreign);
        let Some((header, base)) = known.find(|(header, _)| headers.contains_key(header)) else {
            return Ok(None);
        };
        let mut named = headers.get_all(&header).iter();
        let (Some(Ok(url)), None) = (named.next().map(|url| url.to_str()), named.next()) else {
            return Err(Error::invalid(format!("expected one readable header {header}, found others")));
        };
        let mut upstream = Upstream::parse(header.as_str(), url, None, None)?;
        if !self.origins.iter().any(|origin| same(origin, &upstream)) {
            return Err(Error::new(ErrorCode::Unauthorized, self.refusal(&header, &upstream)));
        }
        let whole_path = base == Base::OfPath;
        if whole_path {
            // Not the version that a bare origin stands for: the path brings its own.
            let path = url.split_once("://").and_then(|(_, rest)| Some(rest.split_once('/')?.1));
            upstream.prefix = path.map_or_else(String::new, |path| format!("/{}", path.trim_matches('/')));
            upstream.prefix.truncate(upstream.prefix.trim_end_matches('/').len());
        }
        // By its place, which is one of a few: the name is a label of metrics.
        let usual = if upstream.is_secure() { 443 } else { 80 };
        let to = &mut upstream.destination;
        to.server_address.make_ascii_lowercase();
        let name = if to.server_port == usual {
            to.server_address.clone()
        } else {
            format!("{}:{}", to.server_address, to.server_port)
        };
        to.upstream.clone_from(&name);
        let upstream = Upstream { name, on_client_gone, ..upstream };
        Ok(Some(Chosen { upstream, whole_path }))
    }

    fn refusal(&self, header: &HeaderName, found: &Upstream) -> String {
        let listed: Vec<_> = self.origins.iter().map(origin).collect();
        let listed = if listed.is_empty() { "none is".to_owned() } else { listed.join(", ") };
        format!(
            "expected {header} to name an upstream that proxy.allowed_upstreams lists ({listed}), found {}; add \
             it there, or name an upstream in the configuration and call /to/<name>/v1",
            origin(found)
        )
    }
}

fn same(one: &Upstream, other: &Upstream) -> bool {
    let (a, b) = (&one.destination, &other.destination);
    one.scheme == other.scheme
        && a.server_port == b.server_port
        && a.server_address.eq_ignore_ascii_case(&b.server_address)
}

fn origin(upstream: &Upstream) -> String {
    format!("{}://{}", upstream.scheme, upstream.place())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn choice(entries: &[&str]) -> Result<Choice, Error> {
        Choice::parse(&entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>())
    }

    fn named(choice: &Choice, urls: &[&str]) -> Result<Option<Upstream>, Error> {
        let headers = urls.iter().map(|url| (UPSTREAM, HeaderValue::from_str(url).unwrap())).collect();
        Ok(choice.of(&headers, OnClientGone::Drain)?.map(|chosen| chosen.upstream))
    }

    #[test]
    fn a_listed_origin_is_reached_as_the_url_says() {
        let choice = choice(&["api.groq.com", "http://127.0.0.1:8000", "https://[::1]:8443"]).unwrap();
        assert!(choice.is_secure());
        assert!(named(&choice, &[]).unwrap().is_none());
        for (url, name, there) in [
            ("https://api.groq.com/openai/v1", "api.groq.com", "https://api.groq.com/openai/v1/models"),
            (
                "https://API.groq.com:443/openai/v1/",
                "api.groq.com",
                "https://API.groq.com:443/openai/v1/models",
            ),
            ("http://127.0.0.1:8000", "127.0.0.1:8000", "http://127.0.0.1:8000/models"),
            ("https://[::1]:8443/v1", "::1:8443", "https://[::1]:8443/v1/models"),
        ] {
            let upstream = named(&choice, &[url]).unwrap().unwrap();
            assert_eq!(
                (upstream.name.as_str(), upstream.destination.upstream.as_str()),
                (name, name),
                "{url}"
            );
            assert_eq!(upstream.uri("/models").unwrap().to_string(), there);
            assert!(upstream.key.is_none(), "a configured key stays with its own upstream");
            assert_eq!(upstream.on_client_gone, OnClientGone::Drain);
        }
        let groq = named(&choice, &["https://api.groq.com/openai/v1"]).unwrap().unwrap();
        assert_eq!(groq.destination.provider, "groq");
    }

    #[test]
    fn every_other_place_is_refused() {
        let choice = choice(&["api.groq.com", "http://127.0.0.1:8000"]).unwrap();
        for url in [
            "http://api.groq.com/openai/v1",
            "https://api.groq.com:8443/v1",
            "https://api.groq.com.evil.example/v1",
            "https://evil.example/api.groq.com",
            "https://api.groq.com./v1",
            "http://127.0.0.1:22/v1",
            "http://127.0.0.1/v1",
            "http://127.1:8000/v1",
            "http://2130706433:8000/v1",
            "http://[::ffff:127.0.0.1]:8000/v1",
            "http://169.254.169.254/latest/meta-data",
            "http://localhost:8000/v1",
        ] {
            let error = named(&choice, &[url]).unwrap_err();
            assert_eq!(error.code, ErrorCode::Unauthorized, "{url}: {error}");
            assert!(error.message.contains("https://api.groq.com:443, http://127.0.0.1:8000"), "{error}");
        }
        for urls in [
            &["https://api.groq.com@evil.example/v1"][..],
            &["https://u:p@api.groq.com/v1"],
            &["https://api.groq.com\\@evil.example/v1"],
            &["https://api.groq.com/v1?x=1"],
            &["file:///etc/passwd"],
            &["//api.groq.com/v1"],
            &["api.groq.com"],
            &[""],
            &["https://api.groq.com/v1", "https://evil.example/v1"],
        ] {
            let error = named(&choice, urls).unwrap_err();
            assert_eq!(error.code, ErrorCode::Invalid, "{urls:?}: {error}");
        }
        let none = named(&Choice::default(), &["https://api.groq.com"]).unwrap_err();
        assert!(none.message.contains("none is"), "{none}");
    }

    #[test]
    fn headers_of_other_gateways_choose_from_the_same_list() {
        let headers = |name: &'static str, url: &str| -> HeaderMap {
            [(HeaderName::from_static(name), HeaderValue::from_str(url).unwrap())].into_iter().collect()
        };
        let listed = choice(&["api.groq.com", "api.openai.com"]).unwrap();
        let of = |name, url| listed.of(&headers(name, url), OnClientGone::Cancel);
        for (name, url, prefix, whole_path) in [
            ("helicone-target-url", "https://api.groq.com", "", true),
            ("helicone-target-url", "https://api.openai.com/", "", true),
            ("helicone-openai-api-base", "https://api.groq.com/openai/", "/openai", true),
            ("x-portkey-custom-host", "https://api.groq.com/openai/v1", "/openai/v1", false),
            ("x-portkey-custom-host", "https://api.openai.com", "/v1", false),
        ] {
            let chosen = of(name, url).unwrap().unwrap();
            assert_eq!(
                (chosen.upstream.prefix.as_str(), chosen.whole_path),
                (prefix, whole_path),
                "{name}: {url}"
            );
        }
        let refused = of("helicone-target-url", "https://evil.example").unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unauthorized);
        assert!(refused.message.contains("helicone-target-url"), "{refused}");
        // Ours counts first, and where nothing may be chosen the header is for another gateway.
        let mut both = headers("helicone-target-url", "https://evil.example");
        both.insert(UPSTREAM, HeaderValue::from_static("https://api.groq.com/openai/v1"));
        let chosen = listed.of(&both, OnClientGone::Cancel).unwrap().unwrap();
        assert_eq!(chosen.upstream.prefix, "/openai/v1");
        let none = Choice::default();
        assert!(
            none.of(&headers("helicone-target-url", "https://x.example"), OnClientGone::Cancel)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn the_list_names_origins() {
        for entry in
            ["https://api.groq.com/v1", "*", "https://*.groq.com", "ftp://api.groq.com", "a?b", "a@b"]
        {
            assert!(choice(&[entry]).is_err(), "{entry}");
        }
    }
}
