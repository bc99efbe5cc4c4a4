//! The exact bytes of a body, as they crossed the wire (invariant 8). They come from outside and may be
//! anything, a page with scripts included: they leave as a download that no browser runs in our origin.

use axum::{
    body::Body,
    extract::{Path, State as Extract},
    response::Response,
};
use http::{HeaderValue, Uri, header};

use super::{
    State,
    error::{ErrorBody, Failure},
    params::Params,
};
use crate::{
    model::{Error, call::Call, record::Header},
    store::Side,
};

/// The exact bytes that were sent upstream.
#[utoipa::path(
    get,
    path = "/api/v1/calls/{id}/request",
    tag = "calls",
    params(("id" = String, Path, description = "As for the call itself.")),
    responses(
        (
            status = 200,
            description = "The body as it crossed the wire, with the content type and encoding it had.",
            content_type = "application/octet-stream",
            body = String,
            headers(("x-tapline-whole" = bool, description = "False when not all of the body was kept.")),
        ),
        (status = 400, description = "Not an id.", body = ErrorBody),
        (status = 404, description = "No such call.", body = ErrorBody),
        (status = 409, description = "Several calls begin so.", body = ErrorBody),
    ),
)]
pub(super) async fn request(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    Params::read(&uri, &[])?;
    let call = state.store.call(&id).await?;
    exact(&state, &call, Side::Request).await
}

/// The exact bytes that the upstream answered.
#[utoipa::path(
    get,
    path = "/api/v1/calls/{id}/response",
    tag = "calls",
    params(("id" = String, Path, description = "As for the call itself.")),
    responses(
        (
            status = 200,
            description = "The body as it crossed the wire, with the content type and encoding it had.",
            content_type = "application/octet-stream",
            body = String,
            headers(("x-tapline-whole" = bool, description = "False when not all of the body was kept.")),
        ),
        (status = 400, description = "Not an id.", body = ErrorBody),
        (status = 404, description = "No such call.", body = ErrorBody),
        (status = 409, description = "Several calls begin so.", body = ErrorBody),
    ),
)]
pub(super) async fn response(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    Params::read(&uri, &[])?;
    let call = state.store.call(&id).await?;
    exact(&state, &call, Side::Response).await
}

async fn exact(state: &State, call: &Call, side: Side) -> Result<Response, Failure> {
    let stored = state.store.body(call.id, side).await?;
    let (noun, head, whole) = match side {
        Side::Request => ("request", &call.request_headers, call.request_whole),
        Side::Response => ("response", &call.response_headers, call.response_whole),
    };
    let content_type = original(head, "content-type")
        .unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"));
    let extension = extension(&content_type);
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, content_type)
        .header(
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}-{noun}.{extension}\"", call.id),
        )
        .header("x-tapline-whole", if whole { "true" } else { "false" });
    if let Some(encoding) = original(head, "content-encoding") {
        response = response.header(header::CONTENT_ENCODING, encoding);
    }
    response
        .body(Body::from(stored.bytes))
        .map_err(|error| Failure(Error::internal(format!("the body could not be answered: {error}"))))
}

/// A recorded header's value: each `char` of it is one byte.
fn original(head: &[Header], name: &str) -> Option<HeaderValue> {
    let (_, value) = head.iter().find(|(found, _)| found == name)?;
    let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

fn extension(content_type: &HeaderValue) -> &'static str {
    let content_type = content_type.to_str().unwrap_or("").to_ascii_lowercase();
    match content_type.split(';').next().unwrap_or("").trim() {
        "application/json" => "json",
        "text/event-stream" | "text/plain" => "txt",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_leave_as_the_bytes_they_were() {
        let head = vec![("content-type".to_owned(), "text/x-\u{ff}".to_owned())];
        assert_eq!(original(&head, "content-type").unwrap().as_bytes(), b"text/x-\xff");
        assert_eq!(original(&head, "content-encoding"), None);
        let broken = vec![("content-type".to_owned(), "a\nb".to_owned())];
        assert_eq!(original(&broken, "content-type"), None);
    }

    #[test]
    fn no_download_is_named_like_a_page() {
        for (content_type, expected) in
            [("application/json; charset=utf-8", "json"), ("text/event-stream", "txt"), ("text/html", "bin")]
        {
            assert_eq!(extension(&HeaderValue::from_static(content_type)), expected);
        }
    }
}
