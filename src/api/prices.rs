//! Prices: the table, what is missing in it, how a cost comes about; and what own token counts are worth.

use axum::{Json, extract::State as Extract, response::Response};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};

use super::{
    State,
    error::{ErrorBody, Failure},
    format::{self, Format},
    params::Params,
};
use crate::{
    model::{
        Error, Glob,
        filter::{CostQuery, Dimension, TokenError},
        usage::Usage,
    },
    pricing::{Billing, Explanation, PriceChange, PriceRow},
    report::{
        price::{self, MissingPrice},
        table::{Cell, Column, Table},
    },
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PriceList {
    pub prices: Vec<PriceRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PriceChanges {
    pub changes: Vec<PriceChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MissingPrices {
    pub missing: Vec<MissingPrice>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenErrors {
    pub models: Vec<TokenErrorRow>,
}

/// What own counts of one model's tokens are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenErrorRow {
    #[serde(flatten)]
    pub sums: TokenError,
    /// Estimated over reported, less one: above zero where too much was counted.
    pub bias: f64,
    /// What one call is off by on average, as a share of what was reported.
    pub mean_error: f64,
}

/// The prices that hold at a time; what comes first wins.
#[utoipa::path(
    get,
    path = "/api/v1/prices",
    tag = "costs",
    params(
        ("provider" = Option<String>, Query, description = "A provider or a pattern (* and ?)."),
        ("model" = Option<String>, Query, description = "A model, an alias or a pattern."),
        ("at" = Option<String>, Query, description = "RFC 3339, a date or an age; now if not given. `all` for every dated price."),
        ("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default."),
    ),
    responses(
        (status = 200, description = "Prices.", content((PriceList = "application/json"), (PriceRow = "application/jsonl"), (String = "text/csv"))),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
    ),
)]
pub(super) async fn list(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &["provider", "model", "at", "format"])?;
    let format = Format::of(&params, &headers)?;
    let now = (state.now)();
    let at = match params.get("at") {
        Some("all") => None,
        _ => Some(params.time("at", now)?.unwrap_or(now)),
    };
    let (provider, model) = (params.text("provider").map(Glob::new), params.text("model").map(Glob::new));
    let fits = |glob: &Option<Glob>, name: &str| glob.as_ref().is_none_or(|glob| glob.matches(name));
    let mut prices = (state.prices)().list(at);
    prices.retain(|row| {
        let mut names = std::iter::once(&row.model).chain(&row.aliases);
        fits(&provider, &row.provider) && names.any(|name| fits(&model, name))
    });
    let whole = PriceList { prices };
    format::list(format, &whole, &whole.prices, price::prices, None)
}

/// What differs between the prices of two days.
#[utoipa::path(
    get,
    path = "/api/v1/prices/diff",
    tag = "costs",
    params(
        ("from" = String, Query, description = "RFC 3339, a date or an age."),
        ("to" = Option<String>, Query, description = "As `from`; now if not given."),
        ("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default."),
    ),
    responses(
        (status = 200, description = "Changes.", content((PriceChanges = "application/json"), (PriceChange = "application/jsonl"), (String = "text/csv"))),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
    ),
)]
pub(super) async fn diff(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &["from", "to", "format"])?;
    let format = Format::of(&params, &headers)?;
    let now = (state.now)();
    let from = params.time("from", now)?;
    let from = from.ok_or_else(|| Error::invalid("expected from, such as 2026-08-01, found none"))?;
    let to = params.time("to", now)?.unwrap_or(now);
    let whole = PriceChanges { changes: (state.prices)().diff(from, to) };
    format::list(format, &whole, &whole.changes, price::changes, None)
}

/// Models that were used and have no price, most calls first.
#[utoipa::path(
    get,
    path = "/api/v1/prices/missing",
    tag = "costs",
    params(
        ("since" = Option<String>, Query, description = "RFC 3339, a date, or an age such as `7d`; rounded down to the hour."),
        ("until" = Option<String>, Query, description = "As `since`; rounded up to the hour."),
        ("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default."),
    ),
    responses(
        (status = 200, description = "Models.", content((MissingPrices = "application/json"), (MissingPrice = "application/jsonl"), (String = "text/csv"))),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
    ),
)]
pub(super) async fn missing(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &["since", "until", "format"])?;
    let format = Format::of(&params, &headers)?;
    let now = (state.now)();
    let query = CostQuery {
        by: vec![Dimension::Provider, Dimension::Model],
        since: params.time("since", now)?,
        until: params.time("until", now)?,
        ..CostQuery::default()
    };
    let rows = state.store.costs(query).await?;
    let prices = (state.prices)();
    let mut missing: Vec<_> = rows
        .into_iter()
        .filter(|row| row.unpriced_calls > 0)
        .map(|row| {
            let mut key = row.key.into_iter();
            let (provider, model) = (key.next().flatten(), key.next().flatten());
            let billing = Billing {
                provider: provider.as_deref().unwrap_or_default(),
                response_model: model.as_deref(),
                at: now,
                ..Billing::default()
            };
            let any = Usage { input: Some(1), output: Some(1), ..Usage::default() };
            let why = match prices.cost(&any, &billing) {
                Some(_) => "it has a price now, for usual calls; see `tapline cost --reprice`".to_owned(),
                None => prices.why_unknown(&any, &billing),
            };
            MissingPrice {
                unpriced_calls: row.unpriced_calls,
                calls: row.calls,
                input_tokens: row.input_tokens,
                output_tokens: row.output_tokens,
                why,
                provider,
                model,
            }
        })
        .collect();
    missing.sort_by_key(|row| std::cmp::Reverse(row.unpriced_calls));
    let whole = MissingPrices { missing };
    format::list(format, &whole, &whole.missing, price::missing, None)
}

const EXPLAINED: [&str; 14] = [
    "call",
    "model",
    "provider",
    "upstream",
    "service_tier",
    "region",
    "at",
    "input",
    "cache_read",
    "cache_write",
    "cache_write_long",
    "output",
    "reasoning",
    "web_searches",
];

/// How the cost of a call, or of a made-up usage of a model, comes about, line by line.
#[utoipa::path(
    get,
    path = "/api/v1/prices/explain",
    tag = "costs",
    params(
        ("call" = Option<String>, Query, description = "A call's id, or its first digits; explained with today's table."),
        ("model" = Option<String>, Query, description = "A model, where no call is given."),
        ("provider" = Option<String>, Query, description = "With `model`; custom if not given."),
        ("upstream" = Option<String>, Query, description = "With `model`."),
        ("service_tier" = Option<String>, Query, description = "With `model`: as served."),
        ("region" = Option<String>, Query, description = "With `model`."),
        ("at" = Option<String>, Query, description = "With `model`: RFC 3339, a date or an age; now if not given."),
        ("input" = Option<u64>, Query, description = "With `model`: tokens, a million if not given; so for the others, none if not given."),
        ("cache_read" = Option<u64>, Query),
        ("cache_write" = Option<u64>, Query),
        ("cache_write_long" = Option<u64>, Query),
        ("output" = Option<u64>, Query),
        ("reasoning" = Option<u64>, Query),
        ("web_searches" = Option<u64>, Query),
    ),
    responses(
        (status = 200, description = "The arithmetic.", body = Explanation),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
        (status = 404, description = "No such call, or no price: the message says why.", body = ErrorBody),
    ),
)]
pub(super) async fn explain(Extract(state): Extract<State>, uri: Uri) -> Result<Json<Explanation>, Failure> {
    let params = Params::read(&uri, &EXPLAINED)?;
    let call;
    let (usage, billing) = if let Some(id) = params.get("call") {
        call = state.store.call(id).await?;
        (call.usage.clone(), Billing::of(&call))
    } else {
        let model = params
            .get("model")
            .ok_or_else(|| Error::invalid("expected a call or a model to explain, found neither"))?;
        let count = |name: &str| {
            params.parsed(name, |text| {
                text.parse::<u64>()
                    .map_err(|_| Error::invalid(format!("expected a count of tokens, found {text:?}")))
            })
        };
        let usage = Usage {
            input: count("input")?.or(Some(1_000_000)),
            cache_read: count("cache_read")?,
            cache_write: count("cache_write")?,
            cache_write_long: count("cache_write_long")?,
            output: count("output")?.or(if params.get("input").is_none() { Some(1_000_000) } else { None }),
            reasoning: count("reasoning")?,
            web_searches: count("web_searches")?,
            ..Usage::default()
        };
        let now = (state.now)();
        let billing = Billing {
            upstream: params.get("upstream").unwrap_or_default(),
            provider: params.get("provider").unwrap_or("custom"),
            response_model: Some(model),
            request_model: None,
            service_tier: params.get("service_tier"),
            region: params.get("region"),
            at: params.time("at", now)?.unwrap_or(now),
        };
        (usage, billing)
    };
    let prices = (state.prices)();
    match prices.explain(&usage, &billing) {
        Some(explanation) => Ok(Json(explanation)),
        None => Err(Error::not_found(prices.why_unknown(&usage, &billing)).into()),
    }
}

/// How far tapline's own token counts are from what upstreams reported, by model.
#[utoipa::path(
    get,
    path = "/api/v1/token-errors",
    tag = "costs",
    params(("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default.")),
    responses((status = 200, description = "One line per model and side.", content((TokenErrors = "application/json"), (TokenErrorRow = "application/jsonl"), (String = "text/csv")))),
)]
pub(super) async fn token_errors(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &["format"])?;
    let format = Format::of(&params, &headers)?;
    let errors = state.store.token_errors().await?;
    let row = |sums: TokenError| TokenErrorRow { bias: sums.bias(), mean_error: sums.mean_error(), sums };
    let whole = TokenErrors { models: errors.into_iter().map(row).collect() };
    format::list(format, &whole, &whole.models, token_error_table, None)
}

/// The same table for programs and people.
pub fn token_error_table(rows: &[TokenErrorRow]) -> Table {
    let mut columns = ["model", "side"].map(Column::left).to_vec();
    columns.extend(
        ["calls", "reported", "estimated", "bias_percent", "mean_error_percent", "worst_percent"]
            .map(Column::right),
    );
    let mut table = Table::new(columns);
    table.rows = rows
        .iter()
        .map(|row| {
            vec![
                Cell::text(&row.sums.model),
                Cell::text(&row.sums.side),
                Cell::figure(row.sums.calls),
                Cell::figure(row.sums.reported),
                Cell::figure(row.sums.estimated),
                Cell::figure(format!("{:+.1}", row.bias * 100.0)),
                Cell::figure(format!("{:.1}", row.mean_error * 100.0)),
                Cell::figure(format!("{:.1}", row.sums.worst_thousandths as f64 / 10.0)),
            ]
        })
        .collect();
    table
}
