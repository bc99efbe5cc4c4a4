//! Frame after frame out of one segment file; behind a damaged one it finds the next.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

use super::frame::{self, HEAD};

/// Bytes read at a time; a longer frame is read whole.
const CHUNK: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Scan {
    file: File,
    mark: u32,
    /// Where in the file `window` begins, how much of it is behind us, and where to stop reading.
    base: u64,
    window: Vec<u8>,
    at: usize,
    limit: u64,
    /// Damaged stretches passed, and whether we are in one.
    damaged: u64,
    lost: bool,
}

impl Scan {
    pub(super) fn new(file: File, mark: u32, from: u64) -> Self {
        Self { file, mark, base: from, window: Vec::new(), at: 0, limit: from, damaged: 0, lost: false }
    }

    /// Where to stop: a frame that ends behind it is not there yet.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// The offset in the file of what comes next.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Damaged stretches since the last time this was asked.
    pub(super) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    pub(super) fn bytes(&self, frame: Range<usize>) -> &[u8] {
        self.window.get(frame).unwrap_or_default()
    }

    /// The next intact frame, as a range of `bytes` that is valid until the next call; `None` at the limit.
    pub(super) fn next(&mut self) -> io::Result<Option<Range<usize>>> {
        loop {
            let head = self.ahead(HEAD)?;
            if head == 0 {
                self.found();
                return Ok(None);
            }
            let length = frame::announced(self.mark, self.window.get(self.at..).unwrap_or_default())
                .filter(|length| *length as u64 <= self.limit.saturating_sub(self.offset()));
            if let Some(length) = length
                && self.ahead(length)? == length
                && frame::intact(self.bytes(self.at..self.at + length))
            {
                self.found();
                let frame = self.at..self.at + length;
                self.at = frame.end;
                return Ok(Some(frame));
            }
            self.lost = true;
            self.skip();
        }
    }

    fn found(&mut self) {
        self.damaged += u64::from(std::mem::take(&mut self.lost));
    }

    /// Moves to the next place where the mark stands, or as far as can be told from what is loaded.
    fn skip(&mut self) {
        self.at += 1;
        let rest = self.window.get(self.at..).unwrap_or_default();
        self.at += match memchr::memmem::find(rest, &self.mark.to_le_bytes()) {
            Some(distance) => distance,
            // The last three bytes may be the beginning of a mark.
            None => rest.len().saturating_sub(3),
        };
    }

    /// Loads `wanted` bytes from here on; returns how many there are, at most `wanted`.
    fn ahead(&mut self, wanted: usize) -> io::Result<usize> {
        let loaded = self.window.len() - self.at;
        if loaded >= wanted {
            return Ok(wanted);
        }
        self.base += self.at as u64;
        self.window.drain(..self.at);
        self.at = 0;
        if self.window.capacity() > 4 * CHUNK && wanted <= CHUNK {
            self.window.shrink_to(CHUNK);
        }
        let end = self.base + loaded as u64;
        let room = self.limit.saturating_sub(end);
        let more = (wanted.max(CHUNK) - loaded) as u64;
        self.file.seek(SeekFrom::Start(end))?;
        self.file.by_ref().take(room.min(more)).read_to_end(&mut self.window)?;
        Ok(self.window.len().min(wanted))
    }
}
