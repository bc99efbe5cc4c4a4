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
    call::Dialect,
    exchange::{Exchange, MessagePart, Timing},
    record::Header,
};

/// One call of `tests/fixtures/<dialect>/`: `<name>[-<status>].{request.json,response.sse|response.json}`.
#[derive(Debug, Default)]
struct Fixture {
    request: Vec<u8>,
    response: Vec<u8>,
    request_type: String,
    content_type: &'static str,
}

const FOLDERS: [&str; 16] = [
    "chat_completions",
    "responses",
    "responses_fetched",
    "embeddings",
    "completions",
    "messages",
    "moderations",
    "images",
    "videos",
    "speech",
    "transcriptions",
    "rerank",
    "token_count",
    "batches",
    "files",
    "http",
];

fn fixtures() -> BTreeMap<(Folder, String), Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut all = BTreeMap::<_, Fixture>::new();
    for folder in FOLDERS {
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
                // Its first line is the boundary that the header names.
                "request.form" => {
                    let end = bytes.iter().position(|byte| *byte == b'\r').unwrap();
                    let boundary = std::str::from_utf8(&bytes[2..end]).unwrap();
                    fixture.request_type = format!("multipart/form-data; boundary={boundary}");
                    fixture.request = bytes;
                }
                "response.txt" => (fixture.response, fixture.content_type) = (bytes, "text/plain"),
                "response.jsonl" => (fixture.response, fixture.content_type) = (bytes, "application/jsonl"),
                "response.mp3" => (fixture.response, fixture.content_type) = (bytes, "audio/mpeg"),
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

/// Where a folder's calls go; batches and files say in the name which of their paths it is.
fn target(folder: &str, name: &str) -> (&'static str, &'static str) {
    let got = name.starts_with("get-");
    let target = match folder {
        "responses_fetched" => return ("GET", "/v1/responses/resp_1"),
        "moderations" => "/v1/moderations",
        "images" if name.starts_with("edit") => "/v1/images/edits",
        "images" => "/v1/images/generations",
        "videos" if got => "/v1/videos/video_1",
        "videos" => "/v1/videos",
        "speech" => "/v1/audio/speech",
        "transcriptions" => "/v1/audio/transcriptions",
        "rerank" => "/v1/rerank",
        "token_count" if name.starts_with("openai") => "/v1/responses/input_tokens",
        "token_count" => "/v1/messages/count_tokens",
        "batches" if name.starts_with("get-anthropic-results") => "/v1/messages/batches/msgbatch_1/results",
        "batches" if name.contains("anthropic") => "/v1/messages/batches",
        "batches" if got => "/v1/batches/batch_1",
        "batches" => "/v1/batches",
        "files" if got => "/v1/files/file-out/content",
        "files" => "/v1/files",
        "chat_completions" => "/v1/chat/completions?api-version=1",
        "responses" if name == "compact" => "/v1/responses/compact",
        "responses" => "/v1/responses",
        "embeddings" => "/v1/embeddings",
        "completions" => "/completions",
        "messages" => "/v1/messages?beta=true",
        _ => "/v1/audio/voices",
    };
    (if got { "GET" } else { "POST" }, target)
}

fn header(name: &str, value: &str) -> Header {
    (name.to_owned(), value.to_owned())
}

fn status(name: &str) -> u16 {
    name.rsplit('-').next().and_then(|word| word.parse().ok()).unwrap_or(200)
}

fn reader(folder: &str, name: &str, fixture: &Fixture) -> CallReader {
    let (method, target) = target(folder, name);
    let headers = [header("content-type", &fixture.request_type)];
    let mut reader = CallReader::new(method, target, &headers, Limits::default());
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
        which in 0..FOLDERS.len(), request: Vec<u8>, response: Vec<u8>, status: u16, encoding in 0usize..5,
    ) {
        let (method, target) = target(FOLDERS[which], "");
        let encoding = header("content-encoding", ["", "gzip", "br", "zstd, deflate", "x"][encoding]);
        let mut reader = CallReader::new(method, target, std::slice::from_ref(&encoding), Limits::default());
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

/// A session as both sides sent it, text messages only.
fn session(target: &str, client: &[&str], server: &[&str], cut: usize) -> Exchange {
    let frames = |messages: &[&str], mask| -> Vec<u8> {
        messages.iter().flat_map(|text| websocket::tests::frame(0x81, mask, text.as_bytes())).collect()
    };
    let mut reader = CallReader::new("GET", target, &[], Limits::default());
    reader.request(&frames(client, Some([9, 8, 7, 6])));
    reader.answered(101, &[header("upgrade", "websocket")]);
    let sent = frames(server, None);
    read(reader, sent.chunks(cut))
}

#[test]
fn a_realtime_sessions_responses_are_choices_and_their_usage_is_one_sum() {
    let usage = |input: u32, output: u32| {
        format!(
            r#"{{"total_tokens":{},"input_tokens":{input},"output_tokens":{output},
            "input_token_details":{{"text_tokens":5,"audio_tokens":{},"cached_tokens":2}},
            "output_token_details":{{"text_tokens":1,"audio_tokens":{}}}}}"#,
            input + output,
            input - 5,
            output - 1
        )
    };
    let done = |text: &str, usage: &str| {
        format!(
            r#"{{"type":"response.done","response":{{"id":"r","status":"completed","output":[{{"type":"message","role":"assistant",
            "content":[{{"type":"output_audio","transcript":"{text}"}}]}}],"usage":{usage}}}}}"#
        )
    };
    let server = [
        r#"{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime-2025-08-28"}}"#
            .to_owned(),
        r#"{"type":"response.output_audio.delta","delta":"AAAA"}"#.to_owned(),
        done("Hello", &usage(10, 4)),
        r#"{"type":"conversation.item.input_audio_transcription.completed","transcript":"Bye"}"#.to_owned(),
        done("Goodbye", &usage(20, 6)),
    ];
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let client = [
        r#"{"type":"session.update","session":{"instructions":"Be brief","voice":"alloy"}}"#,
        r#"{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"Hi"}]}}"#,
    ];
    for cut in [1, 3, 1 << 20] {
        let exchange = session("/v1/realtime?model=gpt-realtime", &client, &server, cut);
        assert_eq!(exchange.dialect, Dialect::Realtime);
        assert_eq!(exchange.request.model.as_deref(), Some("gpt-realtime"));
        assert_eq!(exchange.response.model.as_deref(), Some("gpt-realtime-2025-08-28"));
        let said: Vec<_> = exchange.request.messages.iter().map(|message| &message.parts).collect();
        assert_eq!(said.len(), 2, "what was typed and what was heard");
        let usage = exchange.response.usage.unwrap();
        assert_eq!((usage.input, usage.output), (Some(30), Some(10)));
        assert_eq!((usage.cache_read, usage.input_audio, usage.output_audio), (Some(4), Some(20), Some(8)));
        assert_eq!(
            exchange.response.choices[1].message.parts,
            [MessagePart::Text { content: "Goodbye".into() }]
        );
        assert!(exchange.timing.first_token.is_some() && exchange.notes.is_empty(), "{:?}", exchange.notes);
    }
}

#[test]
fn the_responses_api_over_a_socket_is_read_like_its_stream() {
    let client = [
        r#"{"type":"response.create","model":"gpt-5","input":[{"role":"user","content":"Hi"}],"store":false}"#,
    ];
    let server = [
        r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}"#,
        r#"{"type":"response.output_text.delta","delta":"Hel"}"#,
        r#"{"type":"response.completed","response":{"id":"resp_1","model":"gpt-5-2025-08-07","status":"completed","output":[
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello"}]}],
            "usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}}"#,
    ];
    let exchange = session("/v1/responses", &client, &server, 11);
    assert_eq!((exchange.dialect, exchange.operation.as_str()), (Dialect::Realtime, "chat"));
    assert_eq!(exchange.request.model.as_deref(), Some("gpt-5"));
    assert_eq!(exchange.request.messages.len(), 1);
    assert_eq!(exchange.response.usage.as_ref().unwrap().total(), Some(5));
    assert_eq!(exchange.response.choices[0].message.parts, [MessagePart::Text { content: "Hello".into() }]);
    assert!(exchange.response.complete);
}
