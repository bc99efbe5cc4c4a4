//! What an export may be told. Reading and checking only; nothing is opened here.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

use crate::model::Error;

/// What stands where a header's value stood: values are credentials more often than not.
const MASK: &str = "***";

/// One OTLP destination. `endpoint` empty: nothing is exported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportConfig {
    /// Where spans go, `http://localhost:4318` or `http://localhost:4317` (gRPC). For HTTP, a URL without a
    /// path gets `/v1/traces`; one with a path is used as it is.
    pub endpoint: String,
    pub protocol: Protocol,
    /// Sent with every request: a table, or `name=value,name2=value2` with values percent-encoded.
    pub headers: Headers,
    pub compression: Compression,
    /// Longest wait for one answer, milliseconds.
    pub timeout_ms: u64,
    /// Most spans in one request.
    pub batch: usize,
    /// Most bytes in one request before compression; gRPC receivers refuse more than 4 MiB by default.
    pub max_batch_bytes: usize,
    /// How long new calls are gathered before a request goes out, milliseconds.
    pub delay_ms: u64,
    /// First wait after a failure, and the longest, milliseconds. Doubles in between.
    pub retry_initial_ms: u64,
    pub retry_max_ms: u64,
    /// Send prompts, outputs and tool definitions; without it only facts.
    pub content: bool,
    /// Longest single attribute, bytes; what is longer is cut and named in `tapline.truncated`.
    pub max_attribute_bytes: usize,
    pub service_name: String,
    pub conventions: Conventions,
    /// Leave out calls whose `traceparent` says that their trace is not sampled, as every OpenTelemetry
    /// SDK does. They stay in tapline's own store.
    pub sampled_only: bool,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            protocol: Protocol::default(),
            headers: Headers::default(),
            compression: Compression::default(),
            timeout_ms: 10_000,
            batch: 512,
            max_batch_bytes: 3 << 20,
            delay_ms: 500,
            retry_initial_ms: 500,
            retry_max_ms: 30_000,
            content: true,
            max_attribute_bytes: 32 << 10,
            service_name: "tapline".to_owned(),
            conventions: Conventions::default(),
            sampled_only: true,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    #[default]
    #[serde(rename = "http/protobuf", alias = "http")]
    Http,
    #[serde(rename = "grpc")]
    Grpc,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    Gzip,
    None,
}

/// Which attribute names are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conventions {
    /// OpenTelemetry's GenAI conventions.
    #[default]
    Genai,
    /// Those, and OpenInference's beside them (Phoenix, Arize).
    Openinference,
}

impl ExportConfig {
    /// Whether there is anywhere to export to.
    pub fn enabled(&self) -> bool {
        !self.endpoint.is_empty()
    }

    /// What is wrong with the endpoint, where there is one.
    pub fn check(&self) -> Result<(), Error> {
        if self.enabled() { self.url().map(|_| ()) } else { Ok(()) }
    }

    /// The URL that requests go to, or what is wrong with the endpoint.
    pub(super) fn url(&self) -> Result<reqwest::Url, Error> {
        let wrong = |why: &str| {
            Error::invalid(format!(
                "expected the export's endpoint to be a URL such as http://localhost:4318, found {:?}: {why}",
                without_credentials(&self.endpoint)
            ))
        };
        let text = if self.endpoint.contains("://") {
            self.endpoint.clone()
        } else {
            format!("http://{}", self.endpoint)
        };
        let mut url = reqwest::Url::parse(&text).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("the scheme is neither http nor https"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        // The endpoint names the cursor in the store and stands in logs: it may hold no secret (invariant 7).
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(wrong("it carries a user, a password or a query; credentials go into headers"));
        }
        url.set_fragment(None);
        if self.protocol == Protocol::Http && url.path() == "/" {
            url.set_path("/v1/traces");
        }
        Ok(url)
    }
}

/// An endpoint that may not parse, for a message: whatever stands before an `@`, and any query, goes.
fn without_credentials(endpoint: &str) -> String {
    let endpoint = endpoint.split(['?', '#']).next().unwrap_or_default();
    match (endpoint.split_once("://"), endpoint.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{MASK}@{host}"),
        (None, Some((_, host))) => format!("{MASK}@{host}"),
        _ => endpoint.to_owned(),
    }
}

/// Extra request headers. Values are secrets: they are masked wherever this is printed or written out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Reads `name=value,name2=value2`, values percent-encoded (OpenTelemetry's
    /// `OTEL_EXPORTER_OTLP_HEADERS`).
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut all = Vec::new();
        for (index, pair) in text.split(',').map(str::trim).enumerate() {
            if pair.is_empty() {
                continue;
            }
            // The pair itself is not shown: it may be a credential with its name forgotten.
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                Error::invalid(format!(
                    "expected export headers as name=value,name2=value2, found no = in entry {}",
                    index + 1
                ))
            })?;
            all.push((name.trim().to_owned(), percent_decoded(value.trim())));
        }
        Self::from_pairs(all)
    }

    pub fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, Error> {
        for (name, value) in &pairs {
            http::HeaderName::try_from(name.as_str())
                .map_err(|_| Error::invalid(format!("expected an export header's name, found {name:?}")))?;
            http::HeaderValue::try_from(value.as_str()).map_err(|_| {
                Error::invalid(format!("the value of the export header {name:?} has control characters"))
            })?;
        }
        Ok(Self(pairs))
    }

    pub(super) fn map(&self) -> http::HeaderMap {
        let mut map = http::HeaderMap::new();
        for (name, value) in &self.0 {
            if let (Ok(name), Ok(mut value)) =
                (http::HeaderName::try_from(name.as_str()), http::HeaderValue::try_from(value.as_str()))
            {
                value.set_sensitive(true);
                map.append(name, value);
            }
        }
        map
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|digit| (*digit as char).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, _)| (name, MASK))).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, _) in &self.0 {
            map.serialize_entry(name, MASK)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of headers, or name=value,name2=value2")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Headers, E> {
                Headers::parse(text).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut all = Vec::new();
                while let Some(pair) = map.next_entry::<String, String>()? {
                    all.push(pair);
                }
                Headers::from_pairs(all).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(endpoint: &str, protocol: Protocol) -> ExportConfig {
        ExportConfig { endpoint: endpoint.to_owned(), protocol, ..ExportConfig::default() }
    }

    #[test]
    fn an_endpoint_without_a_path_gets_the_standard_one() {
        let url = |endpoint: &str| to(endpoint, Protocol::Http).url().unwrap().to_string();
        assert_eq!(url("http://localhost:4318"), "http://localhost:4318/v1/traces");
        assert_eq!(url("http://localhost:4318/"), "http://localhost:4318/v1/traces");
        assert_eq!(url("localhost:4318"), "http://localhost:4318/v1/traces");
        assert_eq!(url("https://x.example/api/otel/v1/traces"), "https://x.example/api/otel/v1/traces");
        assert_eq!(to("localhost:4317", Protocol::Grpc).url().unwrap().to_string(), "http://localhost:4317/");
    }

    #[test]
    fn a_wrong_endpoint_is_refused_and_its_credentials_are_not_shown() {
        for wrong in [
            "ftp://x",
            "http://",
            "http://u:canary@:1:2/?key=canary",
            "http://canary@x",
            "http://x/?key=canary",
        ] {
            let error = to(wrong, Protocol::Http).url().unwrap_err();
            assert!(error.message.contains("http://localhost:4318"), "{error}");
            assert!(!error.message.contains("canary"), "{error}");
        }
    }

    #[test]
    fn inv7_header_values_are_never_shown() {
        let config = ExportConfig {
            headers: Headers::parse("authorization=Basic%20canary,x-tenant=canary").unwrap(),
            ..ExportConfig::default()
        };
        assert!(!format!("{config:?}").contains("canary"));
        assert!(!serde_json::to_string(&config).unwrap().contains("canary"));
        assert_eq!(config.headers.map()["authorization"], "Basic canary");
    }

    #[test]
    fn headers_are_read_from_a_table_or_a_line() {
        let line: ExportConfig = toml::from_str(r#"headers = "a=1, b=x%3Dy%2Cz,""#).unwrap();
        let table: ExportConfig = toml::from_str("headers = { a = \"1\", b = \"x=y,z\" }").unwrap();
        assert_eq!(line.headers, table.headers);
        assert!(Headers::parse("canary").unwrap_err().message.contains("entry 1"));
        assert!(toml::from_str::<ExportConfig>("headers = \"a b=1\"").is_err());
        assert!(toml::from_str::<ExportConfig>("endpiont = \"\"").is_err());
        let http: ExportConfig = toml::from_str("protocol = \"http/protobuf\"").unwrap();
        assert_eq!(http.protocol, Protocol::Http);
    }
}
