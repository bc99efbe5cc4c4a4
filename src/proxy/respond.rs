//! Answers of tapline's own, in the shape that OpenAI's clients read, and marked as ours by a header. They
//! are not recorded as a response: the call's failure says all that they say.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::{
    Body, BoxError,
    blame::Blame,
    budget::Stopped,
    call::Call,
    route::{Lost, Route},
    upload,
};
use crate::{
    capture::recorder::now,
    model::{
        ErrorCode, UnixNanos,
        record::{Failure, Outcome, Source},
    },
};

/// Tells a client that the answer is ours and not its upstream's.
const ERROR: HeaderName = HeaderName::from_static("x-tapline-error");

/// A request that goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn recording_unavailable() -> Self {
        let message = "the call could not be recorded and calls that cannot are refused; see /readyz";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "recording_unavailable", message)
    }

    pub(super) fn connect() -> Self {
        let message = "expected a request for a path, found CONNECT; tapline is no forward proxy: set \
                       OPENAI_BASE_URL instead of a proxy variable";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "connect_not_supported", message)
    }

    pub(super) fn host(found: usize) -> Self {
        let message = format!("expected one Host header, as HTTP/1.1 demands, found {found}");
        Self::new(StatusCode::BAD_REQUEST, "bad_host", message)
    }

    pub(super) fn foreign_origin(origin: &str) -> Self {
        let message = format!(
            "expected a page of this machine, found origin {:?}; add it to allowed_origins to let it call",
            short(origin)
        );
        Self::new(StatusCode::FORBIDDEN, "foreign_origin", message)
    }

    pub(super) fn foreign_host(host: &str) -> Self {
        let message = format!(
            "expected a loopback name, an address or a configured name as host, found {:?}; add it to \
             allowed_hosts if tapline is reached by it",
            short(host)
        );
        Self::new(StatusCode::FORBIDDEN, "foreign_host", message)
    }

    pub(super) fn ambiguous(name: &HeaderName) -> Self {
        let message = format!("expected one readable header {name}, found more or other bytes");
        Self::new(StatusCode::BAD_REQUEST, "ambiguous_header", message)
    }
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Refuses before there is a call.
pub(super) fn refuse(refusal: &Refusal, headers: &HeaderMap, body: Incoming) -> Response<Body> {
    read_away(headers, body);
    error(refusal.status, refusal.code, &refusal.message)
}

/// Answers a call whose path leads nowhere.
pub(super) async fn lost(call: Call, lost: Lost, headers: &HeaderMap, body: Incoming) -> Response<Body> {
    let (status, code) = match lost.error.code {
        ErrorCode::NotFound => (StatusCode::NOT_FOUND, "unknown_upstream"),
        ErrorCode::Unauthorized => (StatusCode::FORBIDDEN, "upstream_not_allowed"),
        _ => (StatusCode::BAD_REQUEST, "bad_scope"),
    };
    read_away(headers, body);
    let message = lost.error.message;
    let failure = Failure { source: Source::Client, code: code.to_owned(), message: message.clone() };
    call.end_settled(Outcome::ClientError, Some(failure)).await;
    error(status, code, &message)
}

/// Whether a path is Anthropic's; OpenAI has messages too, inside its threads.
fn is_anthropic(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    path.split('/').find(|segment| !segment.is_empty() && *segment != "v1") == Some("messages")
}

/// Answers a call that a budget stopped, in its own dialect. It must not be tried again: SDKs are told so.
pub(super) async fn stopped(
    call: Call,
    stopped: Stopped,
    route: &Route,
    headers: &HeaderMap,
    body: Incoming,
) -> Response<Body> {
    read_away(headers, body);
    let (status, code, kind, message, until) = match &stopped {
        Stopped::Exceeded(exceeded) => (
            StatusCode::TOO_MANY_REQUESTS,
            "budget_exceeded",
            // What OpenAI says when the money is gone; agents know it.
            "insufficient_quota",
            exceeded.message(),
            exceeded.state.until,
        ),
        Stopped::Wrong(error) => {
            (StatusCode::BAD_REQUEST, "bad_budget", "invalid_request_error", error.message.clone(), None)
        }
    };
    let source = if status == StatusCode::BAD_REQUEST { Source::Client } else { Source::Internal };
    let failure = Failure { source, code: code.to_owned(), message: message.clone() };
    call.end_settled(Outcome::ClientError, Some(failure)).await;
    let anthropic = is_anthropic(&route.target) || headers.contains_key("anthropic-version");
    let body = if anthropic {
        let kind = if status == StatusCode::BAD_REQUEST { kind } else { "rate_limit_error" };
        serde_json::json!({"type": "error", "error": {"type": kind, "message": message}})
    } else {
        serde_json::json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
    };
    let mut response = answer(status, code, &body);
    response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    if let Some(until) = until {
        let seconds = (until.since(now()).max(0) + UnixNanos::SECOND - 1) / UnixNanos::SECOND;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Answers a call that failed before its response began.
pub(super) async fn failed(call: Call, blame: Blame) -> Response<Body> {
    let failure = blame.failure();
    let message = failure.message.clone();
    call.end_settled(blame.outcome(), Some(failure)).await;
    let (status, code) = blame.answer();
    error(status, &code, &message)
}

/// Answers a client whose call was cut before its response began.
pub(super) fn cut() -> Response<Body> {
    error(StatusCode::SERVICE_UNAVAILABLE, "shutdown", "tapline shut down and cut the call")
}

/// A client that writes all before it reads gets its answer only if the rest is taken off its hands.
fn read_away(headers: &HeaderMap, body: Incoming) {
    if upload::may_linger(headers) {
        upload::linger(body, |_| {});
    }
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({
        "error": {"message": message, "type": "tapline_error", "param": null, "code": code}
    });
    answer(status, code, &body)
}

fn answer(status: StatusCode, code: &str, body: &serde_json::Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).map_err(BoxError::from).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(code) = HeaderValue::from_str(code) {
        headers.insert(ERROR, code);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anthropics_paths_are_known_from_openais() {
        for path in ["/messages", "/v1/messages?beta=true", "/messages/batches", "/messages/count_tokens"] {
            assert!(is_anthropic(path), "{path}");
        }
        for path in ["/threads/t/messages", "/v1/chat/completions", "/v1", "", "/messagesx"] {
            assert!(!is_anthropic(path), "{path}");
        }
    }
}
