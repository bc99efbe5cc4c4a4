//! One end of a connection, in the test's own hands: every byte that is written or read is the test's.

use std::{future::Future, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Awaits what must happen. The limit only turns a hang into a failure; no test depends on its length.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen"),
    }
}

#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    /// Read and not yet taken.
    buffer: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(within("connect", TcpStream::connect(address)).await.unwrap())
    }

    /// Connects and sends.
    pub(crate) async fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut peer = Self::connect(address).await;
        peer.write(bytes).await;
        peer
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within("write", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Writes what the other side may refuse to take.
    pub(crate) async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        within("write", self.stream.write_all(bytes.as_ref())).await
    }

    /// One chunk of a chunked body.
    pub(crate) async fn write_chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(chunk).await;
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Everything up to and with `end`.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        within("read", async {
            loop {
                if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                    return self.buffer.drain(..at + end.len()).collect();
                }
                let read = self.fill().await.unwrap();
                let so_far = String::from_utf8_lossy(&self.buffer);
                assert!(
                    read > 0,
                    "the connection ended before {:?}: {so_far:?}",
                    String::from_utf8_lossy(end)
                );
            }
        })
        .await
    }

    /// A head with its blank line.
    pub(crate) async fn read_head(&mut self) -> String {
        let head = self.read_until(b"\r\n\r\n").await;
        // Byte for byte: one char each.
        head.iter().map(|byte| char::from(*byte)).collect()
    }

    pub(crate) async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        within("read", async {
            while self.buffer.len() < length {
                let read = self.fill().await.unwrap();
                assert!(read > 0, "the connection ended after {} of {length} bytes", self.buffer.len());
            }
            self.buffer.drain(..length).collect()
        })
        .await
    }

    /// One chunk's data; empty for the last (whose trailers stay unread).
    pub(crate) async fn read_chunk(&mut self) -> Vec<u8> {
        let line = self.read_until(b"\r\n").await;
        let size = usize::from_str_radix(String::from_utf8(line).unwrap().trim(), 16).unwrap();
        let data = self.read_exact(size).await;
        if size > 0 {
            assert_eq!(self.read_exact(2).await, b"\r\n");
        }
        data
    }

    /// A whole chunked body without trailers.
    pub(crate) async fn read_chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.read_chunk().await;
            if chunk.is_empty() {
                assert_eq!(self.read_exact(2).await, b"\r\n");
                return body;
            }
            body.extend(chunk);
        }
    }

    /// A head and a body of the length that it states.
    pub(crate) async fn read_message(&mut self) -> (String, Vec<u8>) {
        let head = self.read_head().await;
        let length = head
            .to_ascii_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        let body = self.read_exact(length).await;
        (head, body)
    }

    /// What still comes until the connection ends, however it ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        within("the end of the connection", async { while self.fill().await.is_ok_and(|read| read > 0) {} })
            .await;
        std::mem::take(&mut self.buffer)
    }

    /// Waits until the other side closes or resets; nothing more may come before.
    pub(crate) async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "expected the end, found {:?}", String::from_utf8_lossy(&rest));
    }

    /// Closes with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Both directions at once.
    pub(crate) fn split(self) -> (tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf) {
        assert!(self.buffer.is_empty());
        self.stream.into_split()
    }
}

/// An endpoint that does what the test does.
#[derive(Debug)]
pub(crate) struct Upstream {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) async fn accept(&self) -> Peer {
        Peer::new(within("a connection to the upstream", self.listener.accept()).await.unwrap().0)
    }
}
