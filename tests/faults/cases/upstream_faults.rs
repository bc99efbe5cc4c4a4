//! Upstreams that refuse, stall, break off or answer oddly. The blame is theirs, the client learns of it as
//! it would without a proxy, and what had come is kept.

use serde_json::json;

use crate::case::{Case, STREAM, Span, Up, any, case, chat, chunk, get, own, post, reply, status};

pub(crate) fn cases() -> Vec<Case> {
    [unreachable(), silent(), broken(), odd(), errors()].concat()
}

fn unreachable() -> Vec<Case> {
    vec![
        case("upstream/refused")
            .up(Up::At("http://127.0.0.1:1/v1".to_owned()))
            .send(chat(false))
            .answer(own(502, "upstream_connection_refused"))
            .span(Span::upstream(None, "connection_refused").with("/request_model", json!("gpt-4o-mini"))),
        case("upstream/a name that is none")
            .up(Up::At("http://no-such-host.invalid/v1".to_owned()))
            .send(chat(false))
            .answer(own(502, "upstream_dns"))
            .span(Span::upstream(None, "dns")),
        case("upstream/no TLS where TLS should be")
            .up(Up::Secure)
            .send(chat(false))
            .takes_raw([0x16])
            .reply("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .hang_up()
            .answer(own(502, "upstream_tls"))
            .span(Span::upstream(None, "tls")),
        case("upstream/stops listening between two calls")
            .own("its answer to a dead upstream is tapline's own")
            .send(get(""))
            .takes(any())
            .reply("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .answer(status(200).body("ok"))
            .hang_up()
            .deaf()
            .open()
            .send(get(""))
            .answer(own(502, "upstream_connection_refused"))
            .span(Span::ok(200))
            .span(Span::upstream(None, "connection_refused")),
    ]
}

fn silent() -> Vec<Case> {
    vec![
        case("upstream/takes the request and says nothing")
            .impatient()
            .send(chat(false))
            .takes(any())
            .answer(own(504, "upstream_timeout"))
            .up_gone()
            .span(Span::upstream(None, "timeout")),
        case("upstream/stalls in the middle of a stream")
            .impatient()
            .send(chat(true))
            .takes(any())
            .reply([STREAM.as_bytes(), &chunk("data: {\"id\":\"c1\"}\n\n")].concat())
            .broken()
            .up_gone()
            .span(Span::upstream(Some(200), "timeout")),
        case("upstream/stalls inside its head")
            .impatient()
            .send(chat(false))
            .takes(any())
            .reply("HTTP/1.1 200 OK\r\nContent-")
            .answer(own(504, "upstream_timeout"))
            .span(Span::upstream(None, "timeout")),
    ]
}

fn broken() -> Vec<Case> {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
    let mut all = Vec::new();
    for (how, kind) in [("hangs up", "upstream_eof"), ("resets", "connection_reset")] {
        let end = |case: Case| if how == "resets" { case.up_reset() } else { case.hang_up() };
        all.push(
            end(case(format!("upstream/{how} before its head")).send(chat(false)).takes(any()))
                .answer(status(502))
                .span(Span::upstream(None, kind).with("/error_type", json!(kind))),
        );
        all.push(
            end(case(format!("upstream/{how} inside its head"))
                .send(chat(false))
                .takes(any())
                .reply("HTTP/1.1 200 OK\r\nConte"))
            .answer(status(502))
            .span(Span::upstream(None, kind)),
        );
        all.push(
            end(case(format!("upstream/{how} inside a body"))
                .send(get(""))
                .takes(any())
                .reply(half)
                .answer_head(status(200)))
            .broken()
            .span(Span::upstream(Some(200), kind)),
        );
        all.push(
            end(case(format!("upstream/{how} between chunks"))
                .send(get(""))
                .takes(any())
                .reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
                .answer_head(status(200)))
            .broken()
            .span(Span::upstream(Some(200), kind)),
        );
    }
    all
}

/// Answers that are odd but answers: they cross as they are.
fn odd() -> Vec<Case> {
    let crosses = |name: &str, answer: Vec<u8>, code: u16, body: &str, span: Span| {
        case(format!("upstream/{name}"))
            .send(get(""))
            .takes(any())
            .reply(answer)
            .answer(status(code).body(body))
            .span(span)
    };
    let mut all = vec![
        crosses(
            "a redirect is the client's to follow",
            reply("307 Temporary Redirect", "Location: http://127.0.0.1:1/elsewhere\r\n", "moved"),
            307,
            "moved",
            Span::ok(307),
        ),
        crosses(
            "claims gzip and is not",
            reply("200 OK", "Content-Encoding: gzip\r\n", "plain"),
            200,
            "plain",
            Span::ok(200),
        ),
        crosses(
            "claims an unknown encoding",
            reply("200 OK", "Content-Encoding: x-odd\r\n", "plain"),
            200,
            "plain",
            Span::ok(200),
        ),
        crosses(
            "claims JSON and is HTML",
            reply("200 OK", "Content-Type: application/json\r\n", "<html>"),
            200,
            "<html>",
            Span::ok(200),
        ),
    ];
    all.push(
        case("upstream/answers before the request is whole")
            .send("POST <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>Content-Length: 10\r\n\r\n12345")
            .takes_head(any())
            .reply(reply("401 Unauthorized", "Connection: close\r\n", "no"))
            .answer(status(401).body("no"))
            .leave()
            .span(Span::error(401, "client", "401")),
    );
    all.push(
        case("upstream/a connection that went stale is not used again")
            .send(get(""))
            .takes(any())
            .reply("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .answer(status(200).body("ok"))
            .hang_up()
            .wait(50)
            .send(get(""))
            .takes(any())
            .reply("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .answer(status(200).body("ok"))
            .span(Span::ok(200))
            .span(Span::ok(200)),
    );
    all
}

/// Error answers in every shape cross byte for byte, and the store knows whose they are and what they say.
fn errors() -> Vec<Case> {
    let full =
        r#"{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"rate_limited"}}"#;
    [
        ("openai's shape", "429 Too Many Requests", full, "upstream", "rate_limited"),
        (
            "a code that is a number",
            "500 Internal Server Error",
            r#"{"error":{"message":"x","type":"server_error","code":500}}"#,
            "upstream",
            "server_error",
        ),
        (
            "a list of errors",
            "400 Bad Request",
            r#"[{"error":{"message":"x","status":"INVALID_ARGUMENT","code":400}}]"#,
            "client",
            "INVALID_ARGUMENT",
        ),
        ("a detail", "422 Unprocessable Entity", r#"{"detail":[{"msg":"x"}]}"#, "client", "422"),
        ("an error that is text", "404 Not Found", r#"{"error":"no such model"}"#, "client", "404"),
        ("HTML", "502 Bad Gateway", "<html>Bad Gateway</html>", "upstream", "502"),
        ("nothing", "503 Service Unavailable", "", "upstream", "503"),
        ("broken JSON", "500 Internal Server Error", "{\"error\":", "upstream", "500"),
    ]
    .map(|(name, line, body, source, kind)| {
        let code: u16 = line[..3].parse().unwrap();
        case(format!("upstream/an error: {name}"))
            .send(post("Content-Type: application/json\r\n", "{}"))
            .takes(any())
            .reply(reply(line, "Content-Type: application/json\r\nretry-after: 3\r\n", body))
            .answer(status(code).has("retry-after: 3").body(body))
            .span(Span::error(code, source, kind))
    })
    .to_vec()
}
