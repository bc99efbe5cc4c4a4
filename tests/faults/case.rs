//! What a case is: a name, what both ends do and must see in their order, and what the store must hold
//! afterwards. Data only; `play` carries it out.

use serde_json::{Value, json};

/// One case. Names are `group/what`.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) play: Play,
}

#[derive(Debug, Clone)]
pub(crate) enum Play {
    Script(Box<Script>),
    /// A case that starts and ends processes of its own.
    Program(fn() -> Verdict),
}

/// How a case ended, unless it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Passed {
    Yes,
    Skipped(String),
}

pub(crate) type Verdict = Result<Passed, String>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    pub(crate) on: On,
    pub(crate) up: Up,
    /// Cannot be asked of a proxy that is not tapline.
    pub(crate) own: Option<&'static str>,
    pub(crate) steps: Vec<Step>,
    /// Oldest first.
    pub(crate) spans: Vec<Span>,
}

/// Which running tapline a case is played on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum On {
    #[default]
    Common,
    /// Short time-outs and small limits.
    Impatient,
}

/// What the case's upstream is, in the proxy's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Up {
    #[default]
    Plain,
    /// Configured as https; the case speaks what it likes.
    Secure,
    /// With a configured key.
    Keyed,
    /// Read on when the client has left.
    Drained,
    At(String),
}

/// One step of a script; the client's and the upstream's are in one order. In bytes, `<base>` stands for the
/// path that leads to the case's upstream, `<tag>` for the header that names the case, `<up>` for the
/// upstream's authority, `<at>` for the proxy's.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A new client connection; the first is made by itself.
    Open,
    Send(Vec<u8>),
    /// What the proxy may refuse to take.
    TrySend(Vec<u8>),
    /// One byte per write.
    SendSlowly(Vec<u8>),
    /// The client reads a `100 Continue` away, if there is one.
    SkipContinue,
    /// The client reads a whole response.
    Answer(Want),
    /// The client reads a response's head.
    AnswerHead(Want),
    /// The client reads exactly this.
    Raw(Vec<u8>),
    /// The client's connection ends; whatever came until then contains no whole response.
    Broken,
    /// The client's connection ends, and nothing more comes.
    Gone,
    Leave,
    LeaveHalf,
    Reset,
    /// The upstream reads a whole request, on a connection that it has or takes.
    Takes(Want),
    TakesHead(Want),
    TakesRaw(Vec<u8>),
    Reply(Vec<u8>),
    /// In pieces of so many bytes, each a write of its own.
    Dribble(Vec<u8>, usize),
    HangUp,
    UpReset,
    /// The upstream's connection ends, and nothing more comes.
    UpGone,
    /// The upstream's connection ends, and the request on it was never whole.
    Unfinished,
    /// No connection comes to the upstream.
    Untouched,
    /// The upstream's next request comes on another connection.
    Fresh,
    /// The upstream stops listening.
    Deaf,
    Wait(u64),
}

/// What a message must be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Want {
    pub(crate) line: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) has: Vec<Vec<u8>>,
    pub(crate) lacks: Vec<String>,
    /// The head, byte for byte.
    pub(crate) head: Option<Vec<u8>>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) trailers: Option<Vec<u8>>,
    /// An `error.code` of the proxy's own answer.
    pub(crate) code: Option<&'static str>,
    pub(crate) bodiless: bool,
}

/// A message with this status.
pub(crate) fn status(status: u16) -> Want {
    Want { status: Some(status), ..Want::default() }
}

/// A request with this line; `<base>` does not stand in it.
pub(crate) fn line(line: &str) -> Want {
    Want { line: Some(line.to_owned()), ..Want::default() }
}

pub(crate) fn any() -> Want {
    Want::default()
}

/// One of tapline's own answers.
pub(crate) fn own(status: u16, code: &'static str) -> Want {
    Want { status: Some(status), code: Some(code), ..Want::default() }
}

impl Want {
    pub(crate) fn has(mut self, header: impl AsRef<[u8]>) -> Self {
        self.has.push(header.as_ref().to_vec());
        self
    }

    pub(crate) fn lacks(mut self, name: &str) -> Self {
        self.lacks.push(name.to_owned());
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    pub(crate) fn trailers(mut self, trailers: impl AsRef<[u8]>) -> Self {
        self.trailers = Some(trailers.as_ref().to_vec());
        self
    }
}

/// What the store must hold of one call: fields of the call's row.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) fields: Vec<(&'static str, Value)>,
}

impl Span {
    fn of(status: &str, outcome: &str, http: Option<u16>, blame: Option<(&str, &str)>) -> Self {
        let (source, kind) = blame.unzip();
        let fields = vec![
            ("/status", json!(status)),
            ("/outcome", json!(outcome)),
            ("/http_status", json!(http)),
            ("/error_source", json!(source)),
            ("/error_type", json!(kind)),
        ];
        Self { fields }
    }

    pub(crate) fn ok(http: u16) -> Self {
        Self::of("ok", "completed", Some(http), None)
    }

    /// An answer that is an error: whose, and which.
    pub(crate) fn error(http: u16, source: &str, kind: &str) -> Self {
        Self::of("error", "completed", Some(http), Some((source, kind)))
    }

    /// The client's own mistake, found before any answer.
    pub(crate) fn client(kind: &str) -> Self {
        Self::of("error", "client_error", None, Some(("client", kind)))
    }

    /// The client left, before (`None`) or after the response's head.
    pub(crate) fn left(http: Option<u16>) -> Self {
        Self::of("cancelled", "client_gone", http, Some(("client", "client_disconnect")))
    }

    pub(crate) fn upstream(http: Option<u16>, kind: &str) -> Self {
        Self::of("error", "upstream_failed", http, Some(("upstream", kind)))
    }

    /// One more field, by its place in the row.
    pub(crate) fn with(mut self, place: &'static str, value: Value) -> Self {
        self.fields.retain(|(known, _)| *known != place);
        self.fields.push((place, value));
        self
    }

    pub(crate) fn usage(self, input: u64, output: u64) -> Self {
        self.with("/usage/input", json!(input))
            .with("/usage/output", json!(output))
            .with("/usage_source", json!("reported"))
    }

    pub(crate) fn bytes(self, sent: usize, received: usize) -> Self {
        self.with("/sent_bytes", json!(sent)).with("/received_bytes", json!(received))
    }
}

/// A case with steps to come.
pub(crate) fn case(name: impl Into<String>) -> Case {
    Case { name: name.into(), play: Play::Script(Box::default()) }
}

pub(crate) fn program(name: impl Into<String>, run: fn() -> Verdict) -> Case {
    Case { name: name.into(), play: Play::Program(run) }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) = $step:expr;)+) => {
        $($(#[$doc])* pub(crate) fn $name(self $(, $argument: $kind)*) -> Self { self.step($step) })+
    };
}

impl Case {
    fn script(mut self, change: impl FnOnce(&mut Script)) -> Self {
        if let Play::Script(script) = &mut self.play {
            change(script);
        }
        self
    }

    pub(crate) fn step(self, step: Step) -> Self {
        self.script(|script| script.steps.push(step))
    }

    steps! {
        open() = Step::Open;
        send(bytes: impl AsRef<[u8]>) = Step::Send(bytes.as_ref().to_vec());
        try_send(bytes: impl AsRef<[u8]>) = Step::TrySend(bytes.as_ref().to_vec());
        answer(want: Want) = Step::Answer(want);
        answer_head(want: Want) = Step::AnswerHead(want);
        raw(bytes: impl AsRef<[u8]>) = Step::Raw(bytes.as_ref().to_vec());
        broken() = Step::Broken;
        gone() = Step::Gone;
        leave() = Step::Leave;
        leave_half() = Step::LeaveHalf;
        reset() = Step::Reset;
        takes(want: Want) = Step::Takes(want);
        takes_head(want: Want) = Step::TakesHead(want);
        takes_raw(bytes: impl AsRef<[u8]>) = Step::TakesRaw(bytes.as_ref().to_vec());
        reply(bytes: impl AsRef<[u8]>) = Step::Reply(bytes.as_ref().to_vec());
        dribble(bytes: impl AsRef<[u8]>, size: usize) = Step::Dribble(bytes.as_ref().to_vec(), size);
        hang_up() = Step::HangUp;
        up_reset() = Step::UpReset;
        up_gone() = Step::UpGone;
        unfinished() = Step::Unfinished;
        untouched() = Step::Untouched;
        fresh() = Step::Fresh;
        deaf() = Step::Deaf;
        wait(millis: u64) = Step::Wait(millis);
    }

    pub(crate) fn span(self, span: Span) -> Self {
        self.script(|script| script.spans.push(span))
    }

    pub(crate) fn impatient(self) -> Self {
        self.script(|script| script.on = On::Impatient).own("its time-outs and limits are set for the case")
    }

    pub(crate) fn up(self, up: Up) -> Self {
        self.script(|script| script.up = up).own("its upstream is configured for the case")
    }

    /// Not for another proxy, and why.
    pub(crate) fn own(self, why: &'static str) -> Self {
        self.script(|script| script.own = Some(why))
    }
}

/// A GET with further header lines (each with its end).
pub(crate) fn get(headers: &str) -> String {
    format!("GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>{headers}\r\n")
}

/// A POST with a stated length.
pub(crate) fn post(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post_to("/x", headers, body)
}

pub(crate) fn post_to(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head =
        format!("POST <base>{path} HTTP/1.1\r\nHost: tap\r\n<tag>{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A POST whose chunked body is given as it goes over the wire.
pub(crate) fn post_chunked(headers: &str, chunks: impl AsRef<[u8]>) -> Vec<u8> {
    let head =
        format!("POST <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>{headers}Transfer-Encoding: chunked\r\n\r\n");
    [head.as_bytes(), chunks.as_ref()].concat()
}

/// A chat request that asks for a stream or not.
pub(crate) fn chat(stream: bool) -> Vec<u8> {
    let body = format!(
        "{{\"model\":\"gpt-4o-mini\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}"
    );
    post_to("/chat/completions", "Content-Type: application/json\r\n", body)
}

/// A response with a stated length.
pub(crate) fn reply(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(crate) fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
