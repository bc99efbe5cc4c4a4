//! The data path (layer 4): takes a client's call, hands it to its upstream untouched, and gives a copy of
//! what crosses to the recorder. It decodes nothing, buffers nothing, and knows no store and no price.
//!
//! The files in the order in which a call meets them:
//! 1. `serve`    accepts connections, tells proxy paths from the management faces', drains at the end;
//! 2. `guard`    refuses what a web page of another site sends;
//! 3. `route`    path → scopes, upstream, target;
//! 4. `call`     the call's one beginning and one end, whatever happens between;
//! 5. `budget`   whether the budgets that it falls under let it through;
//! 6. `upload`   the request body on its way up, and its copy;
//! 7. `headers`  what a hop may not pass on;
//! 8. `forward`  the request goes up, the response's head comes back;
//! 9. `download` the response body on its way down, its copy, and the hold on its last byte;
//! 10. `outlast`  calls that go on without their client, where their upstream is configured so;
//! 11. `tunnel`  what follows a 101;
//! 12. `blame`   who is at fault when it fails, and `respond`, answers of our own in the shape that
//!     OpenAI's clients read.
//!
//! `ways` is what of all this may change while it runs.
//!
//! Interim responses (1xx) of an upstream are not passed on: hyper's server has no way to send them.

mod ask;
mod blame;
mod budget;
mod call;
mod counters;
mod download;
mod forward;
pub mod guard;
mod headers;
mod outlast;
mod respond;
pub mod route;
mod serve;
mod tunnel;
mod upload;
mod ways;

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response, StatusCode, request};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::{
    ask::Question,
    blame::Blame,
    budget::Ahead,
    call::Call,
    respond::Refusal,
    route::Route,
    upload::{Progress, Upload},
};
pub use self::{
    counters::{Count, Counters},
    guard::Guard,
    serve::{Face, serve},
    ways::Ways,
};
use crate::{
    billing::Budgets,
    capture::recorder::{Recorder, now},
    model::{Error, duration},
    upstream::{self, OnClientGone, Upstreams},
};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every response that leaves: an upstream's, a face's or our own.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Time-outs and limits of the data path. There is no limit on a whole call: models think for minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// From the last byte of the request that went up to the response's head. Zero: no limit.
    #[serde(with = "duration")]
    pub response_timeout: Duration,
    /// Between two pieces of a response. Zero: no limit.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Between two pieces of a request that is read whole before it goes up. Zero: no limit.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long running calls may go on after the signal to stop.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// How long, and for how many bytes, an upstream is read on when the client has left, where it is so
    /// configured.
    #[serde(with = "duration")]
    pub client_gone_timeout: Duration,
    pub client_gone_bytes: u64,
    /// For a client to send a request's head; also how long a kept connection may lie idle.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    pub max_header_bytes: usize,
    pub max_headers: usize,
    /// Connections to upstreams.
    pub client: upstream::client::Config,
    pub guard: guard::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(900),
            idle_timeout: Duration::from_secs(900),
            request_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            client_gone_timeout: Duration::from_secs(60),
            client_gone_bytes: 8 << 20,
            header_timeout: Duration::from_secs(75),
            max_header_bytes: 256 << 10,
            max_headers: 256,
            client: upstream::client::Config::default(),
            guard: guard::Config::default(),
        }
    }
}

/// Asked before a call is taken: true when it must be refused because it could not be recorded.
type Refuses = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the data path needs to run. Cheap to clone.
#[derive(Clone)]
pub struct State {
    shared: Arc<Shared>,
}

struct Shared {
    ways: ArcSwap<Ways>,
    recorder: Recorder,
    counters: Counters,
    live: call::Live,
    cut: watch::Sender<bool>,
    refuses: Option<Refuses>,
    /// Set once, before the first call; none in tests of the path alone.
    budgets: OnceLock<Budgets>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("ways", &self.shared.ways.load()).finish_non_exhaustive()
    }
}

impl State {
    pub fn new(config: Config, upstreams: Upstreams, recorder: Recorder) -> Result<Self, Error> {
        Self::build(config, upstreams, recorder, None)
    }

    /// Like `new`; calls are refused with 503 while `refuses` says so.
    pub fn refusing(
        config: Config,
        upstreams: Upstreams,
        recorder: Recorder,
        refuses: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::build(config, upstreams, recorder, Some(Arc::new(refuses)))
    }

    fn build(
        config: Config,
        upstreams: Upstreams,
        recorder: Recorder,
        refuses: Option<Refuses>,
    ) -> Result<Self, Error> {
        let shared = Shared {
            ways: ArcSwap::from_pointee(Ways::new(config, upstreams)?),
            counters: Counters::default(),
            live: call::Live::default(),
            cut: watch::Sender::new(false),
            recorder,
            refuses,
            budgets: OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The ways in force.
    pub fn ways(&self) -> Arc<Ways> {
        self.shared.ways.load_full()
    }

    /// Calls that begin from now on go by other ways.
    pub fn follow(&self, ways: Ways) {
        self.shared.ways.store(Arc::new(ways));
    }

    /// Counts calls against budgets from now on. Once; later ones are not taken.
    pub fn count_against(&self, budgets: Budgets) {
        drop(self.shared.budgets.set(budgets));
    }

    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

/// One call, from its head to the response that goes down.
async fn handle(
    state: &State,
    ways: Arc<Ways>,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let shared = &*state.shared;
    let at = now();
    let client = tunnel::wanted(&mut request);
    let (head, body) = request.into_parts();
    if shared.refuses.as_ref().is_some_and(|refuses| refuses()) {
        shared.counters.refused.up();
        return respond::refuse(&Refusal::recording_unavailable(), &head.headers, body);
    }
    let routed = route::route(&ways.upstreams, &head.uri, &head.headers);
    let call = Call::open(state, at, &head, routed.as_ref().map_err(AsRef::as_ref), peer);
    let route = match routed {
        Ok(route) => route,
        Err(lost) => return respond::lost(call, *lost, &head.headers, body).await,
    };
    let body = match budget::admit(shared, &call, &route, &head.headers, body, at).await {
        Ok(body) => body,
        Err((stopped, body)) => return respond::stopped(call, stopped, &route, &head.headers, body).await,
    };
    match route.upstream.on_client_gone {
        OnClientGone::Cancel => exchange(call, ways, route, head, body, client).await,
        OnClientGone::Drain => {
            let (kept, recording) = (Arc::clone(&ways), call.recording().clone());
            outlast::exchange(state, kept, recording, exchange(call, ways, route, head, body, client)).await
        }
    }
}

/// The request up, the response's head back.
async fn exchange(
    call: Call,
    ways: Arc<Ways>,
    route: Route,
    head: request::Parts,
    body: Ahead,
    client: Option<OnUpgrade>,
) -> Response<Body> {
    let version = head.version;
    let mut question = None;
    let sent = if ask::wanted(&head, &route) {
        let mut read = match Question::read(body, call.recording(), &ways, &route).await {
            Ok(read) => read,
            Err(blame) => return respond::failed(call, blame).await,
        };
        let mut sent = send(&ways, &route, read.upload(&head, call.recording()), false).await;
        if matches!(&sent, Ok((response, _)) if read.is_refused(response)) {
            sent = send(&ways, &route, read.upload(&head, call.recording()), false).await;
        }
        question = Some(read);
        sent
    } else {
        let (upload, progress) = Upload::new(body, call.recording(), &head.headers);
        send(&ways, &route, (head, upload, progress), client.is_some()).await
    };
    let (response, progress) = match sent {
        Ok(sent) => sent,
        Err(blame) => return respond::failed(call, blame).await,
    };
    call.answered(&response, question.as_ref());
    match (response.status(), client) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(client)) => tunnel::join(call, client, response),
        (StatusCode::SWITCHING_PROTOCOLS, None) => respond::failed(call, Blame::unasked_switch()).await,
        _ => download::relay(call, ways, &route, response, version, progress, question).await,
    }
}

/// One request up; on failure once what is left of it was read.
async fn send(
    ways: &Ways,
    route: &Route,
    (head, upload, progress): (request::Parts, Upload, Arc<Progress>),
    tunnel: bool,
) -> Result<(Response<Incoming>, Arc<Progress>), Blame> {
    let sending = match forward::request(head, upload, route, tunnel) {
        Ok(request) => forward::send(ways, request, route, &progress).await,
        Err(blame) => Err(blame),
    };
    match sending {
        Ok(response) => Ok((response, progress)),
        Err(blame) => {
            progress.rest().await;
            Err(blame)
        }
    }
}
