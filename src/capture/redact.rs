//! Secrets out of heads (invariant 7): masks header values and query values that carry credentials, and
//! turns an API key into a salted fingerprint. Runs before anything is journalled. Bodies pass as they are.

use http::HeaderMap;
use serde_json::Value;

use crate::model::record::Header;

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// Words of a name that tell of a credential, wherever they stand in it: `x-portkey-api-key`, `db_password`.
const SECRET_WORDS: [&str; 13] = [
    "apikey",
    "auth",
    "authentication",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "jwt",
    "passwd",
    "password",
    "secret",
    "signature",
    "vk",
];

/// Words that do so as a name's last: `x-auth-token`, `x-openai-key`, but not `x-ratelimit-remaining-tokens`.
const SECRET_ENDINGS: [&str; 5] = ["key", "token", "sig", "code", "assertion"];

/// Names that sound like credentials and are none.
const HARMLESS: [&str; 16] = [
    "cache-key",
    "continuation-token",
    "country-code",
    "error-code",
    "finish-token",
    "idempotency-key",
    "language-code",
    "next-token",
    "nextpagetoken",
    "page-token",
    "prompt-cache-key",
    "sec-websocket-key",
    "status-code",
    "surrogate-key",
    "sync-token",
    "x-idempotency-key",
];

/// Headers whose value is a credential and whose name does not say so.
const UNTOLD: [&str; 2] = ["set-cookie2", "sec-websocket-protocol"];

/// Headers that hold addresses: a signed one, or one that brings a token back, is a credential.
const ADDRESSES: [&str; 5] = ["content-location", "link", "location", "referer", "refresh"];

/// How the keys of providers and platforms begin.
const KEY_SHAPES: [&str; 18] = [
    "aiza",
    "eyj",
    "fw_",
    "ghp_",
    "github_pat_",
    "glpat-",
    "gsk_",
    "hf_",
    "nvapi-",
    "pat-",
    "pplx-",
    "r8_",
    "rk_live_",
    "sk-",
    "sk_live_",
    "xai-",
    "xoxb-",
    "xoxp-",
];
/// Shorter words are no keys.
const KEY_LENGTH: usize = 16;

/// Whether what goes by this name is a credential. Case and the kind of separator mean nothing.
fn is_secret_name(name: &str) -> bool {
    let mut spread = String::with_capacity(name.len() + 4);
    let mut before = ' ';
    for character in name.chars() {
        // `accessToken` is two words.
        if character.is_ascii_uppercase() && before.is_ascii_lowercase() {
            spread.push('-');
        }
        spread.push(if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '-' });
        before = character;
    }
    let name = spread.trim_matches('-');
    if HARMLESS.contains(&name) {
        return false;
    }
    let mut words = name.split('-').filter(|word| !word.is_empty());
    words.clone().any(|word| SECRET_WORDS.contains(&word))
        || words.next_back().is_some_and(|last| {
            SECRET_ENDINGS.contains(&last)
                || ["apikey", "accesstoken", "authtoken", "secretkey"].iter().any(|end| last.ends_with(end))
        })
}

/// Whether a word looks like a key whatever it is called.
fn is_key_shaped(word: &str) -> bool {
    let lower = |shape: &&str| word.get(..shape.len()).is_some_and(|start| start.eq_ignore_ascii_case(shape));
    word.len() >= KEY_LENGTH && KEY_SHAPES.iter().any(lower)
}

/// Text with every word masked that looks like a key; everything else byte for byte.
pub fn text(text: &str) -> String {
    if !has_long_word(text) {
        return text.to_owned();
    }
    let is_part = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        masked.push_str(if is_key_shaped(word) { MASK } else { word });
        let (between, next) = after.split_at(after.find(is_part).unwrap_or(after.len()));
        masked.push_str(between);
        rest = next;
    }
    masked
}

/// Whether a word is long enough for a key; nearly no value of a header has one.
fn has_long_word(text: &str) -> bool {
    let mut length = 0;
    text.bytes().any(|byte| {
        length = if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') { length + 1 } else { 0 };
        length >= KEY_LENGTH
    })
}

/// Names that nearly every head has, whose words need not be looked at each time.
fn is_plain_header(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "accept-encoding"
            | "accept-language"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "date"
            | "host"
            | "server"
            | "traceparent"
            | "transfer-encoding"
            | "user-agent"
            | "vary"
            | "x-request-id"
            | "x-stainless-arch"
            | "x-stainless-async"
            | "x-stainless-lang"
            | "x-stainless-os"
            | "x-stainless-package-version"
            | "x-stainless-read-timeout"
            | "x-stainless-retry-count"
            | "x-stainless-runtime"
            | "x-stainless-runtime-version"
            | "x-stainless-timeout"
    )
}

/// The head as it may be kept: names in lower case, each value byte as one `char`, secrets masked. An
/// authorization scheme (`Bearer`) stays, being no secret and useful.
pub fn headers(headers: &HeaderMap) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| {
            // What is ASCII is the same as characters and as bytes.
            let value = match value.to_str() {
                Ok(text) => text.to_owned(),
                Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
            };
            let name = name.as_str();
            (name.to_owned(), header(name, value))
        })
        .collect()
}

fn header(name: &str, value: String) -> String {
    if !is_plain_header(name) && (is_secret_name(name) || UNTOLD.contains(&name)) {
        return match value.split_once(' ') {
            Some((scheme, _))
                if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("basic") =>
            {
                format!("{scheme} {MASK}")
            }
            _ => MASK.to_owned(),
        };
    }
    if ADDRESSES.contains(&name) {
        return text(&address(&value));
    }
    // A gateway's configuration as a header: `{"provider":"openai","api_key":"…"}`.
    match value.trim_start().starts_with(['{', '[']) {
        true => text(&document(value)),
        false => text(&value),
    }
}

/// JSON with the values of credential-like names masked; byte for byte where there are none.
fn document(value: String) -> String {
    match serde_json::from_str::<Value>(&value) {
        Ok(mut parsed) => match mask(&mut parsed) {
            true => parsed.to_string(),
            false => value,
        },
        // What cannot be taken apart may hide anything behind such a name.
        Err(_) => {
            match value.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).any(is_secret_name)
            {
                true => MASK.to_owned(),
                false => value,
            }
        }
    }
}

/// Returns whether anything was masked.
fn mask(value: &mut Value) -> bool {
    match value {
        Value::Object(pairs) => pairs.iter_mut().fold(false, |masked, (name, value)| {
            if is_secret_name(name) && !value.is_null() {
                *value = Value::String(MASK.to_owned());
                return true;
            }
            mask(value) || masked
        }),
        // Each one, also behind the first that was masked.
        Value::Array(items) => items.iter_mut().map(mask).fold(false, std::ops::BitOr::bitor),
        _ => false,
    }
}

/// The target with the values of credential-like query names masked, and every word that looks like a key; everything
/// else byte for byte.
pub fn target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return text(target);
    };
    format!("{}?{}", text(path), self::query(query))
}

fn query(query: &str) -> String {
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !value.is_empty() && is_secret_name(&decoded(name)) => {
                format!("{name}={MASK}")
            }
            _ => text(pair),
        })
        .collect();
    pairs.join("&")
}

/// An address of any kind: user and password, query and fragment masked as they need.
fn address(address: &str) -> String {
    let (rest, fragment) = address.split_once('#').map_or((address, None), |(rest, f)| (rest, Some(f)));
    let (place, asked) = rest.split_once('?').map_or((rest, None), |(place, q)| (place, Some(q)));
    let mut masked = match place.split_once("://").and_then(|(scheme, after)| {
        let end = after.find('/').unwrap_or(after.len());
        let (authority, path) = after.split_at(end);
        let (_, host) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://{MASK}@{host}{path}"))
    }) {
        Some(masked) => masked,
        None => place.to_owned(),
    };
    for (mark, part) in [('?', asked), ('#', fragment)] {
        if let Some(part) = part {
            masked.push(mark);
            masked.push_str(&query(part));
        }
    }
    masked
}

/// A query's name as the upstream reads it: `api%5Fkey` is `api_key`.
fn decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A command line with the values of credential-like flags masked, and whatever looks like a key.
pub fn arguments(arguments: &[String]) -> Vec<String> {
    let secret_flag = |argument: &str| {
        argument.strip_prefix('-').is_some_and(|name| is_secret_name(name.trim_start_matches('-')))
    };
    let mut masked = Vec::with_capacity(arguments.len());
    let mut value_follows = false;
    for argument in arguments {
        let is_flag = argument.starts_with('-');
        let is_value = std::mem::replace(&mut value_follows, secret_flag(argument)) && !is_flag;
        masked.push(match argument.split_once('=') {
            _ if is_value => MASK.to_owned(),
            Some((name, _)) if is_secret_name(name.trim_start_matches('-')) => format!("{name}={MASK}"),
            _ => text(argument),
        });
    }
    masked
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
mod tests;
