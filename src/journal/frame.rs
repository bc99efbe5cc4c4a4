//! Records as bytes: one frame per record, several for a body too long for one. No IO here.
//!
//! Layout, integers little-endian: mark u32, length u32, crc32 u32, then `length` bytes: kind u8, call id
//! 16 bytes, payload. The checksum covers the length and all that follows it. The mark is a random number
//! that one process chooses and that its segments' headers name: it finds the next frame behind a damaged
//! one, and bytes that a client sent cannot pass for a frame because the client cannot know it.

use bytes::Bytes;

use super::codec;
use crate::model::{CallId, UnixNanos, record::Record};

/// Mark, length, checksum.
pub(super) const HEAD: usize = 12;
/// Kind and call id: the least that `length` can be.
const BODY_MIN: usize = 17;
/// The most that `length` can be; a reader believes no more.
const BODY_MAX: usize = 16 << 20;
/// Bytes of a body in one frame: room for kind, call id and time beside it.
pub(super) const PIECE: usize = BODY_MAX - 64;

/// A frame that was erased: its call is not told, and its payload is zeros.
const ERASED: u8 = 0;
const SENT: u8 = 2;
const RECEIVED: u8 = 4;
const RESTARTED: u8 = 6;
const OPENED: u8 = 7;
const ANSWERED: u8 = 8;
const CLOSED: u8 = 9;
/// What the first tapline wrote, and a journal may still hold: these as JSON.
const OPENED_JSON: u8 = 1;
const ANSWERED_JSON: u8 = 3;
const CLOSED_JSON: u8 = 5;

/// A frame in two parts, so that a long payload is never copied.
#[derive(Debug)]
pub(super) struct Frame {
    head: [u8; HEAD + BODY_MIN + 8],
    head_length: usize,
    pub(super) payload: Bytes,
}

impl Frame {
    fn new(mark: u32, kind: u8, call: CallId, at: Option<UnixNanos>, payload: Bytes) -> Self {
        let mut head = [0; HEAD + BODY_MIN + 8];
        head[HEAD] = kind;
        head[HEAD + 1..HEAD + BODY_MIN].copy_from_slice(&call.0);
        let mut head_length = HEAD + BODY_MIN;
        if let Some(at) = at {
            head[head_length..].copy_from_slice(&at.0.to_le_bytes());
            head_length += 8;
        }
        // At most BODY_MAX, which fits: `Frames::of` splits or refuses what is longer.
        let length = (head_length - HEAD + payload.len()) as u32;
        head[..4].copy_from_slice(&mark.to_le_bytes());
        head[4..8].copy_from_slice(&length.to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&head[4..8]);
        checksum.update(&head[HEAD..head_length]);
        checksum.update(&payload);
        head[8..HEAD].copy_from_slice(&checksum.finalize().to_le_bytes());
        Self { head, head_length, payload }
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head[..self.head_length]
    }

    pub(super) fn length(&self) -> u64 {
        (self.head_length + self.payload.len()) as u64
    }
}

/// The frames of one record; nearly always one.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) first: Frame,
    pub(super) rest: Vec<Frame>,
}

impl Frames {
    /// `None` when the facts of a record alone are longer than a frame (no HTTP head is).
    pub(super) fn of(mark: u32, record: Record) -> Option<Self> {
        let one = |kind, call, facts: Vec<u8>| {
            (facts.len() <= PIECE).then(|| Frame::new(mark, kind, call, None, facts.into()))
        };
        let first = match record {
            Record::Sent { call, bytes } => return Some(Self::split(mark, SENT, call, None, bytes)),
            Record::Received { call, at, bytes } => {
                return Some(Self::split(mark, RECEIVED, call, Some(at), bytes));
            }
            Record::Opened(opened) => one(OPENED, opened.call, codec::opened(&opened))?,
            Record::Answered(answered) => one(ANSWERED, answered.call, codec::answered(&answered))?,
            Record::Closed(closed) => one(CLOSED, closed.call, codec::closed(&closed))?,
            Record::Restarted { at } => Frame::new(mark, RESTARTED, CallId([0; 16]), Some(at), Bytes::new()),
        };
        Some(Self { first, rest: Vec::new() })
    }

    fn split(mark: u32, kind: u8, call: CallId, at: Option<UnixNanos>, mut bytes: Bytes) -> Self {
        let first = Frame::new(mark, kind, call, at, bytes.split_to(bytes.len().min(PIECE)));
        let mut rest = Vec::new();
        while !bytes.is_empty() {
            rest.push(Frame::new(mark, kind, call, at, bytes.split_to(bytes.len().min(PIECE))));
        }
        Self { first, rest }
    }

    pub(super) fn length(&self) -> u64 {
        self.first.length() + self.rest.iter().map(Frame::length).sum::<u64>()
    }
}

/// The length of the whole frame that `head` (at least `HEAD` bytes) announces, when it can be one.
pub(super) fn announced(mark: u32, head: &[u8]) -> Option<usize> {
    let body = u32_at(head, 4)? as usize;
    (u32_at(head, 0)? == mark && (BODY_MIN..=BODY_MAX).contains(&body)).then_some(HEAD + body)
}

/// Whether `frame`, as long as its head announces, is what was written.
pub(super) fn intact(frame: &[u8]) -> bool {
    let (Some(length), Some(body)) = (frame.get(4..8), frame.get(HEAD..)) else { return false };
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(length);
    checksum.update(body);
    u32_at(frame, 8) == Some(checksum.finalize())
}

/// The record in an intact frame; `None` when it is of no known kind or form.
pub(super) fn record(frame: &[u8]) -> Option<Record> {
    let kind = *frame.get(HEAD)?;
    let call = CallId(frame.get(HEAD + 1..HEAD + BODY_MIN)?.try_into().ok()?);
    let payload = frame.get(HEAD + BODY_MIN..)?;
    // A copy each: a short record must not keep the reader's whole window alive.
    Some(match kind {
        OPENED => Record::Opened(Box::new(codec::read_opened(call, payload)?)),
        OPENED_JSON => Record::Opened(Box::new(serde_json::from_slice(payload).ok()?)),
        SENT => Record::Sent { call, bytes: Bytes::copy_from_slice(payload) },
        ANSWERED => Record::Answered(Box::new(codec::read_answered(call, payload)?)),
        ANSWERED_JSON => Record::Answered(Box::new(serde_json::from_slice(payload).ok()?)),
        RECEIVED => {
            let (at, bytes) = payload.split_first_chunk()?;
            let at = UnixNanos(i64::from_le_bytes(*at));
            Record::Received { call, at, bytes: Bytes::copy_from_slice(bytes) }
        }
        CLOSED => Record::Closed(Box::new(codec::read_closed(call, payload)?)),
        CLOSED_JSON => Record::Closed(Box::new(serde_json::from_slice(payload).ok()?)),
        RESTARTED => Record::Restarted { at: UnixNanos(i64::from_le_bytes(payload.try_into().ok()?)) },
        _ => return None,
    })
}

/// The call that an intact frame belongs to; `None` for one that was erased.
pub(super) fn call(frame: &[u8]) -> Option<CallId> {
    let call = CallId(frame.get(HEAD + 1..HEAD + BODY_MIN)?.try_into().ok()?);
    (!is_erased(frame)).then_some(call)
}

pub(super) fn is_erased(frame: &[u8]) -> bool {
    frame.get(HEAD) == Some(&ERASED)
}

/// What stands in an intact frame's place when it is erased: as long, and intact.
pub(super) fn erased(frame: &[u8]) -> Vec<u8> {
    let mut blank = frame.get(..8).unwrap_or_default().to_vec();
    blank.resize(frame.len(), 0);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(blank.get(4..8).unwrap_or_default());
    checksum.update(blank.get(HEAD..).unwrap_or_default());
    let checksum = checksum.finalize().to_le_bytes();
    if let Some(place) = blank.get_mut(8..HEAD) {
        place.copy_from_slice(&checksum);
    }
    blank
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
