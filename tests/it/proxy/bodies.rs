//! Bodies in both directions: streamed, never held back, never re-framed.

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Peer, Proxy, Upstream, within};

const EVENT_STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const GET: &str = "GET /v1/x HTTP/1.1\r\nHost: tap\r\n\r\n";

#[tokio::test]
async fn inv2_each_event_leaves_before_the_next_is_written() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut client = Peer::send(proxy.address, GET).await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    server.write(EVENT_STREAM).await;
    assert_eq!(client.read_head().await, EVENT_STREAM);
    let mut whole = Vec::new();
    for n in 0..50 {
        let event = format!("data: {{\"n\":{n}}}\n\n");
        server.write_chunk(&event).await;
        assert_eq!(client.read_chunk().await, event.as_bytes(), "as its own chunk, before the next exists");
        whole.extend(event.into_bytes());
    }
    server.write_chunk("data: [DONE]\n\n").await;
    assert_eq!(client.read_chunk().await, b"data: [DONE]\n\n");
    whole.extend(b"data: [DONE]\n\n");
    server.write("0\r\n\r\n").await;
    assert_eq!(client.read_exact(5).await, b"0\r\n\r\n");
    let call = proxy.finish_one().await;
    assert_eq!(call.received, whole);
    assert_eq!(call.end(), "completed");
}

#[tokio::test]
async fn an_answer_that_comes_whole_leaves_whole() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{\"n\": 12}";
    let address = proxy.address;
    // A thread of its own reads at once, as other programs do; on the loopback one read gets what one write sent.
    let client = tokio::task::spawn_blocking(move || {
        let mut connection = std::net::TcpStream::connect(address).unwrap();
        let read = |_| {
            connection.write_all(GET.as_bytes()).unwrap();
            let mut bytes = vec![0; 4_096];
            let length = connection.read(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        (0..50).map(read).collect::<Vec<_>>()
    });
    let mut server = upstream.accept().await;
    for _ in 0..50 {
        server.read_head().await;
        server.write(answer).await;
    }
    for read in within("the client", client).await.unwrap() {
        assert_eq!(read, answer);
    }
    assert_eq!(proxy.finish().await.len(), 50);
}

#[tokio::test]
async fn inv1_an_empty_body_that_came_chunked_leaves_chunked() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut client = Peer::send(proxy.address, GET).await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    server.write(format!("{EVENT_STREAM}0\r\n\r\n")).await;
    assert_eq!(client.read_head().await, EVENT_STREAM);
    assert_eq!(client.read_exact(5).await, b"0\r\n\r\n");
    assert_eq!(proxy.finish_one().await.end(), "completed");
}

#[tokio::test]
async fn each_piece_of_a_request_leaves_before_the_next_is_written() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let head = "POST /v1/audio HTTP/1.1\r\nHost: tap\r\nTransfer-Encoding: chunked\r\nA: 1\r\n\r\n";
    let mut client = Peer::send(proxy.address, head).await;
    let mut server = upstream.accept().await;
    assert_eq!(server.read_head().await, head.replace("tap", &upstream.address.to_string()));
    for n in 0..20 {
        let piece = format!("piece {n}");
        client.write_chunk(&piece).await;
        assert_eq!(server.read_chunk().await, piece.as_bytes());
    }
    client.write("0\r\n\r\n").await;
    assert_eq!(server.read_exact(5).await, b"0\r\n\r\n");
    server.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.read_head().await;
    let call = proxy.finish_one().await;
    assert_eq!(call.sent, (0..20).map(|n| format!("piece {n}")).collect::<String>().into_bytes());
}

#[tokio::test]
async fn a_get_may_have_a_body_and_a_post_may_have_none() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut client = Peer::connect(proxy.address).await;
    client
        .write("GET /v1/x HTTP/1.1\r\nHost: tap\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    assert_eq!(server.read_chunked().await, b"abc");
    server.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.read_head().await;
    for head in [
        "POST /v1/x HTTP/1.1\r\nHost: tap\r\nA: 1\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: tap\r\nContent-Length: 0\r\nA: 1\r\n\r\n",
    ] {
        client.write(head).await;
        assert_eq!(server.read_head().await, head.replace("tap", &upstream.address.to_string()));
        server.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        client.read_head().await;
    }
    assert_eq!(proxy.finish().await.len(), 3);
}

#[tokio::test]
async fn trailers_come_through() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let request = "POST /v1/x HTTP/1.1\r\nHost: tap\r\nTE: trailers\r\nTrailer: x-up\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = Peer::send(proxy.address, request).await;
    client.write("2\r\nhi\r\n0\r\nx-up: 1\r\n\r\n").await;
    let mut server = upstream.accept().await;
    assert_eq!(server.read_head().await, request.replace("tap", &upstream.address.to_string()));
    assert_eq!(server.read_until(b"\r\n\r\n").await, b"2\r\nhi\r\n0\r\nx-up: 1\r\n\r\n");
    let head = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n";
    server.write(head).await;
    server.write("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n").await;
    assert_eq!(client.read_head().await, head);
    assert_eq!(client.read_until(b"\r\n\r\n").await, b"2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n");
    assert_eq!(proxy.finish_one().await.end(), "completed");
}

#[tokio::test]
async fn expect_continue_is_answered_here() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let request = "POST /v1/x HTTP/1.1\r\nHost: tap\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let mut client = Peer::send(proxy.address, request).await;
    assert_eq!(client.read_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write("abc").await;
    let mut server = upstream.accept().await;
    let (head, body) = server.read_message().await;
    assert!(!head.contains("Expect"), "{head}");
    assert_eq!(body, b"abc");
    server.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.read_head().await;
    assert_eq!(proxy.finish_one().await.sent, b"abc");
}

#[tokio::test]
async fn big_bodies_cross_whole_in_both_directions() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let body: Vec<u8> = (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client = Peer::connect(proxy.address).await;
    let request = format!("POST /v1/files HTTP/1.1\r\nHost: tap\r\nContent-Length: {}\r\n\r\n", body.len());
    let server = async {
        let mut server = upstream.accept().await;
        let (_, sent) = server.read_message().await;
        assert!(sent == body, "the request's body");
        server.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len())).await;
        server.write(&sent).await;
        server
    };
    let exchange = async {
        client.write(request).await;
        client.write(&body).await;
        client.read_message().await.1
    };
    let (_server, received) = tokio::join!(server, exchange);
    assert!(received == body, "the response's body");
    let call = proxy.finish_one().await;
    assert!(call.sent == body && call.received == body, "the copies");
    assert_eq!(call.closed[0].sent_bytes, body.len() as u64);
}

#[tokio::test]
async fn a_body_past_its_limit_is_counted_and_crosses_whole() {
    let upstream = Upstream::start().await;
    let mut settings = crate::harness::Settings::default();
    settings.recorder.max_request_bytes = 4;
    settings.recorder.max_response_bytes = 5;
    let proxy = Proxy::with(&upstream, settings).await;
    let mut client =
        Peer::send(proxy.address, "POST /v1/x HTTP/1.1\r\nHost: tap\r\nContent-Length: 10\r\n\r\n0123456789")
            .await;
    let mut server = upstream.accept().await;
    assert_eq!(server.read_message().await.1, b"0123456789");
    server.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabcdefghij").await;
    assert_eq!(client.read_message().await.1, b"abcdefghij");
    let call = proxy.finish_one().await;
    assert_eq!((call.sent.as_slice(), call.received.as_slice()), (&b"0123"[..], &b"abcde"[..]));
    let closed = &call.closed[0];
    assert_eq!((closed.sent_bytes, closed.sent_recorded), (10, 4));
    assert_eq!((closed.received_bytes, closed.received_recorded), (10, 5));
}

#[tokio::test]
async fn an_answer_may_come_while_the_request_still_uploads() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let head = "POST /v1/x HTTP/1.1\r\nHost: tap\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = Peer::send(proxy.address, head).await;
    client.write_chunk("one").await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    assert_eq!(server.read_chunk().await, b"one");
    server.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    server.write_chunk("early").await;
    client.read_head().await;
    assert_eq!(client.read_chunk().await, b"early");
    client.write_chunk("two").await;
    assert_eq!(server.read_chunk().await, b"two");
    client.write("0\r\n\r\n").await;
    assert_eq!(server.read_exact(5).await, b"0\r\n\r\n");
    server.write_chunk("late").await;
    server.write("0\r\n\r\n").await;
    assert_eq!(client.read_chunked().await, b"late");
    let call = proxy.finish_one().await;
    assert_eq!((call.sent.as_slice(), call.received.as_slice()), (&b"onetwo"[..], &b"earlylate"[..]));
    assert_eq!(call.end(), "completed");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_writes_all_before_it_reads() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let body = vec![b'x'; 16_000_000];
    let head = format!("POST /v1/files HTTP/1.1\r\nHost: tap\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = Peer::send(proxy.address, head).await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    server.write("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno").await;
    drop(server);
    client.write(&body).await;
    let (head, body) = client.read_message().await;
    assert!(head.starts_with("HTTP/1.1 413 Too Large\r\n"), "{head}");
    assert_eq!(body, b"no");
    drop(client);
    assert_eq!(proxy.finish_one().await.end(), "completed");
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_whole() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut client = Peer::send(proxy.address, GET).await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    server.write("HTTP/1.0 200 OK\r\nA: 1\r\n\r\nall of it").await;
    drop(server);
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nA: 1\r\n"), "{head}");
    assert_eq!(client.read_chunked().await, b"all of it");
    let call = proxy.finish_one().await;
    assert_eq!((call.end().as_str(), call.received.as_slice()), ("completed", &b"all of it"[..]));
}

#[tokio::test]
async fn backpressure_reaches_the_upstream() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let client = Peer::send(proxy.address, GET).await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    server.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let (_read, mut write) = server.split();
    let (mut from_proxy, _keep) = client.split();
    // As long as the client reads nothing the upstream cannot write without end: what is on the way is
    // bounded by the sockets' buffers and hyper's.
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let mut written = 0usize;
    while tokio::time::timeout(std::time::Duration::from_millis(500), write.write_all(&chunk)).await.is_ok() {
        written += chunk.len();
        assert!(written < 256 << 20, "the proxy takes without end");
    }
    // It goes on as soon as the client reads.
    let mut sink = vec![0; 1 << 20];
    let mut read = 0;
    while read < written / 2 {
        read += within("read", from_proxy.read(&mut sink)).await.unwrap();
    }
    drop((from_proxy, _keep));
    proxy.idle().await;
    assert_eq!(proxy.finish_one().await.end(), "client_gone Client client_disconnect");
}

#[tokio::test]
async fn an_http2_client_is_served() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/v1/x?y=%2F", proxy.address))
        .header("cookie", "a=1")
        .header("x-mine", "1")
        .body(Full::new(Bytes::from_static(b"ping")).map_err(|never: Infallible| match never {}))
        .unwrap();
    let exchange = sender.send_request(request);
    let answer = async {
        let mut server = upstream.accept().await;
        let (head, body) = server.read_message().await;
        assert!(
            head.starts_with(&format!("POST /v1/x?y=%2F HTTP/1.1\r\nhost: {}\r\n", upstream.address)),
            "{head}"
        );
        assert_eq!(body, b"ping");
        server
            .write("HTTP/1.1 201 Made\r\nConnection: keep-alive\r\nA: 1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npong\r\n0\r\n\r\n")
            .await;
        server
    };
    let (response, _server) = within("an exchange", async { tokio::join!(exchange, answer) }).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers().len(), 1);
    assert_eq!(response.headers()["a"], "1");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "pong");
    drop(sender);
    connection.await.unwrap().unwrap();
    assert_eq!(proxy.finish_one().await.end(), "completed");
}
