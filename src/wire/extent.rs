//! How large a picture, a document or a recording is, read from its head: what providers bill media by. It
//! is lexical and bounded: nothing is decompressed but a PDF's lists of objects, and a file that does not
//! say what is looked for has no extent.

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose};
use memchr::memmem;

use crate::model::exchange::Extent;

/// Segments of a JPEG or chunks of a RIFF file that are stepped over on the way.
const MAX_STEPS: usize = 512;
/// Bytes of a PDF that are looked through; longer ones are, nearly all, large for their pictures.
const MAX_PDF: usize = 8 << 20;
/// Of a PDF's packed lists of objects: how many, and bytes of each.
const MAX_LISTS: usize = 256;
const MAX_LIST: u64 = 1 << 20;

/// A file's bytes, as they are or in base64, of which single ones are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Encoded<'a> {
    Plain(&'a [u8]),
    Base64(&'a str),
}

impl Encoded<'_> {
    fn byte(self, at: usize) -> Option<u8> {
        match self {
            Self::Plain(bytes) => bytes.get(at).copied(),
            Self::Base64(text) => {
                let digits = text.as_bytes().get(at / 3 * 4..)?;
                let digit = |at: usize| sextet(*digits.get(at)?);
                Some(match at % 3 {
                    0 => digit(0)? << 2 | digit(1)? >> 4,
                    1 => digit(1)? << 4 | digit(2)? >> 2,
                    _ => digit(2)? << 6 | digit(3)?,
                })
            }
        }
    }

    fn len(self) -> u64 {
        match self {
            Self::Plain(bytes) => bytes.len() as u64,
            Self::Base64(text) => super::parts::base64_length(text),
        }
    }

    fn starts_with(self, at: usize, bytes: &[u8]) -> bool {
        bytes.iter().enumerate().all(|(offset, byte)| self.byte(at + offset) == Some(*byte))
    }

    /// An unsigned number of `N` bytes, the first the most significant one.
    fn big<const N: usize>(self, at: usize) -> Option<u32> {
        (0..N).try_fold(0, |number, offset| Some(number << 8 | u32::from(self.byte(at + offset)?)))
    }

    /// The same, the last the most significant one.
    fn little<const N: usize>(self, at: usize) -> Option<u32> {
        (0..N).rev().try_fold(0, |number, offset| Some(number << 8 | u32::from(self.byte(at + offset)?)))
    }

    fn first(self, most: usize) -> Vec<u8> {
        match self {
            Self::Plain(bytes) => bytes.get(..most.min(bytes.len())).unwrap_or_default().to_vec(),
            Self::Base64(text) => {
                let digits = text.as_bytes().get(..most.div_ceil(3) * 4).unwrap_or(text.as_bytes());
                let digits = digits.get(..digits.len() / 4 * 4).unwrap_or_default();
                general_purpose::STANDARD.decode(digits).unwrap_or_default()
            }
        }
    }
}

fn sextet(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// By the file's own first bytes, whatever it was declared to be.
pub(super) fn of(file: Encoded<'_>) -> Option<Extent> {
    match [file.byte(0)?, file.byte(1)?, file.byte(2)?, file.byte(3)?] {
        [0x89, b'P', b'N', b'G'] if file.starts_with(12, b"IHDR") => {
            pixels(file.big::<4>(16), file.big::<4>(20))
        }
        [b'G', b'I', b'F', b'8'] => pixels(file.little::<2>(6), file.little::<2>(8)),
        [0xff, 0xd8, 0xff, _] => jpeg(file),
        [b'R', b'I', b'F', b'F'] if file.starts_with(8, b"WEBP") => webp(file),
        [b'R', b'I', b'F', b'F'] if file.starts_with(8, b"WAVE") => wave(file),
        [b'I', b'D', b'3', _] => {
            // The length of the tag in seven bits a byte.
            let length = (6..10).try_fold(0, |length, at| Some(length << 7 | usize::from(file.byte(at)?)))?;
            mp3(file, length + 10)
        }
        [0xff, 0xe0..=0xff, ..] => mp3(file, 0),
        [b'%', b'P', b'D', b'F'] => pdf(&file.first(MAX_PDF)),
        _ => None,
    }
}

fn pixels(width: Option<u32>, height: Option<u32>) -> Option<Extent> {
    let (width, height) = (width?, height?);
    (width > 0 && height > 0).then_some(Extent::Pixels { width, height })
}

/// The first frame's header, behind whatever segments (EXIF and its preview among them) precede it.
fn jpeg(file: Encoded<'_>) -> Option<Extent> {
    let mut at = 2;
    for _ in 0..MAX_STEPS {
        if file.byte(at)? != 0xff {
            return None;
        }
        match file.byte(at + 1)? {
            // A filling byte.
            0xff => at += 1,
            0xc4 | 0xc8 | 0xcc => at += 2 + file.big::<2>(at + 2)? as usize,
            0xc0..=0xcf => return pixels(file.big::<2>(at + 7), file.big::<2>(at + 5)),
            // Markers without a segment.
            0x01 | 0xd0..=0xd8 => at += 2,
            _ => at += 2 + file.big::<2>(at + 2)? as usize,
        }
    }
    None
}

fn webp(file: Encoded<'_>) -> Option<Extent> {
    if file.starts_with(12, b"VP8X") {
        return pixels(file.little::<3>(24).map(|less| less + 1), file.little::<3>(27).map(|less| less + 1));
    }
    if file.starts_with(12, b"VP8L") {
        let bits = file.little::<4>(21)?;
        return pixels(Some((bits & 0x3fff) + 1), Some((bits >> 14 & 0x3fff) + 1));
    }
    if file.starts_with(12, b"VP8 ") && file.starts_with(23, &[0x9d, 0x01, 0x2a]) {
        return pixels(file.little::<2>(26).map(|n| n & 0x3fff), file.little::<2>(28).map(|n| n & 0x3fff));
    }
    None
}

/// Length of the data by bytes per second.
fn wave(file: Encoded<'_>) -> Option<Extent> {
    let (mut at, mut rate) = (12, None);
    for _ in 0..MAX_STEPS {
        let length = file.little::<4>(at + 4)?;
        if file.starts_with(at, b"fmt ") {
            rate = file.little::<4>(at + 16).filter(|rate| *rate > 0);
        } else if file.starts_with(at, b"data") {
            // One that was written while it was made does not know its length.
            let held = file.len().saturating_sub(at as u64 + 8);
            return Some(milliseconds(u64::from(length).min(held), u64::from(rate?)));
        }
        at += 8 + length as usize + (length % 2) as usize;
    }
    None
}

/// By the first frame's bit rate: exact for a constant one, near for others.
fn mp3(file: Encoded<'_>, at: usize) -> Option<Extent> {
    const FIRST: [u64; 16] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];
    const SECOND: [u64; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];
    let (version, rates) = (file.byte(at + 1)?, file.byte(at + 2)?);
    // Layer III of MPEG 1, or of 2 and 2.5.
    if file.byte(at)? != 0xff || version & 0xe0 != 0xe0 || version >> 1 & 3 != 1 || version >> 3 & 3 == 1 {
        return None;
    }
    let table = if version >> 3 & 3 == 3 { FIRST } else { SECOND };
    let kilobits = *table.get(usize::from(rates >> 4))?;
    (kilobits > 0).then(|| milliseconds(file.len().saturating_sub(at as u64), kilobits * 125))
}

fn milliseconds(bytes: u64, per_second: u64) -> Extent {
    Extent::Milliseconds(bytes.saturating_mul(1_000) / per_second.max(1))
}

/// Pages are objects of that type, plain or in the packed lists that newer files have.
fn pdf(bytes: &[u8]) -> Option<Extent> {
    let mut pages = page_objects(bytes);
    for at in memmem::find_iter(bytes, b"/ObjStm").take(MAX_LISTS) {
        let Some(rest) = bytes.get(at..) else { break };
        let Some(start) = memmem::find(rest.get(..rest.len().min(1 << 10)).unwrap_or(rest), b"stream") else {
            continue;
        };
        let packed = rest.get(start + 6..).unwrap_or_default();
        let packed = packed.strip_prefix(b"\r").unwrap_or(packed);
        let packed = packed.strip_prefix(b"\n").unwrap_or(packed);
        let mut list = Vec::new();
        // What could be unpacked before a fault counts.
        flate2::read::ZlibDecoder::new(packed).take(MAX_LIST).read_to_end(&mut list).ok();
        pages += page_objects(&list);
    }
    u32::try_from(pages).ok().filter(|pages| *pages > 0).map(Extent::Pages)
}

/// `/Type /Page`, but not `/Type /Pages`.
fn page_objects(bytes: &[u8]) -> usize {
    memmem::find_iter(bytes, b"/Type")
        .filter(|at| {
            let rest = bytes.get(at + 5..).unwrap_or_default().trim_ascii_start();
            rest.strip_prefix(b"/Page")
                .is_some_and(|rest| rest.first().is_none_or(|next| !next.is_ascii_alphanumeric()))
        })
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn both(bytes: &[u8]) -> Option<Extent> {
        let plain = of(Encoded::Plain(bytes));
        let encoded = general_purpose::STANDARD.encode(bytes);
        assert_eq!(of(Encoded::Base64(&encoded)), plain);
        plain
    }

    fn size(width: u32, height: u32) -> Option<Extent> {
        Some(Extent::Pixels { width, height })
    }

    #[test]
    fn pictures_tell_their_size_in_their_head() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\0\0\0\x03\0\x08\x06";
        assert_eq!(both(png), size(1024, 768));
        assert_eq!(both(b"GIF89a\x20\x03\x58\x02\xf7\0\0"), size(800, 600));
        // A preview in EXIF, a table, a filling byte, and a progressive frame.
        let mut jpeg = b"\xff\xd8\xff\xe1\xff\xff".to_vec();
        jpeg.resize(jpeg.len() + 0xfffd, 0xff);
        jpeg.extend(b"\xff\xc4\0\x04\0\0\xff\xff\xc2\0\x11\x08\x02\x58\x03\x20\x03");
        assert_eq!(both(&jpeg), size(800, 600));
        assert_eq!(both(b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x03\0\xff\x02\0"), size(1024, 768));
        // 1024 - 1 in fourteen bits, then 768 - 1.
        assert_eq!(both(b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\xff\xc3\xbf\0"), size(1024, 768));
        assert_eq!(both(b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\0\x04\0\x03"), size(1024, 768));
    }

    #[test]
    fn recordings_tell_how_long_they_are() {
        let mut wave = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\xff\xff\xff\xff".to_vec();
        wave.resize(wave.len() + 12_000, 0);
        assert_eq!(both(&wave), Some(Extent::Milliseconds(1_500)));
        let mut mp3 = b"ID3\x04\0\0\0\0\0\x02ab\xff\xfb\x90\0".to_vec();
        mp3.resize(12 + 32_000, 0);
        assert_eq!(both(&mp3), Some(Extent::Milliseconds(2_000)));
    }

    #[test]
    fn pages_are_counted_in_plain_and_in_packed_lists() {
        let plain = b"%PDF-1.4\n1 0 obj<</Type/Pages/Count 2>>endobj 2 0 obj<</Type /Page>>endobj 3 0 obj<</Type/Page/Parent 1 0 R>>";
        assert_eq!(both(plain), Some(Extent::Pages(2)));
        let mut packer = flate2::read::ZlibEncoder::new(
            &b"1 0 2 9 <</Type/Pages>> <</Type/Page /X 1>> <</Type\n/Page>> <</Type/Page>>"[..],
            flate2::Compression::default(),
        );
        let mut packed = b"%PDF-1.7\n5 0 obj<</Type/ObjStm/N 4/Length 60>>\nstream\r\n".to_vec();
        packer.read_to_end(&mut packed).unwrap();
        packed.extend(b"\nendstream");
        assert_eq!(both(&packed), Some(Extent::Pages(3)));
        assert_eq!(both(b"%PDF-1.7 nothing that is known"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), head in 0..9usize) {
            let heads: [&[u8]; 9] = [b"", b"\x89PNG", b"GIF8", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBPVP8 ",
                b"RIFF\0\0\0\0WAVE", b"ID3\x04", b"\xff\xfb", b"%PDF-1.7 /ObjStm stream\n"];
            both(&[heads[head], &bytes].concat());
        }

        #[test]
        fn any_text_is_survived(text in ".{0,80}") {
            of(Encoded::Base64(&text));
        }
    }
}
