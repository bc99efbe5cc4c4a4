//! WebSocket: the handshake passes, then bytes both ways; one tunnel is one call.

use crate::harness::{Peer, Proxy, Upstream};

const HANDSHAKE: &str = "GET /v1/realtime?model=m HTTP/1.1\r\nHost: tap\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\
                         Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.canary\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: x\r\n\r\n";

async fn open(upstream: &Upstream, proxy: &Proxy) -> (Peer, Peer) {
    let mut client = Peer::send(proxy.address, HANDSHAKE).await;
    let mut server = upstream.accept().await;
    assert_eq!(server.read_head().await, HANDSHAKE.replace("tap", &upstream.address.to_string()));
    server.write(SWITCHED).await;
    assert_eq!(client.read_head().await, SWITCHED);
    (client, server)
}

#[tokio::test]
async fn a_websocket_is_tunnelled_and_is_one_call() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let (mut client, mut server) = open(&upstream, &proxy).await;
    for n in 0..20u8 {
        let frame = [0x82, 2, n, 0xff];
        client.write(frame).await;
        assert_eq!(server.read_exact(4).await, frame);
        server.write([frame, frame].concat()).await;
        assert_eq!(client.read_exact(8).await, [frame, frame].concat());
    }
    drop(client);
    server.closed().await;
    drop(server);
    proxy.idle().await;
    let disk = proxy.disk();
    assert!(!disk.windows(6).any(|window| window == b"canary"), "inv7");
    let call = proxy.finish_one().await;
    assert_eq!((call.end().as_str(), call.status()), ("completed", Some(101)));
    assert_eq!((call.closed[0].sent_bytes, call.closed[0].received_bytes), (80, 160));
    let frames =
        |times: usize| -> Vec<u8> { (0..20u8).flat_map(|n| [0x82, 2, n, 0xff].repeat(times)).collect() };
    assert_eq!((call.sent.to_vec(), call.received.to_vec()), (frames(1), frames(2)), "inv8");
}

#[tokio::test]
async fn a_refused_handshake_is_an_ordinary_response() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let mut client = Peer::send(proxy.address, HANDSHAKE).await;
    let mut server = upstream.accept().await;
    server.read_head().await;
    server.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await;
    assert_eq!(client.read_message().await.1, b"no");
    assert_eq!(proxy.finish_one().await.end(), "completed");
}

#[tokio::test]
async fn a_tunnel_that_breaks_says_which_side() {
    for by_client in [true, false] {
        let upstream = Upstream::start().await;
        let proxy = Proxy::to(&upstream).await;
        let (mut client, mut server) = open(&upstream, &proxy).await;
        // A reset with unread bytes on both sides, so that neither end is orderly.
        if by_client {
            client.reset();
            server.rest().await;
        } else {
            server.reset();
            client.rest().await;
        }
        proxy.idle().await;
        let end = proxy.finish_one().await.end();
        let expected = if by_client {
            "client_gone Client client_disconnect"
        } else {
            "upstream_failed Upstream connection_reset"
        };
        assert_eq!(end, expected);
    }
}

#[tokio::test]
async fn other_upgrades_are_not_passed_on() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::to(&upstream).await;
    let request = "GET /v1/x HTTP/1.1\r\nHost: tap\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABk\r\n\r\n";
    let mut client = Peer::send(proxy.address, request).await;
    let mut server = upstream.accept().await;
    assert_eq!(server.read_head().await, format!("GET /v1/x HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.address));
    server.write(SWITCHED).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(proxy.finish_one().await.end(), "upstream_failed Upstream bad_response");
}
