//! Every encoding at every split, as it comes, cut, broken and as a bomb.

use flate2::{Compression, write};
use proptest::prelude::*;

use super::*;

fn encode(name: &str, plain: &[u8]) -> Vec<u8> {
    match name {
        "gzip" => {
            let mut coder = write::GzEncoder::new(Vec::new(), Compression::fast());
            coder.write_all(plain).unwrap();
            coder.finish().unwrap()
        }
        "deflate" => {
            let mut coder = write::ZlibEncoder::new(Vec::new(), Compression::fast());
            coder.write_all(plain).unwrap();
            coder.finish().unwrap()
        }
        "raw" => {
            let mut coder = write::DeflateEncoder::new(Vec::new(), Compression::fast());
            coder.write_all(plain).unwrap();
            coder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(plain, 1).unwrap(),
        "br" => brotli_stored(plain.chunks(1 << 16)).concat(),
        _ => panic!("{name}"),
    }
}

/// Brotli of uncompressed meta-blocks (RFC 7932, 9.2), one piece for each block and one for the end:
/// there is no encoder among the dependencies.
fn brotli_stored<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    // WBITS 16 is the one bit 0; bits go in from the low end.
    let (mut pieces, mut before) = (Vec::new(), 1);
    for block in blocks {
        // ISLAST 0, MNIBBLES 0 (four), MLEN - 1, ISUNCOMPRESSED 1, then padding to the byte.
        let head = ((block.len() as u64 - 1) << 3 | 1 << 19) << before;
        let length = usize::div_ceil(before + 20, 8);
        pieces.push([&head.to_le_bytes()[..length], block].concat());
        before = 0;
    }
    // ISLAST 1, ISLASTEMPTY 1.
    pieces.push(vec![3 << before]);
    pieces
}

fn decode<'a>(
    header: &str,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    max: usize,
) -> (Vec<u8>, Option<String>) {
    let mut decoder = Decoder::new([header].into_iter(), max);
    let mut out = Vec::new();
    for chunk in chunks {
        decoder.push(chunk, &mut |bytes| out.extend_from_slice(bytes));
    }
    let note = decoder.finish(&mut |bytes| out.extend_from_slice(bytes));
    (out, note)
}

fn sample() -> Vec<u8> {
    (0..20_000u32).flat_map(|n| format!("data: {{\"n\":{}}}\n\n", n * 7919 % 1000).into_bytes()).collect()
}

#[test]
fn every_encoding_and_chain_is_undone_at_any_split() {
    let plain = sample();
    for (header, names) in [
        ("gzip", &["gzip"][..]),
        ("X-GZIP", &["gzip"]),
        ("deflate", &["deflate"]),
        ("deflate", &["raw"]),
        ("br", &["br"]),
        ("zstd", &["zstd"]),
        ("gzip, br", &["gzip", "br"]),
        ("zstd,identity, gzip", &["zstd", "gzip"]),
    ] {
        let body = names.iter().fold(plain.clone(), |body, name| encode(name, &body));
        for size in [body.len(), 1, 7, 1000] {
            let (out, note) = decode(header, body.chunks(size), 64 << 20);
            assert_eq!(note, None, "{names:?} in {size}");
            assert!(out == plain, "{names:?} in {size}");
        }
    }
    assert_eq!(decode("identity", [&b"x"[..]], 9), (b"x".to_vec(), None));
}

#[test]
fn what_is_flushed_comes_out_at_once() {
    let mut gzip = write::GzEncoder::new(Vec::new(), Compression::fast());
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let mut gzips = Decoder::new(["gzip"].into_iter(), 1 << 20);
    let mut zstds = Decoder::new(["zstd"].into_iter(), 1 << 20);
    for n in 0..5 {
        let event = format!("data: {n}\n\n");
        for (coder, decoder) in [(&mut gzip as &mut dyn TakeFlushed, &mut gzips), (&mut zstd, &mut zstds)] {
            let mut out = Vec::new();
            decoder.push(&coder.flushed(event.as_bytes()), &mut |bytes| out.extend_from_slice(bytes));
            assert_eq!(out, event.as_bytes());
        }
    }
}

#[test]
fn brotli_comes_out_at_once_too() {
    let events: Vec<String> = (0..5).map(|n| format!("data: {n}\n\n")).collect();
    let mut decoder = Decoder::new(["br"].into_iter(), 1 << 20);
    for (piece, event) in brotli_stored(events.iter().map(String::as_bytes)).iter().zip(&events) {
        let mut out = Vec::new();
        decoder.push(piece, &mut |bytes| out.extend_from_slice(bytes));
        assert_eq!(out, event.as_bytes());
    }
}

trait TakeFlushed {
    fn flushed(&mut self, bytes: &[u8]) -> Vec<u8>;
}

impl TakeFlushed for write::GzEncoder<Vec<u8>> {
    fn flushed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.write_all(bytes).unwrap();
        self.flush().unwrap();
        std::mem::take(self.get_mut())
    }
}

impl TakeFlushed for zstd::stream::write::Encoder<'static, Vec<u8>> {
    fn flushed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.write_all(bytes).unwrap();
        self.flush().unwrap();
        std::mem::take(self.get_mut())
    }
}

#[test]
fn inv5_a_bomb_is_cut_at_the_limit() {
    let plain = vec![b'x'; 8 << 20];
    for name in ["gzip", "deflate", "raw", "br", "zstd"] {
        let header = if name == "raw" { "deflate" } else { name };
        let (out, note) = decode(header, [&encode(name, &plain)[..]], 1 << 16);
        assert_eq!(out.len(), 1 << 16, "{name}");
        assert!(note.unwrap().contains("larger"), "{name}");
    }
    let (out, note) = decode("", [&plain[..]], 1 << 16);
    assert_eq!((out.len(), note.is_some()), (1 << 16, true));
}

#[test]
fn broken_cut_and_unknown_are_noted() {
    let plain = sample();
    for name in ["gzip", "deflate", "br", "zstd"] {
        let body = encode(name, &plain);
        let (out, note) = decode(name, [&body[..body.len() / 2]], 1 << 20);
        assert!(plain.starts_with(&out), "{name}");
        assert!(note.is_some(), "{name}");
        let (_, note) = decode(name, [&b"this is not compressed at all"[..]], 1 << 20);
        assert!(note.is_some(), "{name}");
    }
    assert!(decode("snappy", [&b"x"[..]], 9).1.unwrap().contains("snappy"));
    assert!(decode("gzip,gzip,gzip,gzip,gzip", [&b"x"[..]], 9).1.is_some());
    assert_eq!(decode("gzip", [], 9), (Vec::new(), None));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, which in 0usize..5, size in 1usize..40) {
        let header = ["gzip", "deflate", "br", "zstd", "gzip, zstd"][which];
        decode(header, bytes.chunks(size), 1 << 12);
    }

    #[test]
    fn no_damage_panics(at: prop::sample::Index, with: u8, which in 0usize..4) {
        let name = ["gzip", "deflate", "br", "zstd"][which];
        let mut body = encode(name, b"{\"some\":\"body\",\"some\":\"body\"}");
        let at = at.index(body.len());
        body[at] = with;
        decode(name, [&body[..]], 1 << 12);
    }
}
