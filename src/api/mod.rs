//! The query API (layer 4): what was recorded, read over HTTP at `/api/v1`. The web page and the command line
//! use nothing else. It reads, removes what it is told to, prices costs anew and keeps runs' budgets; nothing else that
//! was recorded is ever changed.

mod bodies;
mod budgets;
mod cache;
mod calls;
mod compare;
mod costs;
mod database;
mod error;
mod format;
mod names;
mod openapi;
pub mod operations;
mod params;
mod prices;
mod reprice;
mod run_whole;
mod runs;
mod search;
mod sessions;
mod stream;
mod tail;
#[cfg(test)]
mod tests;
mod upstreams;

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State as Extract},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post, put},
};
use futures_util::future::BoxFuture;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::watch;

pub use budgets::{BudgetList, RunBudgetBody};
pub use calls::{CallList, CallWhole};
pub use compare::{Blame, BlameLine};
pub use database::StoreReport;
pub use error::{ErrorBody, ErrorDetail};
pub use prices::{MissingPrices, PriceChanges, PriceList, TokenErrors, token_error_table};
pub use run_whole::{DatasetUse, MetricPoint, RunWhole};
pub use runs::{ExperimentList, RunList};
pub use search::{SearchHit, SearchList};
pub use sessions::{LogEntry, SessionList, SessionLog, SessionWhole};
pub use stream::{StreamEvent, StreamFrame, StreamView};
pub use upstreams::{UpstreamList, UpstreamRow};

use crate::{
    billing::Budgets,
    model::{Error, UnixNanos},
    pricing::PriceTable,
    store::Store,
    upkeep::Upkeep,
};

/// The price table that holds now: it may be another one after a reload.
pub type Prices = Arc<dyn Fn() -> Arc<PriceTable> + Send + Sync>;

/// Awaited before every read, so that what a client has received is in the next answer.
pub type Fresh = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// What the routes need. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub store: Store,
    pub fresh: Fresh,
    /// Wall-clock time, for ages such as `since=7d`.
    pub now: fn() -> UnixNanos,
    /// The table that is compiled in, where nobody gave another.
    pub prices: Prices,
    /// Kept by a running server only.
    pub budgets: Option<Budgets>,
    /// Live tails end when this turns true, so that a shutdown does not wait for them.
    pub stop: watch::Receiver<bool>,
    pub upstreams: Arc<[UpstreamRow]>,
    /// Removing and packing anew; `None` where the store is only read.
    pub upkeep: Option<Upkeep>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl State {
    /// A state whose tails run until their clients leave.
    pub fn new(store: Store, fresh: Fresh, now: fn() -> UnixNanos) -> Self {
        static EMBEDDED: LazyLock<Arc<PriceTable>> = LazyLock::new(|| {
            Arc::new(PriceTable::embedded().expect("the table is compiled in and a test reads it"))
        });
        let prices: Prices = Arc::new(|| Arc::clone(&EMBEDDED));
        // The sender is dropped: the receiver then keeps saying false for ever.
        let (stop, upstreams) = (watch::channel(false).1, Arc::default());
        Self { store, fresh, now, prices, budgets: None, stop, upstreams, upkeep: None }
    }

    /// With the table and the budgets of the server.
    pub fn billing(self, prices: Prices, budgets: Budgets) -> Self {
        Self { prices, budgets: Some(budgets), ..self }
    }

    /// With another price table.
    pub fn priced_by(self, prices: PriceTable) -> Self {
        let prices = Arc::new(prices);
        Self { prices: Arc::new(move || Arc::clone(&prices)), ..self }
    }

    /// Tails end when `stop` turns true.
    pub fn stopping(self, stop: watch::Receiver<bool>) -> Self {
        Self { stop, ..self }
    }

    /// What is kept may be removed by this API, too.
    pub fn kept(self, upkeep: Upkeep) -> Self {
        Self { upkeep: Some(upkeep), ..self }
    }

    fn upkeep(&self) -> Result<&Upkeep, Error> {
        self.upkeep.as_ref().ok_or_else(|| {
            Error::conflict(
                "expected a running server, found a store that is only read: start one with `tapline serve`",
            )
        })
    }

    /// Tells where calls can go.
    pub fn with_upstreams(self, upstreams: impl IntoIterator<Item = UpstreamRow>) -> Self {
        Self { upstreams: upstreams.into_iter().collect(), ..self }
    }

    /// For a store that nothing writes to through this process: there is nothing to wait for.
    pub fn settled(store: Store, now: fn() -> UnixNanos) -> Self {
        Self::new(store, Arc::new(|| Box::pin(std::future::ready(()))), now)
    }
}

/// Calls for tests of those who read this API.
#[cfg(test)]
pub(crate) fn sample_calls() -> Vec<crate::model::call::Settled> {
    vec![tests::fixture::call(1), tests::fixture::call(2)]
}

/// Every route, by its path as OpenAPI writes it (which is axum's way as well). The document describes
/// these and no others; a test holds both sides equal.
fn routes() -> Vec<(&'static str, MethodRouter<State>)> {
    vec![
        ("/api/v1/calls", get(calls::list)),
        ("/api/v1/calls/{id}", get(calls::one).delete(database::erase_call)),
        ("/api/v1/calls/{id}/request", get(bodies::request)),
        ("/api/v1/calls/{id}/response", get(bodies::response)),
        ("/api/v1/calls/{id}/stream", get(stream::stream)),
        ("/api/v1/calls/{id}/blame", get(compare::blame)),
        ("/api/v1/calls/{id}/diff/{other}", get(compare::diff)),
        ("/api/v1/sessions", get(sessions::list)),
        ("/api/v1/sessions/{id}", get(sessions::one).delete(database::erase_session)),
        ("/api/v1/sessions/{id}/log", get(sessions::log)),
        ("/api/v1/runs", get(runs::runs)),
        ("/api/v1/runs/{id}", get(run_whole::run).delete(database::erase_run)),
        ("/api/v1/experiments", get(runs::experiments)),
        ("/api/v1/experiments/{id}", get(runs::experiment).delete(database::erase_experiment)),
        ("/api/v1/runs/{id}/budget", put(budgets::set).delete(budgets::clear)),
        ("/api/v1/budgets", get(budgets::list)),
        ("/api/v1/costs", get(costs::costs)),
        ("/api/v1/cache", get(cache::cache)),
        ("/api/v1/search", get(search::search)),
        ("/api/v1/costs/reprice", post(reprice::reprice)),
        ("/api/v1/prices", get(prices::list)),
        ("/api/v1/prices/diff", get(prices::diff)),
        ("/api/v1/prices/missing", get(prices::missing)),
        ("/api/v1/prices/explain", get(prices::explain)),
        ("/api/v1/token-errors", get(prices::token_errors)),
        ("/api/v1/db", get(database::report)),
        ("/api/v1/db/gc", post(database::gc)),
        ("/api/v1/db/train", post(database::train)),
        ("/api/v1/db/reindex", post(database::reindex)),
        ("/api/v1/tail", get(tail::tail)),
        ("/api/v1/upstreams", get(upstreams::upstreams)),
        ("/api/v1/openapi.json", get(openapi::document)),
    ]
}

/// The routes under `/api/v1`, unknown ones answered there too; to be merged beside other faces.
pub fn router(state: State) -> Router {
    let mut router = Router::new();
    for (path, route) in routes() {
        router = router.route(path, route);
    }
    router
        .layer(middleware::from_fn_with_state(state.clone(), fresh))
        .route("/api/v1", get(unknown))
        .route("/api/v1/", get(unknown))
        .route("/api/v1/{*rest}", get(unknown))
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::map_response(guarded))
        .with_state(state)
}

/// Holds the promise of `State::fresh` for every route at once.
async fn fresh(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    (state.fresh)().await;
    next.run(request).await
}

/// Recorded traffic is private, changes by the second and comes from outside: nothing is cached on the
/// way, and no answer is ever taken for a page of ours.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox"),
    );
    response
}

async fn unknown(request: Request) -> Response {
    let paths: Vec<_> = routes().into_iter().map(|(path, _)| path).collect();
    let path: String = request.uri().path().chars().take(120).collect();
    let near = params::nearest(&path, paths.iter().copied())
        .map_or_else(String::new, |near| format!(" (nearest: {near})"));
    error::Failure(Error::not_found(format!(
        "no resource {path:?}{near}; see /api/v1/openapi.json for all there are"
    )))
    .into_response()
}

/// A method that a route does not take: which ones it takes, its description says.
async fn not_allowed(request: Request) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let allowed = path.map(openapi::methods).unwrap_or_default().join(",");
    let message = format!("expected {allowed}, found {}", request.method());
    let body = ErrorBody::new("method_not_allowed", message);
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)], axum::Json(body)).into_response()
}
