//! One request to a collector and what its answer means, over HTTP or gRPC. Decides nothing about what is
//! sent next: `export` does.

use std::{io::Write, time::Duration};

use flate2::{Compression as Level, write::GzEncoder};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient,
};
use prost::Message;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER, USER_AGENT};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tonic::{
    Code, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use super::config::{Compression, ExportConfig, Protocol};
use crate::model::Error;

/// Largest message taken or sent over gRPC; tonic's own limit of 4 MiB is for strangers.
const MAX_MESSAGE: usize = 64 << 20;
/// What is read of an answer, bytes; the rest has nothing to say.
const MAX_ANSWER: usize = 64 << 10;
const PRODUCT: &str = concat!("tapline/", env!("CARGO_PKG_VERSION"));

/// What the collector's answer means for the request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// Taken; of its spans `dropped` were not kept, which is not to be tried again.
    Accepted { dropped: u64, message: String },
    /// Not taken now, whoever's fault it is: it stays ours.
    Later { after: Option<Duration>, reason: String },
    /// Taken only in smaller pieces.
    TooLarge { reason: String },
    /// The collector does not like what is in it.
    Rejected { reason: String },
}

#[derive(Debug)]
pub(super) enum Sender {
    Http(HttpSender),
    Grpc(Box<GrpcSender>),
}

impl Sender {
    pub(super) fn new(config: &ExportConfig) -> Result<Self, Error> {
        // Both clients ask for the process's TLS provider; the first to install it wins, and that is fine.
        drop(rustls::crypto::ring::default_provider().install_default());
        Ok(match config.protocol {
            Protocol::Http => Self::Http(HttpSender::new(config)?),
            Protocol::Grpc => Self::Grpc(Box::new(GrpcSender::new(config)?)),
        })
    }

    pub(super) async fn send(&mut self, request: ExportTraceServiceRequest) -> Answer {
        match self {
            Self::Http(sender) => sender.send(&request).await,
            Self::Grpc(sender) => sender.send(request).await,
        }
    }
}

#[derive(Debug)]
pub(super) struct HttpSender {
    client: reqwest::Client,
    url: reqwest::Url,
    headers: HeaderMap,
    gzip: bool,
}

impl HttpSender {
    fn new(config: &ExportConfig) -> Result<Self, Error> {
        let timeout = Duration::from_millis(config.timeout_ms.max(1));
        let client = reqwest::Client::builder()
            .timeout(timeout)
            // A redirect turns the POST into a GET, and would carry the headers to a stranger.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::internal(format!("the export's HTTP client: {}", chain(&error))))?;
        let mut headers = config.headers.map();
        headers.insert(CONTENT_TYPE, reqwest::header::HeaderValue::from_static("application/x-protobuf"));
        headers.entry(USER_AGENT).or_insert(reqwest::header::HeaderValue::from_static(PRODUCT));
        let gzip = config.compression == Compression::Gzip;
        if gzip {
            headers.insert(CONTENT_ENCODING, reqwest::header::HeaderValue::from_static("gzip"));
        }
        Ok(Self { client, url: config.url()?, headers, gzip })
    }

    async fn send(&self, request: &ExportTraceServiceRequest) -> Answer {
        let body = request.encode_to_vec();
        let body = if self.gzip { gzipped(&body) } else { body };
        let sent = self.client.post(self.url.clone()).headers(self.headers.clone()).body(body).send().await;
        match sent {
            // The URL is ours and known; errors would repeat it.
            Err(error) => Answer::Later { after: None, reason: chain(&error.without_url()) },
            Ok(response) => understand(response).await,
        }
    }
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Level::fast());
    // Writing into memory cannot fail.
    let written = encoder.write_all(body);
    debug_assert!(written.is_ok());
    encoder.finish().unwrap_or_default()
}

async fn understand(mut response: reqwest::Response) -> Answer {
    let status = response.status();
    let after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
    let location = response.headers().get(LOCATION).map(|to| format!(" to {to:?}")).unwrap_or_default();
    let mut body = Vec::new();
    // A body that breaks off does not change what the status said.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            break;
        }
    }
    if status.is_success() {
        // JSON, or nothing at all, from a lenient collector is a success as well.
        let taken = ExportTraceServiceResponse::decode(body.as_slice()).unwrap_or_default();
        return accepted(taken);
    }
    let reason = format!("{status}{}", said(&body));
    match status.as_u16() {
        413 => Answer::TooLarge { reason },
        // Bad data by the specification; a server error that is not said to pass may be one span's, too.
        400 | 422 => Answer::Rejected { reason },
        502..=504 => Answer::Later { after, reason },
        500.. => Answer::Rejected { reason },
        300..=399 => Answer::Later { after: None, reason: format!("{reason}: redirects{location}") },
        // 429; and wrong paths, missing credentials and the like: the operator's to mend, no span's fault.
        _ => Answer::Later { after, reason },
    }
}

fn accepted(response: ExportTraceServiceResponse) -> Answer {
    let partial = response.partial_success.unwrap_or_default();
    Answer::Accepted {
        dropped: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: partial.error_message,
    }
}

/// What an error's body says, as far as it is text: `google.rpc.Status` or plain words.
fn said(body: &[u8]) -> String {
    let words = RpcStatus::decode(body).map(|status| status.message).unwrap_or_default();
    let words = if words.is_empty() { String::from_utf8_lossy(body).into_owned() } else { words };
    let words: String = words.chars().filter(|c| !c.is_control()).take(200).collect();
    let words = words.trim();
    if words.is_empty() || words.contains('\u{fffd}') { String::new() } else { format!(": {words}") }
}

/// Seconds, or a date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(value.trim(), &Rfc2822).ok()?;
    Duration::try_from(at - OffsetDateTime::now_utc()).ok()
}

/// The whole chain of causes: the first alone says "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[derive(Debug)]
pub(super) struct GrpcSender {
    client: TraceServiceClient<Channel>,
    metadata: MetadataMap,
}

impl GrpcSender {
    fn new(config: &ExportConfig) -> Result<Self, Error> {
        let url = config.url()?;
        let wrong = |error: tonic::transport::Error| {
            Error::invalid(format!("the export's gRPC endpoint {url} cannot be used: {}", chain(&error)))
        };
        let timeout = Duration::from_millis(config.timeout_ms.max(1));
        let mut endpoint = Endpoint::from_shared(url.to_string())
            .map_err(wrong)?
            .user_agent(PRODUCT)
            .map_err(wrong)?
            .connect_timeout(timeout)
            .timeout(timeout)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_while_idle(false);
        if url.scheme() == "https" {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(wrong)?;
        }
        let mut client = TraceServiceClient::new(endpoint.connect_lazy())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        if config.compression == Compression::Gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        Ok(Self { client, metadata: MetadataMap::from_headers(config.headers.map()) })
    }

    async fn send(&mut self, request: ExportTraceServiceRequest) -> Answer {
        let mut request = tonic::Request::new(request);
        *request.metadata_mut() = self.metadata.clone();
        match self.client.export(request).await {
            Ok(response) => accepted(response.into_inner()),
            Err(status) => meaning(&status),
        }
    }
}

fn meaning(status: &Status) -> Answer {
    let reason = format!("{:?}: {}", status.code(), chain(status));
    // A connection that fails has no code of the collector's, only ours and a cause.
    if std::error::Error::source(status).is_some_and(|cause| !cause.is::<Status>())
        || status.message().starts_with("Service was not ready")
    {
        return Answer::Later { after: None, reason };
    }
    let too_large = ["too large", "larger than max", "maximum size", "exceeds"]
        .iter()
        .any(|words| status.message().contains(words));
    match status.code() {
        Code::ResourceExhausted => match retry_info(status.details()) {
            Some(after) => Answer::Later { after: Some(after), reason },
            // Without RetryInfo it means the message's size, or says that there is no use in trying again.
            None => Answer::TooLarge { reason },
        },
        Code::OutOfRange if too_large => Answer::TooLarge { reason },
        Code::InvalidArgument | Code::Internal | Code::Unknown | Code::AlreadyExists => {
            Answer::Rejected { reason }
        }
        // The retryable codes; and those that are the operator's to mend (credentials, wrong service).
        _ => Answer::Later { after: retry_info(status.details()), reason },
    }
}

/// `google.rpc.Status`, as far as it is read here.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcDetail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct RpcDetail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<RpcDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct RpcDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let detail = status.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(detail.value.as_slice()).ok()?.delay.unwrap_or_default();
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?.min(999_999_999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert!(retry_after("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|wait| wait.as_secs() > 1_000_000));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(retry_after("soon"), None);
    }

    fn exhausted(seconds: i64) -> Vec<u8> {
        let info = RetryInfo { delay: Some(RpcDuration { seconds, nanos: 5 }) };
        let detail = RpcDetail {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        };
        RpcStatus { code: 8, message: String::new(), details: vec![detail] }.encode_to_vec()
    }

    #[test]
    fn grpc_codes_mean_what_the_specification_says() {
        let of = |code: Code| meaning(&Status::new(code, "no"));
        for later in [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
        ] {
            assert!(matches!(of(later), Answer::Later { .. }), "{later:?}");
        }
        assert!(matches!(of(Code::InvalidArgument), Answer::Rejected { .. }));
        assert!(matches!(of(Code::ResourceExhausted), Answer::TooLarge { .. }));
        let told = Status::with_details(Code::ResourceExhausted, "slow down", exhausted(3).into());
        let Answer::Later { after, .. } = meaning(&told) else { panic!("expected Later") };
        assert_eq!(after, Some(Duration::new(3, 5)));
    }

    #[test]
    fn an_error_body_is_shown_when_it_is_text() {
        let status = RpcStatus { code: 3, message: "bad span".to_owned(), details: Vec::new() };
        assert_eq!(said(&status.encode_to_vec()), ": bad span");
        assert_eq!(said(b"no such\nroute"), ": no suchroute");
        assert_eq!(said(&[0xff, 0xfe]), "");
    }
}
