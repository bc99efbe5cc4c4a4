//! The end of the process: running calls go on, then are cut, and each is recorded as what it was.

use std::time::Duration;

use crate::harness::{Peer, Proxy, Settings, Upstream};

const GET: &str = "GET /v1/x HTTP/1.1\r\nHost: tap\r\n\r\n";
const STREAM: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_running_call_may_end_while_the_door_is_shut() {
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::to(&upstream).await;
    let mut idle = Peer::connect(proxy.address).await;
    let mut client = Peer::send(proxy.address, GET).await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    server.write(format!("{STREAM}2\r\nhi\r\n")).await;
    client.read_head().await;
    client.read_chunk().await;
    proxy.stop();
    idle.closed().await;
    server.write("3\r\nend\r\n0\r\n\r\n").await;
    assert_eq!(client.read_chunked().await, b"end");
    client.closed().await;
    let call = proxy.finish_one().await;
    assert_eq!((call.end().as_str(), call.received.as_slice()), ("completed", &b"hiend"[..]));
}

#[tokio::test]
async fn inv3_what_outlives_the_drain_is_cut_and_recorded() {
    for hurried in [false, true] {
        let upstream = Upstream::start().await;
        let mut settings = Settings::default();
        settings.proxy.drain_timeout = Duration::from_millis(if hurried { 3_600_000 } else { 50 });
        let mut proxy = Proxy::with(&upstream, settings).await;
        // One call mid-stream, one before its head, one tunnel.
        let mut streaming = Peer::send(proxy.address, GET).await;
        let mut first = upstream.accept().await;
        first.read_head().await;
        first.write(format!("{STREAM}2\r\nhi\r\n")).await;
        streaming.read_head().await;
        streaming.read_chunk().await;
        let mut waiting = Peer::send(proxy.address, GET).await;
        let mut second = upstream.accept().await;
        second.read_head().await;
        let handshake =
            "GET /v1/r HTTP/1.1\r\nHost: tap\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let mut tunnel = Peer::send(proxy.address, handshake).await;
        let mut third = upstream.accept().await;
        third.read_head().await;
        third
            .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        tunnel.read_head().await;
        tunnel.write("ping").await;
        third.read_exact(4).await;
        proxy.stop();
        if hurried {
            proxy.hurry();
        }
        for peer in [&mut streaming, &mut waiting, &mut tunnel, &mut first, &mut second, &mut third] {
            peer.closed().await;
        }
        proxy.idle().await;
        let calls = proxy.finish().await;
        assert_eq!(calls.len(), 3);
        for call in &calls {
            assert_eq!(call.end(), "shutdown Internal shutdown");
        }
        assert_eq!(calls[0].received, b"hi");
        assert_eq!(calls[2].closed[0].sent_bytes, 4);
    }
}
