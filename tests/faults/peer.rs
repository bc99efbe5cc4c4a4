//! One end of a connection, blocking and raw: every byte that is written or read is the harness's own. It
//! reads HTTP/1.1 messages only as far as their framing goes and judges nothing.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Turns a hang into a failure; no case's outcome depends on its length.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// More than the sockets' buffers may hold: written by a thread of its own, or both ends wait for each other.
const BACKGROUND: usize = 32 << 10;

#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    /// Read and not yet taken.
    buffer: Vec<u8>,
    ended: bool,
    writing: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

/// A message as it came, cut where its framing says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// With its blank line.
    pub(crate) head: Vec<u8>,
    /// Without chunk framing.
    pub(crate) body: Vec<u8>,
    /// What stood between the last chunk and the final blank line.
    pub(crate) trailers: Vec<u8>,
    /// The framing's own end came.
    pub(crate) whole: bool,
}

impl Message {
    pub(crate) fn line(&self) -> String {
        let end = find(&self.head, b"\r\n").unwrap_or(self.head.len());
        text(&self.head[..end])
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.line().split(' ').nth(1)?.parse().ok()
    }

    /// Every value of a header, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let head = text(&self.head);
        head.split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }
}

/// Any byte as one character.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The beginning of something long, for a person.
pub(crate) fn short(bytes: &[u8]) -> String {
    let start: Vec<u8> = bytes.iter().take(400).copied().collect();
    let more = if bytes.len() > start.len() { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{more}", start.escape_ascii())
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Result<Self, String> {
        let set = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_nodelay(true))
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        set.map_err(|error| format!("a socket cannot be set up: {error}"))?;
        Ok(Self { stream, buffer: Vec::new(), ended: false, writing: None })
    }

    pub(crate) fn connect(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE);
        Self::new(stream.map_err(|error| format!("cannot connect to {address}: {error}"))?)
    }

    /// Writes; what is large is written beside, and may fail unseen when the other side has enough.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.try_write(bytes).map_err(|error| format!("cannot write {}: {error}", short(bytes)))
    }

    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.written();
        if bytes.len() <= BACKGROUND {
            return self.stream.write_all(bytes);
        }
        let mut stream = self.stream.try_clone()?;
        let bytes = bytes.to_vec();
        self.writing = Some(std::thread::spawn(move || stream.write_all(&bytes)));
        Ok(())
    }

    /// Waits for what is written beside.
    pub(crate) fn written(&mut self) {
        if let Some(writing) = self.writing.take() {
            drop(writing.join());
        }
    }

    /// One more read; false at the end, however it came.
    fn fill(&mut self) -> Result<bool, String> {
        let mut piece = vec![0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(read) => self.buffer.extend_from_slice(&piece[..read]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {
                return Err(format!("nothing came for {PATIENCE:?}; until then {}", short(&self.buffer)));
            }
            Err(_) => self.ended = true,
        }
        Ok(!self.ended)
    }

    /// Up to and with `end`; `None` when the connection ended before.
    fn until(&mut self, end: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut from = 0usize;
        loop {
            if let Some(at) = find(&self.buffer[from..], end) {
                return Ok(Some(self.buffer.drain(..from + at + end.len()).collect()));
            }
            from = self.buffer.len().saturating_sub(end.len());
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Up to `length` bytes; fewer when the connection ended before.
    pub(crate) fn take(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.buffer.len() < length {
            if !self.fill()? {
                break;
            }
        }
        let length = length.min(self.buffer.len());
        Ok(self.buffer.drain(..length).collect())
    }

    /// A head; `None` when nothing came before the end.
    pub(crate) fn head(&mut self) -> Result<Option<Message>, String> {
        match self.until(b"\r\n\r\n")? {
            Some(head) => Ok(Some(Message { head, whole: true, ..Message::default() })),
            None if self.buffer.is_empty() => Ok(None),
            None => Err(format!("the connection ended inside a head: {}", short(&self.rest()?))),
        }
    }

    /// Reads an interim answer away, if one comes first.
    pub(crate) fn skip_continue(&mut self) -> Result<(), String> {
        let interim = b"HTTP/1.1 100 ";
        while self.buffer.len() < interim.len() {
            if !self.fill()? {
                return Ok(());
            }
        }
        if self.buffer.starts_with(interim) {
            self.head()?;
        }
        Ok(())
    }

    /// A head and its body. `bodiless`: an answer to HEAD.
    pub(crate) fn message(&mut self, request: bool, bodiless: bool) -> Result<Option<Message>, String> {
        let Some(mut message) = self.head()? else { return Ok(None) };
        self.body(&mut message, request, bodiless)?;
        Ok(Some(message))
    }

    pub(crate) fn body(
        &mut self,
        message: &mut Message,
        request: bool,
        bodiless: bool,
    ) -> Result<(), String> {
        let status = if request { None } else { message.status() };
        if bodiless || matches!(status, Some(100..=199 | 204 | 304)) {
            return Ok(());
        }
        if message
            .values("transfer-encoding")
            .iter()
            .any(|value| value.to_ascii_lowercase().ends_with("chunked"))
        {
            return self.chunks(message);
        }
        match message.values("content-length").first().map(|value| value.parse::<usize>()) {
            Some(Ok(length)) => {
                message.body = self.take(length)?;
                message.whole = message.body.len() == length;
            }
            Some(Err(_)) => return Err(format!("an unreadable length: {}", short(&message.head))),
            None if request => {}
            None => message.body = self.rest()?,
        }
        Ok(())
    }

    fn chunks(&mut self, message: &mut Message) -> Result<(), String> {
        message.whole = false;
        loop {
            let Some(line) = self.until(b"\r\n")? else { return Ok(()) };
            let line = text(&line);
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .map_err(|_| format!("expected a chunk's size, found {line:?}"))?;
            if size == 0 {
                break;
            }
            let data = self.take(size)?;
            let cut = data.len() < size;
            message.body.extend(data);
            if cut || self.take(2)? != b"\r\n" {
                return Ok(());
            }
        }
        loop {
            let Some(line) = self.until(b"\r\n")? else { return Ok(()) };
            if line == b"\r\n" {
                message.whole = true;
                return Ok(());
            }
            message.trailers.extend(line);
        }
    }

    /// What still comes until the connection ends, however it ends.
    pub(crate) fn rest(&mut self) -> Result<Vec<u8>, String> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Ends the writing side only.
    pub(crate) fn half_close(&mut self) {
        self.written();
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Closes with a reset instead of an orderly end. Only tokio's sockets can ask for one.
    pub(crate) fn reset(self) -> Result<(), String> {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_io().build().unwrap()
        });
        let _inside = runtime.enter();
        let failed = |error: std::io::Error| format!("a reset cannot be made: {error}");
        self.stream.set_nonblocking(true).map_err(failed)?;
        let stream = tokio::net::TcpStream::from_std(self.stream).map_err(failed)?;
        stream.set_zero_linger().map_err(failed)
    }
}

/// Polls until `found` gives something or patience is over.
pub(crate) fn eventually<T>(
    what: &str,
    mut found: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let began = Instant::now();
    loop {
        if let Some(found) = found()? {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{what}: did not happen within {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
