//! HTTP/1.1 by hand, as little of it as a load generator needs: what is measured should spend the time, not
//! what measures. Keeps the boundaries of chunks, which is how a merged write is seen.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The facts of a head.
#[derive(Debug, Clone, Copy, Default)]
pub struct Head {
    /// Bytes up to and with the blank line.
    pub length: usize,
    pub content_length: Option<usize>,
    pub chunked: bool,
}

/// A head, once its blank line is there.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut head = Head { length: end + 4, ..Head::default() };
    for line in bytes[..end].split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            head.content_length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            head.chunked = value.eq_ignore_ascii_case(b"chunked");
        }
    }
    Some(head)
}

/// A connection that makes one call after another.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of `buffer` that are used up.
    used: usize,
}

fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Connection {
    pub fn open(port: u16) -> io::Result<Self> {
        let stream =
            TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream, buffer: vec![0; 64 << 10], filled: 0, used: 0 })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.used > 0 {
            self.buffer.copy_within(self.used..self.filled, 0);
            self.filled -= self.used;
            self.used = 0;
        }
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.filled, 0);
        }
        match self.stream.read(&mut self.buffer[self.filled..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.filled += length;
                Ok(())
            }
        }
    }

    fn waiting(&self) -> &[u8] {
        &self.buffer[self.used..self.filled]
    }

    /// The response's status and head.
    pub fn answer(&mut self) -> io::Result<(u16, Head)> {
        loop {
            if let Some(head) = head(self.waiting()) {
                let status = self.waiting().get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
                let status = status.and_then(|digits| digits.parse().ok());
                self.used += head.length;
                return Ok((status.ok_or_else(|| broken("expected a status"))?, head));
            }
            self.fill()?;
        }
    }

    /// A body of known length.
    pub fn exactly(&mut self, length: usize) -> io::Result<&[u8]> {
        while self.filled - self.used < length {
            self.fill()?;
        }
        let from = self.used;
        self.used += length;
        Ok(&self.buffer[from..from + length])
    }

    /// The next chunk; empty at the end.
    pub fn chunk(&mut self) -> io::Result<&[u8]> {
        let (line, length) = loop {
            let waiting = self.waiting();
            if let Some(end) = waiting.windows(2).position(|window| window == b"\r\n") {
                let digits = std::str::from_utf8(&waiting[..end]).ok();
                let length = digits.and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
                break (end + 2, length.ok_or_else(|| broken("expected a chunk's length"))?);
            }
            self.fill()?;
        };
        let whole = self.exactly(line + length + 2)?;
        Ok(&whole[line..line + length])
    }

    /// The whole body, however it is framed.
    pub fn body(&mut self, head: Head, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        if !head.chunked {
            let length = head.content_length.ok_or_else(|| broken("expected a length"))?;
            out.extend_from_slice(self.exactly(length)?);
            return Ok(());
        }
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(());
            }
            out.extend_from_slice(chunk);
        }
    }

    pub fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        self.send(
            format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n\r\n").as_bytes(),
        )?;
        let (status, head) = self.answer()?;
        let mut body = Vec::new();
        self.body(head, &mut body)?;
        Ok((status, body))
    }
}
