//! From an HTTP request to its response: routes, keys, models, scripts. What an answer says is decided elsewhere.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Config, EMBED, LARGE, SMALL,
    answer::{self, Answer},
    ask::{self, Ask},
    cache::PromptCache,
    chat::{self, Head},
    dice::Dice,
    embeddings,
    refusal::Refusal,
    responses,
    script::{self, Break, Script},
    wire::{self, Body, Broken, Link, Pace},
};

const MAX_REQUEST: usize = 256 << 20;
/// Responses kept for `previous_response_id`.
const MAX_HISTORY: usize = 512;
/// Requests under a `times=` fault that are remembered.
const MAX_FAULTS: usize = 4096;
/// `created` of seeded answers: 2025-10-09.
const SEEDED_TIME: u64 = 1_760_000_000;

#[derive(Debug)]
pub(super) struct Simulator {
    config: Config,
    cache: Mutex<PromptCache>,
    history: Mutex<History>,
    faults: Mutex<HashMap<u64, u32>>,
}

/// The items behind each response id, oldest first.
#[derive(Debug, Default)]
struct History {
    items: HashMap<String, Vec<Value>>,
    order: VecDeque<String>,
}

impl History {
    fn put(&mut self, id: &str, items: Vec<Value>) {
        if self.items.insert(id.to_owned(), items).is_none() {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > MAX_HISTORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.items.remove(&oldest);
        }
    }
}

/// What a request turned out to be.
enum Reply {
    Plain(StatusCode, Value, Option<String>),
    Stream { events: Vec<Bytes>, error: Bytes },
}

/// Everything about a request that the dialects need.
struct Call {
    key: String,
    model: String,
    body: Value,
    raw: Bytes,
    script: Script,
}

/// Nothing is left half-changed by a panic while these are held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulator {
    pub(super) fn new(config: Config) -> Self {
        Self { config, cache: Mutex::default(), history: Mutex::default(), faults: Mutex::default() }
    }

    /// One exchange. An error makes the server drop the connection without an answer.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        link: Link,
    ) -> Result<Response<Body>, Broken> {
        let started = Instant::now();
        let mut script = Script::default();
        let reply = self
            .reply(request, &mut script)
            .await
            .unwrap_or_else(|refusal| Reply::Plain(refusal.status, refusal.body(), refusal.retry_after));
        tokio::time::sleep(script.latency.unwrap_or(self.config.latency)).await;
        if let Some(Break::Cut(0) | Break::Reset(0)) = script.breaks {
            if let Some(Break::Reset(_)) = script.breaks {
                link.reset_on_close();
            }
            return Err(Broken);
        }
        let (status, kind, retry_after, body) = match reply {
            Reply::Plain(status, value, retry_after) => {
                (status, "application/json", retry_after, plain_body(&value, script.breaks, link))
            }
            Reply::Stream { events, error } => {
                let body = self.stream_body(events, error, &script, link);
                (StatusCode::OK, "text/event-stream; charset=utf-8", None, body)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
        headers.insert("openai-processing-ms", HeaderValue::from(started.elapsed().as_millis() as u64));
        if let Ok(id) = HeaderValue::from_str(&format!("req_{}", Uuid::new_v4().simple())) {
            headers.insert("x-request-id", id);
        }
        if let Some(seconds) = retry_after.and_then(|seconds| HeaderValue::from_str(&seconds).ok()) {
            headers.insert(header::RETRY_AFTER, seconds);
        }
        Ok(response)
    }

    async fn reply(&self, request: Request<Incoming>, script: &mut Script) -> Result<Reply, Refusal> {
        let (head, body) = request.into_parts();
        // Read whole before anything is refused: an answer to half a request would cost the connection.
        let raw = Limited::new(body, MAX_REQUEST).collect().await.map(|body| body.to_bytes());
        let raw = raw
            .map_err(|error| Refusal::invalid(None, format!("could not read the request's body: {error}")))?;
        let path = head.uri.path().trim_end_matches('/');
        if path.is_empty() || path == "/healthz" {
            return Ok(ok(json!({"object": "simulator", "models": [SMALL, LARGE, EMBED]})));
        }
        let key = self.authorize(&head.headers)?;
        if head.method == Method::GET {
            return match path.strip_prefix("/v1/models") {
                Some("") => Ok(ok(models())),
                Some(rest) => one_model(rest.trim_start_matches('/')).map(ok),
                None => Err(Refusal::unknown_url("GET", path)),
            };
        }
        let known = matches!(path, "/v1/chat/completions" | "/v1/responses" | "/v1/embeddings");
        if head.method != Method::POST || !known {
            return Err(Refusal::unknown_url(head.method.as_str(), path));
        }
        let body: Value = serde_json::from_slice(&raw).map_err(|error| {
            Refusal::invalid(None, format!("We could not parse the JSON body of your request: {error}"))
        })?;
        let named = body.get("model").and_then(Value::as_str).ok_or_else(|| Refusal::missing("model"))?;
        let (model, suffix) = script::split_model(named);
        let header = head.headers.get("x-simulate").and_then(|value| value.to_str().ok());
        for text in [suffix, header].into_iter().flatten() {
            script.read(text)?;
        }
        let model = model.to_owned();
        let call = Call { key, model, raw, script: script.clone(), body };
        if let Some(status) = script.status
            && self.fault_is_due(&call)
        {
            return Err(Refusal::scripted(status, script.retry_after.clone()));
        }
        let embeds = one_model(&call.model)?["id"].as_str().is_some_and(|id| id.contains("embed"));
        match path {
            "/v1/embeddings" if embeds => embeddings::whole(&call.model, &call.body).map(ok),
            "/v1/chat/completions" if !embeds => self.chat(&call),
            "/v1/responses" if !embeds => self.responses(&call),
            _ => Err(Refusal::invalid(
                Some("model"),
                format!("The model `{}` does not support this endpoint ({path}).", call.model),
            )),
        }
    }

    /// The presented key, when it is one that is accepted.
    fn authorize(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = authorization.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        match key {
            key if self.config.keys.is_empty() => Ok(key.unwrap_or_default().to_owned()),
            None | Some("") => Err(Refusal::no_key()),
            Some(key) if self.config.keys.iter().any(|accepted| accepted == key) => Ok(key.to_owned()),
            Some(key) => Err(Refusal::wrong_key(key)),
        }
    }

    /// Counts equal requests for `times=`; after that many faults one is let through and the count starts anew.
    fn fault_is_due(&self, call: &Call) -> bool {
        let Some(times) = call.script.times else { return true };
        let request = Dice::new(0, &[call.key.as_bytes(), &call.raw]).next();
        let mut faults = lock(&self.faults);
        if faults.len() > MAX_FAULTS {
            faults.clear();
        }
        let met = faults.entry(request).or_default();
        let due = *met < times;
        *met = if due { *met + 1 } else { 0 };
        due
    }

    fn head(&self, prefix: &str, call: &Call) -> Head {
        let (id, created) = match self.config.seed {
            Some(seed) => (Dice::new(seed, &[prefix.as_bytes(), &call.raw]).token(29), SEEDED_TIME),
            None => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                (Uuid::new_v4().simple().to_string(), now)
            }
        };
        Head { id: format!("{prefix}{id}"), created, model: call.model.clone() }
    }

    /// Draws for one choice: the same prompt gets the same words, streamed or not.
    fn dice(&self, call: &Call, ask: &Ask, choice: usize) -> Dice {
        let wish = call.body.get("seed").map(Value::to_string).unwrap_or_default();
        let choice = choice.to_le_bytes();
        let mut parts: Vec<&[u8]> = vec![call.model.as_bytes(), wish.as_bytes(), &choice];
        parts.extend(ask.turns.iter().map(|turn| turn.bytes.as_slice()));
        Dice::new(self.config.seed.unwrap_or(0), &parts)
    }

    fn answers(&self, call: &Call, ask: &Ask) -> (Vec<Answer>, usize) {
        let reasons = call.model == LARGE;
        let answers = (0..ask.choices)
            .map(|choice| answer::answer(ask, reasons, &call.script, &mut self.dice(call, ask, choice)))
            .collect();
        let scope = [call.key.as_str(), call.model.as_str(), ask.cache_key.as_str()];
        let tools = call.body.get("tools").map(Value::to_string).unwrap_or_default();
        let turns = std::iter::once((tools.as_bytes(), ask.tool_tokens))
            .chain(ask.turns.iter().map(|turn| (turn.bytes.as_slice(), turn.tokens)));
        (answers, lock(&self.cache).visit(&scope, turns))
    }

    fn chat(&self, call: &Call) -> Result<Reply, Refusal> {
        let ask = Ask::chat(&call.body)?;
        let (answers, cached) = self.answers(call, &ask);
        let head = self.head("chatcmpl-", call);
        if !ask.stream {
            return Ok(ok(chat::whole(&head, &ask, &answers, cached)));
        }
        let error = json!({"error": {
            "message": MID_STREAM_ERROR, "type": "server_error", "param": null, "code": "server_error",
        }});
        Ok(Reply::Stream { events: chat::events(&head, &ask, &answers, cached), error: chat::event(&error) })
    }

    fn responses(&self, call: &Call) -> Result<Reply, Refusal> {
        let history = match call.body.get("previous_response_id").and_then(Value::as_str) {
            None => Vec::new(),
            Some(id) => {
                lock(&self.history).items.get(id).cloned().ok_or_else(|| Refusal::unknown_response(id))?
            }
        };
        let ask = Ask::responses(&call.body, &history)?;
        let (answers, cached) = self.answers(call, &ask);
        let head = self.head("resp_", call);
        let Some(answer) = answers.first() else {
            return Err(Refusal::invalid(None, "expected one answer, found none"));
        };
        let mut items = history;
        items.extend(ask::input_items(&call.body)?);
        items.extend(responses::items(&head, answer));
        lock(&self.history).put(&head.id, items);
        if !ask.stream {
            return Ok(ok(responses::whole(&head, &call.body, &ask, answer, cached)));
        }
        let events = responses::events(&head, &call.body, &ask, answer, cached);
        let after = match call.script.breaks {
            Some(Break::Error(after)) => after.min(events.len()),
            _ => events.len(),
        };
        Ok(Reply::Stream { error: responses::error_event(after, "server_error", MID_STREAM_ERROR), events })
    }

    fn stream_body(&self, mut events: Vec<Bytes>, error: Bytes, script: &Script, link: Link) -> Body {
        match script.breaks {
            Some(Break::Error(after)) => {
                events.truncate(after);
                events.push(error);
            }
            Some(Break::Cut(after) | Break::Reset(after)) => events.truncate(after),
            None => {}
        }
        let interval = script.interval.unwrap_or(self.config.chunk_interval);
        let stall = script.stall.map(|pause: Duration| (events.len() / 2, pause));
        wire::paced(events, Pace { interval, stall }, script.breaks, link)
    }
}

const MID_STREAM_ERROR: &str = "The server had an error while processing your request. Sorry about that!";

fn ok(value: Value) -> Reply {
    Reply::Plain(StatusCode::OK, value, None)
}

/// A JSON body; where the script breaks it, half of it in a response that promised the whole.
fn plain_body(value: &Value, breaks: Option<Break>, link: Link) -> Body {
    let bytes = Bytes::from(value.to_string());
    match breaks {
        Some(Break::Cut(_) | Break::Reset(_)) => {
            let half = bytes.slice(..bytes.len() / 2);
            let pace = Pace { interval: Duration::ZERO, stall: None };
            wire::paced(vec![half], pace, breaks, link)
        }
        _ => wire::plain(bytes),
    }
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": SEEDED_TIME, "owned_by": "simulated"})
}

fn models() -> Value {
    json!({"object": "list", "data": [model(SMALL), model(LARGE), model(EMBED)]})
}

/// The simulator's own models, and OpenAI's by their names' beginnings, so that programs run unchanged.
fn one_model(id: &str) -> Result<Value, Refusal> {
    let families = ["gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-"];
    let known = [SMALL, LARGE, EMBED].contains(&id) || families.iter().any(|family| id.starts_with(family));
    if known { Ok(model(id)) } else { Err(Refusal::unknown_model(id)) }
}
