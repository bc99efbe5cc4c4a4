//! The one place where an error of the layers below becomes a status and a body.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::model::{Error, ErrorCode};

/// Every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorDetail {
    /// `invalid`, `not_found`, `conflict`, `unauthorized`, `busy`, `internal` or `method_not_allowed`.
    pub code: String,
    /// What was expected, what was found, what to do.
    pub message: String,
}

impl ErrorBody {
    pub(super) fn new(code: &str, message: String) -> Self {
        Self { error: ErrorDetail { code: code.to_owned(), message } }
    }
}

/// An `Error` on its way out.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = match self.0.code {
            ErrorCode::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            ErrorCode::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
            ErrorCode::Conflict => (StatusCode::CONFLICT, "conflict"),
            ErrorCode::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            ErrorCode::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            ErrorCode::Damaged => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
            ErrorCode::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let mut response = (status, Json(ErrorBody::new(code, self.0.message))).into_response();
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // RFC 9110, 11.6.1: a 401 names its scheme.
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status() {
        let status = |code| Failure(Error::new(code, "x")).into_response().status().as_u16();
        let codes = [
            (ErrorCode::NotFound, 404),
            (ErrorCode::Invalid, 400),
            (ErrorCode::Conflict, 409),
            (ErrorCode::Unauthorized, 401),
            (ErrorCode::Busy, 503),
            (ErrorCode::Damaged, 500),
            (ErrorCode::Internal, 500),
        ];
        for (code, expected) in codes {
            assert_eq!(status(code), expected, "{code:?}");
        }
    }
}
