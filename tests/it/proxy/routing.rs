//! Scopes and upstreams in paths, over the wire and into the record.

use tapline::model::record::Scope;

use crate::harness::{Peer, Proxy, Settings, Upstream};

#[tokio::test]
async fn scopes_are_recorded_and_do_not_go_up() {
    let upstream = Upstream::start().await;
    let other = Upstream::start().await;
    let settings = Settings {
        upstreams: vec![("other".to_owned(), format!("http://{}/openai/v1", other.address))],
        ..Settings::default()
    };
    let proxy = Proxy::with(&upstream, settings).await;
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        ("/v1/x?q=%2F", false, "/v1/x?q=%2F", Scope::default()),
        ("/run/r1/v1/x", false, "/v1/x", Scope { run: some("r1"), ..Scope::default() }),
        (
            "/s/a%20b/exp/e%2Ff/run/r%c3%a9/v1/x",
            false,
            "/v1/x",
            Scope { run: some("ré"), experiment: some("e/f"), session: some("a b") },
        ),
        ("/to/other/v1/x", true, "/openai/v1/x", Scope::default()),
        (
            "/exp/e/to/other/s/s1/foo//bar",
            true,
            "/openai/v1/foo//bar",
            Scope { run: None, experiment: some("e"), session: some("s1") },
        ),
    ];
    for (path, to_other, there, _) in &cases {
        let mut client = Peer::send(proxy.address, format!("GET {path} HTTP/1.1\r\nHost: tap\r\n\r\n")).await;
        let there_at = if *to_other { &other } else { &upstream };
        let mut server = there_at.accept().await;
        let head = server.read_head().await;
        assert_eq!(head, format!("GET {there} HTTP/1.1\r\nHost: {}\r\n\r\n", there_at.address), "{path}");
        // Closing keeps the pool empty, so that each case has its own connection.
        server.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        drop(server);
        client.read_head().await;
    }
    let calls = proxy.finish().await;
    for (call, (path, to_other, _, scope)) in calls.iter().zip(&cases) {
        assert_eq!(&call.opened.scope, scope, "{path}");
        assert_eq!(call.opened.upstream, if *to_other { "other" } else { "default" });
        assert!(!call.opened.target.starts_with("/v1"), "relative to the base: {}", call.opened.target);
    }
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_the_client_s_fault() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    for (path, status, code, says) in [
        ("/to/nowhere/v1/x", 404, "unknown_upstream", "configured: default"),
        ("/run/a/run/b/v1/x", 400, "bad_scope", "at most once"),
        ("/s/%00/v1/x", 400, "bad_scope", "a session"),
        ("/run/a", 400, "bad_scope", "/v1/chat/completions"),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: tap\r\nContent-Length: 2\r\n\r\n{{}}");
        let mut client = Peer::send(proxy.address, request).await;
        let (head, body) = client.read_message().await;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(body["error"]["code"], code);
        assert!(body["error"]["message"].as_str().unwrap().contains(says), "{body}");
    }
    let calls = proxy.finish().await;
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| call.end().starts_with("client_error Client ")));
    assert_eq!(calls[0].opened.upstream, "nowhere");
}

#[tokio::test]
async fn a_client_chooses_among_listed_upstreams_and_takes_no_key_there() {
    let upstream = Upstream::start().await;
    let chosen = Upstream::start().await;
    let settings = Settings {
        key: Some("configured".to_owned()),
        allowed_upstreams: vec![format!("http://{}", chosen.address)],
        ..Settings::default()
    };
    let proxy = Proxy::with(&upstream, settings).await;
    let there = chosen.address;
    let request = format!(
        "GET /run/r1/v1/models?a=1 HTTP/1.1\r\nHost: tap\r\nX-Tapline-Upstream: http://{there}/api/v1\r\n\
         Authorization: Bearer own\r\n\r\n"
    );
    let mut client = Peer::send(proxy.address, request).await;
    let mut server = chosen.accept().await;
    let head = server.read_head().await;
    assert_eq!(
        head,
        format!("GET /api/v1/models?a=1 HTTP/1.1\r\nHost: {there}\r\nAuthorization: Bearer own\r\n\r\n"),
        "the header stays here, and so does the key of the default upstream"
    );
    server.write("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    assert!(client.read_head().await.starts_with("HTTP/1.1 302 "), "no redirect is followed");
    let calls = proxy.finish().await;
    assert_eq!(calls[0].opened.upstream, there.to_string());
    assert_eq!(calls[0].opened.scope.run.as_deref(), Some("r1"));
}

#[tokio::test]
async fn an_upstream_that_is_not_listed_is_never_reached() {
    let upstream = Upstream::start().await;
    let other = Upstream::start().await;
    let settings =
        Settings { allowed_upstreams: vec![format!("http://{}", other.address)], ..Settings::default() };
    let proxy = Proxy::with(&upstream, settings).await;
    let listed = format!("http://{}", other.address);
    let (port, secret) = (other.address.port(), format!("http://user:secret@{}", other.address));
    for (path, url, status, code) in [
        ("/v1/x", format!("http://localhost:{port}"), 403, "upstream_not_allowed"),
        ("/v1/x", format!("https://{}", other.address), 403, "upstream_not_allowed"),
        ("/v1/x", "http://169.254.169.254/latest/meta-data".to_owned(), 403, "upstream_not_allowed"),
        ("/v1/x", upstream.url(), 403, "upstream_not_allowed"),
        ("/v1/x", secret, 400, "bad_scope"),
        ("/to/default/v1/x", listed, 400, "bad_scope"),
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: tap\r\nx-tapline-upstream: {url}\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let mut client = Peer::send(proxy.address, request).await;
        let (head, body) = client.read_message().await;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{url}: {head}");
        assert_eq!(body["error"]["code"], code, "{url}: {body}");
        assert!(!body.to_string().contains("secret"), "{body}");
    }
    let calls = proxy.finish().await;
    assert_eq!(calls.len(), 6);
    assert!(calls.iter().all(|call| call.end().starts_with("client_error Client ")));
}
