//! Event streams in every dress they come in: the client gets the bytes, the store what they mean.

use serde_json::json;

use crate::case::{Case, STREAM, Span, any, case, chat, chunk, reply, status};

const ROLE: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"role":"assistant","content":"Zoë"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":30,"completion_tokens":20,"total_tokens":50}}"#;

pub(crate) fn cases() -> Vec<Case> {
    [dresses(), splits(), usages(), ends(), disguises()].concat()
}

/// The usual three events and the end, each line ended by `end`.
fn usual(end: &str) -> String {
    [ROLE, STOP, USAGE, "[DONE]"].map(|data| format!("data: {data}{end}{end}")).concat()
}

/// A stream in one chunk.
fn stream(name: &str, body: impl AsRef<[u8]>, span: Span) -> Case {
    case(format!("sse/{name}"))
        .send(chat(true))
        .takes(any())
        .reply([STREAM.as_bytes(), &chunk(&body), b"0\r\n\r\n"].concat())
        .answer(status(200).body(body))
        .span(span)
}

fn understood() -> Span {
    Span::ok(200).usage(30, 20).with("/streamed", json!(true)).with("/finish_reasons", json!(["stop"]))
}

fn dresses() -> Vec<Case> {
    let with = |before: &str, after: &str| format!("{before}{}{after}", usual("\n"));
    let two_lines = ROLE.replacen(",\"object\"", ",\ndata: \"object\"", 1);
    let mixed = format!("data: {ROLE}\r\n\ndata: {STOP}\r\rdata: {USAGE}\n\r\ndata: [DONE]\n\n");
    let tight = usual("\n").replace("data: ", "data:");
    let named = usual("\n").replace("data: {", "event: chunk\nid: 7\nretry: 10\nfoo: x\ndata: {");
    let remarks = usual("\n").replace("data: {", ": keep-alive\n\n:\ndata: {");
    vec![
        stream("line feeds", usual("\n"), understood()),
        stream("carriage returns and line feeds", usual("\r\n"), understood()),
        stream("carriage returns alone", usual("\r"), understood()),
        stream("every line end mixed", mixed, understood()),
        stream("a byte order mark first", with("\u{feff}", ""), understood()),
        stream("no space after the colon", tight, understood()),
        stream("names, ids, retries and unknown fields", named, understood()),
        stream("comments between and inside events", remarks, understood()),
        stream(
            "data in two lines",
            format!("data: {two_lines}\n\ndata: {STOP}\n\ndata: {USAGE}\n\ndata: [DONE]\n\n"),
            understood(),
        ),
        stream("blank lines before everything", with("\n\n\r\n", ""), understood()),
        stream("an event that is no JSON", with("data: {broken\n\n", ""), understood()),
        stream(
            "an event of two megabytes",
            with(&format!(": {}\n\n", "x".repeat(2 << 20)), ""),
            understood(),
        ),
        stream(
            "invalid UTF-8 in a comment",
            [b": \xff\xfe\n\n".to_vec(), usual("\n").into_bytes()].concat(),
            understood(),
        ),
    ]
}

/// The same bytes in pieces of every small size, each a write of its own.
fn splits() -> Vec<Case> {
    let body = usual("\r\n");
    let wire = [STREAM.as_bytes(), &chunk(&body), b"0\r\n\r\n"].concat();
    [1, 2, 3, 5, 7, 16, 61, 255]
        .map(|size| {
            case(format!("sse/pieces of {size}"))
                .send(chat(true))
                .takes(any())
                .dribble(&wire, size)
                .answer(status(200).body(&body))
                .span(understood())
        })
        .to_vec()
}

fn usages() -> Vec<Case> {
    let events = |list: &[String]| {
        list.iter().map(|data| format!("data: {data}\n\n")).collect::<String>() + "data: [DONE]\n\n"
    };
    let usage = |input: u64, output: u64| {
        USAGE.replace(":30,", &format!(":{input},")).replace(":20,", &format!(":{output},"))
    };
    let in_last = STOP.replace("}]}", "}],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":20}}");
    let null = ROLE.replace("}]}", "}],\"usage\":null}");
    let groq =
        STOP.replace("}]}", "}],\"x_groq\":{\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":20}}}");
    let own = |text: &str| text.to_owned();
    vec![
        stream("usage first", events(&[own(USAGE), own(ROLE), own(STOP)]), understood()),
        stream("usage in the last choice", events(&[own(ROLE), in_last]), understood()),
        stream("usage twice", events(&[own(ROLE), own(STOP), own(USAGE), own(USAGE)]), understood()),
        stream(
            "usage that grows is not summed",
            events(&[usage(30, 1), own(ROLE), usage(30, 9), own(STOP), own(USAGE)]),
            understood(),
        ),
        stream("usage null until the end", events(&[null, own(STOP), own(USAGE)]), understood()),
        stream("usage where groq has it", events(&[own(ROLE), groq]), understood()),
        stream(
            "no usage at all is estimated and says so",
            events(&[own(ROLE), own(STOP)]),
            Span::ok(200).with("/usage_source", json!("estimated")),
        ),
    ]
}

fn ends() -> Vec<Case> {
    let until = |events: &[&str]| events.iter().map(|data| format!("data: {data}\n\n")).collect::<String>();
    let failed = |kind: &str| Span::error(200, "upstream", kind);
    let error = r#"{"error":{"message":"boom","type":"server_error","param":null,"code":null}}"#;
    vec![
        stream("no [DONE]", until(&[ROLE, STOP, USAGE]), understood()),
        stream(
            "no blank line at the end",
            format!("{}data: [DONE]", until(&[ROLE, STOP, USAGE])),
            understood(),
        ),
        stream(
            "[DONE] with a space",
            format!("{}data: [DONE] \n\n", until(&[ROLE, STOP, USAGE])),
            understood(),
        ),
        stream("an error in the middle", until(&[ROLE, error]), failed("server_error")),
        stream(
            "an error as event and data",
            format!("{}event: error\ndata: {error}\n\n", until(&[ROLE])),
            failed("server_error"),
        ),
        stream("an empty stream", ": nothing\n\n", Span::ok(200).with("/finish_reasons", json!([]))),
        case("sse/cut in the middle of an event")
            .send(chat(true))
            .takes(any())
            .reply([STREAM.as_bytes(), &chunk(until(&[ROLE])), &chunk("data: {\"id\"")].concat())
            .hang_up()
            .broken()
            .span(Span::upstream(Some(200), "upstream_eof").with("/usage_source", json!("estimated"))),
        case("sse/a client that leaves after [DONE] has had everything")
            .send(chat(true))
            .takes(any())
            .reply([STREAM.as_bytes(), &chunk(usual("\n"))].concat())
            .answer_head(status(200))
            // The chunk's size is in upper case on this hop.
            .raw(format!("{:X}\r\n{}\r\n", usual("\n").len(), usual("\n")))
            .leave()
            .span(understood().with("/outcome", json!("completed"))),
    ]
}

/// Streams that say they are none, and the other way round.
fn disguises() -> Vec<Case> {
    let whole = r#"{"id":"c1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":20,"total_tokens":50}}"#;
    let plain = |name: &str, headers: &str, body: &str, streamed: bool| {
        case(format!("sse/{name}"))
            .send(chat(true))
            .takes(any())
            .reply(reply("200 OK", headers, body))
            .answer(status(200).body(body))
            .span(Span::ok(200).usage(30, 20).with("/streamed", json!(streamed)))
    };
    vec![
        plain("a stream called JSON", "Content-Type: application/json\r\n", &usual("\n"), true),
        plain("JSON called a stream", "Content-Type: text/event-stream\r\n", whole, false),
        plain("a stream called nothing", "", &usual("\n"), true),
        plain("a stream with a length", "Content-Type: text/event-stream\r\n", &usual("\n"), true),
        plain(
            "JSON after blank lines",
            "Content-Type: application/json\r\n",
            &format!("\n\n\n{whole}"),
            false,
        ),
    ]
}
