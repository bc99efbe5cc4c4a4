//! The exact bytes of a body, as they crossed the wire (invariant 8). They come from outside and may be
//! anything, a page with scripts included: they leave as a download that no browser runs in our origin.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State as Extract},
    response::Response,
};
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Uri, header};
use tokio::time::Instant;

use super::{
    State, calls,
    error::{ErrorBody, Failure},
    params::Params,
};
use crate::{
    model::{Error, UnixNanos, call::Call, content::StoredBody, record::Header},
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
    exact(&state, &call, Side::Request, None).await
}

/// The exact bytes that the upstream answered.
#[utoipa::path(
    get,
    path = "/api/v1/calls/{id}/response",
    tag = "calls",
    params(
        ("id" = String, Path, description = "As for the call itself."),
        ("paced" = Option<bool>, Query, description = "Each frame at its time, as the client got it."),
        ("speed" = Option<f64>, Query, description = "How many times as fast when paced; 1 if not given."),
    ),
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
    let params = Params::read(&uri, &["paced", "speed"])?;
    let paced = params.parsed("paced", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Error::invalid(format!("expected true or false, found {other:?}"))),
    })?;
    let speed = params.parsed("speed", |text| match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err(Error::invalid(format!("expected a number above 0, found {text:?}"))),
    })?;
    let call = state.store.call(&id).await?;
    exact(&state, &call, Side::Response, paced.unwrap_or(speed.is_some()).then_some(speed.unwrap_or(1.0)))
        .await
}

/// `speed`: the frames at their times, so many times as fast; else all at once.
async fn exact(state: &State, call: &Call, side: Side, speed: Option<f64>) -> Result<Response, Failure> {
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
    let body = match speed {
        Some(speed) => Body::from_stream(paced(stored, speed)),
        None => Body::from(stored.bytes),
    };
    response
        .body(body)
        .map_err(|error| Failure(Error::internal(format!("the body could not be answered: {error}"))))
}

/// The frames of a response, each as long after the request as it came, `speed` times as fast.
fn paced(stored: StoredBody, speed: f64) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let begun = Instant::now();
    let frames = calls::pieces(UnixNanos(0), &stored.bytes, &stored.arrivals)
        .map(|(at, frame)| (at, stored.bytes.slice_ref(frame)))
        .collect::<Vec<_>>();
    futures_util::stream::iter(frames).then(move |(at, frame)| async move {
        let after = Duration::try_from_secs_f64(at.0 as f64 / 1e9 / speed).unwrap_or(Duration::MAX);
        if let Some(due) = begun.checked_add(after) {
            tokio::time::sleep_until(due).await;
        }
        Ok(frame)
    })
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

    #[tokio::test]
    async fn frames_come_one_by_one_and_not_before_their_times() {
        let arrivals = [(40_000, 2), (50_000, 3)]
            .map(|(offset_us, length)| crate::model::content::Arrival { offset_us, length });
        let stored = StoredBody { bytes: Bytes::from_static(b"hello"), arrivals: arrivals.to_vec() };
        let begun = Instant::now();
        let frames: Vec<_> =
            paced(stored, 2.0).map(|frame| (begun.elapsed(), frame.unwrap())).collect().await;
        let (times, frames): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
        assert_eq!(frames, ["he", "llo"]);
        assert!(times[0] >= Duration::from_millis(20) && times[1] >= Duration::from_millis(25), "{times:?}");
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
