//! The one place where an error becomes MLflow's answer: a status and `{"error_code", "message"}`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde::Serialize;

use super::encode;
use crate::model::{Error, ErrorCode};

/// MLflow's error codes, as far as they are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidParameterValue,
    ResourceDoesNotExist,
    ResourceAlreadyExists,
    EndpointNotFound,
    BadRequest,
    PermissionDenied,
    TemporarilyUnavailable,
    InternalError,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "INVALID_PARAMETER_VALUE",
            Self::ResourceDoesNotExist => "RESOURCE_DOES_NOT_EXIST",
            Self::ResourceAlreadyExists => "RESOURCE_ALREADY_EXISTS",
            Self::EndpointNotFound => "ENDPOINT_NOT_FOUND",
            Self::BadRequest => "BAD_REQUEST",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::TemporarilyUnavailable => "TEMPORARILY_UNAVAILABLE",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// MLflow answers 400, not 409, for what exists already. Clients try 5xx again for minutes, so nothing
    /// that is the client's fault has one.
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameterValue | Self::ResourceAlreadyExists | Self::BadRequest => {
                StatusCode::BAD_REQUEST
            }
            Self::ResourceDoesNotExist | Self::EndpointNotFound => StatusCode::NOT_FOUND,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// SQLSTATE and error class, as MLflow derives them from the code.
    fn class(self) -> (&'static str, &'static str) {
        match self {
            Self::InvalidParameterValue | Self::BadRequest => ("KAM00", "INVALID_PARAMETER_VALUE"),
            Self::ResourceDoesNotExist | Self::EndpointNotFound => ("KAM00", "RESOURCE_NOT_FOUND"),
            Self::ResourceAlreadyExists => ("KAM00", "RESOURCE_ALREADY_EXISTS"),
            Self::PermissionDenied => ("KAM00", "PERMISSION_DENIED"),
            Self::TemporarilyUnavailable | Self::InternalError => ("XXM00", "CLIENT_INTERNAL_ERROR"),
        }
    }
}

/// An error on its way out.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterValue, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.code {
            ErrorCode::NotFound => Code::ResourceDoesNotExist,
            ErrorCode::Invalid => Code::InvalidParameterValue,
            ErrorCode::Conflict => Code::ResourceAlreadyExists,
            ErrorCode::Unauthorized => Code::PermissionDenied,
            ErrorCode::Busy => Code::TemporarilyUnavailable,
            ErrorCode::Internal | ErrorCode::Damaged => Code::InternalError,
        };
        Self { code, message: error.message }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error_code: &'a str,
    message: &'a str,
    sqlstate: &'a str,
    error_class: &'a str,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (sqlstate, error_class) = self.code.class();
        let body = Body { error_code: self.code.name(), message: &self.message, sqlstate, error_class };
        let mut response = encode::json(&body);
        *response.status_mut() = self.code.status();
        if self.code == Code::TemporarilyUnavailable {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A path of MLflow's that is not served here.
pub(super) async fn no_endpoint(method: Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    Failure::new(Code::EndpointNotFound, format!("No API found for '{method} {path}'"))
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let failure = Failure::new(Code::EndpointNotFound, format!("'{path}' does not take the method {method}"));
    let mut response = failure.into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
