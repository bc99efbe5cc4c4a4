//! Upstreams that are asked for usage on the client's behalf: the client sees what it would have seen.

use tapline::upstream::UsageWish;

use crate::harness::{Peer, Proxy, Settings, Upstream};

const PLAIN: &str = r#"{"model":"m","stream":true,"messages":[]}"#;
const ASKING: &str = r#"{"model":"m","stream":true,"messages":[],"stream_options":{"include_usage":true}}"#;
const KEPT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn request(body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: tap\r\nAccept-Encoding: gzip\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn asking(upstream: &Upstream) -> Proxy {
    Proxy::with(upstream, Settings { usage: UsageWish::Ask, ..Settings::default() }).await
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn inv1_the_usage_that_tapline_asked_for_is_taken_out_again() {
    let upstream = Upstream::start().await;
    let proxy = asking(&upstream).await;
    let mut client = Peer::send(proxy.address, request(PLAIN)).await;
    let mut server = upstream.accept().await;
    let (head, body) = server.read_message().await;
    assert_eq!(String::from_utf8(body).unwrap(), ASKING);
    let head = head.to_ascii_lowercase();
    assert!(head.contains(&format!("content-length: {}\r\n", ASKING.len())), "{head}");
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    server
        .write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    // The usage comes in two pieces, the second together with the end.
    let (first, second) = USAGE.split_at(30);
    for piece in [chunk(KEPT), chunk(first), chunk(&format!("{second}{DONE}")), "0\r\n\r\n".to_owned()] {
        server.write(piece).await;
    }
    client.read_head().await;
    let body = client.read_chunked().await;
    assert_eq!(String::from_utf8(body).unwrap(), format!("{KEPT}{DONE}"));
    let call = proxy.finish_one().await;
    assert_eq!((call.end().as_str(), &call.sent[..]), ("completed", PLAIN.as_bytes()));
    assert_eq!(
        &call.received[..],
        format!("{KEPT}{USAGE}{DONE}").as_bytes(),
        "inv8: what came is what is kept"
    );
    let told = ("x-tapline-usage".to_owned(), "asked".to_owned());
    assert!(
        call.answered.as_ref().unwrap().headers.contains(&told),
        "{:?}",
        call.answered.as_ref().unwrap().headers
    );
}

#[tokio::test]
async fn a_stream_that_breaks_gives_the_client_all_that_came() {
    let upstream = Upstream::start().await;
    let proxy = asking(&upstream).await;
    let mut client = Peer::send(proxy.address, request(PLAIN)).await;
    let mut server = upstream.accept().await;
    server.read_message().await;
    server
        .write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    server.write(chunk("data: {\"choi")).await;
    drop(server);
    let rest = String::from_utf8_lossy(&client.rest().await).into_owned();
    assert!(rest.contains("data: {\"choi"), "{rest}");
}

#[tokio::test]
async fn a_refused_question_is_not_the_clients_trouble() {
    let upstream = Upstream::start().await;
    let proxy = asking(&upstream).await;
    let mut client = Peer::send(proxy.address, request(PLAIN)).await;
    let mut server = upstream.accept().await;
    assert_eq!(server.read_message().await.1, ASKING.as_bytes());
    server.write("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}").await;
    let mut server = upstream.accept().await;
    let (head, body) = server.read_message().await;
    assert_eq!(body, PLAIN.as_bytes());
    assert!(head.to_ascii_lowercase().contains("accept-encoding: gzip\r\n"), "{head}");
    server.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.read_message().await.1, b"ok");
    assert_eq!(proxy.finish_one().await.end(), "completed");
}

#[tokio::test]
async fn inv1_what_is_no_stream_or_asks_itself_passes_as_it_is() {
    for body in [r#"{"model":"m","messages":[]}"#, ASKING, "no json"] {
        let upstream = Upstream::start().await;
        let proxy = asking(&upstream).await;
        let mut client = Peer::send(proxy.address, request(body)).await;
        let mut server = upstream.accept().await;
        let (head, sent) = server.read_message().await;
        assert_eq!(sent, body.as_bytes());
        assert!(head.contains("Accept-Encoding: gzip\r\n"), "{head}");
        let stream = format!("{KEPT}{USAGE}{DONE}");
        server
            .write(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{stream}",
                stream.len()
            ))
            .await;
        assert_eq!(client.read_message().await.1, stream.as_bytes());
        assert_eq!(proxy.finish_one().await.sent, body.as_bytes());
    }
}

#[tokio::test]
async fn a_client_that_falls_silent_inside_its_request_is_let_go() {
    let upstream = Upstream::start().await;
    let mut settings = Settings { usage: UsageWish::Ask, ..Settings::default() };
    settings.proxy.request_timeout = std::time::Duration::from_millis(50);
    let proxy = Proxy::with(&upstream, settings).await;
    let whole = request(PLAIN);
    let mut client = Peer::send(proxy.address, &whole[..whole.len() - 9]).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    let call = proxy.finish_one().await;
    assert_eq!(call.end(), "client_error Client request_timeout");
    assert_eq!(&call.sent[..], &PLAIN.as_bytes()[..PLAIN.len() - 9], "what came is what is kept");
}
