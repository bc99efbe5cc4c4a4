//! Server-sent events, framed as WHATWG says, from chunks cut anywhere. It must not know what the events
//! mean. An event beyond the limit is dropped and counted; memory stays at that limit. Every byte is
//! scanned once, whatever the chunks.

use memchr::memchr2;

/// One dispatched event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// The `event` field; empty where there was none.
    pub(super) name: &'a [u8],
    /// The `data` lines joined with LF.
    pub(super) data: &'a [u8],
}

#[derive(Debug)]
pub(super) struct Framer {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    data: Vec<u8>,
    name: Vec<u8>,
    has_data: bool,
    /// The current event outgrew the limit: nothing is kept until the blank line that ends it.
    dropping: bool,
    /// While dropping: the current line is not empty, though its bytes are gone.
    line_seen: bool,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
    first_line: bool,
    max_event: usize,
    dropped: u64,
}

impl Framer {
    pub(super) fn new(max_event: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            name: Vec::new(),
            has_data: false,
            dropping: false,
            line_seen: false,
            after_cr: false,
            first_line: true,
            max_event,
            dropped: 0,
        }
    }

    /// Events that outgrew the limit so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes the next bytes and hands out every event that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.end_line(line, each);
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.keep(bytes);
    }

    /// The stream is over: a last line without its end and a last event without its blank line count.
    /// True when there was such an event.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(Event<'_>)) -> bool {
        if !self.line.is_empty() {
            self.end_line(&[], each);
        }
        let trailing = self.has_data || self.dropping;
        self.dispatch(each);
        trailing
    }

    fn fits(&self, line: usize) -> bool {
        self.data.len().saturating_add(line) <= self.max_event
    }

    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.dropping {
            self.line_seen = true;
        } else if self.fits(self.line.len() + bytes.len()) {
            self.line.extend_from_slice(bytes);
        } else {
            self.drop_event();
            self.line_seen = true;
        }
    }

    fn drop_event(&mut self) {
        self.dropping = true;
        self.first_line = false;
        self.dropped += 1;
        self.has_data = false;
        self.line = Vec::new();
        self.data = Vec::new();
    }

    /// `tail` is what the current line still lacked.
    fn end_line(&mut self, tail: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if self.dropping {
            let blank = !std::mem::take(&mut self.line_seen) && tail.is_empty();
            if blank {
                self.dispatch(each);
            }
            return;
        }
        if !self.fits(self.line.len() + tail.len()) {
            self.drop_event();
            return;
        }
        if self.line.is_empty() {
            return self.take_line(tail, each);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(tail);
        self.take_line(&line, each);
        line.clear();
        self.line = line;
    }

    fn take_line(&mut self, mut line: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(each);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // A comment (no name), `id`, `retry` and what nobody defined say nothing about a call.
            _ => {}
        }
    }

    fn dispatch(&mut self, each: &mut impl FnMut(Event<'_>)) {
        if self.has_data {
            each(Event { name: &self.name, data: &self.data });
        }
        self.has_data = false;
        self.dropping = false;
        self.name.clear();
        self.data.clear();
        // One large event must not pin its memory for the rest of the stream.
        self.data.shrink_to(64 << 10);
        self.line.shrink_to(64 << 10);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Name and data of each event, whether the end was trailing, and how many were dropped.
    type Framed = (Vec<(String, String)>, bool, u64);

    fn frame<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, max_event: usize) -> Framed {
        let mut framer = Framer::new(max_event);
        let mut events = Vec::new();
        let mut each = |event: Event<'_>| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            events.push((text(event.name), text(event.data)));
        };
        for chunk in chunks {
            framer.push(chunk, &mut each);
        }
        let trailing = framer.finish(&mut each);
        (events, trailing, framer.dropped())
    }

    fn data(stream: &str) -> Vec<String> {
        frame([stream.as_bytes()], 1 << 20).0.into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn line_ends_of_every_kind_end_lines() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = format!("data: a{end}data:b{end}{end}data:  c{end}{end}");
            assert_eq!(data(&stream), ["a\nb", " c"], "{end:?}");
        }
        assert_eq!(data("data: a\r\rdata: b\n\r\ndata: c\r\n\n"), ["a", "b", "c"]);
    }

    #[test]
    fn fields_are_read_as_whatwg_says() {
        let stream = "\u{feff}: hi\nid: 7\nretry: x\nfoo: y\nevent: e\ndata\ndata: z\n:\n\n\n\nevent: lost\n\ndata: q\n\n";
        let (events, trailing, _) = frame([stream.as_bytes()], 100);
        let pair = |name: &str, data: &str| (name.to_owned(), data.to_owned());
        assert_eq!(events, [pair("e", "\nz"), pair("", "q")]);
        assert!(!trailing);
    }

    #[test]
    fn an_end_without_blank_line_is_trailing() {
        assert_eq!(frame([&b"data: a\n"[..]], 100), (vec![(String::new(), "a".into())], true, 0));
        assert_eq!(frame([&b"data: a"[..]], 100), (vec![(String::new(), "a".into())], true, 0));
        assert!(!frame([&b"data: a\n\n: bye"[..]], 100).1);
    }

    #[test]
    fn an_event_beyond_the_limit_is_dropped_and_the_next_is_not() {
        let stream = format!("data: {}\ndata: more\n\ndata: ok\n\n", "x".repeat(200));
        let whole = frame([stream.as_bytes()], 100);
        assert_eq!(whole, (vec![(String::new(), "ok".into())], false, 1));
        assert_eq!(frame(stream.as_bytes().chunks(1), 100), whole);
    }

    #[test]
    fn inv5_a_line_without_end_takes_no_more_than_the_limit() {
        let mut framer = Framer::new(1 << 10);
        for _ in 0..10_000 {
            framer.push(&[b'x'; 1000], &mut |_| {});
        }
        assert!(framer.line.capacity() + framer.data.capacity() <= 4 << 10);
    }

    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(&b"data"[..]),
            Just(&b"data: "[..]),
            Just(&b"event: "[..]),
            Just(&b":"[..]),
            Just(&b"\r"[..]),
            Just(&b"\n"[..]),
            Just(&b"\r\n"[..]),
            Just(&b"\xef\xbb\xbf"[..]),
            Just("é😀".as_bytes()),
            Just(&b"{\"a\":1}"[..]),
            Just(&b"\xff"[..]),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            stream in streams(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            max in 4usize..60,
        ) {
            let whole = frame([&stream[..]], max);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([stream.len()]) {
                chunks.push(&stream[from..cut]);
                from = cut;
            }
            prop_assert_eq!(&frame(chunks, max), &whole);
            prop_assert_eq!(&frame(stream.chunks(1), max), &whole);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            frame([&bytes[..]], 16);
        }
    }
}
