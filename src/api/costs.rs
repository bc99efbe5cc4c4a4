//! Cost reports: sums of rollups, grouped as asked.

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
        filter::{CostQuery, Dimension},
    },
    report::{CostReport, figures},
};

/// What calls cost, grouped.
#[utoipa::path(
    get,
    path = "/api/v1/costs",
    tag = "costs",
    params(
        (
            "by" = Option<String>,
            Query,
            description = "Dimensions, comma separated: day, hour, experiment, run, model, provider, upstream, \
                           operation, key. One sum over everything if not given.",
            example = "model,day",
        ),
        ("since" = Option<String>, Query, description = "RFC 3339, a date, or an age such as `7d`; rounded down to the hour."),
        ("until" = Option<String>, Query, description = "As `since`; rounded up to the hour."),
        ("experiment" = Option<String>, Query, description = "Experiment id or name."),
        ("run" = Option<String>, Query, description = "Run id or name."),
        ("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default."),
    ),
    responses(
        (
            status = 200,
            description = "The report.",
            content(
                (CostReport = "application/json"),
                (crate::report::CostLine = "application/jsonl"),
                (String = "text/csv"),
            ),
        ),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
        (status = 404, description = "No such experiment or run.", body = ErrorBody),
    ),
)]
pub(super) async fn costs(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &["by", "since", "until", "experiment", "run", "format"])?;
    let format = Format::of(&params, &headers)?;
    let by = params.parsed("by", dimensions)?.unwrap_or_default();
    let now = (state.now)();
    let query = CostQuery {
        by: by.clone(),
        since: params.time("since", now)?,
        until: params.time("until", now)?,
        experiment: params.text("experiment"),
        run: params.text("run"),
    };
    let (since, until) = (query.since.map(figures::instant), query.until.map(figures::instant));
    let rows = state.store.costs(query).await?;
    let report = CostReport::new(by, since, until, &rows);
    format::list(format, &report, &report.rows, |_| report.exact(), None)
}

fn dimensions(text: &str) -> Result<Vec<Dimension>, Error> {
    let mut by = Vec::new();
    for name in text.split(',') {
        let dimension = Dimension::parse(name.trim())?;
        if by.contains(&dimension) {
            return Err(Error::invalid(format!("expected each dimension once, found {name:?} twice")));
        }
        by.push(dimension);
    }
    Ok(by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_a_list_without_repeats() {
        assert_eq!(dimensions("model, day"), Ok(vec![Dimension::Model, Dimension::Day]));
        assert!(dimensions("model,model").unwrap_err().message.contains("twice"));
        assert!(dimensions("colour").unwrap_err().message.contains("expected one of day, hour"));
        assert!(dimensions("model,").is_err());
    }
}
