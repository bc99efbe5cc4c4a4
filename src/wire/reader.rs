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
    decode::Decoder,
    detect, error,
    notes::Notes,
    openai::{
        chat, chat_request, chat_stream::ChatStream, completions, embeddings, responses, responses_request,
        responses_stream::ResponsesStream,
    },
    sse::{Event, Framer},
};

/// Of a body whose dialect is not known, enough to find an error's message in.
const MAX_UNKNOWN: usize = 64 << 10;

/// Reads one call, fed in the order things crossed the wire; never fails, bounded memory.
#[derive(Debug)]
pub struct CallReader {
    dialect: Dialect,
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
    /// The content type says that it is an event stream.
    declared_stream: bool,
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
    /// Counted and timed only.
    Unknown,
}

impl CallReader {
    pub fn new(method: &str, target: &str, request_headers: &[Header], limits: Limits) -> Self {
        let dialect = detect(method, target);
        let mut answer = Answer {
            dialect,
            limits,
            status: None,
            declared_stream: false,
            form: Form::Undecided(Vec::new()),
            timing: Timing::default(),
            last_at: None,
            notes: Notes::new(),
        };
        answer.declare(&[]);
        Self {
            dialect,
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
        if self.dialect != Dialect::Http {
            let request = &mut self.request;
            self.request_decoder.push(bytes, &mut |bytes| request.extend_from_slice(bytes));
        }
    }

    pub fn answered(&mut self, status: u16, headers: &[Header]) {
        self.status = Some(status);
        self.answer.status = Some(status);
        self.answer.declare(headers);
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
        let request = read_request(self.dialect, &self.request, &mut notes);
        drop(self.request);
        let streamed;
        let response = match std::mem::replace(&mut self.answer.form, Form::Undecided(Vec::new())) {
            Form::Stream { framer, events } => {
                streamed = true;
                self.answer.finish_stream(framer, events, whole, &mut notes)
            }
            Form::Plain(body) | Form::Undecided(body) => {
                streamed = false;
                read_plain(self.dialect, self.status, &body, whole, &mut notes)
            }
        };
        let timing = self.answer.timing;
        Exchange {
            dialect: self.dialect,
            operation: operation(self.dialect).to_owned(),
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
        self.declared_stream = values(headers, "content-type")
            .any(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"));
    }

    fn push(&mut self, bytes: &[u8], at: UnixNanos) {
        match &mut self.form {
            Form::Undecided(start) => {
                start.extend_from_slice(bytes);
                // DeepSeek sends blank lines while a request waits.
                let blank = start.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                start.drain(..blank);
                let Some(stream) = sniff(start, self.declared_stream) else { return };
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
            Dialect::Embeddings | Dialect::Http => EventKind::Unknown,
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
fn sniff(start: &[u8], declared_stream: bool) -> Option<bool> {
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

fn read_request(dialect: Dialect, body: &[u8], notes: &mut Notes) -> Request {
    let body = readable(body, "the request body", notes);
    let body = body.trim_start_matches('\u{feff}');
    match dialect {
        Dialect::ChatCompletions => chat_request::read(body, notes),
        Dialect::Responses => responses_request::read(body, notes),
        Dialect::Completions => completions::read(body, notes),
        Dialect::Embeddings => embeddings::read_request(body, notes),
        Dialect::Messages => messages::read_request(body, notes),
        Dialect::Http => Request::default(),
    }
}

fn read_plain(
    dialect: Dialect,
    status: Option<u16>,
    body: &[u8],
    whole: bool,
    notes: &mut Notes,
) -> Response {
    let body = readable(body, "the response body", notes);
    let body = body.trim_start_matches('\u{feff}');
    if let Some(code) = failed(status) {
        let told = dialect != Dialect::Http || !body.trim().is_empty();
        let error = told.then(|| error::from_body(body, Some(code)));
        return Response { error, complete: whole, ..Response::default() };
    }
    if dialect == Dialect::Http {
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
        Dialect::Http => Response::default(),
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

/// `gen_ai.operation.name`.
fn operation(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::ChatCompletions | Dialect::Responses | Dialect::Messages => "chat",
        Dialect::Completions => "text_completion",
        Dialect::Embeddings => "embeddings",
        Dialect::Http => "http",
    }
}
