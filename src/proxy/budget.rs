//! Whether a call is let through by the budgets it falls under. The head tells almost everything; the body
//! is looked into only while a budget that depends on it is nearly used up, and then no further than to
//! the fields in question: what was read goes up first, as it came.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{Shared, call::Call, route::Route};
use crate::{
    billing::{Budgets, Exceeded, Facts},
    capture::group::USER_HEADERS,
    model::{Error, UnixNanos, budget::parse_limit, id::check_name},
    wire,
};

/// A budget of its own for the run that a call names.
const LIMIT: &str = "x-tapline-budget";
/// Bytes of a body that are looked into, and for how long they are waited for.
const PEEK_BYTES: usize = 256 << 10;
const PEEK_TIME: Duration = Duration::from_secs(5);

/// A request's body of which some may have been read.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) read: VecDeque<Bytes>,
    pub(super) rest: Incoming,
}

impl From<Incoming> for Ahead {
    fn from(rest: Incoming) -> Self {
        Self { read: VecDeque::new(), rest }
    }
}

/// Why a call goes nowhere.
#[derive(Debug)]
pub(super) enum Stopped {
    Exceeded(Box<Exceeded>),
    /// The call's own budget cannot be read, or is nobody's: a limit that would not hold must not seem to.
    Wrong(Error),
}

pub(super) async fn admit(
    shared: &Shared,
    call: &Call,
    route: &Route,
    headers: &HeaderMap,
    body: Incoming,
    at: UnixNanos,
) -> Result<Ahead, (Stopped, Incoming)> {
    let mut body = Ahead::from(body);
    let Some(budgets) = shared.budgets.get() else { return Ok(body) };
    if !budgets.is_active() && !headers.contains_key(LIMIT) {
        return Ok(body);
    }
    let facts = match facts(shared, route, headers) {
        Ok(facts) => facts,
        Err(error) => return Err((Stopped::Wrong(error), body.rest)),
    };
    let facts = look(budgets, facts, headers, &mut body, at).await;
    match budgets.admit(call.recording().id(), &facts, at).await {
        Ok(()) => Ok(body),
        Err(exceeded) => {
            // What was read is told, like what an upstream did not take.
            body.read.iter().for_each(|bytes| call.recording().sent(bytes));
            Err((Stopped::Exceeded(exceeded), body.rest))
        }
    }
}

fn facts(shared: &Shared, route: &Route, headers: &HeaderMap) -> Result<Facts, Error> {
    let text = |name: &str| {
        let value = std::str::from_utf8(headers.get(name)?.as_bytes()).ok()?.trim().to_owned();
        check_name("a header", &value).ok().map(|()| value)
    };
    let run = text("x-tapline-run").or_else(|| route.scope.run.clone());
    let own_limit = match headers.get(LIMIT) {
        None => None,
        Some(value) => {
            let limit = parse_limit(value.to_str().unwrap_or_default())
                .map_err(|error| Error::invalid(format!("{LIMIT}: {}", error.message)))?;
            if run.is_none() {
                return Err(Error::invalid(format!(
                    "{LIMIT}: expected the call to name a run whose budget that is (x-tapline-run or \
                     /run/<name>/ in the path), found none"
                )));
            }
            Some(limit)
        }
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Facts {
        experiment: text("x-tapline-experiment").or_else(|| route.scope.experiment.clone()),
        run,
        key: shared.recorder.key_fingerprint(headers),
        user: USER_HEADERS.iter().find_map(|name| text(name)),
        upstream: route.upstream.name.clone(),
        model: None,
        bytes: length.unwrap_or(0),
        own_limit,
    })
}

/// Reads the body as far as its model and its user, if a budget hangs on them.
async fn look(
    budgets: &Budgets,
    mut facts: Facts,
    headers: &HeaderMap,
    body: &mut Ahead,
    at: UnixNanos,
) -> Facts {
    let readable = !headers.contains_key(header::CONTENT_ENCODING) && !headers.contains_key(header::EXPECT);
    if !readable || !budgets.wants_body(&facts, at) {
        return facts;
    }
    let reading = async {
        let mut seen = Vec::new();
        loop {
            let peeked = wire::peek(&seen);
            facts.model = peeked.model.or(facts.model.take());
            facts.user = facts.user.take().or(peeked.user);
            if seen.len() >= PEEK_BYTES || (facts.model.is_some() && facts.user.is_some()) {
                return;
            }
            // An error of the body is met again by whoever reads on.
            let Some(Ok(frame)) = body.rest.frame().await else { return };
            if let Ok(data) = frame.into_data() {
                seen.extend_from_slice(&data);
                body.read.push_back(data);
            }
        }
    };
    // In time or not: a budget by model does not hold for who hides the model.
    drop(tokio::time::timeout(PEEK_TIME, reading).await);
    facts
}
