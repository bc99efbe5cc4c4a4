//! One call, fed in the order in which things crossed the wire, read as one [`Exchange`]. Streams are
//! read as they come, so that every event has its time; whole bodies are kept until the end. What the
//! dialects mean is theirs; here are only bodies, their framing, and time.

use std::borrow::Cow;

use crate::model::{
    UnixNanos,
    call::Dialect,
    exchange::{Exchange, Request, Response, Timing},
    record::Header,
};

use super::{
    Limits,
    anthropic::{messages, stream::MessagesStream},
    batches,
    decode::Decoder,
    detect::{self, Detected},
    error, multipart,
    notes::Notes,
    openai::{
        audio::{self, AudioStream},
        chat, chat_request,
        chat_stream::ChatStream,
        completions, embeddings,
        images::{self, ImagesStream},
        moderations,
        realtime::{self, RealtimeSession},
        responses, responses_request,
        responses_stream::ResponsesStream,
        usage, videos,
    },
    rerank,
    sse::{Event, Framer},
    token_count,
    websocket::{Frames, Side},
};

/// Of a body whose dialect is not known, enough to find an error's message in.
const MAX_UNKNOWN: usize = 64 << 10;

/// Reads one call, fed in the order things crossed the wire; never fails, bounded memory.
#[derive(Debug)]
pub struct CallReader {
    detected: Detected,
    /// Some dialects say in the path what their body is.
    target: String,
    /// Of a request that is a form.
    boundary: Option<String>,
    posted: bool,
    client_frames: Option<Frames>,
    limits: Limits,
    request_decoder: Decoder,
    request: Vec<u8>,
    status: Option<u16>,
    response_decoder: Option<Decoder>,
    answer: Answer,
}

/// The response's body behind its content encoding.
#[derive(Debug)]
struct Answer {
    dialect: Dialect,
    limits: Limits,
    status: Option<u16>,
    content_type: Option<String>,
    /// What a gateway says in a header that the call cost.
    cost: Option<i64>,
    form: Form,
    timing: Timing,
    last_at: Option<UnixNanos>,
    notes: Notes,
}

#[derive(Debug)]
enum Form {
    /// The first bytes, as long as they may be the beginning of either.
    Undecided(Vec<u8>),
    Plain(Vec<u8>),
    Stream {
        framer: Framer,
        events: Events,
    },
    /// What follows a 101.
    Socket {
        frames: Frames,
        session: Box<RealtimeSession>,
    },
}

/// The reader of a stream's events.
#[derive(Debug)]
struct Events {
    kind: EventKind,
    unreadable: Option<(u64, String)>,
    unreadable_count: u64,
}

#[derive(Debug)]
enum EventKind {
    Chat(Box<ChatStream>),
    Responses(Box<ResponsesStream>),
    Messages(Box<MessagesStream>),
    Images(Box<ImagesStream>),
    Audio(Box<AudioStream>),
    /// Counted and timed only.
    Unknown,
}

impl CallReader {
    pub fn new(method: &str, target: &str, request_headers: &[Header], limits: Limits) -> Self {
        let detected = detect::detect(method, target);
        let answer = Answer {
            dialect: detected.dialect,
            limits,
            status: None,
            content_type: None,
            cost: None,
            form: Form::Undecided(Vec::new()),
            timing: Timing::default(),
            last_at: None,
            notes: Notes::new(),
        };
        Self {
            detected,
            target: target.to_owned(),
            boundary: values(request_headers, "content-type").find_map(multipart::boundary),
            posted: method == "POST",
            client_frames: None,
            limits,
            request_decoder: Decoder::new(values(request_headers, "content-encoding"), limits.max_decoded),
            request: Vec::new(),
            status: None,
            response_decoder: None,
            answer,
        }
    }

    pub fn request(&mut self, bytes: &[u8]) {
        // Nothing is read from requests of unknown dialects.
        if self.detected.dialect != Dialect::Http {
            let request = &mut self.request;
            self.request_decoder.push(bytes, &mut |bytes| request.extend_from_slice(bytes));
        }
    }

    pub fn answered(&mut self, status: u16, headers: &[Header]) {
        self.status = Some(status);
        self.answer.status = Some(status);
        self.answer.declare(headers);
        if status == 101 && self.detected.dialect == Dialect::Realtime {
            let frames = Frames::new(Side::Server, headers, self.limits.max_event);
            self.answer.form = Form::Socket { frames, session: Box::default() };
            self.client_frames = Some(Frames::new(Side::Client, headers, self.limits.max_event));
        }
        self.response_decoder =
            Some(Decoder::new(values(headers, "content-encoding"), self.limits.max_decoded));
    }

    pub fn response(&mut self, bytes: &[u8], at: UnixNanos) {
        let Self { response_decoder, answer, limits, .. } = self;
        // A response without a head: nothing says that it is encoded.
        let decoder =
            response_decoder.get_or_insert_with(|| Decoder::new([].into_iter(), limits.max_decoded));
        answer.last_at = Some(at);
        decoder.push(bytes, &mut |bytes| answer.push(bytes, at));
    }

    /// `whole`: the response ended as its framing says.
    pub fn finish(mut self, whole: bool) -> Exchange {
        let mut decoding = Vec::new();
        let request = &mut self.request;
        decoding.extend(
            self.request_decoder
                .finish(&mut |bytes| request.extend_from_slice(bytes))
                .map(|note| format!("request: {note}")),
        );
        if let Some(decoder) = self.response_decoder {
            let at = self.answer.last_at.unwrap_or_default();
            let answer = &mut self.answer;
            decoding.extend(
                decoder.finish(&mut |bytes| answer.push(bytes, at)).map(|note| format!("response: {note}")),
            );
        }
        let mut notes = std::mem::replace(&mut self.answer.notes, Notes::new());
        decoding.into_iter().for_each(|note| notes.add(note));
        let Detected { dialect, operation } = self.detected;
        let mut request = match &self.boundary {
            Some(boundary) => read_form(dialect, &self.request, boundary, &mut notes),
            None if dialect == Dialect::Realtime => {
                read_session(self.client_frames, &self.target, &self.request, &mut notes)
            }
            None if operation == detect::FETCH => Request::default(),
            None => read_request(dialect, &self.target, &self.request, &mut notes),
        };
        drop(self.request);
        let streamed;
        let mut response = match std::mem::replace(&mut self.answer.form, Form::Undecided(Vec::new())) {
            Form::Stream { framer, events } => {
                streamed = true;
                self.answer.finish_stream(framer, events, whole, &mut notes)
            }
            Form::Socket { frames, session } => {
                streamed = true;
                frames.note().into_iter().for_each(|note| notes.add(note));
                let mut session = *session;
                request.messages.append(&mut session.heard);
                session.finish(whole)
            }
            Form::Plain(body) | Form::Undecided(body) => {
                streamed = false;
                read_plain(dialect, &self.target, &self.answer, &body, whole, &mut notes)
            }
        };
        if let (Some(usage), Some(cost)) = (&mut response.usage, self.answer.cost) {
            usage.reported_cost_nano_usd.get_or_insert(cost);
        }
        if dialect == Dialect::Responses {
            response.job = responses::job(&request, &response, operation == detect::FETCH);
        }
        if let (Dialect::Batches | Dialect::Videos, Some(job)) = (dialect, &mut response.job) {
            job.asked = self.posted && !self.target.contains("/cancel");
        }
        let timing = self.answer.timing;
        Exchange {
            dialect,
            operation: operation.to_owned(),
            request,
            response,
            streamed,
            timing,
            notes: notes.into_vec(),
        }
    }
}

impl Answer {
    fn declare(&mut self, headers: &[Header]) {
        self.content_type = values(headers, "content-type").next().map(str::to_owned);
        self.cost = values(headers, "x-litellm-response-cost").next().and_then(usage::stated);
    }

    fn push(&mut self, bytes: &[u8], at: UnixNanos) {
        match &mut self.form {
            Form::Undecided(start) => {
                start.extend_from_slice(bytes);
                // DeepSeek sends blank lines while a request waits.
                let blank = start.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                start.drain(..blank);
                let Some(stream) = sniff(start, declared_stream(self.content_type.as_deref()), self.dialect)
                else {
                    return;
                };
                let start = std::mem::take(start);
                self.form = if stream {
                    Form::Stream {
                        framer: Framer::new(self.limits.max_event),
                        events: Events::new(self.dialect),
                    }
                } else {
                    Form::Plain(Vec::new())
                };
                self.push(&start, at);
            }
            Form::Plain(body) => {
                let max = if self.dialect == Dialect::Http { MAX_UNKNOWN } else { usize::MAX };
                body.extend_from_slice(&bytes[..bytes.len().min(max.saturating_sub(body.len()))]);
            }
            Form::Stream { framer, events } => {
                let (timing, notes, status) = (&mut self.timing, &mut self.notes, self.status);
                framer.push(bytes, &mut |event| events.take(event, at, status, timing, notes));
            }
            Form::Socket { frames, session } => {
                let (timing, notes) = (&mut self.timing, &mut self.notes);
                frames.push(bytes, &mut |message| {
                    timing.events += 1;
                    timing.first_event.get_or_insert(at);
                    let data = readable(message, "a message", notes);
                    match session.event(&data, notes) {
                        Ok(true) => {
                            timing.first_token.get_or_insert(at);
                            timing.last_token = Some(at);
                        }
                        Ok(false) => {}
                        Err(fault) => notes.add(format!("a message of the session is no JSON: {fault}")),
                    }
                });
            }
        }
    }

    fn finish_stream(
        &mut self,
        mut framer: Framer,
        mut events: Events,
        whole: bool,
        notes: &mut Notes,
    ) -> Response {
        let at = self.last_at.unwrap_or_default();
        let (timing, status) = (&mut self.timing, self.status);
        let before = events.unreadable_count;
        let trailing = framer.finish(&mut |event| events.take(event, at, status, timing, notes));
        if trailing && events.unreadable_count > before {
            events.forget_last(before);
            notes.add("the stream was cut inside an event; that event was not read");
        } else if trailing {
            notes.add("the stream ended without the blank line that ends its last event");
        }
        if framer.dropped() > 0 {
            notes.add(format!(
                "{} events were larger than {} bytes and were not read",
                framer.dropped(),
                self.limits.max_event
            ));
        }
        if let Some((number, fault)) = &events.unreadable {
            let count = events.unreadable_count;
            notes.add(format!("{count} events could not be read, the first was event {number}: {fault}"));
        }
        let mut response = match events.kind {
            EventKind::Chat(stream) => stream.finish(whole, notes),
            EventKind::Responses(stream) => stream.finish(notes),
            EventKind::Messages(stream) => stream.finish(notes),
            EventKind::Images(stream) => stream.finish(),
            EventKind::Audio(stream) => stream.finish(),
            EventKind::Unknown => Response { complete: whole, ..Response::default() },
        };
        if response.error.is_none() {
            response.error = failed(status).map(|status| error::from_body("", Some(status)));
        }
        response
    }
}

impl Events {
    fn new(dialect: Dialect) -> Self {
        let kind = match dialect {
            Dialect::ChatCompletions | Dialect::Completions => EventKind::Chat(Box::default()),
            Dialect::Responses => EventKind::Responses(Box::default()),
            Dialect::Messages => EventKind::Messages(Box::default()),
            Dialect::Images => EventKind::Images(Box::default()),
            Dialect::Speech | Dialect::Transcriptions => EventKind::Audio(Box::default()),
            _ => EventKind::Unknown,
        };
        Self { kind, unreadable: None, unreadable_count: 0 }
    }

    fn take(
        &mut self,
        event: Event<'_>,
        at: UnixNanos,
        status: Option<u16>,
        timing: &mut Timing,
        notes: &mut Notes,
    ) {
        timing.events += 1;
        timing.first_event.get_or_insert(at);
        let data = readable(event.data, "an event", notes);
        let brought = match &mut self.kind {
            EventKind::Chat(stream) => stream.event(event, &data, status, notes),
            EventKind::Responses(stream) => stream.event(event.name, &data, status, notes),
            EventKind::Messages(stream) => stream.event(event.name, &data, status, notes),
            EventKind::Images(stream) => stream.event(event.name, &data, status, notes),
            EventKind::Audio(stream) => stream.event(event.name, &data, status, notes),
            EventKind::Unknown => Ok(false),
        };
        match brought {
            Ok(true) => {
                timing.first_token.get_or_insert(at);
                timing.last_token = Some(at);
            }
            Ok(false) => {}
            Err(fault) => {
                self.unreadable_count += 1;
                self.unreadable.get_or_insert((timing.events, fault));
            }
        }
    }

    /// The event that the end cut is not one that could not be read.
    fn forget_last(&mut self, before: u64) {
        self.unreadable_count = before;
        if before == 0 {
            self.unreadable = None;
        }
    }
}

/// Whether a body is an event stream, from its first bytes behind white space; `None` while they do not
/// tell. The bytes outvote what was declared where they are plain.
fn sniff(start: &[u8], declared_stream: bool, dialect: Dialect) -> Option<bool> {
    // Sound, text and lines may begin with anything; there only the declaration tells.
    if matches!(dialect, Dialect::Speech | Dialect::Transcriptions | Dialect::Files | Dialect::Batches) {
        return Some(declared_stream);
    }
    let start = match start {
        [0xef, 0xbb, 0xbf, rest @ ..] => rest,
        [0xef] | [0xef, 0xbb] => return None,
        _ => start,
    };
    match start.iter().find(|byte| !byte.is_ascii_whitespace())? {
        b'{' | b'[' | b'<' | b'"' => return Some(false),
        b':' => return Some(true),
        _ if declared_stream => return Some(true),
        _ => {}
    }
    let mut undecided = false;
    for field in [&b"data:"[..], b"event:", b"id:", b"retry:"] {
        if start.starts_with(field) {
            return Some(true);
        }
        undecided |= field.starts_with(start);
    }
    (!undecided).then_some(false)
}

fn declared_stream(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

fn read_request(dialect: Dialect, target: &str, body: &[u8], notes: &mut Notes) -> Request {
    let body = readable(body, "the request body", notes);
    let body = body.trim_start_matches('\u{feff}');
    match dialect {
        Dialect::ChatCompletions => chat_request::read(body, notes),
        Dialect::Responses => responses_request::read(body, notes),
        Dialect::Completions => completions::read(body, notes),
        Dialect::Embeddings => embeddings::read_request(body, notes),
        Dialect::Messages => messages::read_request(body, notes),
        Dialect::Moderations => moderations::read_request(body, notes),
        // Looking has no body.
        Dialect::Videos if body.trim().is_empty() => Request::default(),
        Dialect::Images | Dialect::Videos => images::read_request(body, notes),
        Dialect::Speech => audio::read_speech_request(body, notes),
        Dialect::Rerank => rerank::read_request(body, notes),
        Dialect::TokenCount => token_count::read_request(target, body, notes),
        Dialect::Batches => batches::read_request(body, notes),
        Dialect::Transcriptions | Dialect::Files | Dialect::Realtime | Dialect::Http => Request::default(),
    }
}

/// What the client said in a session; the model is in the query where the session's settings do not name it.
fn read_session(frames: Option<Frames>, target: &str, sent: &[u8], notes: &mut Notes) -> Request {
    let mut request = Request { stream: true, ..Request::default() };
    let query = target.split_once('?').map_or("", |(_, query)| query);
    request.model = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (matches!(name, "model" | "deployment") && !value.is_empty()).then(|| value.to_owned())
    });
    let Some(mut frames) = frames else { return request };
    frames.push(sent, &mut |message| {
        realtime::client_event(&String::from_utf8_lossy(message), &mut request, notes);
    });
    frames.note().into_iter().for_each(|note| notes.add(note));
    request
}

fn read_form(dialect: Dialect, body: &[u8], boundary: &str, notes: &mut Notes) -> Request {
    if dialect == Dialect::Http {
        return Request::default();
    }
    let form = multipart::parts(body, boundary, notes);
    match dialect {
        Dialect::Images | Dialect::Videos => images::read_form(&form),
        Dialect::Transcriptions => audio::read_transcription_form(&form),
        Dialect::Files => batches::read_upload(&form),
        _ => Request { parameters: multipart::parameters(&form), ..Request::default() },
    }
}

fn read_plain(
    dialect: Dialect,
    target: &str,
    answer: &Answer,
    body: &[u8],
    whole: bool,
    notes: &mut Notes,
) -> Response {
    let status = answer.status;
    if dialect == Dialect::Speech && failed(status).is_none() {
        let response = audio::read_speech(body.len() as u64, answer.content_type.as_deref());
        return Response { complete: whole, ..response };
    }
    let body = readable(body, "the response body", notes);
    let body = body.trim_start_matches('\u{feff}');
    if let Some(code) = failed(status) {
        let told = dialect != Dialect::Http || !body.trim().is_empty();
        let error = told.then(|| error::from_body(body, Some(code)));
        return Response { error, complete: whole, ..Response::default() };
    }
    if matches!(dialect, Dialect::Http | Dialect::Realtime) {
        return Response { complete: whole, ..Response::default() };
    }
    if body.trim().is_empty() {
        if status.is_some() {
            notes.add("the response has no body");
        }
        return Response::default();
    }
    match dialect {
        Dialect::ChatCompletions | Dialect::Completions => array_or(chat::read, body, status, notes),
        Dialect::Responses => array_or(responses::read, body, status, notes),
        Dialect::Embeddings => array_or(embeddings::read, body, status, notes),
        Dialect::Messages => array_or(messages::read, body, status, notes),
        Dialect::Moderations => array_or(moderations::read, body, status, notes),
        Dialect::Images => array_or(images::read, body, status, notes),
        Dialect::Videos => array_or(videos::read, body, status, notes),
        Dialect::Transcriptions => audio::read_transcription(body, status, notes),
        Dialect::Rerank => array_or(rerank::read, body, status, notes),
        Dialect::TokenCount => array_or(token_count::read, body, status, notes),
        Dialect::Batches => batches::read(target, body, status, notes),
        Dialect::Files => batches::read_file(target, body, status, notes),
        Dialect::Speech | Dialect::Realtime | Dialect::Http => Response::default(),
    }
}

/// Gemini's errors come as an array, which may even have a good status.
fn array_or(
    read: fn(&str, Option<u16>, &mut Notes) -> Response,
    body: &str,
    status: Option<u16>,
    notes: &mut Notes,
) -> Response {
    if body.trim_start().starts_with('[')
        && serde_json::from_str::<&serde_json::value::RawValue>(body).is_ok()
    {
        return Response {
            error: Some(error::from_body(body, status)),
            complete: true,
            ..Response::default()
        };
    }
    read(body, status, notes)
}

fn failed(status: Option<u16>) -> Option<u16> {
    status.filter(|status| *status >= 400)
}

fn readable<'a>(bytes: &'a [u8], what: &str, notes: &mut Notes) -> Cow<'a, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            notes.add(format!("{what} is not valid UTF-8; what is not was replaced"));
            String::from_utf8_lossy(bytes)
        }
    }
}

fn values<'a>(headers: &'a [Header], name: &str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}
