//! Sessions: lists, one with its calls and how they hang together, and its log.

use axum::{
    Json,
    extract::{Path, State as Extract},
    response::Response,
};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};

use super::{
    State, calls,
    error::{ErrorBody, Failure},
    format::{self, Format},
    names::Names,
    params::{MAX_LIMIT, Params},
};
use crate::{
    chain::is_system,
    model::{
        Error,
        exchange::{Choice, Message},
        filter::{SessionCursor, SessionFilter},
        lineage::{Session, SessionCall},
    },
    report::{SessionRow, StepRow, session as rows},
    store::Side,
};

/// A page of sessions, the one that was active last first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionList {
    pub sessions: Vec<SessionRow>,
    /// Give this as `cursor` to get the next page; null at the end.
    pub next_cursor: Option<String>,
}

/// A session whole: its calls in the order of their start, each with the call that it goes on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionWhole {
    #[serde(flatten)]
    pub session: SessionRow,
    pub steps: Vec<StepRow>,
    /// Sessions that come from this one: sub-agents.
    pub sub_sessions: Vec<SessionRow>,
}

/// A call of a session with what it said and was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogEntry {
    #[serde(flatten)]
    pub step: StepRow,
    /// The system prompt and the messages that its parent's request and answer did not have.
    pub added: Vec<Message>,
    pub answer: Vec<Choice>,
    pub error_message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionLog {
    #[serde(flatten)]
    pub session: SessionRow,
    pub entries: Vec<LogEntry>,
    /// Give this as `skip` to get the next page; null at the end.
    pub next_skip: Option<usize>,
}

const FILTER: [&str; 11] = [
    "experiment",
    "run",
    "user",
    "parent",
    "inferred",
    "since",
    "until",
    "min_calls",
    "limit",
    "cursor",
    "format",
];

/// Sessions, the one that was active last first.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    tag = "sessions",
    params(
        ("experiment" = Option<String>, Query, description = "Experiment id or name."),
        ("run" = Option<String>, Query, description = "Run id or name."),
        ("user" = Option<String>, Query),
        ("parent" = Option<String>, Query, description = "The session that they come from."),
        ("inferred" = Option<bool>, Query, description = "True: found by tapline; false: named by a caller."),
        ("since" = Option<String>, Query, description = "Active at or after: RFC 3339, a date, or an age such as `7d`."),
        ("until" = Option<String>, Query, description = "Active before."),
        ("min_calls" = Option<u64>, Query, description = "With at least so many calls."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "50 if not given."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default."),
    ),
    responses(
        (
            status = 200,
            description = "A page of sessions.",
            content((SessionList = "application/json"), (SessionRow = "application/jsonl"), (String = "text/csv")),
            headers(("x-tapline-next-cursor" = String, description = "As `next_cursor`; absent at the end.")),
        ),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
    ),
)]
pub(super) async fn list(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &FILTER)?;
    let format = Format::of(&params, &headers)?;
    let now = (state.now)();
    let filter = SessionFilter {
        experiment: params.text("experiment"),
        run: params.text("run"),
        user: params.text("user"),
        parent: params.text("parent"),
        inferred: params.parsed("inferred", flag)?,
        since: params.time("since", now)?,
        until: params.time("until", now)?,
        min_calls: params.parsed("min_calls", number)?,
    };
    let limit = params.limit()?;
    let cursor = params.parsed("cursor", SessionCursor::decode)?;
    let mut found = state.store.sessions(filter, limit + 1, cursor).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| SessionCursor { last_at: last.last_at, id: last.id.clone() });
    let mut names = Names::new(state.store);
    let mut sessions = Vec::with_capacity(found.len());
    for session in &found {
        sessions.push(row(&mut names, session).await?);
    }
    let whole = SessionList { sessions, next_cursor: next.map(|cursor| cursor.encode()) };
    format::list(format, &whole, &whole.sessions, rows::exact, whole.next_cursor.as_deref())
}

async fn row(names: &mut Names, session: &Session) -> Result<SessionRow, Error> {
    let experiment = names.experiment(&session.experiment_id).await?;
    let run = match &session.run_id {
        Some(id) => names.run(id).await?,
        None => None,
    };
    Ok(SessionRow::new(session, experiment, run))
}

fn flag(text: &str) -> Result<bool, Error> {
    text.parse().map_err(|_| Error::invalid(format!("expected true or false, found {text:?}")))
}

fn number(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::invalid(format!("expected a whole number, found {text:?}")))
}

/// One session with its calls and how they hang together.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{id}",
    tag = "sessions",
    params(
        ("id" = String, Path, description = "Session id, or the beginning of exactly one."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 10000, description = "Calls at most; 1000 if not given."),
    ),
    responses(
        (status = 200, description = "The session.", body = SessionWhole),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
        (status = 404, description = "No such session.", body = ErrorBody),
        (status = 409, description = "Several sessions begin so.", body = ErrorBody),
    ),
)]
pub(super) async fn one(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<SessionWhole>, Failure> {
    let params = Params::read(&uri, &["limit"])?;
    let limit = params.parsed("limit", |text| match number(text)? {
        limit @ 1..=10_000 => Ok(limit as usize),
        _ => Err(Error::invalid(format!("expected a whole number from 1 to 10000, found {text:?}"))),
    })?;
    let session = state.store.session(&id).await?;
    let calls = state.store.session_calls(&session.id, limit.unwrap_or(MAX_LIMIT)).await?;
    let of = SessionFilter { parent: Some(session.id.clone()), ..SessionFilter::default() };
    let children = state.store.sessions(of, MAX_LIMIT, None).await?;
    let mut names = Names::new(state.store);
    let mut sub_sessions = Vec::with_capacity(children.len());
    for child in &children {
        sub_sessions.push(row(&mut names, child).await?);
    }
    sub_sessions.reverse();
    Ok(Json(SessionWhole {
        session: row(&mut names, &session).await?,
        steps: calls.iter().map(StepRow::from).collect(),
        sub_sessions,
    }))
}

/// A session as it was spoken: each call with its new messages and its answer.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{id}/log",
    tag = "sessions",
    params(
        ("id" = String, Path, description = "Session id, or the beginning of exactly one."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Calls per page; 50 if not given."),
        ("skip" = Option<u64>, Query, description = "`next_skip` of the page before."),
    ),
    responses(
        (status = 200, description = "A page of the log.", body = SessionLog),
        (status = 400, description = "A parameter is unknown or cannot be.", body = ErrorBody),
        (status = 404, description = "No such session.", body = ErrorBody),
        (status = 409, description = "Several sessions begin so.", body = ErrorBody),
    ),
)]
pub(super) async fn log(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<SessionLog>, Failure> {
    let params = Params::read(&uri, &["limit", "skip"])?;
    let limit = params.limit()?;
    let skip = usize::try_from(params.parsed("skip", number)?.unwrap_or(0)).unwrap_or(usize::MAX);
    let session = state.store.session(&id).await?;
    let all = state.store.session_calls(&session.id, skip.saturating_add(limit).saturating_add(1)).await?;
    let more = all.len() > skip.saturating_add(limit);
    let mut entries = Vec::new();
    for step in all.iter().skip(skip).take(limit) {
        entries.push(entry(&state, step).await?);
    }
    let session = row(&mut Names::new(state.store), &session).await?;
    Ok(Json(SessionLog { session, entries, next_skip: more.then_some(skip + limit) }))
}

async fn entry(state: &State, step: &SessionCall) -> Result<LogEntry, Error> {
    let call = state.store.call(&step.id.to_string()).await?;
    let request = state.store.body(call.id, Side::Request).await?;
    let response = state.store.body(call.id, Side::Response).await?;
    let known = state.store.inherited(call.id).await?;
    let error_message = call.error_message.clone();
    let exchange = calls::decoded(call, request, response).await?;
    let request = exchange.request;
    let leading = request.messages.iter().take_while(|message| is_system(message)).count();
    let mut messages = request.messages.into_iter();
    let mut system: Vec<Message> = messages.by_ref().take(leading).collect();
    if !request.system_instructions.is_empty() {
        system
            .insert(0, Message { role: "system".to_owned(), name: None, parts: request.system_instructions });
    }
    let mut added: Vec<Message> = messages.skip(known.messages).collect();
    // The answer that the parent gave is known too, and not the call's own news.
    if step.link.is_some() && added.len() > 1 {
        let answer = added.iter().take_while(|message| message.role == "assistant").count();
        added.drain(..answer.min(added.len() - 1));
    }
    if !known.system {
        added.splice(..0, system);
    }
    Ok(LogEntry { step: StepRow::from(step), added, answer: exchange.response.choices, error_message })
}
