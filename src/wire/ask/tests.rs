//! What the client sees with the question asked is what it would have seen without, byte for byte.

use std::{collections::BTreeMap, fs, path::Path};

use proptest::prelude::*;

use super::{super::flavour, *};

/// A flavour's stream, asked and not: `tests/fixtures/asked/<provider>[-<what is odd>].{asked,unasked}.sse`.
fn pairs() -> BTreeMap<String, (Vec<u8>, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asked");
    let mut all = BTreeMap::<String, (Vec<u8>, Vec<u8>)>::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (name, kind) = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .split_once(".sse")
            .unwrap()
            .0
            .rsplit_once('.')
            .unwrap();
        let pair = all.entry(name.to_owned()).or_default();
        let bytes = fs::read(&path).unwrap();
        match kind {
            "asked" => pair.0 = bytes,
            "unasked" => pair.1 = bytes,
            other => panic!("{other}"),
        }
    }
    all
}

fn asked(name: &str) -> Asked {
    let provider = name.split('-').next().unwrap();
    assert!(flavour::FLAVOURS.iter().any(|known| known.provider == provider), "{provider}");
    flavour::of(provider).asked
}

fn filter<'a>(asked: Asked, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut filter = Filter::new(asked);
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&filter.push(chunk));
    }
    out.extend_from_slice(&filter.finish());
    out
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn inv1_every_flavour_gives_the_client_what_it_would_have_had() {
    let pairs = pairs();
    for flavour in flavour::FLAVOURS {
        let own = format!("{}-", flavour.provider);
        let any = pairs.keys().any(|name| *name == flavour.provider || name.starts_with(&own));
        assert!(any, "no pair of streams for {}", flavour.provider);
    }
    for (name, (given, wanted)) in &pairs {
        let asked = asked(name);
        assert_eq!(shown(&filter(asked, [&given[..]])), shown(wanted), "{name}");
        for at in 0..=given.len() {
            let (head, tail) = given.split_at(at);
            assert_eq!(shown(&filter(asked, [head, tail])), shown(wanted), "{name} at {at}");
        }
        assert_eq!(shown(&filter(asked, given.chunks(1))), shown(wanted), "{name} by bytes");
        assert_eq!(shown(&filter(asked, [&wanted[..]])), shown(wanted), "{name}: nothing to take out");
    }
}

#[test]
fn every_line_end_is_taken_out_whole() {
    for end in ["\n", "\r\n", "\r"] {
        let line = |text: &str| format!("{text}{end}");
        let chunk = |data: &str| line(&format!("data: {data}")) + end;
        let kept = chunk(r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#);
        let usage = chunk(r#"{"choices":[],"usage":{"prompt_tokens":1}}"#);
        let given = [&kept, &line(": keep-alive"), &usage, &line(": later"), &chunk("[DONE]")]
            .map(String::as_str)
            .concat();
        let wanted =
            [&kept, &line(": keep-alive"), &line(": later"), &chunk("[DONE]")].map(String::as_str).concat();
        for at in 0..=given.len() {
            let (head, tail) = given.as_bytes().split_at(at);
            assert_eq!(shown(&filter(Asked::LastOnly, [head, tail])), wanted, "{end:?} at {at}");
        }
    }
}

#[test]
fn a_keep_alive_and_an_event_leave_at_once() {
    let mut filter = Filter::new(Asked::NullsBefore);
    assert_eq!(filter.push(b": waiting\n"), ": waiting\n");
    assert_eq!(filter.push(b"data: {\"a\":1}"), "");
    assert_eq!(filter.push(b"\n\ndata"), "data: {\"a\":1}\n\n");
}

#[test]
fn inv5_an_event_beyond_the_limit_is_passed_on_as_it_comes() {
    let mut filter = Filter::new(Asked::NullsBefore);
    let big = vec![b'x'; MAX_EVENT];
    assert!(filter.push(b"data: ").is_empty());
    assert_eq!(filter.push(&big).len(), MAX_EVENT + 6);
    assert_eq!(filter.push(b"\nyy").len(), 3, "the rest of the event is not held either");
    assert_eq!(filter.push(b"\n\n"), "\n\n");
    assert_eq!(filter.push(b"data: {\"choices\":[],\"usage\":{}}\n\n"), "");
}

#[test]
fn the_question_is_put_where_it_belongs() {
    for (given, wanted) in [
        (
            r#"{"model":"m","stream":true}"#,
            Some(r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#),
        ),
        (
            "{ \"stream\" : true ,\n \"a\" : {\"stream\":false} }\n",
            Some(
                "{ \"stream\" : true ,\n \"a\" : {\"stream\":false} ,\"stream_options\":{\"include_usage\":true}}\n",
            ),
        ),
        (
            r#"{"stream_options":{},"stream":true}"#,
            Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#),
        ),
        (
            r#"{"stream":true,"stream_options":{"include_obfuscation":false}}"#,
            Some(r#"{"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#),
        ),
        (
            r#"{"stream":true,"stream_options":null}"#,
            Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
        ),
        (r#"{"stream":true,"stream_options":{"include_usage":true}}"#, None),
        (r#"{"stream":true,"stream_options":{"include_usage":false}}"#, None),
        (r#"{"stream":true,"stream_options":[]}"#, None),
        (r#"{"stream":"true"}"#, None),
        (r#"{"stream":false}"#, None),
        (r#"{"model":"m"}"#, None),
        (r#"{"stream":true,"stream":true}"#, None),
        (r#"{"stream":true"#, None),
        (r#"[{"stream":true}]"#, None),
        ("", None),
    ] {
        let asked = request(given.as_bytes());
        assert_eq!(asked.as_deref().map(shown), wanted.map(str::to_owned), "{given}");
    }
}

/// What a stream may be made of: events that stay, that are taken out, that are held until the next, and that are
/// none.
const MENU: [&str; 8] = [
    r#"data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#,
    r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    r#"data: {"choices":[],"usage":{"prompt_tokens":1},"timings":{"prompt_n":1}}"#,
    r#"data: {"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1}}"#,
    ": keep-alive",
    "data: [DONE]",
    "data: {\"choices\"",
    "event: error",
];

proptest! {
    #[test]
    fn any_split_of_any_stream_gives_the_same(
        events in proptest::collection::vec((0..MENU.len(), 0..3usize, 1..3usize), 0..12),
        splits in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut stream = String::new();
        for (event, end, times) in events {
            stream += MENU[event];
            stream += &["\n", "\r\n", "\r"][end].repeat(times);
        }
        let mut places: Vec<usize> = splits.iter().map(|split| split.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> =
            places.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]).collect();
        for asked in [Asked::NullsBefore, Asked::LastOnly, Asked::TimingsMove] {
            let whole = filter(asked, [stream.as_bytes()]);
            prop_assert_eq!(shown(&filter(asked, pieces.iter().copied())), shown(&whole), "{:?}", asked);
        }
    }

    #[test]
    fn bytes_that_are_no_answer_to_the_question_pass_untouched(
        chunks in proptest::collection::vec(proptest::collection::vec(
            prop::sample::select(&b"data: {}[]\r\n\"usage,choices:null1x"[..]), 0..40), 0..12),
    ) {
        let all: Vec<u8> = chunks.concat();
        let out = filter(Asked::LastOnly, chunks.iter().map(Vec::as_slice));
        let whole = filter(Asked::LastOnly, [&all[..]]);
        prop_assert_eq!(&out, &whole, "any split gives the same bytes");
        if !shown(&all).contains("choices") {
            prop_assert_eq!(out, all);
        }
    }
}

#[test]
fn an_empty_piece_between_cr_and_lf_changes_nothing() {
    let head = b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\r";
    let rest = b"\n\r\n: keep-alive\n\n";
    let out = filter(Asked::NullsBefore, [&head[..], b"", rest]);
    assert_eq!(shown(&out), ": keep-alive\n\n");
}
