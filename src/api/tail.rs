//! Calls as they are stored, as server-sent events. An event's id is the call's place in the order of
//! storing, so a client that comes back with `Last-Event-ID` misses nothing and gets nothing twice.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::State as Extract,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use http::{HeaderMap, Uri};
use tokio::sync::{broadcast, watch};

use super::{
    State,
    error::{ErrorBody, Failure},
    names::Names,
    params::{CALL_FILTER, CallFilterParams, Params},
};
use crate::{
    model::{Error, call::Call, filter::CallFilter},
    report::CallRow,
    store::Store,
};

/// Calls read from the store at once.
const BATCH: usize = 200;
/// How long to wait for word of a commit before looking anyway: another process may write the store too.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How soon a client that lost its connection should be back.
const RETRY: Duration = Duration::from_secs(1);

/// Calls as they are stored.
#[utoipa::path(
    get,
    path = "/api/v1/tail",
    tag = "calls",
    params(
        CallFilterParams,
        ("after" = Option<i64>, Query, minimum = 0, description = "Begin after this place in the order of storing; 0 gives every call. From now on if not given."),
        ("last-event-id" = Option<i64>, Header, description = "As `after`, and goes before it; what an event source sends when it comes back."),
    ),
    responses(
        (
            status = 200,
            description = "Events named `call` whose data is a `CallRow` and whose id is its place in the order of \
                           storing; events without data move the id on. Comments keep the connection alive.",
            content((CallRow = "text/event-stream")),
        ),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
    ),
)]
pub(super) async fn tail(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &[&CALL_FILTER[..], &["after"]].concat())?;
    let filter = params.call_filter((state.now)())?;
    // Listening begins before the place is read, so that no commit falls between.
    let commits = state.store.subscribe();
    let resumed = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or("")) {
        Some(text) => Some(
            place(text)
                .map_err(|error| Error::new(error.code, format!("last-event-id: {}", error.message)))?,
        ),
        None => params.parsed("after", place)?,
    };
    let after = match resumed {
        Some(after) => after,
        None => state.store.last_sequence().await?,
    };
    let mut pending = VecDeque::new();
    pending.push_back(Event::default().id(after.to_string()).retry(RETRY));
    let tail = Tail {
        names: Names::new(state.store.clone()),
        store: state.store,
        filter,
        after,
        told: after,
        pending,
        commits: Some(commits),
        stop: state.stop,
    };
    Ok(Sse::new(tail.events()).keep_alive(KeepAlive::default()).into_response())
}

fn place(text: &str) -> Result<i64, Error> {
    match text.parse() {
        Ok(place) if place >= 0 => Ok(place),
        _ => Err(Error::invalid(format!(
            "expected the id of an earlier event, a whole number, found {:?}",
            text.chars().take(40).collect::<String>()
        ))),
    }
}

struct Tail {
    store: Store,
    names: Names,
    filter: CallFilter,
    /// The last call looked at, and the last that the client knows of.
    after: i64,
    told: i64,
    pending: VecDeque<Event>,
    /// `None` when the store will send no word any more.
    commits: Option<broadcast::Receiver<i64>>,
    stop: watch::Receiver<bool>,
}

impl Tail {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut tail| async move {
            loop {
                if let Some(event) = tail.pending.pop_front() {
                    return Some((Ok(event), tail));
                }
                if *tail.stop.borrow() {
                    return None;
                }
                match tail.look().await {
                    Ok(true) => {}
                    Ok(false) => tail.wait().await,
                    // The client comes back with its place and finds out whether it is over.
                    Err(error) => {
                        tracing::warn!(%error, "a live tail ends because the store could not be read");
                        return None;
                    }
                }
            }
        })
    }

    /// Takes the next calls from the store; false when there are none.
    async fn look(&mut self) -> Result<bool, Error> {
        let calls = self.store.stored_after(self.after, BATCH).await?;
        let Some(last) = calls.last().map(|stored| stored.sequence) else { return Ok(false) };
        for stored in calls {
            if self.matches(&stored.call).await? {
                let row = self.names.row(&stored.call).await?;
                let event = Event::default().id(stored.sequence.to_string()).event("call").json_data(&row);
                let event = event
                    .map_err(|error| Error::internal(format!("a call could not be written: {error}")))?;
                self.pending.push_back(event);
                self.told = stored.sequence;
            }
        }
        self.after = last;
        if self.told != last {
            // Calls that the filter left out: the client need not have them looked at again.
            self.pending.push_back(Event::default().id(last.to_string()));
            self.told = last;
        }
        Ok(true)
    }

    async fn wait(&mut self) {
        let Self { commits, stop, .. } = self;
        let mut closed = false;
        let word = async {
            match commits {
                Some(commits) => match commits.recv().await {
                    // Having missed some words is as good as having heard one.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => closed = true,
                },
                None => std::future::pending().await,
            }
        };
        let stopped = async {
            if stop.wait_for(|stop| *stop).await.is_err() {
                // Nobody is left who could stop this tail.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = word => {}
            () = stopped => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        if closed {
            self.commits = None;
        }
    }

    /// What `Store::calls` decides in SQL, decided for one call.
    async fn matches(&mut self, call: &Call) -> Result<bool, Error> {
        if !matches(&self.filter, call) {
            return Ok(false);
        }
        if let Some(wanted) = &self.filter.experiment
            && *wanted != call.experiment_id
            && self.names.experiment(&call.experiment_id).await?.as_ref() != Some(wanted)
        {
            return Ok(false);
        }
        if let Some(wanted) = &self.filter.run {
            let Some(id) = &call.run_id else { return Ok(false) };
            if wanted != id && self.names.run(id).await?.as_ref() != Some(wanted) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The fields of the filter that a call itself answers: all but experiment and run, which have names.
fn matches(filter: &CallFilter, call: &Call) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
    };
    is(&filter.session, call.session.as_deref())
        && is(&filter.model, call.model())
        && is(&filter.provider, Some(&call.provider))
        && is(&filter.upstream, Some(&call.upstream))
        && is(&filter.operation, Some(&call.operation))
        && is(&filter.user, call.user.as_deref())
        && filter.status.is_none_or(|wanted| call.status == wanted)
        && filter.tag.as_ref().is_none_or(|wanted| call.tags.contains(wanted))
        && filter.trace.is_none_or(|wanted| call.trace_id == wanted)
        && filter.since.is_none_or(|since| call.started_at >= since)
        && filter.until.is_none_or(|until| call.started_at < until)
        && filter.min_cost.is_none_or(|least| call.cost.is_some_and(|cost| cost >= least))
        && filter.min_duration_ns.is_none_or(|least| call.duration_ns() >= least)
}
