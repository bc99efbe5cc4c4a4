//! What is not the proxy's, and what is refused before there is a call.

use crate::harness::{Peer, Proxy, Settings, Upstream};

async fn ask(proxy: &Proxy, request: &str) -> (u16, String) {
    let mut client = Peer::send(proxy.address, request).await;
    let (head, body) = client.read_message().await;
    (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn other_paths_go_to_the_faces() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    for path in
        ["/", "/healthz", "/api/v1/calls", "/v1/traces", "/ajax-api/2.0/mlflow/x", "/runs/1", "/version"]
    {
        let answer = ask(&proxy, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(answer, (200, format!("face {path}")));
    }
    assert!(proxy.finish().await.is_empty());
}

#[tokio::test]
async fn foreign_pages_are_kept_out() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    for (request, code) in [
        ("GET /api/v1/calls HTTP/1.1\r\nHost: evil.example\r\n\r\n", "foreign_host"),
        (
            "GET /api/v1/calls HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
            "foreign_origin",
        ),
        (
            "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
            "foreign_origin",
        ),
        (
            "POST /v1/x HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\ncontent-length: 2\r\n\r\n{}",
            "foreign_origin",
        ),
    ] {
        let (status, body) = ask(&proxy, request).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["error"]["code"]), (403, &code.into()), "{request}");
    }
    assert!(proxy.finish().await.is_empty(), "nothing went up and nothing was recorded");
}

#[tokio::test]
async fn tapline_is_no_forward_proxy() {
    let upstream = Upstream::start().await;
    let elsewhere = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let (status, body) =
        ask(&proxy, &format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", elsewhere.address)).await;
    assert!(status == 405 && body.contains("connect_not_supported"), "{status} {body}");
    // An absolute target is read for its path alone.
    let request = format!("GET http://{0}/v1/x HTTP/1.1\r\nHost: {0}\r\n\r\n", elsewhere.address);
    let mut client = Peer::send(proxy.address, request).await;
    let mut server = upstream.accept().await;
    let head = server.read_head().await;
    assert_eq!(head, format!("GET /v1/x HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.address));
    server.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.read_head().await;
    assert_eq!(proxy.finish_one().await.end(), "completed");
}

#[tokio::test]
async fn calls_are_refused_when_they_must_be_recorded_and_cannot_be() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::with(&upstream, Settings { refuses: true, ..Settings::default() }).await;
    let (status, body) = ask(&proxy, "GET /v1/x HTTP/1.1\r\nHost: tap\r\n\r\n").await;
    assert!(status == 503 && body.contains("recording_unavailable"), "{status} {body}");
    let (status, _) = ask(&proxy, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(status, 200);
    assert_eq!(proxy.state.counters().refused.get(), 1);
    assert!(proxy.finish().await.is_empty());
}
