//! MLflow's tracking server (layer 4): an unmodified `mlflow` client logs to tapline as it does to its own
//! server, and finds the runs that calls are grouped in. A closed folder: a handler decodes, calls the store,
//! and encodes. Knows no SQL, and no other face.

mod artifact_uri;
mod artifacts;
mod encode;
mod error;
mod evaluation_datasets;
mod experiments;
mod limits;
mod logged_models;
mod metrics;
mod names;
mod request;
mod run_data;
mod runs;
mod searches;
mod server;

use std::{fmt, future::Future, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State as Extract},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, any, get, on},
};
use futures_util::future::BoxFuture;
use http::{HeaderValue, header};
use serde::Serialize;

use self::{error::Failure, request::Fields};
use crate::{artifacts::Artifacts, model::UnixNanos, store::Store};

/// Awaited before answers that tell of a run's calls, so that what a client has received is in them.
pub type Fresh = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// What the routes need. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub store: Store,
    pub artifacts: Artifacts,
    pub fresh: Fresh,
    pub now: fn() -> UnixNanos,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// Where every endpoint is served. MLflow has each under one version only; here both lead to the same.
const PREFIXES: [&str; 4] =
    ["/api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/2.0/mlflow", "/ajax-api/3.0/mlflow"];

/// All of the face, to be merged beside other faces.
pub fn router(state: State) -> Router {
    let endpoints: Vec<_> = [
        experiments::routes(),
        runs::routes(),
        run_data::routes(),
        metrics::routes(),
        logged_models::routes(),
        evaluation_datasets::routes(),
        artifacts::routes(),
        searches::routes(),
    ]
    .into_iter()
    .flatten()
    .chain([("/server-info", get(server::info))])
    .collect();
    let mut router = Router::new();
    for prefix in PREFIXES {
        for (path, endpoint) in &endpoints {
            router = router.route(&format!("{prefix}{path}"), endpoint.clone());
        }
        router = router.route(&format!("{prefix}/{{*rest}}"), any(error::no_endpoint));
    }
    router
        .merge(artifacts::router())
        .route("/version", get(server::version))
        .route("/health", get(server::health))
        .method_not_allowed_fallback(error::wrong_method)
        .layer(middleware::map_response(guarded))
        .with_state(state)
}

/// What MLflow's own server says with every answer; and nothing of it is kept on the way.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// One endpoint: reads the request's fields, and answers what the handler gives as JSON.
fn endpoint<F, A, T>(method: MethodFilter, handler: F) -> MethodRouter<State>
where
    F: Fn(State, Fields) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<T, Failure>> + Send,
    T: Serialize,
{
    on(method, move |Extract(state): Extract<State>, request: Request| {
        let handler = handler.clone();
        async move {
            let answer = async {
                let fields = Fields::read(request).await?;
                handler(state, fields).await
            };
            match answer.await {
                Ok(body) => encode::json(&body),
                Err(failure) => failure.into_response(),
            }
        }
    })
}

/// The client's address, port aside.
fn address(request: &Request) -> Option<String> {
    let peer = request.extensions().get::<SocketAddr>()?;
    Some(peer.ip().to_canonical().to_string())
}
