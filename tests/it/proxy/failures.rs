//! What the client sees, and who is blamed, when something breaks.

use std::time::Duration;

use crate::harness::{Peer, Proxy, Settings, Upstream};

const GET: &str = "GET /v1/x HTTP/1.1\r\nHost: tap\r\n\r\n";
const STREAM: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Status line, our header, and the error of one of tapline's own answers.
async fn own_answer(client: &mut Peer) -> (String, serde_json::Value) {
    let (head, body) = client.read_message().await;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let error = body["error"].clone();
    assert_eq!(error["type"], "tapline_error");
    assert!(
        error["param"].is_null() && error["message"].as_str().is_some_and(|text| text.len() > 10),
        "{error}"
    );
    let marked = format!("x-tapline-error: {}\r\n", error["code"].as_str().unwrap());
    assert!(head.contains(&marked), "{head}");
    (head.lines().next().unwrap().to_owned(), error)
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_named() {
    let upstream = Upstream::start().await;
    let nobody = Upstream::start().await.address;
    let settings = Settings {
        upstreams: vec![("gone".to_owned(), format!("http://{nobody}/v1"))],
        ..Settings::default()
    };
    let proxy = Proxy::with(&upstream, settings).await;
    let mut client = Peer::send(proxy.address, "GET /to/gone/v1/x HTTP/1.1\r\nHost: tap\r\n\r\n").await;
    let (status, error) = own_answer(&mut client).await;
    assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
    assert_eq!(error["code"], "upstream_connection_refused");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("\"gone\"") && message.contains(&nobody.to_string()), "{message}");
    let call = proxy.finish_one().await;
    assert_eq!(call.end(), "upstream_failed Upstream connection_refused");
    assert_eq!((call.opened.upstream.as_str(), call.status()), ("gone", None));
}

#[tokio::test]
async fn an_unknown_host_name_is_a_dns_failure() {
    let upstream = Upstream::start().await;
    let settings = Settings {
        // A label that is too long for any name: the resolver says so without asking anyone.
        upstreams: vec![("odd".to_owned(), format!("http://{}.invalid/v1", "x".repeat(64)))],
        ..Settings::default()
    };
    let proxy = Proxy::with(&upstream, settings).await;
    let mut client = Peer::send(proxy.address, "GET /to/odd/v1/x HTTP/1.1\r\nHost: tap\r\n\r\n").await;
    assert_eq!(own_answer(&mut client).await.1["code"], "upstream_dns");
    assert_eq!(proxy.finish_one().await.end(), "upstream_failed Upstream dns");
}

#[tokio::test]
async fn an_upstream_that_answers_nothing_is_to_blame() {
    for (broken, code) in [
        ("close", "upstream_eof"),
        ("reset", "connection_reset"),
        ("HTTP/1.1 200 OK\r\nHalf: a he", "upstream_eof"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "bad_response"),
    ] {
        let upstream = Upstream::start().await;
        let proxy = Proxy::to(&upstream).await;
        let mut client = Peer::send(proxy.address, GET).await;
        let mut server = upstream.accept().await;
        server.read_head().await;
        match broken {
            "close" => drop(server),
            "reset" => server.reset(),
            bytes => {
                server.write(bytes).await;
                drop(server);
            }
        }
        let (status, error) = own_answer(&mut client).await;
        assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
        assert_eq!(error["code"], format!("upstream_{}", code.trim_start_matches("upstream_")), "{broken}");
        assert_eq!(proxy.finish_one().await.end(), format!("upstream_failed Upstream {code}"), "{broken}");
    }
}

#[tokio::test]
async fn inv1_a_response_that_breaks_off_never_looks_whole() {
    for (head, reset, code) in [
        (STREAM, true, "connection_reset"),
        (STREAM, false, "upstream_eof"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", true, "connection_reset"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", false, "upstream_eof"),
    ] {
        let upstream = Upstream::start().await;
        let proxy = Proxy::to(&upstream).await;
        let mut client = Peer::send(proxy.address, GET).await;
        let mut server = upstream.accept().await;
        server.read_head().await;
        server.write(head).await;
        assert_eq!(client.read_head().await, head);
        server.write("4\r\nhalf\r\n").await;
        assert_eq!(client.read_exact(9).await, b"4\r\nhalf\r\n");
        if reset {
            server.reset()
        } else {
            drop(server)
        }
        client.closed().await;
        let call = proxy.finish_one().await;
        assert_eq!(call.end(), format!("upstream_failed Upstream {code}"), "{head} {reset}");
        assert!(call.received.windows(4).any(|window| window == b"half"));
    }
}

#[tokio::test]
async fn inv1_a_head_whose_body_breaks_at_once_still_arrives() {
    for head in [STREAM, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"] {
        let upstream = Upstream::start().await;
        let proxy = Proxy::to(&upstream).await;
        let mut client = Peer::send(proxy.address, GET).await;
        let mut server = upstream.accept().await;
        server.read_head().await;
        server.write(head).await;
        drop(server);
        assert_eq!(client.read_head().await, head);
        client.closed().await;
        assert_eq!(proxy.finish_one().await.end(), "upstream_failed Upstream upstream_eof");
    }
}

#[tokio::test]
async fn what_came_with_the_break_still_arrives() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut client = Peer::send(proxy.address, GET).await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    server.write(format!("{STREAM}4\r\nlast\r\n")).await;
    drop(server);
    client.read_head().await;
    assert_eq!(client.rest().await, b"4\r\nlast\r\n");
    assert_eq!(proxy.finish_one().await.end(), "upstream_failed Upstream upstream_eof");
}

#[tokio::test]
async fn a_broken_request_body_is_the_client_s_fault() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let request =
        "POST /v1/x HTTP/1.1\r\nHost: tap\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n";
    let mut client = Peer::send(proxy.address, request).await;
    let (status, error) = own_answer(&mut client).await;
    assert_eq!((status.as_str(), &error["code"]), ("HTTP/1.1 400 Bad Request", &"bad_request_body".into()));
    let mut server = upstream.accept().await;
    server.rest().await;
    let call = proxy.finish_one().await;
    assert_eq!(call.end(), "client_error Client bad_request_body");
    assert_eq!(call.sent, b"abc");
}

#[tokio::test]
async fn silence_before_the_head_times_out() {
    let upstream = Upstream::start().await;
    let mut settings = Settings::default();
    settings.proxy.response_timeout = Duration::from_millis(100);
    let proxy = Proxy::with(&upstream, settings).await;
    let mut client = Peer::send(proxy.address, GET).await;
    let mut server = upstream.accept().await;
    let (status, error) = own_answer(&mut client).await;
    assert_eq!(
        (status.as_str(), &error["code"]),
        ("HTTP/1.1 504 Gateway Timeout", &"upstream_timeout".into())
    );
    server.read_head().await;
    server.closed().await;
    assert_eq!(proxy.finish_one().await.end(), "upstream_failed Upstream timeout");
}

#[tokio::test]
async fn silence_inside_a_response_cuts_it() {
    let upstream = Upstream::start().await;
    let mut settings = Settings::default();
    settings.proxy.idle_timeout = Duration::from_millis(100);
    let proxy = Proxy::with(&upstream, settings).await;
    let mut client = Peer::send(proxy.address, GET).await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    server.write(format!("{STREAM}2\r\nhi\r\n")).await;
    client.read_head().await;
    assert_eq!(client.rest().await, b"2\r\nhi\r\n");
    server.closed().await;
    assert_eq!(proxy.finish_one().await.end(), "upstream_failed Upstream timeout");
}

#[tokio::test]
async fn an_upstream_that_speaks_no_tls_is_told_apart() {
    let upstream = Upstream::start().await;
    let plain = Upstream::start().await;
    let settings = Settings {
        upstreams: vec![("secure".to_owned(), format!("https://{}/v1", plain.address))],
        ..Settings::default()
    };
    let proxy = Proxy::with(&upstream, settings).await;
    let mut client = Peer::send(proxy.address, "GET /to/secure/v1/x HTTP/1.1\r\nHost: tap\r\n\r\n").await;
    let mut server = plain.accept().await;
    server.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(own_answer(&mut client).await.1["code"], "upstream_tls");
    assert_eq!(proxy.finish_one().await.end(), "upstream_failed Upstream tls");
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_replaced() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut client = Peer::send(proxy.address, GET).await;
    let mut first = upstream.accept().await;
    first.read_head().await;
    first.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.read_head().await;
    drop(first);
    // The pool learns of it when its task runs; either way the next call must not see the dead one.
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.write(GET).await;
    let mut second = upstream.accept().await;
    second.read_head().await;
    second.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.read_head().await;
    assert_eq!(proxy.finish().await.len(), 2);
}
