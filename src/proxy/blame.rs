//! Who is at fault when a call fails, and what that means for the record and for the client.

use std::time::Duration;

use http::StatusCode;
use hyper::body::Incoming;

use crate::{
    model::{
        duration,
        record::{Failure, Outcome, Source},
    },
    upstream::{Fault, Upstream},
};

const REQUEST_TIMEOUT: &str = "request_timeout";

/// Why a call did not go as its framing says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blame {
    /// The client left while its request was on the way.
    ClientGone(String),
    /// What the client sent is broken.
    Client {
        code: &'static str,
        message: String,
    },
    Upstream(Fault),
}

impl Blame {
    /// Reads an error of the client's request body: a broken frame is the client's mistake, everything
    /// else means that it left.
    pub(super) fn of_upload(error: &hyper::Error) -> Self {
        let message = Fault::of(error).message;
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<std::io::Error>()
                && matches!(io.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData)
            {
                return Self::Client {
                    code: "bad_request_body",
                    message: format!("expected a request body framed as its headers say, found: {message}"),
                };
            }
            cause = inner.source();
        }
        Self::ClientGone(format!("the client left while it sent its request: {message}"))
    }

    /// A client that does not send the rest of its request.
    pub(super) fn slow_upload(came: usize, limit: Duration) -> Self {
        let limit = duration::print(limit);
        Self::Client {
            code: REQUEST_TIMEOUT,
            message: format!(
                "expected the rest of the request body within {limit}, found {came} bytes of it"
            ),
        }
    }

    /// An error before the response's head.
    pub(super) fn of_exchange(error: &hyper_util::client::legacy::Error, upstream: &Upstream) -> Self {
        let fault = Fault::of(error);
        let what = if error.is_connect() { "cannot connect to" } else { "no response from" };
        Self::Upstream(Fault {
            code: fault.code,
            message: format!(
                "{what} upstream {:?} at {}: {}",
                upstream.name,
                upstream.place(),
                fault.message.trim_start_matches("client error (Connect): ")
            ),
        })
    }

    /// An error inside the response's body.
    pub(super) fn of_download(error: &<Incoming as hyper::body::Body>::Error) -> Self {
        let fault = Fault::of(error);
        Self::Upstream(Fault {
            code: fault.code,
            message: format!("the upstream broke off its response: {}", fault.message),
        })
    }

    pub(super) fn unasked_switch() -> Self {
        Self::Upstream(Fault {
            code: "bad_response",
            message: "the upstream switched protocols without being asked to".to_owned(),
        })
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::ClientGone(_) => Outcome::ClientGone,
            Self::Client { .. } => Outcome::ClientError,
            Self::Upstream(_) => Outcome::UpstreamFailed,
        }
    }

    pub(super) fn failure(&self) -> Failure {
        let (source, code, message) = match self {
            Self::ClientGone(message) => (Source::Client, "client_disconnect", message),
            Self::Client { code, message } => (Source::Client, *code, message),
            Self::Upstream(fault) => (Source::Upstream, fault.code, &fault.message),
        };
        Failure { source, code: code.to_owned(), message: message.clone() }
    }

    /// Status and `error.code` of our answer.
    pub(super) fn answer(&self) -> (StatusCode, String) {
        match self {
            Self::ClientGone(_) => (StatusCode::BAD_REQUEST, "client_disconnect".to_owned()),
            Self::Client { code, .. } if *code == REQUEST_TIMEOUT => {
                (StatusCode::REQUEST_TIMEOUT, (*code).to_owned())
            }
            Self::Client { code, .. } => (StatusCode::BAD_REQUEST, (*code).to_owned()),
            Self::Upstream(fault) => {
                let status =
                    if fault.is_timeout() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
                let code = fault.code.trim_start_matches("upstream_");
                (status, format!("upstream_{code}"))
            }
        }
    }
}
