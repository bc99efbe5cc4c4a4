//! What a hop may not pass on (RFC 9110, 7.6.1), and nothing else. Heads are rebuilt in their order rather
//! than edited: `HeaderMap::remove` moves the last entry into the gap.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::upstream::Upstream;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers by which a client talks to tapline.
const OWN: &str = "x-tapline-";

/// The head as it goes up. `unsized_body`: there is a body, and no length tells its end.
pub(super) fn request(
    from: &HeaderMap,
    version: Version,
    upstream: &Upstream,
    tunnel: bool,
    unsized_body: bool,
) -> HeaderMap {
    let named = named_by_connection(from);
    let mut to = HeaderMap::with_capacity(from.len() + 2);
    if !from.contains_key(header::HOST) {
        to.insert(header::HOST, upstream.host.clone());
    }
    for (name, value) in from {
        let value = if *name == header::HOST {
            if to.contains_key(name) {
                continue;
            }
            upstream.host.clone()
        } else if upstream.replaces(name) {
            continue_with_key(&mut to, upstream);
            continue;
        } else if *name == header::TE {
            // Trailers are passed on, so that much of TE may be.
            if !is_token(value, "trailers") {
                continue;
            }
            value.clone()
        } else if *name == header::TRANSFER_ENCODING {
            if !unsized_body || !ends_chunked(value) || version >= Version::HTTP_2 {
                continue;
            }
            value.clone()
        } else if *name == header::CONTENT_LENGTH {
            // Both lengths at once is a smuggler's trick; the encoding wins.
            if from.contains_key(header::TRANSFER_ENCODING) {
                continue;
            }
            value.clone()
        } else if *name == header::COOKIE && version >= Version::HTTP_2 {
            // HTTP/2 may split one cookie header into many; HTTP/1.1 has one (RFC 9113, 8.2.3).
            join_cookie(&mut to, value);
            continue;
        } else if (tunnel && (*name == header::UPGRADE || *name == header::CONNECTION))
            || !(is_hop(name) || *name == header::EXPECT || named.contains(name) || is_own(name))
        {
            value.clone()
        } else {
            continue;
        };
        to.append(name.clone(), value);
    }
    continue_with_key(&mut to, upstream);
    if unsized_body && !to.contains_key(header::TRANSFER_ENCODING) {
        // Said outright, since hyper takes a GET without it to have no body.
        to.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    to
}

/// The head as it goes down to a client that speaks `version`.
pub(super) fn response(from: &HeaderMap, version: Version, tunnel: bool) -> HeaderMap {
    let named = named_by_connection(from);
    let chunked =
        version == Version::HTTP_11 && from.get_all(header::TRANSFER_ENCODING).iter().any(ends_chunked);
    let mut to = HeaderMap::with_capacity(from.len());
    for (name, value) in from {
        let keeps = if *name == header::TRANSFER_ENCODING {
            chunked
        } else if *name == header::CONTENT_LENGTH {
            !from.contains_key(header::TRANSFER_ENCODING)
        } else if tunnel && (*name == header::UPGRADE || *name == header::CONNECTION) {
            true
        } else {
            !is_hop(name) && !named.contains(name)
        };
        if keeps {
            to.append(name.clone(), value.clone());
        }
    }
    to
}

fn is_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || *name == header::TE
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
}

fn is_own(name: &HeaderName) -> bool {
    name.as_str().starts_with(OWN)
}

/// Puts the configured key where the client's first credential stood, or last, once.
fn continue_with_key(to: &mut HeaderMap, upstream: &Upstream) {
    if let Some(key) = &upstream.key
        && !to.contains_key(&key.name)
    {
        to.insert(key.name.clone(), key.value.clone());
    }
}

fn join_cookie(to: &mut HeaderMap, crumb: &HeaderValue) {
    let joined = match to.get(header::COOKIE) {
        Some(before) => HeaderValue::from_bytes(&[before.as_bytes(), b"; ", crumb.as_bytes()].concat()),
        None => Ok(crumb.clone()),
    };
    if let Ok(joined) = joined {
        to.insert(header::COOKIE, joined);
    }
}

/// The names that `Connection` lists. Framing and routing are settled above, whatever it lists.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

fn is_token(value: &HeaderValue, token: &str) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(token.as_bytes())
}

fn ends_chunked(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .rsplit(|byte| *byte == b',')
        .next()
        .is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<String> {
        map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    fn up(
        pairs: &[(&'static str, &'static str)],
        version: Version,
        key: Option<&str>,
        unsized_body: bool,
    ) -> Vec<String> {
        let upstream = Upstream::parse("u", "http://up:81/v1", None, key).unwrap();
        names(&request(&map(pairs), version, &upstream, false, unsized_body))
    }

    #[test]
    fn inv1_only_the_hop_s_own_headers_go() {
        let sent = [
            ("accept", "a"),
            ("host", "localhost"),
            ("connection", "close, X-Mine,te"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("x-tapline-run", "r"),
            ("expect", "100-continue"),
            ("accept", "b"),
            ("proxy-authorization", "x"),
            ("content-length", "3"),
            ("upgrade", "h2c"),
            ("z-last", "z"),
        ];
        let kept =
            ["accept: a", "accept: b", "host: up:81", "te: trailers", "content-length: 3", "z-last: z"];
        assert_eq!(up(&sent, Version::HTTP_11, None, false), kept);
    }

    #[test]
    fn the_configured_key_stands_where_the_client_s_stood() {
        let sent = [("host", "h"), ("authorization", "Bearer mine"), ("api-key", "mine"), ("z", "1")];
        let kept = ["host: up:81", "authorization: Bearer k", "z: 1"];
        assert_eq!(up(&sent, Version::HTTP_11, Some("k"), false), kept);
        assert_eq!(
            up(&[("host", "h")], Version::HTTP_11, Some("k"), false),
            ["host: up:81", "authorization: Bearer k"]
        );
    }

    #[test]
    fn http2_heads_become_http1_heads() {
        let sent = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")];
        let kept = ["host: up:81", "cookie: a=1; b=2", "x: y", "transfer-encoding: chunked"];
        assert_eq!(up(&sent, Version::HTTP_2, None, true), kept);
    }

    #[test]
    fn an_encoding_wins_over_a_length() {
        let sent = [("host", "h"), ("content-length", "5"), ("transfer-encoding", "chunked"), ("z", "1")];
        assert_eq!(
            up(&sent, Version::HTTP_11, None, true),
            ["host: up:81", "transfer-encoding: chunked", "z: 1"]
        );
    }

    #[test]
    fn inv1_a_response_loses_only_the_hop_s_headers() {
        let sent = map(&[
            ("date", "d"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "gzip, Chunked"),
            ("trailer", "x-sum"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("x-tapline-odd", "stays"),
        ]);
        let rest = ["date: d", "trailer: x-sum", "set-cookie: a", "set-cookie: b", "x-tapline-odd: stays"];
        assert_eq!(names(&response(&sent, Version::HTTP_2, false)), rest);
        let mut whole = rest.to_vec();
        whole.insert(1, "transfer-encoding: gzip, Chunked");
        assert_eq!(names(&response(&sent, Version::HTTP_11, false)), whole);
    }
}
