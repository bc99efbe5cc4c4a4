//! Request targets: every byte of path and query, absolute forms, CONNECT, Host.

use crate::case::{Case, OK, Span, any, case, line, own, status};

pub(crate) fn cases() -> Vec<Case> {
    [bytes(), forms(), hosts(), switches()].concat()
}

/// What follows the base goes up byte for byte.
fn bytes() -> Vec<Case> {
    [
        ("encoded slash", "/a%2Fb%2fc"),
        ("doubled slashes", "//a///b/"),
        ("dots", "/a/../b/./c"),
        ("encoded dots", "/%2e%2e/%2E%2E/etc"),
        ("encoded zero", "/a%00b"),
        ("broken encoding", "/a%zz%2"),
        ("plus and space", "/a+b%20c?d+e%20f"),
        ("reserved characters", "/a:b@c!d$e&f'g(h)*i,j;k=l"),
        ("braces and quotes", "/{a}\"b\"?{c}"),
        ("backslash and pipe", "/a\\b|c?d\\e|f"),
        ("UTF-8", "/\u{e9}\u{4e2d}?\u{e9}=\u{1f600}"),
        ("empty query", "/a?"),
        ("query of question marks", "/a???b?c"),
        ("empty pairs", "/a?&&a=1&&=2&b=&"),
        ("query with slashes", "/a?b=/c/../d//e"),
        ("a scope's word inside", "/run/1/exp/2/s/3/to/4"),
        ("nothing behind the base", ""),
    ]
    .into_iter()
    .map(|(name, target)| {
        case(format!("targets/{name}"))
            .send(format!("GET <base>{target} HTTP/1.1\r\nHost: tap\r\n<tag>\r\n"))
            .takes(line(&format!("GET /v1{target} HTTP/1.1")))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200).with("/target", target.into()))
    })
    .chain([
        case("targets/a long path")
            .send(format!("GET <base>/{} HTTP/1.1\r\nHost: tap\r\n<tag>\r\n", "p".repeat(30_000)))
            .takes(line(&format!("GET /v1/{} HTTP/1.1", "p".repeat(30_000))))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200)),
        case("targets/a path beyond every limit")
            .try_send(format!("GET <base>/{} HTTP/1.1\r\nHost: tap\r\n<tag>\r\n", "p".repeat(70_000)))
            .answer(status(414))
            .gone()
            .untouched(),
    ])
    .collect()
}

fn forms() -> Vec<Case> {
    vec![
        case("targets/absolute form is read for its path alone")
            .send("GET http://elsewhere.example<base>/x?y HTTP/1.1\r\nHost: elsewhere.example\r\n<tag>\r\n")
            .takes(line("GET /v1/x?y HTTP/1.1").has("Host: <up>"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200).with("/target", "/x?y".into())),
        case("targets/absolute form with a user in it")
            .send("GET http://user:pass@elsewhere.example<base>/x HTTP/1.1\r\nHost: elsewhere.example\r\n<tag>\r\n")
            .takes(line("GET /v1/x HTTP/1.1").has("Host: <up>"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200).with("/target", "/x".into())),
        case("targets/CONNECT is refused")
            .send("CONNECT <up> HTTP/1.1\r\nHost: <up>\r\n<tag>\r\n")
            .answer(own(405, "connect_not_supported"))
            .untouched(),
        case("targets/CONNECT to a host of the client's")
            .send("CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: elsewhere.example\r\n<tag>\r\n")
            .answer(own(405, "connect_not_supported"))
            .untouched(),
        case("targets/an asterisk goes nowhere")
            .send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n<tag>\r\n")
            .answer(status(404))
            .untouched()
            .own("what is not a call has its own answers there"),
        case("targets/an upstream that nobody configured")
            .send("GET /to/nobody/v1/x HTTP/1.1\r\nHost: tap\r\n<tag>\r\n")
            .answer(own(404, "unknown_upstream"))
            .untouched()
            .own("names of upstreams are tapline's own")
            .span(Span::client("unknown_upstream").with("/upstream", "nobody".into())),
        case("targets/a scope that is no name")
            .send("POST /run/%00/v1/x HTTP/1.1\r\nHost: tap\r\n<tag>Content-Length: 2\r\n\r\nhi")
            .answer(own(400, "bad_scope"))
            .untouched()
            .own("scopes in paths are tapline's own")
            .span(Span::client("bad_scope")),
        case("targets/a scope named twice")
            .send("GET /run/a/run/b/v1/x HTTP/1.1\r\nHost: tap\r\n<tag>\r\n")
            .answer(own(400, "bad_scope"))
            .own("scopes in paths are tapline's own")
            .span(Span::client("bad_scope")),
    ]
}

fn hosts() -> Vec<Case> {
    let mut all: Vec<Case> = [
        ("no Host", "GET <base>/x HTTP/1.1\r\n<tag>\r\n"),
        ("two Hosts", "GET <base>/x HTTP/1.1\r\nHost: tap\r\nHost: other\r\n<tag>\r\n"),
        ("two Hosts that agree", "GET <base>/x HTTP/1.1\r\nHost: tap\r\nHost: tap\r\n<tag>\r\n"),
    ]
    .into_iter()
    .map(|(name, bytes)| case(format!("targets/{name}")).send(bytes).answer(own(400, "bad_host")).untouched())
    .collect();
    all.extend(["", "tap", "tap:99999", "evil.example", "[::1]:80", "127.0.0.1"].map(|host| {
        case(format!("targets/Host {host:?} is replaced"))
            .send(format!("GET <base>/x HTTP/1.1\r\nHost: {host}\r\n<tag>\r\n"))
            .takes(any().has("Host: <up>"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200))
    }));
    all
}

/// Other protocols: WebSocket is tunnelled, nothing else is switched to.
fn switches() -> Vec<Case> {
    let asks = "GET <base>/realtime HTTP/1.1\r\nHost: tap\r\n<tag>Connection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\r\n";
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Accept: x\r\n\r\n";
    vec![
        case("targets/WebSocket is tunnelled")
            .send(asks)
            .takes_head(any().has("Upgrade: websocket").has("Connection: Upgrade"))
            .reply(switched)
            .answer_head(status(101).has("Upgrade: websocket"))
            .send([0x82, 2, 0, 0xff])
            .takes_raw([0x82, 2, 0, 0xff])
            .reply([0x81, 3, b'a', b'b', b'c'])
            .raw([0x81, 3, b'a', b'b', b'c'])
            .leave()
            .up_gone()
            .span(Span::ok(101).bytes(4, 5)),
        case("targets/WebSocket that is refused is an answer")
            .send(asks)
            .takes_head(any())
            .reply("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
            .answer(status(401).body("no"))
            .span(Span::error(401, "client", "401")),
        case("targets/WebSocket whose upstream resets")
            .send(asks)
            .takes_head(any())
            .reply(switched)
            .answer_head(status(101))
            .up_reset()
            .gone()
            .span(Span::upstream(Some(101), "connection_reset")),
        case("targets/WebSocket whose client resets")
            .send(asks)
            .takes_head(any())
            .reply(switched)
            .answer_head(status(101))
            .reset()
            .up_gone()
            .span(Span::left(Some(101))),
        case("targets/h2c is not switched to")
            .send("GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABk\r\n\r\n")
            .takes(any().lacks("upgrade").lacks("http2-settings").lacks("connection"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200)),
        case("targets/a switch that nobody asked for")
            .send("GET <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>\r\n")
            .takes(any())
            .reply(switched)
            .answer(own(502, "upstream_bad_response"))
            .span(Span::upstream(Some(101), "bad_response")),
    ]
}
