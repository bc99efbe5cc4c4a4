//! Histories of metrics.

use axum::routing::{MethodFilter, MethodRouter};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::{
    State,
    encode::MetricJson,
    endpoint,
    error::Failure,
    request::{Fields, missing},
};
use crate::model::metric::{HistoryPage, HistoryPlace, SampleQuery};

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<State>)> {
    vec![
        ("/metrics/get-history", endpoint(MethodFilter::GET, get_history)),
        ("/metrics/get-history-bulk", endpoint(MethodFilter::GET, get_history_bulk)),
        ("/metrics/get-history-bulk-interval", endpoint(MethodFilter::GET, get_history_bulk_interval)),
    ]
}

const MAX_HISTORY: u64 = 25_000;
const MAX_RUNS: usize = 100;
const MAX_SAMPLE: i64 = 2500;

#[derive(Serialize)]
struct History {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Unlike the others of its kind it has its list even when that is empty.
#[derive(Serialize)]
struct Bulk {
    metrics: Vec<MetricJson>,
}

async fn get_history(state: State, fields: Fields) -> Result<History, Failure> {
    let id = fields.run_id()?;
    let key = fields.required("metric_key")?;
    let token = fields.string("page_token")?.filter(|token| !token.is_empty());
    let limit = match fields.integer("max_results")? {
        None => None,
        Some(limit) => Some(u64::try_from(limit).ok().filter(|limit| *limit > 0).ok_or_else(|| {
            Failure::invalid(format!(
                "Invalid value {limit} for parameter 'max_results' supplied. It must be a positive integer."
            ))
        })?),
    };
    let (offset, after) = token.as_deref().map(place).transpose()?.unwrap_or_default();
    let page = HistoryPage { offset, after, limit };
    let (metrics, more) = state.store.metric_history(id, key, page).await?;
    let last = metrics.last().filter(|_| more).map(HistoryPlace::from);
    let next_page_token = last.map(|last| token_after(offset.saturating_add(metrics.len() as u64), last));
    Ok(History { metrics: metrics.into_iter().map(Into::into).collect(), next_page_token })
}

/// `{"offset": N}` in base64 as MLflow's are, and the point before the page. Its value goes by its bits: they
/// survive JSON, which has no NaN.
fn token_after(offset: u64, last: HistoryPlace) -> String {
    let HistoryPlace { timestamp, step, value } = last;
    STANDARD
        .encode(format!("{{\"offset\": {offset}, \"after\": [{timestamp}, {step}, {}]}}", value.to_bits()))
}

/// What a page token stands for; one that another server made has an offset alone.
fn place(token: &str) -> Result<(u64, Option<HistoryPlace>), Failure> {
    let bytes = STANDARD
        .decode(token)
        .map_err(|_| Failure::invalid("Invalid page token, could not base64-decode"))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| {
        Failure::invalid(format!("Invalid page token, decoded value={}", bytes.escape_ascii()))
    })?;
    let Some(offset) = json.get("offset") else {
        return Err(Failure::invalid(format!("Invalid page token, parsed value={json}")));
    };
    let text = offset.as_str().map_or_else(|| offset.to_string(), str::to_owned);
    let offset =
        text.parse().map_err(|_| Failure::invalid(format!("Invalid page token, not stringable {text}")))?;
    let Some(after) = json.get("after") else { return Ok((offset, None)) };
    let (timestamp, step, bits): (i64, i64, u64) = serde_json::from_value(after.clone())
        .map_err(|_| Failure::invalid(format!("Invalid page token, parsed value={json}")))?;
    Ok((offset, Some(HistoryPlace { timestamp, step, value: f64::from_bits(bits) })))
}

async fn get_history_bulk(state: State, fields: Fields) -> Result<Bulk, Failure> {
    let runs = fields.all_in_query("run_id");
    if runs.is_empty() {
        return Err(Failure::invalid("GetMetricHistoryBulk request must specify at least one run_id."));
    }
    if runs.len() > MAX_RUNS {
        return Err(Failure::invalid(format!(
            "GetMetricHistoryBulk request cannot specify more than {MAX_RUNS} run_ids. Received {} run_ids.",
            runs.len()
        )));
    }
    let Some(key) = fields.in_query("metric_key").map(str::to_owned) else {
        return Err(Failure::invalid("GetMetricHistoryBulk request must specify a metric_key."));
    };
    let limit = fields.integer("max_results")?.map_or(MAX_HISTORY, |limit| u64::try_from(limit).unwrap_or(0));
    let metrics = state.store.metric_histories(runs, key, limit.min(MAX_HISTORY)).await?;
    Ok(Bulk { metrics: metrics.into_iter().map(Into::into).collect() })
}

const SEE_DOCS: &str = "See the API docs for more information about request parameters.";

async fn get_history_bulk_interval(state: State, fields: Fields) -> Result<History, Failure> {
    let runs = fields.strings("run_ids")?;
    if runs.is_empty() {
        return Err(missing("run_ids"));
    }
    if runs.len() > MAX_RUNS {
        return Err(Failure::invalid(format!(
            "GetMetricHistoryBulkInterval request must specify at most {MAX_RUNS} run_ids. Received {} run_ids. \
             {SEE_DOCS}",
            runs.len()
        )));
    }
    let key = fields.required("metric_key")?;
    let (first, last) = (fields.integer("start_step")?, fields.integer("end_step")?);
    let limit = fields.integer("max_results")?.unwrap_or(MAX_SAMPLE);
    if !(1..=MAX_SAMPLE).contains(&limit) {
        return Err(Failure::invalid(format!("max_results must be between 1 and {MAX_SAMPLE}. {SEE_DOCS}")));
    }
    let steps = match (first, last) {
        (Some(first), Some(last)) if first > last => {
            return Err(Failure::invalid(format!(
                "end_step must be greater than start_step. Found start_step={first} and end_step={last}."
            )));
        }
        (Some(first), Some(last)) => Some((first, last)),
        (None, None) => None,
        _ => {
            return Err(Failure::invalid(
                "If either start step or end step are specified, both must be specified.",
            ));
        }
    };
    let query = SampleQuery { runs, key, steps, limit: limit.unsigned_abs() };
    let metrics = state.store.sampled_metrics(query).await?;
    Ok(History { metrics: metrics.into_iter().map(Into::into).collect(), next_page_token: None })
}
