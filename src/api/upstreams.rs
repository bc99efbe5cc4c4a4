//! `/api/v1/upstreams`: where calls can go.

use axum::{Json, extract::State as Extract};
use http::Uri;
use serde::{Deserialize, Serialize};

use super::{
    State,
    error::{ErrorBody, Failure},
    params::Params,
};

/// A configured upstream; its key is nobody's business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpstreamRow {
    /// `default` is where calls go that name none; the others are under `/to/<name>/`.
    pub name: String,
    pub provider: String,
    /// Host and port that it is reached at.
    pub server: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpstreamList {
    pub upstreams: Vec<UpstreamRow>,
}

/// Every upstream that is configured; none where no proxy runs.
#[utoipa::path(
    get,
    path = "/api/v1/upstreams",
    tag = "meta",
    responses(
        (status = 200, description = "Upstreams.", body = UpstreamList),
        (status = 400, description = "A parameter is unknown.", body = ErrorBody),
    ),
)]
pub(super) async fn upstreams(
    Extract(state): Extract<State>,
    uri: Uri,
) -> Result<Json<UpstreamList>, Failure> {
    Params::read(&uri, &[])?;
    Ok(Json(UpstreamList { upstreams: state.upstreams.to_vec() }))
}
