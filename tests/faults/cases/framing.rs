//! Where a message ends, and who is told when that cannot be known: lengths, chunks, pipelines, versions.

use crate::case::{Case, OK, Span, any, case, get, line, own, post, post_chunked, reply, status};

pub(crate) fn cases() -> Vec<Case> {
    [lengths(), both(), codings(), chunks(), broken_chunks(), heads(), connections(), expectations()].concat()
}

/// A request that is no request: refused, unrecorded, and the connection is not used again.
fn refused(name: &str, bytes: impl AsRef<[u8]>) -> Case {
    case(format!("framing/{name}")).try_send(bytes).answer(status(400)).gone().untouched()
}

/// A request that goes up with this body, whatever its framing was.
fn crosses(name: &str, bytes: impl AsRef<[u8]>, body: &str) -> Case {
    case(format!("framing/{name}"))
        .send(bytes)
        .takes(any().body(body))
        .reply(OK)
        .answer(status(200).body("ok"))
        .span(Span::ok(200).bytes(body.len(), 2))
}

fn with_length(lines: &str) -> String {
    format!("POST <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>{lines}\r\nhi")
}

fn lengths() -> Vec<Case> {
    let mut all = vec![
        crosses("length, twice the same", with_length("Content-Length: 2\r\nContent-Length: 2\r\n"), "hi"),
        crosses("length with leading zeros", with_length("Content-Length: 002\r\n"), "hi"),
        crosses("length in odd spelling", with_length("cOnTeNt-LeNgTh:   2  \r\n"), "hi"),
        crosses("post without length has no body", "POST <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>\r\n", ""),
        crosses(
            "get with a body",
            "GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>Content-Length: 2\r\n\r\nhi",
            "hi",
        ),
        crosses(
            "delete with a body",
            "DELETE <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>Content-Length: 2\r\n\r\nhi",
            "hi",
        ),
    ];
    for (name, lines) in [
        ("lengths that differ", "Content-Length: 2\r\nContent-Length: 3\r\n"),
        ("length with a sign", "Content-Length: +2\r\n"),
        ("length below zero", "Content-Length: -2\r\n"),
        ("length that is empty", "Content-Length: \r\n"),
        ("length as a list that differs", "Content-Length: 2, 3\r\n"),
        ("length with letters", "Content-Length: 2x\r\n"),
        ("length in hex", "Content-Length: 0x2\r\n"),
        ("length with a fraction", "Content-Length: 2.0\r\n"),
        ("length beyond 64 bits", "Content-Length: 99999999999999999999\r\n"),
    ] {
        all.push(refused(name, with_length(lines)));
    }
    all
}

/// A length and an encoding at once: the encoding wins, the length does not go up, and the connection ends
/// with the answer (RFC 9112, 6.1), so that what follows is never read as a request.
fn both() -> Vec<Case> {
    let chunks = "2\r\nhi\r\n0\r\n\r\n";
    let smuggled = "GET <base>/smuggled HTTP/1.1\r\nHost: tap\r\n<tag>\r\n";
    [
        ("length before encoding", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        ("encoding before length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        ("encoding and a length of zero", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
    ]
    .into_iter()
    .map(|(name, lines)| {
        case(format!("framing/{name}"))
            .send(format!("POST <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>{lines}\r\n{chunks}{smuggled}"))
            .takes(any().has("Transfer-Encoding: chunked").lacks("content-length").body("hi"))
            .reply(OK)
            .answer(status(200).body("ok"))
            .gone()
            .span(Span::ok(200).bytes(2, 2))
    })
    .collect()
}

fn codings() -> Vec<Case> {
    let mut all: Vec<Case> = [
        ("coding that is unknown", "Transfer-Encoding: magic\r\n"),
        ("coding that does not end in chunked", "Transfer-Encoding: chunked, gzip\r\n"),
        ("coding that only looks like chunked", "Transfer-Encoding: xchunked\r\n"),
        ("coding identity", "Transfer-Encoding: identity\r\n"),
        ("coding with a space before its colon", "Transfer-Encoding : chunked\r\n"),
    ]
    .into_iter()
    .map(|(name, lines)| refused(name, with_length(lines)))
    .collect();
    all.push(refused(
        "coding under HTTP/1.0",
        "POST <base>/x HTTP/1.0\r\nHost: tap\r\n<tag>Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ));
    all.push(crosses(
        "coding in capitals",
        "POST <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>Transfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "hi",
    ));
    all
}

fn chunks() -> Vec<Case> {
    let long = "x".repeat(0x1abc);
    let mut all: Vec<Case> = [
        ("chunk extension", "2;a=b;c=\"d\"\r\nhi\r\n0;last\r\n\r\n"),
        ("chunk size with zeros", "0000000002\r\nhi\r\n000\r\n\r\n"),
        ("chunk size with a space behind", "2 \r\nhi\r\n0\r\n\r\n"),
        ("one chunk per byte", "1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"),
    ]
    .into_iter()
    .map(|(name, chunks)| crosses(name, post_chunked("", chunks), "hi"))
    .collect();
    all.push(crosses(
        "chunk size in capitals",
        post_chunked("", format!("1ABC\r\n{long}\r\n0\r\n\r\n")),
        &long,
    ));
    all.push(crosses("no chunk at all", post_chunked("", "0\r\n\r\n"), ""));
    all.push(
        case("framing/request trailers go up")
            .send(post_chunked("Trailer: x-sum\r\n", "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n"))
            .takes(any().has("Trailer: x-sum").body("hi").trailers("x-sum: 7\r\n"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200).bytes(2, 2)),
    );
    all.push(
        case("framing/response trailers go to who asked for them")
            .send(get("TE: trailers\r\n"))
            .takes(any().has("TE: trailers"))
            .reply("HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n")
            .answer(status(200).has("Trailer: x-sum").body("ok").trailers("x-sum: 7\r\n"))
            .span(Span::ok(200).bytes(0, 2)),
    );
    all.push(
        case("framing/response trailers stay with who did not ask")
            .send(get(""))
            .takes(any())
            .reply("HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n")
            .answer(status(200).body("ok").trailers(""))
            .span(Span::ok(200).bytes(0, 2)),
    );
    all
}

/// A broken chunk is the client's mistake: 400 and never 502, and the upstream never gets a whole request.
fn broken_chunks() -> Vec<Case> {
    let mut all: Vec<Case> = [
        ("chunk size that is no number", "2\r\nhi\r\nnonsense\r\n"),
        ("chunk size with a sign", "2\r\nhi\r\n-1\r\n"),
        ("chunk size in 0x", "2\r\nhi\r\n0x2\r\n"),
        ("chunk size beyond 64 bits", "2\r\nhi\r\nfffffffffffffffff\r\n"),
        ("chunk that is longer than its size", "2\r\nhi, and more\r\n0\r\n\r\n"),
        ("chunk without its end", "2\r\nhi2\r\nhi\r\n0\r\n\r\n"),
        ("chunk size that is empty", "2\r\nhi\r\n\r\n"),
        ("chunk size ended by a bare line feed", "2\r\nhi\r\n2\nhi\r\n0\r\n\r\n"),
        ("trailer that is no header", "2\r\nhi\r\n0\r\nno header\r\n\r\n"),
    ]
    .into_iter()
    .map(|(name, chunks)| {
        case(format!("framing/{name}"))
            .send(post_chunked("", chunks))
            .answer(own(400, "bad_request_body"))
            .unfinished()
            .span(Span::client("bad_request_body").with("/sent_bytes", 2.into()))
    })
    .collect();
    all.push(
        case("framing/broken chunk behind the response's head")
            .send(post_chunked("", "2\r\nhi\r\n"))
            .takes_head(any())
            .reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
            .answer_head(status(200))
            .raw("5\r\nearly\r\n")
            .send("nonsense\r\n")
            .broken()
            .unfinished()
            .span(
                Span::client("bad_request_body")
                    .with("/http_status", 200.into())
                    .with("/received_bytes", 5.into()),
            ),
    );
    all
}

fn heads() -> Vec<Case> {
    let mut all: Vec<Case> = [
        ("header without a colon", "GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>nonsense\r\n\r\n"),
        ("header without a name", "GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>: x\r\n\r\n"),
        ("header name with a space", "GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>a b: x\r\n\r\n"),
        ("header folded over lines", "GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>a: x\r\n y\r\n\r\n"),
        ("header with a zero byte", "GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>a: x\0y\r\n\r\n"),
        ("header with a bare return", "GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>a: x\ry\r\n\r\n"),
        ("request line without version", "GET <base>/x\r\nHost: tap\r\n<tag>\r\n"),
        ("request line with an unknown version", "GET <base>/x HTTP/3.7\r\nHost: tap\r\n<tag>\r\n"),
        ("request line with a space in its path", "GET <base>/x y HTTP/1.1\r\nHost: tap\r\n<tag>\r\n"),
        ("method that is no token", "G@T <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>\r\n"),
        ("a handshake of TLS", "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03\r\n\r\n"),
    ]
    .into_iter()
    .map(|(name, bytes)| refused(name, bytes))
    .collect();
    for (name, bytes) in [
        ("empty lines before a request", "\r\n\r\nGET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>\r\n"),
        ("bare line feeds", "GET <base>/x HTTP/1.1\nHost: tap\nx-tapline-session: <tag>\n"),
    ] {
        // The tag brings its own line end.
        let bytes = bytes.replace("x-tapline-session: <tag>", "<tag>");
        all.push(crosses(name, bytes, ""));
    }
    for method in ["PATCH", "QUERY", "get", "X-CUSTOM"] {
        all.push(
            case(format!("framing/method {method}"))
                .send(format!("{method} <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>Content-Length: 2\r\n\r\nhi"))
                .takes(line(&format!("{method} /v1/x HTTP/1.1")).body("hi"))
                .reply(OK)
                .answer(status(200))
                .span(Span::ok(200).with("/method", method.into())),
        );
    }
    all.push(
        case("framing/head of a request in single bytes")
            .step(crate::case::Step::SendSlowly(post("", "hi")))
            .takes(any().body("hi"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200)),
    );
    all
}

fn connections() -> Vec<Case> {
    let second = reply("200 OK", "", "two");
    vec![
        case("framing/three requests in a pipeline")
            .send([get("A: 1\r\n"), get("A: 2\r\n"), get("A: 3\r\n")].concat())
            .takes(any().has("A: 1"))
            .reply(OK)
            .answer(status(200).body("ok"))
            .takes(any().has("A: 2"))
            .reply(&second)
            .answer(status(200).body("two"))
            .takes(any().has("A: 3"))
            .reply(OK)
            .answer(status(200).body("ok"))
            .span(Span::ok(200).bytes(0, 2))
            .span(Span::ok(200).bytes(0, 3))
            .span(Span::ok(200).bytes(0, 2)),
        case("framing/a body and a request in one write")
            .send([post("", "first"), post("", "second")].concat())
            .takes(any().body("first"))
            .reply(OK)
            .answer(status(200))
            .takes(any().body("second"))
            .reply(&second)
            .answer(status(200).body("two"))
            .span(Span::ok(200).bytes(5, 2))
            .span(Span::ok(200).bytes(6, 3)),
        case("framing/a good request and then a bad one")
            .send([get("").as_bytes(), b"nonsense\r\n\r\n"].concat())
            .takes(any())
            .reply(OK)
            .answer(status(200).body("ok"))
            .answer(status(400))
            .gone()
            .span(Span::ok(200)),
        case("framing/an answer that closes ends the connection here only if the client asked")
            .send(get(""))
            .takes(any())
            .reply(reply("200 OK", "Connection: close\r\n", "ok"))
            .answer(status(200).lacks("connection").body("ok"))
            .send(get(""))
            .fresh()
            .takes(any())
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200))
            .span(Span::ok(200)),
        case("framing/a client that asks for the end gets it")
            .send(get("Connection: close\r\n"))
            .takes(any().lacks("connection"))
            .reply(OK)
            .answer(status(200).body("ok"))
            .gone()
            .span(Span::ok(200)),
        case("framing/HTTP 1.0 ends with its answer")
            .send("GET <base>/x HTTP/1.0\r\n<tag>\r\n")
            .takes(line("GET /v1/x HTTP/1.1").has("host: <up>"))
            .reply(OK)
            .answer(status(200).body("ok"))
            .gone()
            .span(Span::ok(200)),
        case("framing/HTTP 1.0 may be kept alive")
            .send("GET <base>/x HTTP/1.0\r\nConnection: keep-alive\r\n<tag>\r\n")
            .takes(any())
            .reply(OK)
            .answer(status(200).body("ok"))
            .send("GET <base>/x HTTP/1.0\r\n<tag>\r\n")
            .takes(any())
            .reply(OK)
            .answer(status(200).body("ok"))
            .gone()
            .span(Span::ok(200))
            .span(Span::ok(200)),
        case("framing/HTTP 1.0 gets no chunks")
            .send("GET <base>/x HTTP/1.0\r\n<tag>\r\n")
            .takes(any())
            .reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .answer(status(200).lacks("transfer-encoding").body("ok"))
            .span(Span::ok(200).bytes(0, 2)),
    ]
}

fn expectations() -> Vec<Case> {
    let expects =
        "POST <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    vec![
        case("framing/expect is answered and its body crosses")
            .send(expects)
            .answer(status(100))
            .send("hi")
            .takes(any().lacks("expect").body("hi"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200).bytes(2, 2)),
        case("framing/expect with a body that does not wait")
            .send([expects, "hi"].concat())
            .takes(any().lacks("expect").body("hi"))
            .reply(OK)
            .step(crate::case::Step::SkipContinue)
            .answer(status(200))
            .span(Span::ok(200).bytes(2, 2)),
        case("framing/expect of something else")
            .send("POST <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>Expect: tea\r\nContent-Length: 2\r\n\r\nhi")
            .takes(any().lacks("expect").body("hi"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200).bytes(2, 2)),
        case("framing/expect and then nothing")
            .send(expects)
            .answer(status(100))
            .leave()
            .unfinished()
            .span(Span::left(None).with("/sent_bytes", 0.into())),
    ]
}
