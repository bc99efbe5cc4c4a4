//! The trust boundary: what a web page of another site may do (nothing), where a client may send tapline
//! (nowhere but configured upstreams), and that no secret is kept.

use serde_json::json;

use crate::{
    case::{Case, OK, Passed, Span, Up, Verdict, any, case, line, own, post, status},
    tapline::Place,
};

const ONLY_TAPLINE: &str = "it is tapline's own boundary";

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, headers) in [
        ("a page of another site cannot call", "Origin: https://evil.example\r\n"),
        ("a sandboxed page cannot call", "Origin: null\r\n"),
        (
            "a page that claims a name like loopback's cannot call",
            "Origin: http://localhost.evil.example\r\n",
        ),
    ] {
        all.push(
            case(format!("trust/{name}"))
                .own(ONLY_TAPLINE)
                .send(post(headers, "{}"))
                .answer(own(403, "foreign_origin"))
                .untouched(),
        );
    }
    for (name, head, code) in [
        ("a rebound name cannot read", "GET /api/v1/calls HTTP/1.1\r\nHost: evil.example\r\n", 403),
        ("a rebound name cannot read metrics", "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n", 403),
        (
            "a foreign page cannot read",
            "GET /api/v1/calls HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n",
            403,
        ),
        ("the API only reads", "DELETE /api/v1/calls HTTP/1.1\r\nHost: localhost\r\n", 405),
        (
            "a path out of the API is no path",
            "GET /api/v1/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n",
            404,
        ),
    ] {
        all.push(
            case(format!("trust/{name}"))
                .own(ONLY_TAPLINE)
                .send(format!("{head}\r\n"))
                .answer(status(code))
                .untouched(),
        );
    }
    all.push(
        case("trust/a page of this machine may call")
            .own(ONLY_TAPLINE)
            .send(post("Origin: http://localhost:5173\r\n", "{}"))
            .takes(any().has("Origin: http://localhost:5173"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200)),
    );
    for header in ["x-upstream", "helicone-target-url", "x-portkey-custom-host", "x-forwarded-host"] {
        all.push(
            case(format!("trust/{header} does not choose the upstream"))
                .send(post(&format!("{header}: http://127.0.0.1:1/\r\n"), "{}"))
                .takes(any())
                .reply(OK)
                .answer(status(200).body("ok"))
                .span(Span::ok(200)),
        );
    }
    for (name, line) in [
        ("authorization", "Authorization: Bearer sk-canary-1"),
        ("api-key", "api-key: sk-canary-2"),
        ("x-api-key", "x-api-key: sk-canary-3"),
        ("cookie", "Cookie: session=canary-4"),
        ("proxy-authorization", "Proxy-Authorization: Basic canary-5"),
        ("another gateway's key", "x-portkey-api-key: canary-6"),
        ("helicone's key", "Helicone-Auth: Bearer canary-7"),
        ("google's key", "x-goog-api-key: canary-8"),
        (
            "a gateway's configuration",
            "x-portkey-config: {\"provider\":\"openai\",\"api_key\":\"canary-10\"}",
        ),
        ("a configuration that is broken", "x-portkey-config: {\"api_key\":\"canary-11\","),
        ("a key in an odd header", "x-odd: the key is sk-canary0123456789abcdef"),
        ("an address that brings a token back", "Referer: https://h/back?x=1#access_token=canary-12"),
        ("a user and a password in an address", "Referer: https://user:canary-13@h/"),
    ] {
        all.push(
            case(format!("trust/kept by nobody: {name}"))
                .send(post(&format!("{line}\r\n"), "{}"))
                .takes(any())
                .reply("HTTP/1.1 200 OK\r\nSet-Cookie: id=canary-back\r\nContent-Length: 2\r\n\r\nok")
                .answer(status(200).has("Set-Cookie: id=canary-back").body("ok"))
                .span(Span::ok(200)),
        );
    }
    all.push(
        case("trust/kept by nobody: a key in the query")
            .send("GET <base>/models?key=canary-9&alt=sse HTTP/1.1\r\nHost: tap\r\n<tag>\r\n")
            .takes(any())
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200).with("/target", json!("/models?key=***&alt=sse"))),
    );
    all.push(
        case("trust/kept by nobody: a configured key, which replaces the client's")
            .up(Up::Keyed)
            .send(post("Authorization: Bearer sk-canary-client\r\nx-api-key: canary-18\r\n", "{}"))
            .takes(any().has("Authorization: Bearer sk-canary-configured").lacks("x-api-key"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200)),
    );
    all.push(
        case("trust/kept by nobody: a key in the query, its name encoded")
            .send("GET <base>/models?api%5Fkey=canary-14&accessToken=canary-15 HTTP/1.1\r\nHost: tap\r\n<tag>\r\n")
            .takes(line("GET /v1/models?api%5Fkey=canary-14&accessToken=canary-15 HTTP/1.1"))
            .reply(OK)
            .answer(status(200))
            .span(Span::ok(200).with("/target", json!("/models?api%5Fkey=***&accessToken=***"))),
    );
    all.push(
        case("trust/kept by nobody: a signed address that the upstream redirects to")
            .send(post("", "{}"))
            .takes(any())
            .reply("HTTP/1.1 302 Found\r\nLocation: https://h/p?X-Amz-Signature=canary-16&a=1\r\nContent-Length: 0\r\n\r\n")
            .answer(status(302).has("Location: https://h/p?X-Amz-Signature=canary-16&a=1"))
            .span(Span::ok(302)),
    );
    all.push(
        case("trust/kept by nobody: a key in a target that leads nowhere")
            .own(ONLY_TAPLINE)
            .send("GET /to/nowhere/v1/models?key=canary-17 HTTP/1.1\r\nHost: tap\r\n<tag>\r\n")
            .answer(own(404, "unknown_upstream"))
            .span(Span::client("unknown_upstream")),
    );
    all
}

/// No secret that any case used is on disk.
pub(crate) fn no_canary(place: &Place) -> Verdict {
    let mut files: Vec<(String, Vec<u8>)> = place
        .files()
        .into_iter()
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap_or_default()))
        .collect();
    files.push(("the log".to_owned(), place.log().into_bytes()));
    for (name, bytes) in files {
        if crate::peer::find(&bytes, b"canary").is_some() {
            return Err(format!("expected no secret on disk, found one in {name}"));
        }
    }
    Ok(Passed::Yes)
}
