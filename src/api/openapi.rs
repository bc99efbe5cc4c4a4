//! The OpenAPI document of this API, made from the same types and functions that answer.

use axum::response::{IntoResponse, Response};
use http::{Uri, header};
use utoipa::OpenApi;

use super::{
    bodies, budgets, cache, calls, compare, costs, database,
    error::{ErrorBody, Failure},
    format::Format,
    params, prices, reprice, run_whole, runs, search, sessions, stream, tail, upstreams,
};

use crate::model::Error;

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "tapline query API",
        description = "Reads what tapline recorded, and prices it. Money is exact: integers of 10⁻⁹ US dollars and decimal \
                       strings; an unknown figure is null, never zero."
    ),
    tags(
        (name = "calls", description = "One request/response exchange with an upstream, however it ended."),
        (name = "sessions", description = "Conversations and jobs, named by callers or found by tapline."),
        (name = "runs", description = "Runs and experiments, with MLflow's meaning."),
        (name = "costs", description = "Sums over calls."),
        (name = "search", description = "Full-text search over prompts and answers."),
        (name = "store", description = "What is kept, and removing it."),
        (name = "meta", description = "About this API."),
    ),
    paths(
        calls::list,
        calls::one,
        bodies::request,
        bodies::response,
        stream::stream,
        compare::blame,
        compare::diff,
        sessions::list,
        sessions::one,
        sessions::log,
        runs::runs,
        run_whole::run,
        runs::experiments,
        runs::experiment,
        costs::costs,
        cache::cache,
        search::search,
        reprice::reprice,
        budgets::list,
        budgets::set,
        budgets::clear,
        prices::list,
        prices::diff,
        prices::missing,
        prices::explain,
        prices::token_errors,
        database::report,
        database::gc,
        database::train,
        database::reindex,
        database::erase_call,
        database::erase_session,
        database::erase_run,
        database::erase_experiment,
        tail::tail,
        upstreams::upstreams,
        document,
    ),
    components(schemas(ErrorBody, Format)),
)]
pub(super) struct Document;

/// This document.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "meta",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = Object)),
)]
pub(super) async fn document(uri: Uri) -> Result<Response, Failure> {
    params::Params::read(&uri, &[])?;
    let document = Document::openapi()
        .to_json()
        .map_err(|error| Error::internal(format!("the document could not be written: {error}")))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response())
}

/// The methods that are described of a path; HEAD goes with GET.
pub(super) fn methods(path: &str) -> Vec<&'static str> {
    let document = Document::openapi();
    let Some(item) = document.paths.paths.get(path) else { return Vec::new() };
    let get = item.get.iter().flat_map(|_| ["GET", "HEAD"]);
    let others = [("POST", &item.post), ("PUT", &item.put), ("DELETE", &item.delete)];
    get.chain(others.into_iter().filter(|(_, described)| described.is_some()).map(|(name, _)| name)).collect()
}
