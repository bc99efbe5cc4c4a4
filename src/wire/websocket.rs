//! WebSocket frames (RFC 6455) of one direction, with `permessage-deflate` (RFC 7692) where it was agreed on,
//! from bytes cut anywhere. Gives whole messages; control frames and what breaks the rules are passed over.
//! Memory stays at the limit of one message.

use flate2::{Decompress, FlushDecompress, Status};

use crate::model::record::Header;

/// The tail that a sender leaves off every compressed message.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Who sends the frames that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

#[derive(Debug)]
pub(super) struct Frames {
    /// A head that has not come whole.
    head: Vec<u8>,
    frame: Option<Frame>,
    /// The message so far, unmasked and, at its end, inflated.
    message: Vec<u8>,
    compressed: bool,
    inflate: Option<Inflate>,
    max_message: usize,
    /// The current message outgrew the limit.
    dropping: bool,
    dropped: u64,
    /// Something that is no frame came; nothing behind it can be read.
    broken: bool,
}

#[derive(Debug)]
struct Frame {
    opcode: u8,
    last: bool,
    left: u64,
    mask: Option<[u8; 4]>,
    /// Bytes of the payload so far: the mask's phase.
    at: usize,
}

#[derive(Debug)]
struct Inflate {
    stream: Decompress,
    /// The sender begins every message with an empty window.
    fresh: bool,
}

impl Frames {
    /// `headers` are those of the 101: what both sides agreed on.
    pub(super) fn new(side: Side, headers: &[Header], max_message: usize) -> Self {
        let agreed = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-extensions"))
            .find(|(_, value)| value.trim_start().starts_with("permessage-deflate"));
        let fresh = match side {
            Side::Client => "client_no_context_takeover",
            Side::Server => "server_no_context_takeover",
        };
        let inflate =
            agreed.map(|(_, value)| Inflate { stream: Decompress::new(false), fresh: value.contains(fresh) });
        Self {
            head: Vec::new(),
            frame: None,
            message: Vec::new(),
            compressed: false,
            inflate,
            max_message,
            dropping: false,
            dropped: 0,
            broken: false,
        }
    }

    /// What could not be read, as a sentence.
    pub(super) fn note(&self) -> Option<String> {
        if self.broken {
            return Some(
                "the session holds bytes that are no WebSocket frame; what follows was not read".to_owned(),
            );
        }
        (self.dropped > 0).then(|| {
            format!("{} messages were larger than {} bytes and were not read", self.dropped, self.max_message)
        })
    }

    /// Takes the next bytes and hands out every data message that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while !bytes.is_empty() && !self.broken {
            let Some(frame) = &mut self.frame else {
                let (head, rest) = bytes.split_at(1);
                self.head.extend_from_slice(head);
                bytes = rest;
                self.begin();
                self.end(each);
                continue;
            };
            let take = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at(take);
            bytes = rest;
            frame.left -= take as u64;
            let data = frame.opcode < 8;
            if data && !self.dropping {
                if self.message.len() + payload.len() > self.max_message {
                    self.dropping = true;
                    self.message = Vec::new();
                } else if let Some(mask) = frame.mask {
                    let at = frame.at;
                    self.message
                        .extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[(at + i) % 4]));
                } else {
                    self.message.extend_from_slice(payload);
                }
            }
            frame.at = (frame.at + take) % 4;
            self.end(each);
        }
    }

    /// Reads a head once all of it is there.
    fn begin(&mut self) {
        let [first, second, rest @ ..] = self.head.as_slice() else { return };
        let (extended, masked) = (
            match second & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            },
            second & 0x80 != 0,
        );
        if rest.len() < extended + if masked { 4 } else { 0 } {
            return;
        }
        let (length, rest) = rest.split_at(extended);
        let left = match extended {
            0 => u64::from(second & 0x7f),
            _ => length.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let mask = masked.then(|| [rest[0], rest[1], rest[2], rest[3]]);
        let (opcode, last) = (first & 0x0f, first & 0x80 != 0);
        if !matches!(opcode, 0..=2 | 8..=10) || left >> 63 != 0 || first & 0x30 != 0 {
            self.broken = true;
            return;
        }
        if matches!(opcode, 1 | 2) {
            self.message.clear();
            self.dropping = false;
            self.compressed = first & 0x40 != 0;
        }
        self.frame = Some(Frame { opcode, last, left, mask, at: 0 });
        self.head.clear();
    }

    /// Ends the frame, and its message, when nothing of it is left to come.
    fn end(&mut self, each: &mut impl FnMut(&[u8])) {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return };
        if frame.opcode >= 8 || !frame.last {
            return;
        }
        if std::mem::take(&mut self.dropping) {
            self.dropped += 1;
            // The window of what follows is lost with it.
            self.broken |= self.compressed && self.inflate.as_ref().is_some_and(|inflate| !inflate.fresh);
            return;
        }
        let message = std::mem::take(&mut self.message);
        if !self.compressed {
            each(&message);
        } else if let Some(inflated) = self.inflate(&message) {
            each(&inflated);
        }
    }

    /// `None` when the message cannot be inflated, or would be larger than the limit.
    fn inflate(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let Some(Inflate { stream, fresh }) = &mut self.inflate else {
            self.broken = true;
            return None;
        };
        let mut out = Vec::new();
        let mut piece = [0; 16 << 10];
        for mut input in [message, &TAIL] {
            loop {
                let (before_in, before_out) = (stream.total_in(), stream.total_out());
                let status = stream.decompress(input, &mut piece, FlushDecompress::Sync);
                let used = (stream.total_in() - before_in) as usize;
                let made = (stream.total_out() - before_out) as usize;
                if status.is_err() || out.len() + made > self.max_message {
                    self.dropped += 1;
                    self.broken = true;
                    return None;
                }
                out.extend_from_slice(&piece[..made]);
                input = &input[used..];
                let stuck = used == 0 && made == 0;
                if stuck
                    || (input.is_empty() && made < piece.len())
                    || matches!(status, Ok(Status::StreamEnd))
                {
                    break;
                }
            }
        }
        if *fresh {
            stream.reset(false);
        }
        Some(out)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    /// One frame: `first` is FIN, RSV1 and the opcode.
    pub(in crate::wire) fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            length @ 0..126 => out.push(masked | length as u8),
            length @ 126..65_536 => {
                out.push(masked | 126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                out.push(masked | 127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        let mask_bytes = mask.unwrap_or_default();
        out.extend(mask.into_iter().flatten());
        out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask_bytes[i % 4]));
        out
    }

    fn read(frames: &mut Frames, chunks: &[&[u8]]) -> Vec<String> {
        let mut all = Vec::new();
        for chunk in chunks {
            frames.push(chunk, &mut |message| all.push(String::from_utf8_lossy(message).into_owned()));
        }
        all
    }

    fn deflated(stream: &mut Compress, text: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() * 2 + 64);
        stream.compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - 4);
        out
    }

    #[test]
    fn messages_come_whole_however_they_are_fragmented() {
        let long = "x".repeat(70_000);
        let session = [
            frame(0x81, None, b"one"),
            frame(0x01, None, b"tw"),
            frame(0x89, None, b"ping in between"),
            frame(0x80, None, b"o"),
            frame(0x81, None, long.as_bytes()),
            frame(0x81, None, b""),
            frame(0x88, None, &1000u16.to_be_bytes()),
        ]
        .concat();
        for size in [1, 2, 7, 4096, session.len()] {
            let mut frames = Frames::new(Side::Server, &[], 1 << 20);
            let chunks: Vec<&[u8]> = session.chunks(size).collect();
            assert_eq!(read(&mut frames, &chunks), ["one", "two", &long, ""], "{size}");
            assert_eq!(frames.note(), None);
        }
    }

    #[test]
    fn a_clients_mask_is_undone() {
        let session = frame(0x81, Some([1, 2, 3, 4]), b"hello there");
        for at in 0..session.len() {
            let mut frames = Frames::new(Side::Client, &[], 1 << 20);
            let (head, tail) = session.split_at(at);
            assert_eq!(read(&mut frames, &[head, tail]), ["hello there"]);
        }
    }

    #[test]
    fn compressed_messages_share_a_window_unless_agreed_otherwise() {
        for (value, shared) in
            [("permessage-deflate", true), ("permessage-deflate; server_no_context_takeover", false)]
        {
            let header = ("Sec-WebSocket-Extensions".to_owned(), value.to_owned());
            let mut stream = Compress::new(Compression::default(), false);
            let mut session = Vec::new();
            for _ in 0..3 {
                session.extend(frame(0xc1, None, &deflated(&mut stream, "the same words again and again")));
                if !shared {
                    stream.reset();
                }
            }
            session.extend(frame(0x81, None, b"plain"));
            let mut frames = Frames::new(Side::Server, &[header], 1 << 20);
            let all = read(&mut frames, &session.chunks(5).collect::<Vec<_>>());
            assert_eq!(all.len(), 4, "{value}");
            assert_eq!(all[2], "the same words again and again");
        }
    }

    #[test]
    fn inv5_large_messages_and_bombs_are_passed_over() {
        let header = ("sec-websocket-extensions".to_owned(), "permessage-deflate".to_owned());
        let mut frames = Frames::new(Side::Server, &[header], 1 << 10);
        let session = [frame(0x81, None, &[b'x'; 2000]), frame(0x81, None, b"ok")].concat();
        assert_eq!(read(&mut frames, &[&session]), ["ok"]);
        let mut stream = Compress::new(Compression::best(), false);
        let bomb = frame(0xc1, None, &deflated(&mut stream, &"0".repeat(1 << 20)));
        assert!(read(&mut frames, &[&bomb]).is_empty());
        assert!(frames.note().is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, size in 1usize..9) {
            let mut frames = Frames::new(Side::Server, &[], 64);
            for chunk in bytes.chunks(size) {
                frames.push(chunk, &mut |_| {});
            }
            prop_assert!(frames.message.len() <= 64);
        }
    }
}
