//! Invariant 1 for heads, and for everything that is small enough to compare as a whole.

use crate::harness::{Peer, Proxy, Settings, Upstream};

/// Any byte as one char, as `Peer::read_head` gives it.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

#[tokio::test]
async fn inv1_a_request_arrives_byte_for_byte_but_for_its_host() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let head = |host: &str| {
        format!(
            "POST /v1/chat//completions/../%2F?a=%20+&b=//&&c HTTP/1.1\r\n\
             X-First: 1\r\n\
             hOsT: {host}\r\n\
             User-Agent: Odd/1.0 (x; y)\r\n\
             Accept-Encoding: gzip, br\r\n\
             x-repeat: one\r\n\
             X-REPEAT: two\r\n\
             X-Odd: \u{e9}\u{ff}\u{a0}caf\u{c3}\u{a9}\r\n\
             Authorization: Bearer sk-1\r\n\
             x-Empty:\r\n\
             Content-Type: application/json\r\n\
             Content-Length: 7\r\n\
             Date: yesterday\r\n\r\n"
        )
    };
    let mut client = Peer::send(proxy.address, bytes(&head("tap"))).await;
    client.write("{\"a\":1}").await;
    let mut server = upstream.accept().await;
    assert_eq!(server.read_head().await, head(&upstream.address.to_string()));
    assert_eq!(server.read_exact(7).await, b"{\"a\":1}");
    server.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.read_until(b"\r\n\r\nok").await, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let call = proxy.finish_one().await;
    assert_eq!(call.opened.target, "/chat//completions/../%2F?a=%20+&b=//&&c");
    assert_eq!(call.request_header("x-odd"), Some("\u{e9}\u{ff}\u{a0}caf\u{c3}\u{a9}"));
    assert_eq!((call.sent.as_slice(), call.received.as_slice()), (&b"{\"a\":1}"[..], &b"ok"[..]));
    assert_eq!(call.end(), "completed");
    assert_eq!(call.closed[0].sent_bytes, 7);
    assert_eq!(call.closed[0].received_recorded, 2);
}

/// Responses that must come through unchanged, down to the last byte.
const RESPONSES: [(&str, &str); 14] = [
    (
        "GET",
        "HTTP/1.1 200 Quite Fine\r\ndate: d\r\nSERVER: s\r\nx-Odd: \u{e9}\u{ff}\r\nContent-Length: 5\r\n\r\nhello",
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nX-Request-Id: r\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\ncontent-length: 0\r\nz: z\r\n\r\n",
    ),
    (
        "POST",
        "HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\nB: 2\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
    ),
    ("HEAD", "HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 12345\r\nB: 2\r\n\r\n"),
    ("HEAD", "HTTP/1.1 404 Not Found\r\nA: 1\r\n\r\n"),
    ("GET", "HTTP/1.1 204 No Content\r\nA: 1\r\n\r\n"),
    ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nA: 1\r\n\r\n"),
    ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\nA: 1\r\n\r\n"),
    ("GET", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/elsewhere\r\nContent-Length: 3\r\n\r\nsee"),
    ("POST", "HTTP/1.1 307 Temporary Redirect\r\nLocation: /v1/x\r\ncontent-length: 0\r\n\r\n"),
    (
        "POST",
        "HTTP/1.1 429 Too Many Requests\r\nretry-after-ms: 20\r\nx-should-retry: true\r\nContent-Length: 16\r\n\r\n{\"error\":\"slow\"}",
    ),
    ("POST", "HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p/>"),
    ("POST", "HTTP/1.1 529 \r\nContent-Length: 1\r\n\r\nx"),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\n\u{1f}\u{8b}\u{8}\u{0}\u{ff}\u{fe}",
    ),
];

#[tokio::test]
async fn inv1_responses_arrive_byte_for_byte() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut client = Peer::connect(proxy.address).await;
    let mut server = None;
    for (method, response) in RESPONSES {
        let body = if method == "POST" { "content-length: 2\r\n\r\n{}" } else { "\r\n" };
        client.write(format!("{method} /v1/x HTTP/1.1\r\nhost: tap\r\n{body}")).await;
        let server = match &mut server {
            Some(server) => server,
            none => none.insert(upstream.accept().await),
        };
        server.read_message().await;
        server.write(bytes(response)).await;
        let found = client.read_exact(bytes(response).len()).await;
        let found: String = found.iter().map(|byte| char::from(*byte)).collect();
        assert_eq!(found, response);
    }
    drop(client);
    let calls = proxy.finish().await;
    assert_eq!(calls.len(), RESPONSES.len());
    for (call, (method, response)) in calls.iter().zip(RESPONSES) {
        assert_eq!((call.end().as_str(), call.opened.method.as_str()), ("completed", method));
        assert_eq!(call.status().unwrap().to_string(), response[9..12]);
    }
    assert_eq!(calls[2].received, b"hello!");
}

#[tokio::test]
async fn hop_by_hop_and_own_headers_stay_behind() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let request = "GET /v1/models HTTP/1.1\r\nHost: tap\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\n\
                   Keep-Alive: 5\r\nX-Tapline-Run: my run\r\nProxy-Authorization: Basic x\r\nUpgrade: h2c\r\n\
                   Accept: */*\r\n\r\n";
    let mut client = Peer::send(proxy.address, request).await;
    let mut server = upstream.accept().await;
    let expected = format!("GET /v1/models HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\n\r\n", upstream.address);
    assert_eq!(server.read_head().await, expected);
    server
        .write("HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\nA: 1\r\n\r\n")
        .await;
    assert_eq!(client.read_head().await, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: 1\r\n\r\n");
    let call = proxy.finish_one().await;
    assert_eq!(call.request_header("x-tapline-run"), Some("my run"), "recorded all the same");
}

#[tokio::test]
async fn a_configured_key_replaces_the_client_s() {
    let upstream = Upstream::start().await;
    let settings = Settings { key: Some("sk-canary".to_owned()), ..Settings::default() };
    let proxy = Proxy::with(&upstream, settings).await;
    let request = "GET /v1/m HTTP/1.1\r\nHost: tap\r\nAuthorization: Bearer dummy\r\nA: 1\r\n\r\n";
    let mut client = Peer::send(proxy.address, request).await;
    let mut server = upstream.accept().await;
    let head = server.read_head().await;
    assert!(head.ends_with("Authorization: Bearer sk-canary\r\nA: 1\r\n\r\n"), "{head}");
    server.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.read_head().await;
    let disk = proxy.disk();
    assert!(!disk.windows(6).any(|window| window == b"canary"));
    proxy.finish_one().await;
}

#[tokio::test]
async fn inv7_no_secret_reaches_the_disk() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let request = "POST /s/visible/v1/x?api_key=canary1&key=canary2&q=visible HTTP/1.1\r\nHost: tap\r\n\
                   Authorization: Bearer canary3\r\nX-Api-Key: canary4\r\nCookie: c=canary5\r\napi-key: canary6\r\n\
                   Proxy-Authorization: Basic canary7\r\nContent-Length: 2\r\n\r\n{}";
    let mut client = Peer::send(proxy.address, request).await;
    let mut server = upstream.accept().await;
    let (head, _) = server.read_message().await;
    assert!(head.contains("canary2&q=visible") && head.contains("Bearer canary3"), "{head}");
    server.write("HTTP/1.1 200 OK\r\nSet-Cookie: s=canary8\r\nContent-Length: 2\r\n\r\nok").await;
    client.read_message().await;
    // The client has the last byte, so all of the call is on disk.
    let disk = proxy.disk();
    let holds = |text: &[u8]| disk.windows(text.len()).any(|window| window == text);
    assert!(holds(b"visible"), "the call is there");
    assert!(!holds(b"canary"));
    let call = proxy.finish_one().await;
    assert!(call.opened.key_fingerprint.is_some());
}

#[tokio::test]
async fn too_large_a_head_is_refused() {
    let upstream = Upstream::start().await;
    let mut settings = Settings::default();
    settings.proxy.max_header_bytes = 16 << 10;
    let proxy = Proxy::with(&upstream, settings).await;
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: tap\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let mut client = Peer::connect(proxy.address).await;
    // The refusal may come before all of it is written.
    drop(client.try_write(request).await);
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    assert!(proxy.finish().await.is_empty());
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let upstream = Upstream::start().await;
    let mut settings = Settings::default();
    settings.proxy.header_timeout = std::time::Duration::from_millis(100);
    let proxy = Proxy::with(&upstream, settings).await;
    for start in ["GET /v1/x HTTP/1.1\r\nHost:", "P", "PRI * HTTP/2.0", ""] {
        let mut client = Peer::send(proxy.address, start).await;
        let answer = client.rest().await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{start:?}");
    }
    assert!(proxy.finish().await.is_empty());
}
