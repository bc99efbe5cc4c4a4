//! What is HTTP/2's own: one connection carries many calls, and one that is reset is one client gone.

use std::convert::Infallible;

use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::harness::{Peer, Proxy, Upstream, within};

const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

type Sender = SendRequest<BoxBody<Bytes, Infallible>>;

async fn connected(proxy: &Proxy) -> Sender {
    let stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn post(proxy: &Proxy, path: &str) -> http::Request<BoxBody<Bytes, Infallible>> {
    let body = Full::new(Bytes::from_static(b"ping")).boxed();
    http::Request::post(format!("http://{}{path}", proxy.address)).body(body).unwrap()
}

/// A call whose upstream has sent one chunk.
async fn begun(
    proxy: &Proxy,
    upstream: &Upstream,
    sender: &mut Sender,
    path: &str,
) -> (http::Response<Incoming>, Peer) {
    let exchange = sender.send_request(post(proxy, path));
    let answer = async {
        let mut server = upstream.accept().await;
        server.read_message().await;
        server.write(HEAD).await;
        server.write_chunk("one").await;
        server
    };
    let (response, server) = within("an exchange", async { tokio::join!(exchange, answer) }).await;
    let mut response = response.unwrap();
    assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    (response, server)
}

#[tokio::test]
async fn inv3_a_stream_that_is_reset_ends_its_own_call_and_no_other() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut sender = connected(&proxy).await;
    let (left, mut let_go) = begun(&proxy, &upstream, &mut sender, "/v1/left").await;
    let (stays, mut kept) = begun(&proxy, &upstream, &mut sender, "/v1/stays").await;
    drop(left);
    let_go.closed().await;
    kept.write_chunk("two").await;
    kept.write("0\r\n\r\n").await;
    assert_eq!(within("the rest", stays.into_body().collect()).await.unwrap().to_bytes(), "two");
    drop(sender);
    let calls = proxy.finish().await;
    let ends: Vec<_> = calls.iter().map(|call| (call.opened.target.as_str(), call.end())).collect();
    assert_eq!(
        ends,
        [("/left", "client_gone Client client_disconnect".to_owned()), ("/stays", "completed".to_owned())]
    );
    assert_eq!(calls[0].received, b"one");
}

#[tokio::test]
async fn a_broken_upstream_resets_one_stream_and_not_the_connection() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut sender = connected(&proxy).await;
    let (broken, server) = begun(&proxy, &upstream, &mut sender, "/v1/broken").await;
    drop(server);
    assert!(within("the end", broken.into_body().collect()).await.is_err(), "it must not look whole");
    let (next, mut server) = begun(&proxy, &upstream, &mut sender, "/v1/next").await;
    server.write("0\r\n\r\n").await;
    assert_eq!(within("the rest", next.into_body().collect()).await.unwrap().to_bytes(), "");
    drop(sender);
    let ends: Vec<_> = proxy.finish().await.iter().map(|call| call.outcome().unwrap().as_str()).collect();
    assert_eq!(ends, ["upstream_failed", "completed"]);
}

#[tokio::test]
async fn a_foreign_authority_reaches_no_face_whatever_its_host_says() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut sender = connected(&proxy).await;
    for (authority, host, status) in
        [("localhost", None, 200), ("evil.example", None, 403), ("evil.example", Some("localhost"), 403)]
    {
        let mut request = http::Request::get(format!("http://{authority}/healthz"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let body = Full::new(Bytes::new()).boxed();
        let response = within("an answer", sender.send_request(request.body(body).unwrap())).await.unwrap();
        assert_eq!(response.status(), status, "{authority} {host:?}");
    }
    drop(sender);
    assert!(proxy.finish().await.is_empty());
}
