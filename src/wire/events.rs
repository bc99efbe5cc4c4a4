//! The events of a stream as they came, for whoever shows a stream in time. What they mean is not asked here.

use crate::model::{UnixNanos, record::Header};

use super::{
    Limits,
    decode::Decoder,
    sse::{Event, Framer},
};

/// Hands every event of a response's body to `each`: the time of the piece that completed it, its name
/// (empty where it had none) and its data. The body comes as it crossed the wire, in any pieces; `headers`
/// are the response's. Returns what could not be taken, in sentences.
pub fn events<'a>(
    headers: &[Header],
    pieces: impl Iterator<Item = (UnixNanos, &'a [u8])>,
    limits: Limits,
    mut each: impl FnMut(UnixNanos, &str, &str),
) -> Vec<String> {
    let encodings =
        headers.iter().filter(|(name, _)| name == "content-encoding").map(|(_, value)| value.as_str());
    let mut decoder = Decoder::new(encodings, limits.max_decoded);
    let mut framer = Framer::new(limits.max_event);
    let mut last = UnixNanos::default();
    let mut give = |at: UnixNanos, event: Event<'_>| {
        each(at, &String::from_utf8_lossy(event.name), &String::from_utf8_lossy(event.data));
    };
    for (at, piece) in pieces {
        last = at;
        decoder.push(piece, &mut |bytes| framer.push(bytes, &mut |event| give(at, event)));
    }
    let mut notes: Vec<String> =
        decoder.finish(&mut |bytes| framer.push(bytes, &mut |event| give(last, event))).into_iter().collect();
    framer.finish(&mut |event| give(last, event));
    if framer.dropped() > 0 {
        notes.push(format!(
            "{} events are larger than {} bytes and were left out",
            framer.dropped(),
            limits.max_event
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(headers: &[Header], body: &[u8], cut: usize) -> (Vec<(i64, String, String)>, Vec<String>) {
        let mut seen = Vec::new();
        let (head, tail) = body.split_at(cut);
        let pieces = [(UnixNanos(1), head), (UnixNanos(2), tail)];
        let notes = events(headers, pieces.into_iter(), Limits::default(), |at, name, data| {
            seen.push((at.0, name.to_owned(), data.to_owned()));
        });
        (seen, notes)
    }

    #[test]
    fn events_come_with_the_piece_that_completed_them() {
        let body = b"event: a\ndata: 1\n\ndata: 2\ndata: 3\n\ndata: cut";
        for cut in 0..=body.len() {
            let (seen, notes) = read(&[], body, cut);
            let said: Vec<_> = seen.iter().map(|(_, name, data)| (name.as_str(), data.as_str())).collect();
            assert_eq!(said, [("a", "1"), ("", "2\n3"), ("", "cut")], "cut at {cut}");
            assert_eq!(seen[0].0, if cut >= 18 { 1 } else { 2 }, "cut at {cut}");
            assert!(notes.is_empty());
        }
    }

    #[test]
    fn compressed_streams_are_read_and_broken_ones_noted() {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        coder.write_all(b"data: 1\n\ndata: 2\n\n").unwrap();
        let body = coder.finish().unwrap();
        let headers = [("content-encoding".to_owned(), "gzip".to_owned())];
        let (seen, notes) = read(&headers, &body, body.len() / 2);
        assert_eq!(seen.len(), 2);
        assert!(notes.is_empty(), "{notes:?}");
        let (_, notes) = read(&headers, b"data: 1\n\n", 4);
        assert_eq!(notes.len(), 1);
    }
}
