//! Errors in the API's own shape: what a wrong request gets, and what a scripted fault sends.

use std::fmt;

use http::StatusCode;
use serde_json::{Value, json};

/// A request that gets no answer: status and the four fields of the API's error object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) kind: &'static str,
    pub(super) param: Option<String>,
    pub(super) code: Option<&'static str>,
    /// Seconds, as the header has them.
    pub(super) retry_after: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, code: Option<&'static str>, message: String) -> Self {
        Self { status, message, kind, param: None, code, retry_after: None }
    }

    pub(super) fn invalid(param: Option<&str>, message: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", None, message.into());
        refusal.param = param.map(str::to_owned);
        refusal
    }

    pub(super) fn missing(param: &str) -> Self {
        let mut refusal = Self::invalid(Some(param), format!("Missing required parameter: '{param}'."));
        refusal.code = Some("missing_required_parameter");
        refusal
    }

    pub(super) fn unknown_model(model: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            Some("model_not_found"),
            format!("The model `{model}` does not exist or you do not have access to it."),
        )
    }

    pub(super) fn unknown_url(method: &str, path: &str) -> Self {
        let message = format!("Invalid URL ({method} {path})");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", None, message)
    }

    pub(super) fn unknown_response(id: &str) -> Self {
        let mut refusal = Self::invalid(
            Some("previous_response_id"),
            format!("Previous response with id '{id}' not found."),
        );
        refusal.code = Some("previous_response_not_found");
        refusal
    }

    pub(super) fn no_key() -> Self {
        let message = "You didn't provide an API key. You need to provide your API key in an Authorization \
                       header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            .to_owned();
        Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", None, message)
    }

    /// Shows the ends of the key only, as the API does.
    pub(super) fn wrong_key(key: &str) -> Self {
        let letters: Vec<char> = key.chars().collect();
        let shown = match letters.len() {
            0..12 => "*".repeat(letters.len()),
            length => {
                let head: String = letters[..4].iter().collect();
                let tail: String = letters[length - 4..].iter().collect();
                format!("{head}{}{tail}", "*".repeat(length - 8))
            }
        };
        Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid_request_error",
            Some("invalid_api_key"),
            format!("Incorrect API key provided: {shown}."),
        )
    }

    /// What the scripted status looks like when a real server sends it.
    pub(super) fn scripted(status: StatusCode, retry_after: Option<String>) -> Self {
        let (kind, code, message) = match status.as_u16() {
            401 => ("invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided."),
            403 => ("permission_error", None, "You do not have access to this resource."),
            404 => ("invalid_request_error", None, "The requested resource was not found."),
            429 => (
                "requests",
                Some("rate_limit_exceeded"),
                "Rate limit reached for requests. Please try again later.",
            ),
            503 => ("server_error", None, "The engine is currently overloaded, please try again later."),
            500.. => ("server_error", None, "The server had an error while processing your request."),
            _ => ("invalid_request_error", None, "The request was refused as scripted."),
        };
        Self { retry_after, ..Self::new(status, kind, code, message.to_owned()) }
    }

    /// In the shape of OpenAI's API, or of Anthropic's.
    pub(super) fn body(&self, anthropic: bool) -> Value {
        if anthropic {
            let kind = match self.status.as_u16() {
                401 => "authentication_error",
                403 => "permission_error",
                404 => "not_found_error",
                413 => "request_too_large",
                429 => "rate_limit_error",
                529 => "overloaded_error",
                500.. => "api_error",
                _ => "invalid_request_error",
            };
            return json!({"type": "error", "error": {"type": kind, "message": self.message}});
        }
        json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }})
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.message)
    }
}
