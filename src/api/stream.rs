//! How a response came: its frames as they arrived and, where it was an event stream, its events.

use axum::{
    Json,
    extract::{Path, State as Extract},
};
use http::Uri;
use serde::{Deserialize, Serialize};

use super::{
    State, calls,
    error::{ErrorBody, Failure},
    params::Params,
};
use crate::{
    model::{Error, call::Call, content::StoredBody},
    report::figures::ms,
    store::Side,
    wire::{self, Limits},
};

/// A response in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StreamView {
    pub id: String,
    /// When the call opened, RFC 3339; every offset counts from here.
    pub started_at: String,
    /// True when the response came as an event stream.
    pub streamed: bool,
    pub frames: Vec<StreamFrame>,
    /// Empty where the response was no event stream.
    pub events: Vec<StreamEvent>,
    /// What could not be taken.
    pub notes: Vec<String>,
}

/// Bytes that arrived together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StreamFrame {
    pub offset_ms: f64,
    pub bytes: u64,
}

/// One server-sent event, at the arrival of the frame that completed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StreamEvent {
    pub offset_ms: f64,
    /// The `event` field; null where there was none.
    pub event: Option<String>,
    /// The `data` lines, joined with line feeds.
    pub data: String,
}

/// The frames and events of a response with their offsets.
#[utoipa::path(
    get,
    path = "/api/v1/calls/{id}/stream",
    tag = "calls",
    params(("id" = String, Path, description = "As for the call itself.")),
    responses(
        (status = 200, description = "The response in time.", body = StreamView),
        (status = 400, description = "Not an id.", body = ErrorBody),
        (status = 404, description = "No such call.", body = ErrorBody),
        (status = 409, description = "Several calls begin so.", body = ErrorBody),
    ),
)]
pub(super) async fn stream(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<StreamView>, Failure> {
    Params::read(&uri, &[])?;
    let call = state.store.call(&id).await?;
    let body = state.store.body(call.id, Side::Response).await?;
    let view = tokio::task::spawn_blocking(move || view(&call, &body))
        .await
        .map_err(|error| Error::internal(format!("reading the stream failed: {error}")))?;
    Ok(Json(view))
}

fn view(call: &Call, body: &StoredBody) -> StreamView {
    let frames = body
        .arrivals
        .iter()
        .map(|arrival| StreamFrame { offset_ms: arrival.offset_us as f64 / 1e3, bytes: arrival.length })
        .collect();
    let mut events = Vec::new();
    let mut notes = Vec::new();
    if call.streamed {
        let pieces = calls::pieces(call.started_at, &body.bytes, &body.arrivals);
        notes = wire::events(&call.response_headers, pieces, Limits::default(), |at, name, data| {
            events.push(StreamEvent {
                offset_ms: ms(at.since(call.started_at)),
                event: (!name.is_empty()).then(|| name.to_owned()),
                data: data.to_owned(),
            });
        });
    }
    StreamView {
        id: call.id.to_string(),
        started_at: crate::report::figures::instant(call.started_at),
        streamed: call.streamed,
        frames,
        events,
        notes,
    }
}
