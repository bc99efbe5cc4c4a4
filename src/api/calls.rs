//! Calls: lists of rows, and one call whole with its bodies decoded.

use axum::{
    Json,
    extract::{Path, State as Extract},
    response::Response,
};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};

use super::{
    State,
    error::{ErrorBody, Failure},
    format::{self, Format},
    names::Names,
    params::{CALL_FILTER, CallFilterParams, Params},
};
use crate::{
    model::{
        Error, UnixNanos,
        call::Call,
        content::{Arrival, StoredBody},
        exchange::{Exchange, Request, Response as Answer},
        record::Outcome,
    },
    report::{CacheView, CallRow, LinkRow, call},
    store::Side,
    wire::{CallReader, Limits},
};

/// A page of calls, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CallList {
    pub calls: Vec<CallRow>,
    /// Give this as `cursor` to get the next page; null at the end.
    pub next_cursor: Option<String>,
}

/// A call whole: its facts, its heads, and its bodies decoded into one shape for every dialect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CallWhole {
    #[serde(flatten)]
    pub call: CallRow,
    /// As `[name, value]`; credentials are masked.
    #[schema(value_type = Vec<Vec<String>>)]
    pub request_headers: Vec<(String, String)>,
    #[schema(value_type = Vec<Vec<String>>)]
    pub response_headers: Vec<(String, String)>,
    pub request: Request,
    pub response: Answer,
    /// How it hangs under another call; null where it begins a conversation.
    pub link: Option<LinkRow>,
    /// What a prompt cache could have read of its input; null where that does not apply.
    pub cache: Option<CacheView>,
    /// What decoding just now could not take; `notes` says what capture met.
    pub decode_notes: Vec<String>,
}

/// Calls, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/calls",
    tag = "calls",
    params(
        CallFilterParams,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Rows per page; 50 if not given."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default."),
    ),
    responses(
        (
            status = 200,
            description = "A page of calls. JSON lines and CSV carry the next cursor in a header.",
            content((CallList = "application/json"), (CallRow = "application/jsonl"), (String = "text/csv")),
            headers(("x-tapline-next-cursor" = String, description = "As `next_cursor`; absent at the end.")),
        ),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
    ),
)]
pub(super) async fn list(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &[&CALL_FILTER[..], &["limit", "cursor", "format"]].concat())?;
    let format = Format::of(&params, &headers)?;
    let page = state.store.calls(params.call_filter((state.now)())?, params.page()?).await?;
    let mut names = Names::new(state.store);
    let mut calls = Vec::with_capacity(page.items.len());
    for call in &page.items {
        calls.push(names.row(call).await?);
    }
    let whole = CallList { calls, next_cursor: page.next.map(|cursor| cursor.encode()) };
    format::list(format, &whole, &whole.calls, call::table, whole.next_cursor.as_deref())
}

/// One call with its bodies decoded.
#[utoipa::path(
    get,
    path = "/api/v1/calls/{id}",
    tag = "calls",
    params(("id" = String, Path, description = "Call id, span id, or the first digits of a call id (6 at least).")),
    responses(
        (status = 200, description = "The call.", body = CallWhole),
        (status = 400, description = "Not an id.", body = ErrorBody),
        (status = 404, description = "No such call.", body = ErrorBody),
        (status = 409, description = "Several calls begin so.", body = ErrorBody),
    ),
)]
pub(super) async fn one(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<CallWhole>, Failure> {
    Params::read(&uri, &[])?;
    let call = state.store.call(&id).await?;
    let request = state.store.body(call.id, Side::Request).await?;
    let response = state.store.body(call.id, Side::Response).await?;
    let link = state.store.link(call.id).await?;
    let cache = state.store.cache_entry(call.id).await?;
    let row = Names::new(state.store).row(&call).await?;
    let headers = (call.request_headers.to_vec(), call.response_headers.to_vec());
    let exchange = decoded(call, request, response).await?;
    Ok(Json(CallWhole {
        call: row,
        request_headers: headers.0,
        response_headers: headers.1,
        request: exchange.request,
        response: exchange.response,
        link: link.as_ref().map(LinkRow::from),
        cache: cache.as_ref().map(CacheView::from),
        decode_notes: exchange.notes,
    }))
}

/// Decoding a large body takes long enough to hold up the other requests of this thread.
pub(super) async fn decoded(
    call: Call,
    request: StoredBody,
    response: StoredBody,
) -> Result<Exchange, Error> {
    tokio::task::spawn_blocking(move || decode(&call, &request, &response))
        .await
        .map_err(|error| Error::internal(format!("decoding the call failed: {error}")))
}

/// Reads a call again from its exact bytes, in the pieces and at the times in which they came.
pub(super) fn decode(call: &Call, request: &StoredBody, response: &StoredBody) -> Exchange {
    let mut reader = CallReader::new(&call.method, &call.target, &call.request_headers, Limits::default());
    reader.request(&request.bytes);
    if let Some(status) = call.http_status {
        reader.answered(status, &call.response_headers);
    }
    for (at, piece) in pieces(call.started_at, &response.bytes, &response.arrivals) {
        reader.response(piece, at);
    }
    reader.finish(call.outcome == Outcome::Completed && call.response_whole)
}

/// The body cut where its frames ended. Bytes that no arrival accounts for come last, at the last time.
pub(super) fn pieces<'a>(
    started_at: UnixNanos,
    bytes: &'a [u8],
    arrivals: &'a [Arrival],
) -> impl Iterator<Item = (UnixNanos, &'a [u8])> {
    let at = move |arrival: &Arrival| {
        let offset = i64::try_from(arrival.offset_us).unwrap_or(i64::MAX).saturating_mul(1_000);
        UnixNanos(started_at.0.saturating_add(offset))
    };
    let last = arrivals.last().map_or(started_at, at);
    let mut rest = bytes;
    let mut arrivals = arrivals.iter();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (when, length) = match arrivals.next() {
            Some(arrival) => (at(arrival), usize::try_from(arrival.length).unwrap_or(usize::MAX)),
            None => (last, rest.len()),
        };
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Some((when, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_body_whatever_the_arrivals_say() {
        let arrivals = |lengths: &[u64]| -> Vec<Arrival> {
            (1..).zip(lengths).map(|(index, length)| Arrival { offset_us: index, length: *length }).collect()
        };
        for lengths in [&[][..], &[2, 3], &[2], &[9], &[0, 5], &[5, 4], &[u64::MAX]] {
            let arrivals = arrivals(lengths);
            let body: Vec<u8> =
                pieces(UnixNanos(0), b"hello", &arrivals).flat_map(|(_, piece)| piece.to_vec()).collect();
            assert_eq!(body, b"hello", "{lengths:?}");
        }
        let two = arrivals(&[2, 3]);
        let times: Vec<_> = pieces(UnixNanos(7), b"hello", &two).map(|(at, _)| at.0).collect();
        assert_eq!(times, [1_007, 2_007]);
    }
}
