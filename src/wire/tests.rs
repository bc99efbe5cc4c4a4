//! Whole calls: the fixtures (one snapshot each; every stream at every split), and bytes that are no call.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::*;
use crate::model::{
    UnixNanos,
    exchange::{Exchange, MessagePart, Timing},
    record::Header,
};

/// One call of `tests/fixtures/<dialect>/`: `<name>[-<status>].{request.json,response.sse|response.json}`.
#[derive(Debug, Default)]
struct Fixture {
    request: Vec<u8>,
    response: Vec<u8>,
    content_type: &'static str,
}

fn fixtures() -> BTreeMap<(Folder, String), Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut all = BTreeMap::<_, Fixture>::new();
    for folder in ["chat_completions", "responses", "embeddings", "completions", "messages", "http"] {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let file = path.file_name().unwrap().to_str().unwrap();
            let (name, kind) = file.split_once('.').unwrap();
            let fixture = all.entry((Folder(folder), name.to_owned())).or_default();
            let bytes = fs::read(&path).unwrap();
            match kind {
                "request.json" => fixture.request = bytes,
                "response.sse" => (fixture.response, fixture.content_type) = (bytes, "text/event-stream"),
                "response.json" => (fixture.response, fixture.content_type) = (bytes, "application/json"),
                other => panic!("{other}"),
            }
        }
    }
    all
}

/// A dialect's folder, ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Folder(&'static str);

fn target(folder: &str) -> &'static str {
    match folder {
        "chat_completions" => "/v1/chat/completions?api-version=1",
        "responses" => "/v1/responses",
        "embeddings" => "/v1/embeddings",
        "completions" => "/completions",
        "messages" => "/v1/messages?beta=true",
        _ => "/v1/audio/speech",
    }
}

fn header(name: &str, value: &str) -> Header {
    (name.to_owned(), value.to_owned())
}

fn status(name: &str) -> u16 {
    name.rsplit('-').next().and_then(|word| word.parse().ok()).unwrap_or(200)
}

fn reader(folder: &str, name: &str, fixture: &Fixture) -> CallReader {
    let mut reader = CallReader::new("POST", target(folder), &[], Limits::default());
    reader.request(&fixture.request);
    reader.answered(status(name), &[header("Content-Type", fixture.content_type)]);
    reader
}

fn read<'a>(mut reader: CallReader, chunks: impl IntoIterator<Item = &'a [u8]>) -> Exchange {
    for (at, chunk) in chunks.into_iter().enumerate() {
        reader.response(chunk, UnixNanos(1_000 + at as i64));
    }
    reader.finish(true)
}

/// Apart from times, which chunks have and streams have not.
fn timeless(exchange: Exchange) -> Exchange {
    let timing = exchange.timing;
    let seen = |at: Option<UnixNanos>| at.map(|_| UnixNanos(0));
    Exchange {
        timing: Timing {
            first_event: seen(timing.first_event),
            first_token: seen(timing.first_token),
            last_token: seen(timing.last_token),
            events: timing.events,
        },
        ..exchange
    }
}

#[test]
fn fixtures_read_as_their_snapshots_say() {
    let all = fixtures();
    assert!(all.len() >= 25, "{}", all.len());
    for ((Folder(folder), name), fixture) in &all {
        let exchange = read(reader(folder, name, fixture), [&fixture.response[..]]);
        insta::assert_json_snapshot!(format!("{folder}__{name}"), exchange);
    }
}

#[test]
fn any_split_of_a_fixture_gives_the_same_exchange() {
    for ((Folder(folder), name), fixture) in &fixtures() {
        let bytes = &fixture.response[..];
        let whole = timeless(read(reader(folder, name, fixture), [bytes]));
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let split = timeless(read(reader(folder, name, fixture), [head, tail]));
            assert_eq!(split, whole, "{folder}/{name} at {at}");
        }
        let bytewise = timeless(read(reader(folder, name, fixture), bytes.chunks(1)));
        assert_eq!(bytewise, whole, "{folder}/{name} by bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_splits_of_any_fixture_give_the_same_exchange(
        which: prop::sample::Index,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let all: Vec<_> = fixtures().into_iter().collect();
        let ((Folder(folder), name), fixture) = which.get(&all);
        let bytes = &fixture.response[..];
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            chunks.push(&bytes[from..cut]);
            from = cut;
        }
        let whole = timeless(read(reader(folder, name, fixture), [bytes]));
        prop_assert_eq!(timeless(read(reader(folder, name, fixture), chunks)), whole);
    }

    #[test]
    fn damaged_fixtures_never_panic(which: prop::sample::Index, at: prop::sample::Index, with: u8, end: prop::sample::Index) {
        let all: Vec<_> = fixtures().into_iter().collect();
        let ((Folder(folder), name), fixture) = which.get(&all);
        let mut bytes = fixture.response.clone();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        let end = end.index(bytes.len() + 1);
        read(reader(folder, name, fixture), [&bytes[..end]]);
    }

    #[test]
    fn any_bytes_never_panic(
        which in 0usize..6, request: Vec<u8>, response: Vec<u8>, status: u16, encoding in 0usize..5,
    ) {
        let folders = ["chat_completions", "responses", "embeddings", "completions", "messages", "http"];
        let encoding = header("content-encoding", ["", "gzip", "br", "zstd, deflate", "x"][encoding]);
        let mut reader = CallReader::new("POST", target(folders[which]), std::slice::from_ref(&encoding), Limits::default());
        reader.request(&request);
        reader.answered(status, &[encoding]);
        read(reader, response.chunks(7));
    }
}

fn ask(target: &str, request: &[u8], response: &[u8]) -> Exchange {
    let mut reader = CallReader::new("POST", target, &[], Limits::default());
    reader.request(request);
    reader.answered(200, &[]);
    read(reader, [response])
}

#[test]
fn requests_are_known_by_their_path() {
    for (method, path, dialect) in [
        ("POST", "/chat/completions", Dialect::ChatCompletions),
        ("POST", "/openai/deployments/d/chat/completions?api-version=2024-10-21", Dialect::ChatCompletions),
        ("POST", "//v1//chat/completions/", Dialect::ChatCompletions),
        ("POST", "/v1/agents/completions", Dialect::ChatCompletions),
        ("POST", "/v1/completions", Dialect::Completions),
        ("POST", "/v1/responses?beta=true", Dialect::Responses),
        ("POST", "/compatible-mode/v1/embeddings", Dialect::Embeddings),
        ("POST", "/v1/messages?beta=true", Dialect::Messages),
        ("POST", "/v1/messages/count_tokens", Dialect::Http),
        ("POST", "/v1/threads/t1/messages", Dialect::Http),
        ("POST", "/v1/responses/r1/cancel", Dialect::Http),
        ("POST", "/v1/xcompletions", Dialect::Http),
        ("POST", "/v1/models?x=/chat/completions", Dialect::Http),
        ("GET", "/v1/chat/completions", Dialect::Http),
        ("GET", "/v1/responses/r1?stream=true", Dialect::Http),
        ("POST", "", Dialect::Http),
    ] {
        assert_eq!(detect(method, path), dialect, "{method} {path}");
    }
}

#[test]
fn events_have_the_time_of_the_chunk_that_completed_them() {
    let event = |content: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n")
    };
    let mut reader = CallReader::new("POST", "/chat/completions", &[], Limits::default());
    reader.answered(200, &[header("content-type", "text/event-stream")]);
    let first = event("a");
    let (head, tail) = first.split_at(20);
    for (at, chunk) in [": hi\n\n", &event(""), head, tail, &event("b"), &event(""), "data: [DONE]\n\n"]
        .into_iter()
        .enumerate()
    {
        reader.response(chunk.as_bytes(), UnixNanos(at as i64));
    }
    let timing = Timing {
        first_event: Some(UnixNanos(1)),
        first_token: Some(UnixNanos(3)),
        last_token: Some(UnixNanos(4)),
        events: 5,
    };
    assert_eq!(reader.finish(true).timing, timing);
}

#[test]
fn compressed_bodies_are_read_as_they_come() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#).unwrap();
    let encoding = header("Content-Encoding", "gzip");
    let mut reader =
        CallReader::new("POST", "/chat/completions", std::slice::from_ref(&encoding), Limits::default());
    reader.request(&gzip.finish().unwrap());
    reader.answered(200, &[encoding, header("content-type", "text/event-stream; charset=utf-8")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for (at, content) in ["a", "b"].into_iter().enumerate() {
        write!(gzip, "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n").unwrap();
        gzip.flush().unwrap();
        reader.response(&std::mem::take(gzip.get_mut()), UnixNanos(at as i64));
    }
    reader.response(&gzip.finish().unwrap(), UnixNanos(9));
    let exchange = reader.finish(true);
    assert_eq!(exchange.request.model.as_deref(), Some("m"));
    assert_eq!(exchange.response.choices[0].message.parts, [MessagePart::Text { content: "ab".into() }]);
    assert_eq!(
        (exchange.timing.first_token, exchange.timing.last_token),
        (Some(UnixNanos(0)), Some(UnixNanos(1)))
    );
    assert!(exchange.notes.is_empty(), "{:?}", exchange.notes);
}

#[test]
fn inv5_an_event_beyond_the_limit_is_noted_and_the_rest_is_read() {
    let limits = Limits { max_event: 1 << 10, ..Limits::default() };
    let mut reader = CallReader::new("POST", "/v1/responses", &[], limits);
    reader.answered(200, &[]);
    let stream = format!(
        "event: x\ndata: {{\"partial_image_b64\":\"{}\"}}\n\nevent: response.output_text.delta\ndata: \
         {{\"type\":\"response.output_text.delta\",\"delta\":\"ok\"}}\n\n",
        "A".repeat(5 << 10)
    );
    let exchange = read(reader, stream.as_bytes().chunks(100));
    assert_eq!(exchange.response.choices[0].message.parts, [MessagePart::Text { content: "ok".into() }]);
    assert!(
        exchange.notes.iter().any(|note| note.contains("larger than 1024 bytes")),
        "{:?}",
        exchange.notes
    );
}

#[test]
fn depth_duplicates_and_sizes_are_survived() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let request = format!(
        r#"{{"model":"a","model":"b","seed":123456789012345678901234567890,"x":{deep},"y":1e999,
            "messages":[{{"role":"user","content":{deep}}},{{"role":"user","content":"hi"}}]}}"#
    );
    let exchange = ask("/chat/completions", request.as_bytes(), deep.as_bytes());
    assert_eq!(exchange.request.model.as_deref(), Some("b"));
    assert_eq!(exchange.request.messages[1].parts, [MessagePart::Text { content: "hi".into() }]);
    assert!(exchange.notes.iter().any(|note| note.contains("nested too deep")), "{:?}", exchange.notes);
    let wide = format!(r#"{{"messages":[{}0]}}"#, "{},".repeat(2_000_000));
    let exchange = ask("/chat/completions", wide.as_bytes(), b"{}");
    assert!(exchange.request.messages.len() < 600_000);
    assert!(!exchange.notes.is_empty());
}

#[test]
fn a_call_without_answer_or_bodies_is_an_exchange() {
    for target in ["/chat/completions", "/responses", "/embeddings", "/completions", "/messages", "/x"] {
        let exchange = CallReader::new("POST", target, &[], Limits::default()).finish(false);
        assert!(!exchange.response.complete, "{target}");
        assert_eq!(exchange.response.error, None, "{target}");
        assert!(exchange.notes.len() <= 1, "{target}");
    }
}

#[test]
fn invalid_utf8_in_a_request_costs_only_itself() {
    let exchange = ask(
        "/chat/completions",
        b"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}",
        b"",
    );
    assert_eq!(exchange.request.messages[0].parts, [MessagePart::Text { content: "\u{fffd}".into() }]);
    assert!(exchange.notes[0].contains("UTF-8"));
}
