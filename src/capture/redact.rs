//! Secrets out of heads (invariant 7): masks header values and query values that carry credentials, and
//! turns an API key into a salted fingerprint. Runs before anything is journalled. Bodies pass as they are.

use http::HeaderMap;

use crate::model::record::Header;

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// Headers whose value is a credential. Names with a secret-like part are caught by `is_secret_name`.
const SECRET_HEADERS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "api-key", "sec-websocket-protocol"];

/// Parts of a header or query name that tell of a credential, wherever they stand.
const SECRET_PARTS: [&str; 9] = [
    "api-key",
    "api_key",
    "apikey",
    "secret",
    "password",
    "access-token",
    "access_token",
    "auth-token",
    "virtual-key",
];

/// Query names that are a credential only as a whole.
const SECRET_QUERY: [&str; 6] = ["key", "sig", "signature", "token", "code", "x-amz-signature"];

/// Vendor headers that are credentials without saying so.
const VENDOR_SECRETS: [&str; 5] = [
    "helicone-auth",
    "x-bf-vk",
    "cf-aig-authorization",
    "x-goog-iam-authorization-token",
    "x-amz-security-token",
];

fn is_secret_name(name: &str) -> bool {
    SECRET_PARTS.iter().any(|part| name.contains(part))
}

fn is_secret_header(name: &str) -> bool {
    SECRET_HEADERS.contains(&name)
        || VENDOR_SECRETS.contains(&name)
        || is_secret_name(name)
        || name.ends_with("-authorization")
}

/// The head as it may be kept: names in lower case, each value byte as one `char`, secrets masked. An
/// authorization scheme (`Bearer`) stays, being no secret and useful.
pub fn headers(headers: &HeaderMap) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| {
            let text: String = value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
            let name = name.as_str();
            let text = if !is_secret_header(name) {
                text
            } else {
                match text.split_once(' ') {
                    Some((scheme, _))
                        if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("basic") =>
                    {
                        format!("{scheme} {MASK}")
                    }
                    _ => MASK.to_owned(),
                }
            };
            (name.to_owned(), text)
        })
        .collect()
}

/// The target with the values of credential-like query names masked; everything else byte for byte.
pub fn target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !value.is_empty() => {
                let lower = name.to_ascii_lowercase();
                if SECRET_QUERY.contains(&lower.as_str()) || is_secret_name(&lower) {
                    format!("{name}={MASK}")
                } else {
                    pair.to_owned()
                }
            }
            _ => pair.to_owned(),
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Turns keys into fingerprints: equal keys give equal fingerprints within one store, and nothing can be
/// learnt about the key without the store's salt.
#[derive(Clone)]
pub struct Fingerprints {
    salt: [u8; 32],
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprints(salted)")
    }
}

impl Fingerprints {
    pub fn new(salt: [u8; 32]) -> Self {
        Self { salt }
    }

    /// 16 hex digits for the credential that the head carries, if any.
    pub fn of(&self, headers: &HeaderMap) -> Option<String> {
        let value = ["authorization", "api-key", "x-api-key", "x-goog-api-key"]
            .iter()
            .find_map(|name| headers.get(*name))?
            .as_bytes();
        let key = match value.iter().position(|byte| *byte == b' ') {
            Some(space) => value.get(space + 1..).unwrap_or(value),
            None => value,
        };
        if key.is_empty() {
            return None;
        }
        let hash = blake3::keyed_hash(&self.salt, key);
        Some(hash.to_hex().chars().take(16).collect())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn inv7_credentials_are_masked_and_the_rest_stays() {
        let kept = headers(&map(&[
            ("authorization", "Bearer sk-canary"),
            ("x-api-key", "sk-canary"),
            ("x-portkey-api-key", "sk-canary"),
            ("helicone-auth", "Bearer sk-canary"),
            ("cookie", "session=sk-canary"),
            ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-canary"),
            ("accept", "*/*"),
            ("x-tapline-run", "v1"),
        ]));
        let text = format!("{kept:?}");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("Bearer ***") && text.contains("*/*") && text.contains("\"v1\""), "{text}");
    }

    #[test]
    fn inv7_query_credentials_are_masked() {
        assert_eq!(target("/models?key=canary&x=%2F&api_key=canary"), "/models?key=***&x=%2F&api_key=***");
        assert_eq!(target("/models?keyword=a&b"), "/models?keyword=a&b");
        assert_eq!(target("/models"), "/models");
    }

    #[test]
    fn fingerprints_need_the_salt() {
        let head = map(&[("authorization", "Bearer sk-1")]);
        let one = Fingerprints::new([1; 32]).of(&head);
        assert_eq!(one, Fingerprints::new([1; 32]).of(&map(&[("x-api-key", "sk-1")])));
        assert_ne!(one, Fingerprints::new([2; 32]).of(&head));
        assert_eq!(one.map(|text| text.len()), Some(16));
        assert_eq!(Fingerprints::new([1; 32]).of(&HeaderMap::new()), None);
    }

    #[test]
    fn any_header_value_survives_as_characters() {
        let mut head = HeaderMap::new();
        head.insert("x-odd", HeaderValue::from_bytes(b"\xff\xe9 ok").unwrap());
        assert_eq!(headers(&head), [("x-odd".to_owned(), "\u{ff}\u{e9} ok".to_owned())]);
    }
}
