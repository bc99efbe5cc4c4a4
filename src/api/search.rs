//! Full-text search over prompts and answers.

use std::time::Duration;

use axum::{Json, extract::State as Extract};
use http::Uri;
use serde::{Deserialize, Serialize};

use super::{
    State,
    error::{ErrorBody, Failure},
    names::Names,
    params::{CALL_FILTER, CallFilterParams, Params},
};
use crate::{
    model::Error,
    report::CallRow,
    store::{TextOrder, TextQuery},
};

/// How long a search waits for the index: what was just said is found, and a long backlog holds nobody up.
const PATIENCE: Duration = Duration::from_millis(500);

/// Texts with the words, each with the call that brought it in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SearchList {
    pub hits: Vec<SearchHit>,
    /// There may be more: ask with a higher `limit` or narrow it.
    pub more: bool,
    /// Calls whose texts are not searched yet: indexing follows behind.
    pub unindexed: u64,
}

/// A text with the words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SearchHit {
    pub call: CallRow,
    /// Where in the call: `message` of the conversation, `request` beside it, or `response`.
    pub part: String,
    /// The text around the first word, on one line.
    pub snippet: String,
    /// Places of the words in the snippet: beginning and end, in bytes of UTF-8.
    #[schema(value_type = Vec<Vec<u32>>)]
    pub marks: Vec<(usize, usize)>,
}

/// Texts with all of these words, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/search",
    tag = "search",
    params(
        ("q" = String, Query, description = "Words that must all be there; `\"in a row\"`, `beginning*`, `-not`, `this OR that`."),
        CallFilterParams,
        ("order" = Option<String>, Query, description = "`newest` (default) or `rank`."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Texts at most; 50 if not given."),
    ),
    responses(
        (status = 200, description = "What was found.", body = SearchList),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
        (status = 409, description = "There is no index yet.", body = ErrorBody),
    ),
)]
pub(super) async fn search(Extract(state): Extract<State>, uri: Uri) -> Result<Json<SearchList>, Failure> {
    let params = Params::read(&uri, &[&CALL_FILTER[..], &["q", "order", "limit"]].concat())?;
    let words =
        params.text("q").ok_or_else(|| Error::invalid("expected words to search for in q, found none"))?;
    let order = params.parsed("order", |text| match text {
        "newest" => Ok(TextOrder::Newest),
        "rank" => Ok(TextOrder::Rank),
        other => Err(Error::invalid(format!("expected newest or rank, found {other:?}"))),
    })?;
    let query = TextQuery {
        words,
        filter: params.call_filter((state.now)())?,
        order: order.unwrap_or_default(),
        limit: params.limit()?,
    };
    let unindexed = state.store.texts_caught_up(PATIENCE).await?;
    let found = state.store.search(query).await?;
    let mut names = Names::new(state.store);
    let mut hits = Vec::with_capacity(found.hits.len());
    for hit in found.hits {
        hits.push(SearchHit {
            call: names.row(&hit.call).await?,
            part: hit.part.to_owned(),
            snippet: hit.snippet,
            marks: hit.marks,
        });
    }
    Ok(Json(SearchList { hits, more: found.more, unindexed }))
}
