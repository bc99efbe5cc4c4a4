//! From an HTTP request to its response: keys, scripts, what is remembered. What an answer says is decided elsewhere.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Config, EMBED, LARGE, SMALL,
    answer::{self, Answer},
    ask::Ask,
    audio,
    batches::{Batch, Stored},
    cache::{PromptCache, Terms},
    call::{Call, MID_STREAM_ERROR, Reply, ok},
    chat::{self, Head},
    completions,
    dice::Dice,
    embeddings,
    endpoint::{self, Endpoint},
    form, images, messages, models, moderations,
    refusal::Refusal,
    rerank, responses,
    script::{self, Break, Script},
    shelf::Shelf,
    socket,
    stored::Kept,
    videos::Film,
    wire::{self, Body, Broken, Link, Pace},
};

const MAX_REQUEST: usize = 256 << 20;
/// Requests under a `times=` fault that are remembered.
const MAX_FAULTS: usize = 4096;
/// `created` of seeded answers: 2025-10-09.
pub(super) const SEEDED_TIME: u64 = 1_760_000_000;

#[derive(Debug)]
pub(super) struct Simulator {
    config: Config,
    cache: Mutex<PromptCache>,
    faults: Mutex<HashMap<u64, u32>>,
    pub(super) responses: Mutex<Shelf<Kept>>,
    pub(super) files: Mutex<Shelf<Stored>>,
    pub(super) batches: Mutex<Shelf<Batch>>,
    pub(super) films: Mutex<Shelf<Film>>,
}

/// Nothing is left half-changed by a panic while these are held.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulator {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            cache: Mutex::default(),
            faults: Mutex::default(),
            responses: Mutex::default(),
            files: Mutex::default(),
            batches: Mutex::default(),
            films: Mutex::default(),
        }
    }

    /// One exchange. An error makes the server drop the connection without an answer.
    pub(super) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        link: Link,
    ) -> Result<Response<Body>, Broken> {
        let started = Instant::now();
        let upgrade =
            request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (segments, deployment) = endpoint::without_azure(&segments);
        let endpoint = Endpoint::of(head.method.as_str(), &segments);
        let mut script = Script::default();
        let read = self.read(&head, body, endpoint, deployment, &mut script).await;
        tokio::time::sleep(script.latency.unwrap_or(self.config.latency)).await;
        if let Some(Break::Cut(0) | Break::Reset(0)) = script.breaks {
            if let Some(Break::Reset(_)) = script.breaks {
                link.reset_on_close();
            }
            return Err(Broken);
        }
        let wants_socket = matches!(endpoint, Some(Endpoint::Realtime | Endpoint::ResponsesSocket));
        let reply = match (read, endpoint) {
            (Ok(call), Some(endpoint)) => match self.serve(&call, &endpoint) {
                Ok(_) if wants_socket => match (upgrade, socket::accept_key(&head)) {
                    (Some(upgrade), Some(accept)) => {
                        let realtime = endpoint == Endpoint::Realtime;
                        tokio::spawn(socket::session(Arc::clone(&self), call, upgrade, realtime));
                        return Ok(socket::switch(&accept));
                    }
                    _ => Err(Refusal::invalid(None, "expected a WebSocket handshake")),
                },
                served => served,
            },
            (Ok(_), None) if path.trim_matches('/').is_empty() || path == "/healthz" => {
                Ok(ok(json!({"object": "simulator", "models": [SMALL, LARGE, EMBED]})))
            }
            (Ok(_), None) => Err(Refusal::unknown_url(head.method.as_str(), path.trim_end_matches('/'))),
            (Err(refusal), _) => Err(refusal),
        };
        let anthropic = endpoint.is_some_and(|endpoint| endpoint.is_anthropic());
        let reply = reply.unwrap_or_else(|refusal| {
            Reply::Plain(refusal.status, refusal.body(anthropic), refusal.retry_after)
        });
        let (status, kind, retry_after, body) = match reply {
            Reply::Plain(status, value, retry_after) => {
                let bytes = Bytes::from(value.to_string());
                (status, "application/json", retry_after, plain_body(bytes, script.breaks, link))
            }
            Reply::Raw(kind, bytes) => (StatusCode::OK, kind, None, plain_body(bytes, script.breaks, link)),
            Reply::Stream { events, error } => {
                let body = self.stream_body(events, error, &script, link);
                (StatusCode::OK, "text/event-stream; charset=utf-8", None, body)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let id = HeaderValue::from_str(&format!("req_{}", Uuid::new_v4().simple()));
        if anthropic {
            id.into_iter().for_each(|id| drop(headers.insert("request-id", id)));
        } else {
            headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
            headers.insert("openai-processing-ms", HeaderValue::from(started.elapsed().as_millis() as u64));
            id.into_iter().for_each(|id| drop(headers.insert("x-request-id", id)));
        }
        if let Some(seconds) = retry_after.and_then(|seconds| HeaderValue::from_str(&seconds).ok()) {
            headers.insert(header::RETRY_AFTER, seconds);
        }
        Ok(response)
    }

    /// The request as the dialects see it, or why it gets no answer.
    async fn read(
        &self,
        head: &request::Parts,
        body: Incoming,
        endpoint: Option<Endpoint<'_>>,
        deployment: Option<&str>,
        script: &mut Script,
    ) -> Result<Call, Refusal> {
        // Read whole before anything is refused: an answer to half a request would cost the connection.
        let raw = Limited::new(body, MAX_REQUEST).collect().await.map(|body| body.to_bytes());
        let raw = raw
            .map_err(|error| Refusal::invalid(None, format!("could not read the request's body: {error}")))?;
        let stated = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let mut call = Call {
            key: String::new(),
            model: SMALL.to_owned(),
            azure: deployment.is_some(),
            body: query(head),
            files: Vec::new(),
            raw,
            script: Script::default(),
            host: stated(header::HOST).unwrap_or_default().to_owned(),
        };
        let Some(endpoint) = endpoint else {
            let greets = matches!(head.uri.path().trim_end_matches('/'), "" | "/healthz");
            if !greets {
                self.authorize(&head.headers)?;
            }
            return Ok(call);
        };
        call.key = self.authorize(&head.headers)?;
        if head.method == http::Method::POST && !call.raw.is_empty() {
            let boundary = stated(header::CONTENT_TYPE).and_then(form::boundary);
            (call.body, call.files) = match boundary {
                Some(boundary) => {
                    let (texts, files) = form::read(&call.raw, boundary)?;
                    // Equal forms are equal requests, though each has a boundary of its own.
                    let mut said = texts.to_string().into_bytes();
                    for file in &files {
                        said.extend_from_slice(file.name.as_bytes());
                        said.extend_from_slice(&file.bytes);
                    }
                    call.raw = said.into();
                    (texts, files)
                }
                None => {
                    let body = serde_json::from_slice(&call.raw).map_err(|error| {
                        let message = format!("We could not parse the JSON body of your request: {error}");
                        Refusal::invalid(None, message)
                    })?;
                    (body, Vec::new())
                }
            };
        }
        let named = call.text("model").or(deployment).or(endpoint.default_model());
        let named = match endpoint {
            // The first event may name it.
            Endpoint::ResponsesSocket => SMALL,
            _ => named.ok_or_else(|| Refusal::missing("model"))?,
        };
        let (model, suffix) = script::split_model(named);
        let header = head.headers.get("x-simulate").and_then(|value| value.to_str().ok());
        for text in [suffix, header].into_iter().flatten() {
            script.read(text)?;
        }
        call.model = model.to_owned();
        call.script = script.clone();
        if let Some(status) = script.status
            && self.fault_is_due(&call)
        {
            return Err(Refusal::scripted(status, script.retry_after.clone()));
        }
        Ok(call)
    }

    pub(super) fn serve(&self, call: &Call, endpoint: &Endpoint<'_>) -> Result<Reply, Refusal> {
        let model = models::one(&call.model)?;
        if !endpoint.serves(&call.model) {
            let message = format!("The model `{}` does not support this endpoint.", call.model);
            return Err(Refusal::invalid(Some("model"), message));
        }
        match *endpoint {
            Endpoint::Models(None) => Ok(ok(models::all())),
            Endpoint::Models(Some(id)) => models::one(id).map(ok),
            Endpoint::Chat => self.chat(call),
            Endpoint::Completions => self.completions(call),
            Endpoint::Embeddings => embeddings::whole(&call.model, &call.body).map(ok),
            Endpoint::Responses => self.responses(call),
            Endpoint::ResponseTokens => {
                let tokens = Ask::responses(&call.body, &[])?.prompt_tokens();
                Ok(ok(json!({"object": "response.input_tokens", "input_tokens": tokens})))
            }
            Endpoint::Compact => {
                let ask = Ask::responses(&call.body, &[])?;
                Ok(ok(responses::compacted(&self.head("resp_", call), &call.body, &ask)))
            }
            Endpoint::Videos => self.film(call),
            Endpoint::Video(id) => self.filmed(call, id),
            Endpoint::FetchResponse(id) => self.fetch_response(call, id),
            Endpoint::CancelResponse(id) => self.cancel_response(call, id),
            Endpoint::Messages => self.messages(call),
            Endpoint::MessageTokens => {
                Ok(ok(json!({"input_tokens": Ask::messages(&call.body)?.prompt_tokens()})))
            }
            Endpoint::MessageBatches => self.create_message_batch(call),
            Endpoint::MessageBatchResults(id) => self.message_batch_results(call, id),
            Endpoint::Moderations => moderations::whole(&self.head("modr-", call).id, call).map(ok),
            Endpoint::Images => images::reply(&self.head("img_", call), call, false),
            Endpoint::ImageEdits => images::reply(&self.head("img_", call), call, true),
            Endpoint::Speech => audio::speech(call),
            Endpoint::Transcriptions => audio::transcription(call),
            Endpoint::Rerank => rerank::whole(&self.head("", call).id, call).map(ok),
            Endpoint::Files => self.upload(call),
            Endpoint::File(id) => self.file(call, id, false),
            Endpoint::FileContent(id) => self.file(call, id, true),
            Endpoint::Batches => self.create_batch(call),
            Endpoint::Batch(id) => self.batch(call, id, false),
            Endpoint::CancelBatch(id) => self.batch(call, id, true),
            // The session follows, for a model that is there.
            Endpoint::Realtime | Endpoint::ResponsesSocket => Ok(ok(model)),
        }
    }

    /// The presented key, when it is one that is accepted.
    fn authorize(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let stated = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = stated("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match bearer.or_else(|| stated("x-api-key")).or_else(|| stated("api-key")).map(str::trim) {
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

    pub(super) fn head(&self, prefix: &str, call: &Call) -> Head {
        let (id, created) = match self.config.seed {
            Some(seed) => (Dice::new(seed, &[prefix.as_bytes(), &call.raw]).token(29), SEEDED_TIME),
            None => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                (Uuid::new_v4().simple().to_string(), now)
            }
        };
        Head {
            id: format!("{prefix}{id}"),
            created,
            model: call.model.clone(),
            diagnosis: call.script.diagnosis.clone(),
        }
    }

    /// Draws for one choice: the same prompt gets the same words, streamed or not.
    fn dice(&self, call: &Call, ask: &Ask, choice: usize) -> Dice {
        let wish = call.body.get("seed").map(Value::to_string).unwrap_or_default();
        let choice = choice.to_le_bytes();
        let mut parts: Vec<&[u8]> = vec![call.model.as_bytes(), wish.as_bytes(), &choice];
        parts.extend(ask.turns.iter().map(|turn| turn.bytes.as_slice()));
        Dice::new(self.config.seed.unwrap_or(0), &parts)
    }

    pub(super) fn answers(&self, call: &Call, ask: &Ask) -> (Vec<Answer>, usize) {
        let reasons = call.model == LARGE || call.model.starts_with("claude-");
        let answers = (0..ask.choices)
            .map(|choice| answer::answer(ask, reasons, &call.script, &mut self.dice(call, ask, choice)))
            .collect();
        let scope = [call.key.as_str(), call.model.as_str(), ask.cache_key.as_str()];
        let tools = call.body.get("tools").map(Value::to_string).unwrap_or_default();
        let turns = std::iter::once((tools.as_bytes(), ask.tool_tokens))
            .chain(ask.turns.iter().map(|turn| (turn.bytes.as_slice(), turn.tokens)));
        let cached = lock(&self.cache).visit(&scope, turns, Terms::of(&call.model), Instant::now());
        (answers, if call.script.cache_miss { 0 } else { cached })
    }

    fn chat(&self, call: &Call) -> Result<Reply, Refusal> {
        let ask = Ask::chat(&call.body)?;
        let (answers, cached) = self.answers(call, &ask);
        let head = self.head("chatcmpl-", call);
        if !ask.stream {
            let mut whole = chat::whole(&head, &ask, &answers, cached);
            if call.azure {
                whole["prompt_filter_results"] = chat::filtered();
            }
            return Ok(ok(whole));
        }
        let mut events = chat::events(&head, &ask, &answers, cached);
        if call.azure {
            events.insert(0, chat::filter_event());
        }
        Ok(Reply::Stream { events, error: error_event() })
    }

    fn completions(&self, call: &Call) -> Result<Reply, Refusal> {
        let ask = Ask::completions(&call.body)?;
        let (answers, cached) = self.answers(call, &ask);
        let head = self.head("cmpl-", call);
        if !ask.stream {
            return Ok(ok(completions::whole(&head, &ask, &answers, cached)));
        }
        Ok(Reply::Stream { events: completions::events(&head, &ask, &answers, cached), error: error_event() })
    }

    fn messages(&self, call: &Call) -> Result<Reply, Refusal> {
        let ask = Ask::messages(&call.body)?;
        if ask.limit.is_none() {
            return Err(Refusal::invalid(Some("max_tokens"), "max_tokens: Field required"));
        }
        let (answers, cached) = self.answers(call, &ask);
        let head = self.head("msg_", call);
        let Some(answer) = answers.first() else {
            return Err(Refusal::invalid(None, "expected one answer, found none"));
        };
        if !ask.stream {
            return Ok(ok(messages::whole(&head, &call.body, &ask, answer, cached)));
        }
        let events = messages::events(&head, &call.body, &ask, answer, cached);
        Ok(Reply::Stream { events, error: messages::error_event() })
    }

    /// Between two events.
    pub(super) fn interval(&self, script: &Script) -> Duration {
        script.interval.unwrap_or(self.config.chunk_interval)
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
        let interval = self.interval(script);
        let stall = script.stall.map(|pause: Duration| (events.len() / 2, pause));
        wire::paced(events, Pace { interval, stall }, script.breaks, link)
    }
}

fn error_event() -> Bytes {
    chat::event(&json!({"error": {
        "message": MID_STREAM_ERROR, "type": "server_error", "param": null, "code": "server_error",
    }}))
}

/// The query as the body of a request that has none.
fn query(head: &request::Parts) -> Value {
    let pairs = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    Value::Object(pairs.map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>())
}

/// A body; where the script breaks it, half of it in a response that promised the whole.
fn plain_body(bytes: Bytes, breaks: Option<Break>, link: Link) -> Body {
    match breaks {
        Some(Break::Cut(_) | Break::Reset(_)) => {
            let half = bytes.slice(..bytes.len() / 2);
            let pace = Pace { interval: Duration::ZERO, stall: None };
            wire::paced(vec![half], pace, breaks, link)
        }
        _ => wire::plain(bytes),
    }
}
