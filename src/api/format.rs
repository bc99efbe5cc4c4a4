//! How a list leaves: JSON, JSON lines or CSV, as `format` says or else the `Accept` header.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

use super::{error::Failure, params::Params};
use crate::{
    model::Error,
    report::{Table, csv, table},
};

/// The next page's cursor, where the body has no room for it.
pub(super) const NEXT_CURSOR: &str = "x-tapline-next-cursor";

#[derive(Debug, Clone, Copy, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Jsonl,
    Csv,
}

impl Format {
    pub(super) fn of(params: &Params, headers: &HeaderMap) -> Result<Self, Error> {
        let named = params.parsed("format", |text| match text {
            "json" => Ok(Self::Json),
            "jsonl" => Ok(Self::Jsonl),
            "csv" => Ok(Self::Csv),
            _ => Err(Error::invalid(format!("expected json, jsonl or csv, found {text:?}"))),
        })?;
        Ok(named.unwrap_or_else(|| Self::accepted(headers)))
    }

    /// The best of what `Accept` asks for; JSON where it asks for nothing that we have.
    fn accepted(headers: &HeaderMap) -> Self {
        let mut best = (0.0_f32, Self::Json);
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for item in accepts.flat_map(|value| value.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let format = match parts.next().unwrap_or("").to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" => Self::Json,
                "text/csv" => Self::Csv,
                "application/jsonl" | "application/x-ndjson" | "application/jsonlines" => Self::Jsonl,
                _ => continue,
            };
            let quality = parts
                .find_map(|part| part.strip_prefix("q="))
                .and_then(|quality| quality.parse().ok())
                .unwrap_or(1.0);
            if quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }
}

/// A list in its format: `whole` is the JSON document, `rows` its lines, `exact` its columns.
pub(super) fn list<W: Serialize, R: Serialize>(
    format: Format,
    whole: &W,
    rows: &[R],
    exact: impl FnOnce(&[R]) -> Table,
    next_cursor: Option<&str>,
) -> Result<Response, Failure> {
    let (content_type, body) = match format {
        Format::Json => ("application/json", serde_json::to_string(whole).map_err(unwritable)?),
        Format::Jsonl => ("application/jsonl", table::jsonl(rows).map_err(unwritable)?),
        Format::Csv => ("text/csv; charset=utf-8; header=present", csv::table(&exact(rows))),
    };
    let mut response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    if let Some(cursor) = next_cursor.and_then(|cursor| HeaderValue::from_str(cursor).ok()) {
        headers.insert(NEXT_CURSOR, cursor);
    }
    Ok(response)
}

pub(super) fn unwritable(error: serde_json::Error) -> Failure {
    Failure(Error::internal(format!("the answer could not be written as json: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str, accept: Option<&'static str>) -> Result<Format, Error> {
        let params = Params::read(&format!("/x?{query}").parse().unwrap(), &["format"])?;
        let headers =
            accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept))).into_iter().collect();
        Format::of(&params, &headers)
    }

    #[test]
    fn the_parameter_goes_before_the_header() {
        assert_eq!(of("", None), Ok(Format::Json));
        assert_eq!(of("format=csv", Some("application/json")), Ok(Format::Csv));
        assert_eq!(of("", Some("text/csv")), Ok(Format::Csv));
        assert_eq!(of("", Some("application/x-ndjson, */*;q=0.1")), Ok(Format::Jsonl));
        assert_eq!(of("", Some("text/csv;q=0.5, application/json")), Ok(Format::Json));
        assert_eq!(of("", Some("text/html,*/*;q=0.8")), Ok(Format::Json));
        assert!(of("format=xml", None).is_err());
    }
}
