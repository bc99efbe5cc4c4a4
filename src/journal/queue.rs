//! What waits to be written: bytes in blocks, the acknowledgements behind them, and what was dropped.
//! Plain data under one lock that producers hold for a copy of a few hundred bytes.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, IoSlice, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    ack::Slot,
    frame::{Frame, Frames},
};
use crate::model::CallId;

/// A block is closed before it outgrows this; also what makes the writer start before its tick.
pub(super) const BLOCK: u64 = 256 << 10;
/// Payloads from this length on are kept as they came instead of being copied under the lock. Not less: a
/// short slice may keep a much longer buffer alive while the disk is broken.
const LONG: usize = 64 << 10;

/// Whole frames that go to one segment in one write.
#[derive(Debug, Default)]
pub(super) struct Block {
    buffer: Vec<u8>,
    /// Long payloads, and where in `buffer` each belongs.
    long: Vec<(usize, Bytes)>,
    pub(super) length: u64,
    /// Records that end in it, and calls that begin in it.
    pub(super) records: u64,
    pub(super) calls: u64,
}

impl Block {
    fn push(&mut self, frame: Frame) {
        self.length += frame.length();
        self.buffer.extend_from_slice(frame.head());
        if frame.payload.len() < LONG {
            self.buffer.extend_from_slice(&frame.payload);
        } else {
            self.long.push((self.buffer.len(), frame.payload));
        }
    }

    pub(super) fn write(&self, file: &mut impl Write) -> io::Result<()> {
        if self.long.is_empty() {
            return file.write_all(&self.buffer);
        }
        let mut slices = Vec::with_capacity(2 * self.long.len() + 1);
        let mut from = 0;
        for (at, payload) in &self.long {
            slices.push(IoSlice::new(&self.buffer[from..*at]));
            slices.push(IoSlice::new(payload));
            from = *at;
        }
        slices.push(IoSlice::new(&self.buffer[from..]));
        let mut slices = slices.as_mut_slice();
        // Also drops leading empty slices, which would look like a write of nothing.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Empties it for another use; a buffer that one long frame blew up is not kept.
    fn recycle(mut self) -> Option<Self> {
        self.buffer.clear();
        let fits = self.buffer.capacity() as u64 <= 2 * BLOCK;
        fits.then(|| Self { buffer: self.buffer, ..Self::default() })
    }
}

/// What the writer thread is doing, so that producers wake it only when that changes anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Writer {
    /// It will look at the queue before it waits.
    #[default]
    Busy,
    /// It waits for the next tick.
    Ticking,
    /// It waits for anything at all.
    Parked,
    /// It waits for an appender to put the pen down.
    ForPen,
    /// It waits for the disk to recover; nothing here helps.
    Failing,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) blocks: VecDeque<Block>,
    /// Waiting bytes, those that are being written included.
    pub(super) bytes: u64,
    /// Where the next record goes.
    pub(super) end: u64,
    pub(super) acks: Vec<Arc<Slot>>,
    /// Somebody waits for what is in the queue.
    pub(super) urgent: bool,
    /// The segment being written should be closed, so that it can be released.
    pub(super) seal: bool,
    pub(super) closing: bool,
    pub(super) writer: Writer,
    /// Somebody holds the pen and will look at the queue before putting it down.
    pub(super) held: bool,
    /// So many bytes, until then, an appender may write itself.
    pub(super) ease: (u64, Instant),
    /// Since when something is written but not synced.
    pub(super) dirty: Option<Instant>,
    /// Set while the disk does not work: when to try again, and the pause after that.
    pub(super) retry: Option<(Instant, Duration)>,
    /// Records and calls that were taken; of them those that wait, those being written included.
    pub(super) records: u64,
    pub(super) queued_records: u64,
    pub(super) calls: u64,
    pub(super) queued_calls: u64,
    pub(super) dropped_records: u64,
    pub(super) dropped_bytes: u64,
    pub(super) dropped_calls: u64,
    /// The length of a record that found no room, until there is room for it.
    pub(super) no_room_for: Option<u64>,
    /// Calls whose `Opened` was dropped: nothing of them is kept.
    pub(super) orphans: HashSet<CallId>,
    pub(super) spare: Option<Block>,
}

impl Queue {
    /// An empty one at the end of what is there.
    pub(super) fn new(end: u64) -> Self {
        Self {
            blocks: VecDeque::new(),
            bytes: 0,
            end,
            acks: Vec::new(),
            urgent: false,
            seal: false,
            closing: false,
            writer: Writer::default(),
            held: false,
            ease: (0, Instant::now()),
            dirty: None,
            retry: None,
            records: 0,
            queued_records: 0,
            calls: 0,
            queued_calls: 0,
            dropped_records: 0,
            dropped_bytes: 0,
            dropped_calls: 0,
            no_room_for: None,
            orphans: HashSet::new(),
            spare: None,
        }
    }

    /// `opens`: a call begins with it.
    pub(super) fn push(&mut self, frames: Frames, block_limit: u64, opens: bool) {
        let calls = u64::from(opens);
        for frame in std::iter::once(frames.first).chain(frames.rest) {
            let length = frame.length();
            self.bytes += length;
            self.end += length;
            let block = match self.blocks.back_mut() {
                Some(last) if last.length + length <= block_limit => last,
                _ => {
                    self.blocks.push_back(self.spare.take().unwrap_or_default());
                    let Some(last) = self.blocks.back_mut() else { continue };
                    last
                }
            };
            block.push(frame);
        }
        if let Some(last) = self.blocks.back_mut() {
            last.records += 1;
            last.calls += calls;
        }
        self.records += 1;
        self.queued_records += 1;
        self.calls += calls;
        self.queued_calls += calls;
    }

    pub(super) fn count_dropped(&mut self, length: u64, opens: bool) {
        self.dropped_records += 1;
        self.dropped_bytes += length;
        self.dropped_calls += u64::from(opens);
    }

    /// A block that was taken and cannot be written: what is in it counts as dropped after all.
    pub(super) fn give_up(&mut self, block: &Block) {
        self.dropped_records += block.records;
        self.dropped_bytes += block.length;
        self.dropped_calls += block.calls;
        self.records = self.records.saturating_sub(block.records);
        self.calls = self.calls.saturating_sub(block.calls);
        self.end = self.end.saturating_sub(block.length);
        self.leave(block);
    }

    /// A block is written; its bytes no longer wait. Keeps it for reuse or gives it back.
    pub(super) fn settle(&mut self, block: Block) -> Option<Block> {
        self.leave(&block);
        if self.spare.is_some() {
            return Some(block);
        }
        self.spare = block.recycle();
        None
    }

    fn leave(&mut self, block: &Block) {
        self.bytes = self.bytes.saturating_sub(block.length);
        self.queued_records = self.queued_records.saturating_sub(block.records);
        self.queued_calls = self.queued_calls.saturating_sub(block.calls);
    }

    /// The pen is free again; whether the writer has to be woken for what is left to do.
    pub(super) fn put_down(&mut self, ease: (u64, Instant)) -> bool {
        self.held = false;
        self.ease = ease;
        match self.writer {
            Writer::ForPen => {
                self.writer = Writer::Busy;
                true
            }
            // Of what is to be synced it does not know yet.
            Writer::Parked
                if self.blocks.is_empty()
                    && self.dirty.is_none()
                    && !(self.urgent || self.seal || self.closing) =>
            {
                false
            }
            _ => self.wake(),
        }
    }

    /// Whether an appender that waits for its record may write what is queued itself, now.
    pub(super) fn is_easy(&self, now: Instant) -> bool {
        let (room, until) = self.ease;
        !self.held && !self.seal && !self.closing && self.retry.is_none() && self.bytes <= room && now < until
    }

    /// Whether the writer has to be woken for what was just pushed.
    pub(super) fn wake(&mut self) -> bool {
        if self.held {
            return false;
        }
        let wake = match self.writer {
            Writer::Parked => true,
            Writer::Ticking => self.urgent || self.seal || self.closing || self.bytes >= BLOCK,
            Writer::Busy | Writer::ForPen => false,
            Writer::Failing => self.closing,
        };
        if wake {
            self.writer = Writer::Busy;
        }
        wake
    }
}
