//! The cache ledger: what prompt caches could have read and did not, and what that cost.

use axum::{extract::State as Extract, response::Response};
use http::{HeaderMap, Uri};

use super::{
    State,
    error::{ErrorBody, Failure},
    format::{self, Format},
    params::Params,
};
use crate::{
    model::{
        Error,
        lineage::{CacheDimension, CacheQuery},
    },
    report::{CacheReport, figures},
};

/// Input that prompt caches could have read and did not, grouped.
#[utoipa::path(
    get,
    path = "/api/v1/cache",
    tag = "costs",
    params(
        (
            "by" = Option<String>,
            Query,
            description = "Dimensions, comma separated: day, experiment, run, session, provider, model, prompt, user, \
                           cause. One sum over everything if not given.",
            example = "cause,model",
        ),
        ("since" = Option<String>, Query, description = "RFC 3339, a date, or an age such as `7d`; rounded down to the day."),
        ("until" = Option<String>, Query, description = "As `since`; rounded up to the day."),
        ("experiment" = Option<String>, Query, description = "Experiment id or name."),
        ("run" = Option<String>, Query, description = "Run id or name."),
        ("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default."),
    ),
    responses(
        (
            status = 200,
            description = "The report.",
            content(
                (CacheReport = "application/json"),
                (crate::report::CacheLine = "application/jsonl"),
                (String = "text/csv"),
            ),
        ),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
        (status = 404, description = "No such experiment or run.", body = ErrorBody),
    ),
)]
pub(super) async fn cache(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &["by", "since", "until", "experiment", "run", "format"])?;
    let format = Format::of(&params, &headers)?;
    let by = params.parsed("by", dimensions)?.unwrap_or_default();
    let now = (state.now)();
    let query = CacheQuery {
        by: by.clone(),
        since: params.time("since", now)?,
        until: params.time("until", now)?,
        experiment: params.text("experiment"),
        run: params.text("run"),
    };
    let (since, until) = (query.since.map(figures::instant), query.until.map(figures::instant));
    let rows = state.store.cache_sums(query).await?;
    let report = CacheReport::new(by, since, until, &rows);
    format::list(format, &report, &report.rows, |_| report.exact(), None)
}

fn dimensions(text: &str) -> Result<Vec<CacheDimension>, Error> {
    let mut by = Vec::new();
    for name in text.split(',') {
        let dimension = CacheDimension::parse(name.trim())?;
        if by.contains(&dimension) {
            return Err(Error::invalid(format!("expected each dimension once, found {name:?} twice")));
        }
        by.push(dimension);
    }
    Ok(by)
}
