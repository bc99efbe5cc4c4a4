//! Prices applied anew to stored calls: what if, or for good.

use axum::{Json, extract::State as Extract};

use super::{
    State,
    error::{ErrorBody, Failure},
};
use crate::{
    billing::reprice::{self, Ask, Report},
    model::Error,
};

/// Prices stored calls anew and tells before and after; with `apply` the new costs are kept, sums corrected,
/// and the change written down.
#[utoipa::path(
    post,
    path = "/api/v1/costs/reprice",
    tag = "costs",
    request_body = Ask,
    responses(
        (status = 200, description = "Before and after.", body = Report),
        (status = 400, description = "The question or the prices cannot be.", body = ErrorBody),
        (status = 404, description = "No such run.", body = ErrorBody),
        (status = 409, description = "The store is open for reading only.", body = ErrorBody),
    ),
)]
pub(super) async fn reprice(
    Extract(state): Extract<State>,
    body: Result<Json<Ask>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<Report>, Failure> {
    let Json(ask) = body.map_err(|error| {
        Error::invalid(format!(
            "expected a question such as {{\"as_of\":\"2026-11-01\",\"apply\":false}}: {error}"
        ))
    })?;
    let prices = (state.prices)();
    Ok(Json(reprice::reprice(&state.store, &prices, &ask, (state.now)()).await?))
}
