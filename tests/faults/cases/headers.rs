//! Heads: what a hop keeps for itself, and everything else byte for byte in both directions.

use crate::case::{Case, OK, Span, any, case, get, own, reply, status};

pub(crate) fn cases() -> Vec<Case> {
    [exact(), up(), down(), limits()].concat()
}

/// A response that must reach the client without a byte changed.
fn exact_response(name: &str, method: &str, response: &[u8], span: Span) -> Case {
    let request = format!("{method} <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>\r\n");
    case(format!("headers/exact: {name}")).send(request).takes(any()).reply(response).raw(response).span(span)
}

fn exact() -> Vec<Case> {
    let request: &[u8] =
        b"POST <base>/x HTTP/1.1\r\nX-First: 1\r\nhOsT: tap\r\nUser-Agent: Odd/1.0 (x; y)\r\n\
        Accept-Encoding: gzip, br\r\nx-repeat: one\r\nX-REPEAT: two\r\nX-Odd: \xe9\xff\xa0caf\xc3\xa9\r\n\
        Authorization: Bearer sk-canary-1\r\nx-Empty:\r\nunder_score: _\r\nDate: yesterday\r\n\
        Content-Length: 2\r\n<tag>\r\nhi";
    let arrives: &[u8] = b"POST /v1/x HTTP/1.1\r\nX-First: 1\r\nhOsT: <up>\r\nUser-Agent: Odd/1.0 (x; y)\r\n\
        Accept-Encoding: gzip, br\r\nx-repeat: one\r\nX-REPEAT: two\r\nX-Odd: \xe9\xff\xa0caf\xc3\xa9\r\n\
        Authorization: Bearer sk-canary-1\r\nx-Empty:\r\nunder_score: _\r\nDate: yesterday\r\n\
        Content-Length: 2\r\n\r\nhi";
    let mut all = vec![
        case("headers/exact: a request in its order, case and bytes")
            .send(request)
            .takes_raw(arrives)
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200).bytes(2, 2)),
    ];
    for (name, method, response, span) in [
        (
            "order and case of a response",
            "GET",
            &b"HTTP/1.1 200 Quite Fine\r\ndate: d\r\nSERVER: s\r\nx-Odd: \xe9\xff\r\nContent-Length: 2\r\n\r\nok"[..],
            Span::ok(200),
        ),
        (
            "repeated Set-Cookie",
            "GET",
            b"HTTP/1.1 200 OK\r\nset-cookie: a=canary\r\nSet-Cookie: b=canary\r\ncontent-length: 0\r\nz: z\r\n\r\n",
            Span::ok(200),
        ),
        ("no headers but a length", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Span::ok(200)),
        (
            "chunks as they came",
            "GET",
            b"HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\nB: 2\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Span::ok(200),
        ),
        ("HEAD with a length", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nB: 2\r\n\r\n", Span::ok(200)),
        ("HEAD without a length", "HEAD", b"HTTP/1.1 404 Not Found\r\nA: 1\r\n\r\n", Span::error(404, "client", "404")),
        ("204 without a length", "GET", b"HTTP/1.1 204 No Content\r\nA: 1\r\n\r\n", Span::ok(204)),
        ("204 with a length of zero", "GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Span::ok(204)),
        ("304 with a length", "GET", b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\n\r\n", Span::ok(304)),
        ("a reason of several words", "GET", b"HTTP/1.1 200 All is quite well\r\nContent-Length: 0\r\n\r\n", Span::ok(200)),
        ("no reason at all", "GET", b"HTTP/1.1 529 \r\nContent-Length: 1\r\n\r\nx", Span::error(529, "upstream", "529")),
        ("a status beyond the known", "GET", b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", Span::ok(299)),
        (
            "an empty header",
            "GET",
            b"HTTP/1.1 200 OK\r\nx-empty: \r\nx-none: \r\nContent-Length: 0\r\n\r\n",
            Span::ok(200),
        ),
        (
            "underscores and dots",
            "GET",
            b"HTTP/1.1 200 OK\r\nunder_score: 1\r\nx.dot: 2\r\n!#$%&'*+-.^_`|~: 3\r\nContent-Length: 0\r\n\r\n",
            Span::ok(200),
        ),
        (
            "tapline's own names in a response",
            "GET",
            b"HTTP/1.1 200 OK\r\nx-tapline-odd: stays\r\nContent-Length: 0\r\n\r\n",
            Span::ok(200),
        ),
    ] {
        all.push(exact_response(name, method, response, span));
    }
    all
}

/// A request with these header lines; the upstream's head has the ones and lacks the others.
fn goes_up(name: &str, lines: &str, has: &[&str], lacks: &[&str]) -> Case {
    let mut want = any();
    for header in has {
        want = want.has(header);
    }
    for header in lacks {
        want = want.lacks(header);
    }
    case(format!("headers/{name}"))
        .send(get(lines))
        .takes(want)
        .reply(OK)
        .answer(status(200))
        .span(Span::ok(200))
}

fn up() -> Vec<Case> {
    let mut all = vec![
        goes_up(
            "hop-by-hop stays here",
            "Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic canary\r\nTE: gzip\r\nA: 1\r\n",
            &["A: 1"],
            &["keep-alive", "proxy-connection", "proxy-authorization", "te", "connection"],
        ),
        goes_up(
            "named by Connection",
            "Connection: X-Mine, close\r\nX-Mine: 1\r\nA: 1\r\n",
            &["A: 1"],
            &["x-mine"],
        ),
        goes_up(
            "named by a second Connection",
            "Connection: keep-alive\r\nConnection: , x-mine ,\r\nX-MINE: 1\r\nA: 1\r\n",
            &["A: 1"],
            &["x-mine", "connection"],
        ),
        goes_up(
            "Connection names what is not there",
            "Connection: x-nothing\r\nA: 1\r\n",
            &["A: 1"],
            &["connection"],
        ),
        goes_up("Connection cannot take Host away", "Connection: host\r\n", &["Host: <up>"], &["connection"]),
        goes_up("repeated with other values", "A: 1\r\nA: 2\r\na: 1\r\n", &["A: 1\r\nA: 2\r\na: 1"], &[]),
        goes_up("a list is not split", "Accept: a, b,c , d\r\n", &["Accept: a, b,c , d"], &[]),
        goes_up("white space around a value", "A:  \t x y \t\r\n", &["A: x y"], &[]),
        goes_up("an empty value", "A:\r\nB: \r\n", &["A:", "B:"], &[]),
        goes_up("a single cookie stays one", "Cookie: a=1; b=canary\r\n", &["Cookie: a=1; b=canary"], &[]),
        goes_up(
            "a forwarded chain is not touched",
            "X-Forwarded-For: 1.2.3.4\r\nVia: 1.1 a\r\n",
            &["X-Forwarded-For: 1.2.3.4", "Via: 1.1 a"],
            &["forwarded", "x-real-ip"],
        ),
        goes_up(
            "nothing is added",
            "",
            &["Host: <up>"],
            &["accept", "user-agent", "via", "x-forwarded-for", "date", "traceparent", "accept-encoding"],
        ),
        goes_up(
            "a trace parent goes on as it is",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n",
            &["traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=b"],
            &[],
        ),
        goes_up(
            "a broken trace parent goes on too",
            "traceparent: nonsense\r\n",
            &["traceparent: nonsense"],
            &[],
        ),
        goes_up(
            "underscores stay",
            "under_score: 1\r\nunder-score: 2\r\n",
            &["under_score: 1", "under-score: 2"],
            &[],
        ),
    ];
    all.push(
        goes_up(
            "tapline's own names stay here",
            "X-Tapline-Run: r\r\nX-Tapline-Tags: a,b\r\nA: 1\r\n",
            &["A: 1"],
            &["x-tapline-run", "x-tapline-tags", "x-tapline-session"],
        )
        .own("names that begin with x-tapline- are tapline's own"),
    );
    all.push(
        case("headers/non-ASCII bytes")
            .send(b"GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>X-Odd: \xff\xfe \xe9\r\n\r\n")
            .takes(any().has(b"X-Odd: \xff\xfe \xe9"))
            .reply(b"HTTP/1.1 200 OK\r\nX-Back: \x80\xff\r\nContent-Length: 2\r\n\r\nok")
            .answer(status(200).has(b"X-Back: \x80\xff"))
            .span(Span::ok(200)),
    );
    all.push(
        case("headers/a session that is no name is noted, not refused")
            .send(
                [get("").as_bytes().strip_suffix(b"\r\n").unwrap(), b"x-tapline-tags: \x01bad\r\n\r\n"]
                    .concat(),
            )
            .answer(status(400))
            .untouched(),
    );
    all
}

/// A response with these header lines, as the client gets it.
fn comes_down(name: &str, lines: &str, has: &[&str], lacks: &[&str]) -> Case {
    let mut want = status(200).body("ok");
    for header in has {
        want = want.has(header);
    }
    for header in lacks {
        want = want.lacks(header);
    }
    case(format!("headers/{name}"))
        .send(get(""))
        .takes(any())
        .reply(reply("200 OK", lines, "ok"))
        .answer(want)
        .span(Span::ok(200).bytes(0, 2))
}

fn down() -> Vec<Case> {
    vec![
        comes_down(
            "a response's hop-by-hop stays here",
            "Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nConnection: keep-alive\r\nA: 1\r\n",
            &["A: 1"],
            &["keep-alive", "proxy-authenticate", "connection"],
        ),
        comes_down(
            "a response's Connection names",
            "Connection: x-hop\r\nX-Hop: 1\r\nA: 1\r\n",
            &["A: 1"],
            &["x-hop", "connection"],
        ),
        comes_down("a response's repeats", "A: 1\r\nA: 2\r\na: 3\r\n", &["A: 1\r\nA: 2\r\na: 3"], &[]),
        comes_down(
            "an upgrade that is offered",
            "Upgrade: h2c\r\nConnection: Upgrade\r\n",
            &[],
            &["upgrade", "connection"],
        ),
        comes_down("no date and no server are added", "", &[], &["date", "server", "via", "connection"]),
        comes_down("a request id is kept", "x-request-id: req_1\r\n", &["x-request-id: req_1"], &[]),
        comes_down(
            "rate limits come through",
            "x-ratelimit-remaining-tokens: 9\r\nretry-after-ms: 20\r\n",
            &["x-ratelimit-remaining-tokens: 9", "retry-after-ms: 20"],
            &[],
        ),
    ]
}

fn limits() -> Vec<Case> {
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
    let large = "v".repeat(100_000);
    vec![
        case("headers/200 of them in each direction")
            .send(get(&many(200)))
            .takes(any().has("X-0: 0").has("X-199: 199"))
            .reply(reply("200 OK", &many(200), "ok"))
            .answer(status(200).has("X-0: 0").has("X-199: 199"))
            .span(Span::ok(200)),
        case("headers/more than are taken").send(get(&many(300))).answer(status(431)).gone().untouched(),
        case("headers/100 kB in one value, each way")
            .send(get(&format!("A: {large}\r\n")))
            .takes(any().has(format!("A: {large}")))
            .reply(reply("200 OK", &format!("B: {large}\r\n"), "ok"))
            .answer(status(200).has(format!("B: {large}")))
            .span(Span::ok(200)),
        case("headers/a head beyond the limit")
            .try_send(get(&format!("A: {}\r\n", "v".repeat(40_000))))
            .answer(status(431))
            .gone()
            .untouched()
            .impatient(),
        case("headers/a response's head beyond every limit")
            .send(get(""))
            .takes(any())
            .reply(format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "v".repeat(1 << 20)))
            .answer(own(502, "upstream_bad_response"))
            .span(Span::upstream(None, "bad_response")),
        case("headers/more in a response than are taken")
            .send(get(""))
            .takes(any())
            .reply(reply("200 OK", &many(300), "ok"))
            .answer(own(502, "upstream_bad_response"))
            .span(Span::upstream(None, "bad_response")),
    ]
}
