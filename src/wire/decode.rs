//! Undoes `content-encoding` on the copy of a body, as its bytes come. Output is capped; what is broken
//! ends the decoding with a note, and what was decoded until then stays.

use std::{
    fmt,
    io::{self, Write},
};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Longest chain of encodings that is undone.
const MAX_CHAIN: usize = 4;

/// Largest window of a zstd stream, as a power of two: 8 MiB, RFC 9659's limit for `content-encoding`.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Bytes given to a decoder at a time, so that what one step can blow up to is bounded.
const STEP: usize = 4 << 10;

/// Where a decoder writes to: until the limit.
#[derive(Debug)]
struct Sink {
    out: Vec<u8>,
    left: usize,
}

impl Sink {
    fn new(max: usize) -> Self {
        Self { out: Vec::new(), left: max }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.left);
        if taken == 0 && !bytes.is_empty() {
            return Err(io::Error::other("limit reached"));
        }
        self.out.extend_from_slice(&bytes[..taken]);
        self.left -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One encoding.
enum Coder {
    Gzip(Box<MultiGzDecoder<Sink>>),
    /// `deflate` before its first two bytes told whether it is zlib (as the standard says) or raw.
    Deflate(Vec<u8>, Sink),
    Zlib(Box<ZlibDecoder<Sink>>),
    RawDeflate(Box<DeflateDecoder<Sink>>),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Sink>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Sink>>),
}

impl Coder {
    fn new(name: &str, max: usize) -> Option<Self> {
        let sink = Sink::new(max);
        Some(match name {
            "gzip" | "x-gzip" => Self::Gzip(Box::new(MultiGzDecoder::new(sink))),
            "deflate" => Self::Deflate(Vec::new(), sink),
            "br" => Self::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(sink, STEP))),
            "zstd" => {
                let mut raw = zstd::stream::raw::Decoder::new().ok()?;
                raw.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
                Self::Zstd(Box::new(zstd::stream::write::Decoder::with_decoder(sink, raw)))
            }
            _ => return None,
        })
    }

    fn sink(&mut self) -> &mut Sink {
        match self {
            Self::Gzip(coder) => coder.get_mut(),
            Self::Deflate(_, sink) => sink,
            Self::Zlib(coder) => coder.get_mut(),
            Self::RawDeflate(coder) => coder.get_mut(),
            Self::Brotli(coder) => coder.get_mut(),
            Self::Zstd(coder) => coder.get_mut(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writer: &mut dyn Write = match self {
            Self::Deflate(start, sink) => {
                start.extend_from_slice(bytes);
                let [first, second, ..] = start[..] else { return Ok(()) };
                let zlib =
                    first & 0x0f == 8 && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31);
                let (start, sink) = (std::mem::take(start), std::mem::replace(sink, Sink::new(0)));
                *self = if zlib {
                    Self::Zlib(Box::new(ZlibDecoder::new(sink)))
                } else {
                    Self::RawDeflate(Box::new(DeflateDecoder::new(sink)))
                };
                return self.write(&start);
            }
            Self::Gzip(coder) => coder,
            Self::Zlib(coder) => coder,
            Self::RawDeflate(coder) => coder,
            Self::Brotli(coder) => coder,
            Self::Zstd(coder) => coder,
        };
        let written = writer.write_all(bytes);
        // Also after a fault, so that what was decoded before it comes out.
        let flushed = writer.flush();
        written.and(flushed)
    }

    /// The input is over: an error when the encoding's own end has not come.
    fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(coder) => coder.try_finish(),
            Self::Deflate(start, _) if start.is_empty() => Ok(()),
            Self::Deflate(..) => Err(io::ErrorKind::UnexpectedEof.into()),
            Self::Zlib(coder) => coder.try_finish(),
            Self::RawDeflate(coder) => coder.try_finish(),
            Self::Brotli(coder) => coder.close(),
            Self::Zstd(coder) => coder.do_finish(),
        }
    }
}

/// Undoes the encodings of one body.
pub(super) struct Decoder {
    /// In the order in which they are undone.
    coders: Vec<Coder>,
    /// Bytes that may still be given out.
    left: usize,
    /// Nothing more is decoded.
    stopped: bool,
    started: bool,
    note: Option<String>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("coders", &self.coders.len())
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// `encodings`: the values of the `content-encoding` headers, in their order.
    pub(super) fn new<'a>(encodings: impl Iterator<Item = &'a str>, max: usize) -> Self {
        let mut decoder = Self { coders: Vec::new(), left: max, stopped: false, started: false, note: None };
        let names: Vec<String> = encodings
            .flat_map(|value| value.split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty() && name != "identity")
            .collect();
        if names.len() > MAX_CHAIN {
            decoder.stop(format!(
                "{} content encodings on one body; at most {MAX_CHAIN} are undone",
                names.len()
            ));
            return decoder;
        }
        for name in names.iter().rev() {
            match Coder::new(name, max) {
                Some(coder) => decoder.coders.push(coder),
                None => {
                    decoder.stop(format!("content encoding {name:?} is not known; the body was not read"));
                    break;
                }
            }
        }
        decoder
    }

    fn stop(&mut self, note: String) {
        self.stopped = true;
        self.note.get_or_insert(note);
    }

    /// Hands what `bytes` decode to, in pieces.
    pub(super) fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        if self.stopped || bytes.is_empty() {
            return;
        }
        self.started = true;
        if self.coders.is_empty() {
            return self.give(bytes, each);
        }
        for step in bytes.chunks(STEP) {
            self.run(0, step, each);
        }
    }

    fn run(&mut self, stage: usize, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        if self.stopped {
            return;
        }
        let Some(coder) = self.coders.get_mut(stage) else { return self.give(bytes, each) };
        let fault = coder.write(bytes).err();
        let sink = coder.sink();
        let (out, full) = (std::mem::take(&mut sink.out), sink.left == 0);
        if !out.is_empty() {
            self.run(stage + 1, &out, each);
        }
        if let Some(fault) = fault
            && !self.stopped
        {
            let note = if full {
                "the decompressed body is larger than is looked at; the rest was not read".to_owned()
            } else {
                format!("the compressed body is broken ({fault}); what was decoded before is kept")
            };
            self.stop(note);
        }
    }

    fn give(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        if taken > 0 {
            each(&bytes[..taken]);
        }
        if taken < bytes.len() {
            self.stop("the body is larger than is looked at; the rest was not read".to_owned());
        }
    }

    /// The body is over. Gives out what is left, and the note if it was not read whole.
    pub(super) fn finish(mut self, each: &mut impl FnMut(&[u8])) -> Option<String> {
        for stage in 0..self.coders.len() {
            if self.stopped || !self.started {
                break;
            }
            let Some(coder) = self.coders.get_mut(stage) else { break };
            let ended = coder.end();
            let out = std::mem::take(&mut coder.sink().out);
            if !out.is_empty() {
                self.run(stage + 1, &out, each);
            }
            if ended.is_err() && !self.stopped {
                self.stop(
                    "the compressed body ends in its middle; what was decoded before is kept".to_owned(),
                );
            }
        }
        self.note
    }
}

#[cfg(test)]
mod tests;
