//! What came from where: two calls side by side, and which call brought each part of a prompt.

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
    model::{
        Error,
        call::Call,
        exchange::Exchange,
        lineage::{ElementKind, Introduced},
    },
    report::{
        CallDiff,
        diff::{self, Piece},
        figures::instant,
    },
    store::Side,
};

/// A part of a prompt and the call that brought it into the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlameLine {
    pub kind: ElementKind,
    /// A tool's name, or a message's role.
    pub label: String,
    pub text: String,
    /// Null where the call's prompt is no longer known part by part.
    pub introduced_by: Option<String>,
    pub introduced_at: Option<String>,
    pub session: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Blame {
    pub call: String,
    pub lines: Vec<BlameLine>,
}

async fn read(state: &State, id: &str) -> Result<(Call, Exchange), Error> {
    let call = state.store.call(id).await?;
    let request = state.store.body(call.id, Side::Request).await?;
    let response = state.store.body(call.id, Side::Response).await?;
    let exchange = calls::decoded(call.clone(), request, response).await?;
    Ok((call, exchange))
}

/// Two calls side by side: parameters, tools, messages, and the words of what changed.
#[utoipa::path(
    get,
    path = "/api/v1/calls/{id}/diff/{other}",
    tag = "calls",
    params(
        ("id" = String, Path, description = "The call before: its id, or the first digits of it."),
        ("other" = String, Path, description = "The call after."),
    ),
    responses(
        (status = 200, description = "What differs.", body = CallDiff),
        (status = 400, description = "Not an id.", body = ErrorBody),
        (status = 404, description = "No such call.", body = ErrorBody),
        (status = 409, description = "Several calls begin so.", body = ErrorBody),
    ),
)]
pub(super) async fn diff(
    Extract(state): Extract<State>,
    Path((id, other)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<CallDiff>, Failure> {
    Params::read(&uri, &[])?;
    let (before, was) = read(&state, &id).await?;
    let (after, is) = read(&state, &other).await?;
    // Aligning large prompts takes long enough to hold up the other requests of this thread.
    let found = tokio::task::spawn_blocking(move || {
        diff::diff((&before.id.to_string(), &was), (&after.id.to_string(), &is))
    });
    let found =
        found.await.map_err(|error| Error::internal(format!("comparing the calls failed: {error}")))?;
    Ok(Json(found))
}

/// Which call introduced each tool, system prompt and message of a call's prompt.
#[utoipa::path(
    get,
    path = "/api/v1/calls/{id}/blame",
    tag = "calls",
    params(("id" = String, Path, description = "Call id, span id, or the first digits of a call id (6 at least).")),
    responses(
        (status = 200, description = "The prompt, part by part.", body = Blame),
        (status = 400, description = "Not an id.", body = ErrorBody),
        (status = 404, description = "No such call.", body = ErrorBody),
        (status = 409, description = "Several calls begin so.", body = ErrorBody),
    ),
)]
pub(super) async fn blame(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<Blame>, Failure> {
    Params::read(&uri, &[])?;
    let (call, exchange) = read(&state, &id).await?;
    let brought = state.store.blame(call.id).await?;
    Ok(Json(Blame { call: call.id.to_string(), lines: lines(diff::prompt(&exchange), &brought) }))
}

/// Parameters are a part of what a cache depends on and not of what is read.
fn lines(pieces: Vec<Piece>, brought: &[Introduced]) -> Vec<BlameLine> {
    let brought: Vec<_> = brought.iter().filter(|one| one.kind != ElementKind::Parameter).collect();
    // Where the two do not agree (a call of which not all is kept), nothing is said rather than the wrong thing.
    let agree = brought.len() == pieces.len();
    pieces
        .into_iter()
        .enumerate()
        .map(|(at, piece)| {
            let by = brought.get(at).filter(|_| agree);
            BlameLine {
                kind: diff::kind_of(&piece),
                label: piece.label,
                text: piece.text,
                introduced_by: by.map(|by| by.call.to_string()),
                introduced_at: by.map(|by| instant(by.at)),
                session: by.and_then(|by| by.session.clone()),
            }
        })
        .collect()
}
