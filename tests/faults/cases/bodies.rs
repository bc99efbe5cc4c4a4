//! Bodies: byte equality in both directions and in the store, whatever they are.

use std::io::Write as _;

use serde_json::json;

use crate::case::{Case, Span, any, case, chunk, get, post, post_chunked, post_to, reply, status};

pub(crate) fn cases() -> Vec<Case> {
    [equal(), usage(), encoded(), sizes()].concat()
}

/// A chat call with these bodies, which must cross and be kept byte for byte.
fn chatted(name: &str, request: impl AsRef<[u8]>, response: impl AsRef<[u8]>, span: Span) -> Case {
    let (request, response) = (request.as_ref(), response.as_ref());
    case(format!("bodies/{name}"))
        .send(post_to("/chat/completions", "Content-Type: application/json\r\n", request))
        .takes(any().body(request))
        .reply(reply("200 OK", "Content-Type: application/json\r\n", response))
        .answer(status(200).body(response))
        .span(span.bytes(request.len(), response.len()))
}

fn asks(content: &str) -> String {
    format!("{{\"model\":\"gpt-4o-mini\",\"messages\":[{{\"role\":\"user\",\"content\":{content}}}]}}")
}

/// A chat answer with this usage, as JSON text.
pub(super) fn says(usage: &str) -> String {
    format!(
        "{{\"id\":\"c1\",\"object\":\"chat.completion\",\"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"message\":\
         {{\"role\":\"assistant\",\"content\":\"hello there\"}},\"finish_reason\":\"stop\"}}],\"usage\":{usage}}}"
    )
}

pub(super) const USAGE: &str = "{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12}";

fn equal() -> Vec<Case> {
    let answer = says(USAGE);
    let fine = || Span::ok(200).usage(9, 3);
    let bytes: Vec<u8> = (0..=255).collect();
    let mut all: Vec<Case> = [
        ("white space everywhere", "\r\n\t {\n \"model\" : \"gpt-4o-mini\" ,\r\n\"messages\":[ ]\n}\n\n ".to_owned()),
        ("keys twice", "{\"model\":\"a\",\"model\":\"gpt-4o-mini\",\"messages\":[]}".to_owned()),
        ("keys out of order", "{\"z\":1,\"messages\":[],\"a\":2,\"model\":\"gpt-4o-mini\"}".to_owned()),
        ("numbers as they were written", format!("{{\"temperature\":1.0,\"a\":1e400,\"b\":0.1000,\"c\":-0,\"d\":123456789012345678901234567890,\"e\":1E+2,{}", &asks("\"x\"")[1..])),
        ("escapes as they were written", asks("\"\\u00e9\\/\\ud83d\\ude00\\u0000\\\"\"")),
        ("lone surrogates", asks("\"\\ud800\"")),
        ("unicode of every width", asks("\"\u{e9}\u{4e2d}\u{1f600}\u{200d}\u{feff}\"")),
        ("a mark of byte order", format!("\u{feff}{}", asks("\"x\""))),
        ("no JSON at all", "this is no JSON".to_owned()),
        ("JSON that is cut", "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"us".to_owned()),
        ("deep nesting", asks(&format!("{}{}", "[".repeat(3_000), "]".repeat(3_000)))),
        ("null everywhere", "{\"model\":null,\"messages\":null,\"stream\":null}".to_owned()),
        ("other types than expected", "{\"model\":7,\"messages\":{\"role\":[]},\"stream\":\"yes\"}".to_owned()),
        ("an array for a request", "[1,2,3]".to_owned()),
        ("tools and images", format!("{{\"tools\":[{{\"type\":\"function\",\"function\":{{\"name\":\"f\",\"parameters\":{{}}}}}}],{}", &asks("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}]")[1..])),
    ]
    .into_iter()
    .map(|(name, request)| chatted(name, request, &answer, fine()))
    .collect();
    all.push(chatted(
        "invalid UTF-8 in a request",
        b"{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}",
        &answer,
        fine(),
    ));
    all.push(chatted(
        "every byte there is, each way",
        &bytes,
        &bytes,
        Span::ok(200).with("/response_whole", true.into()),
    ));
    all.push(chatted("an empty answer", asks("\"x\""), "", Span::ok(200)));
    all.push(chatted("an answer that is no JSON", asks("\"x\""), "<html>fine</html>", Span::ok(200)));
    all.push(chatted("an empty request", "", &answer, fine()));
    all.push(chatted(
        "an error inside a good answer",
        asks("\"x\""),
        "{\"error\":{\"message\":\"no\",\"type\":\"server_error\",\"code\":\"boom\"}}",
        Span::error(200, "upstream", "boom"),
    ));
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n\0\u{1}\r\n--b--\r\n";
    all.push(
        case("bodies/multipart with bytes in it")
            .send(post_to("/audio/transcriptions", "Content-Type: multipart/form-data; boundary=b\r\n", form))
            .takes(any().has("Content-Type: multipart/form-data; boundary=b").body(form))
            .reply(reply("200 OK", "Content-Type: application/json\r\n", "{\"text\":\"hi\"}"))
            .answer(status(200).body("{\"text\":\"hi\"}"))
            .span(Span::ok(200)),
    );
    all.push(
        case("bodies/sound comes down")
            .send(post_to(
                "/audio/speech",
                "Content-Type: application/json\r\n",
                "{\"model\":\"tts-1\",\"input\":\"hi\"}",
            ))
            .takes(any())
            .reply(
                [
                    b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
                        .as_slice(),
                    &chunk(&bytes),
                    &chunk(&bytes),
                    b"0\r\n\r\n",
                ]
                .concat(),
            )
            .answer(status(200).body([bytes.as_slice(), &bytes].concat()))
            .span(Span::ok(200).with("/received_bytes", 512.into())),
    );
    all
}

fn usage() -> Vec<Case> {
    let counted = |name: &str, usage: &str, span: Span| {
        chatted(&format!("usage: {name}"), asks("\"x\""), says(usage), span)
    };
    let none = || Span::ok(200).with("/usage_source", json!("estimated"));
    vec![
        counted("as it should be", USAGE, Span::ok(200).usage(9, 3)),
        counted(
            "with its parts",
            "{\"prompt_tokens\":90,\"completion_tokens\":30,\"prompt_tokens_details\":{\"cached_tokens\":64},\"completion_tokens_details\":{\"reasoning_tokens\":20}}",
            Span::ok(200)
                .usage(90, 30)
                .with("/usage/cache_read", json!(64))
                .with("/usage/reasoning", json!(20)),
        ),
        counted("null", "null", none()),
        counted("empty", "{}", none()),
        counted("of another type", "\"many\"", none()),
        counted("zero is zero", "{\"prompt_tokens\":0,\"completion_tokens\":0}", Span::ok(200).usage(0, 0)),
        counted(
            "below zero is not taken",
            "{\"prompt_tokens\":-1,\"completion_tokens\":3}",
            Span::ok(200).with("/usage/input", json!(null)).with("/usage/output", json!(3)),
        ),
        counted(
            "absurd is not taken",
            "{\"prompt_tokens\":1e30,\"completion_tokens\":3}",
            Span::ok(200).with("/usage/input", json!(null)).with("/usage/output", json!(3)),
        ),
        counted(
            "in Anthropic's names",
            "{\"input_tokens\":9,\"output_tokens\":3}",
            Span::ok(200).usage(9, 3),
        ),
    ]
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn encoded() -> Vec<Case> {
    let answer = says(USAGE);
    let zstd = zstd::encode_all(answer.as_bytes(), 3).unwrap();
    let squeezed = gzip(&answer);
    let cut = squeezed[..squeezed.len() / 2].to_vec();
    let both = [gzip(&answer[..60]), gzip(&answer[60..])].concat();
    let bomb = gzip(&" ".repeat(80 << 20));
    let fine = || Span::ok(200).usage(9, 3);
    let mut all: Vec<Case> = [
        ("gzip", "gzip", squeezed.clone(), fine()),
        ("gzip in two members", "gzip", both, fine()),
        ("zstd", "zstd", zstd, fine()),
        ("identity", "identity", answer.clone().into_bytes(), fine()),
        ("gzip that is cut", "gzip", cut, Span::ok(200)),
        ("gzip that is none", "gzip", answer.clone().into_bytes(), Span::ok(200)),
        ("an encoding that nobody knows", "magic", squeezed, Span::ok(200)),
        ("80 MB that were squeezed to little", "gzip", bomb, Span::ok(200)),
    ]
    .into_iter()
    .map(|(name, encoding, body, span)| {
        case(format!("bodies/encoded: {name}"))
            .send(post_to("/chat/completions", "Accept-Encoding: gzip, zstd\r\n", asks("\"x\"")))
            .takes(any().has("Accept-Encoding: gzip, zstd"))
            .reply(reply(
                "200 OK",
                &format!("Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n"),
                &body,
            ))
            .answer(status(200).has(format!("Content-Encoding: {encoding}")).body(&body))
            .span(span.with("/received_bytes", body.len().into()))
    })
    .collect();
    let request = gzip(&asks("\"x\""));
    all.push(
        case("bodies/encoded: a request")
            .send(post_to("/chat/completions", "Content-Encoding: gzip\r\n", &request))
            .takes(any().has("Content-Encoding: gzip").body(&request))
            .reply(reply("200 OK", "Content-Type: application/json\r\n", &answer))
            .answer(status(200))
            .span(fine().with("/request_model", json!("gpt-4o-mini"))),
    );
    all
}

fn sizes() -> Vec<Case> {
    let noise = |length: usize| -> Vec<u8> {
        (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    };
    let mut all: Vec<Case> = [0, 1, 4_095, 65_536, 65_537, 1 << 20, 12 << 20]
        .into_iter()
        .map(|length| {
            let body = noise(length);
            case(format!("bodies/{length} bytes each way"))
                .send(post("", &body))
                .takes(any().body(&body))
                .reply(reply("200 OK", "", &body))
                .answer(status(200).body(&body))
                .span(Span::ok(200).bytes(length, length))
        })
        .collect();
    let large = noise(3 << 20);
    all.push(
        case("bodies/3 MB in small chunks each way")
            .send(post_chunked(
                "",
                [large.chunks(5_000).flat_map(chunk).collect(), b"0\r\n\r\n".to_vec()].concat(),
            ))
            .takes(any().body(&large))
            .reply(
                [
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
                    large.chunks(5_000).flat_map(chunk).collect(),
                    b"0\r\n\r\n".to_vec(),
                ]
                .concat(),
            )
            .answer(status(200).body(&large))
            .span(Span::ok(200).bytes(large.len(), large.len())),
    );
    let body = noise(10_000);
    all.push(
        case("bodies/more than is kept crosses whole and is counted")
            .send(post("", &body))
            .takes(any().body(&body))
            .reply(reply("200 OK", "", &body))
            .answer(status(200).body(&body))
            .span(
                Span::ok(200)
                    .bytes(10_000, 10_000)
                    .with("/request_whole", false.into())
                    .with("/response_whole", false.into()),
            )
            .impatient(),
    );
    all.push(
        case("bodies/a response without any framing ends with its connection")
            .send(get(""))
            .takes(any())
            .reply("HTTP/1.1 200 OK\r\nA: 1\r\n\r\nall of it")
            .hang_up()
            .answer(status(200).body("all of it"))
            .span(Span::ok(200).bytes(0, 9)),
    );
    all.push(
        case("bodies/none either way")
            .send(get(""))
            .takes(any().body(""))
            .reply("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .answer(status(200).body(""))
            .span(Span::ok(200).bytes(0, 0)),
    );
    all
}
