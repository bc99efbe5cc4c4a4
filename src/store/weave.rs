//! Text whose lines repeat with other values in them, which is what a streamed answer is: the few shapes that
//! the lines have, and the values column by column. Purely lexical and exact for any bytes: a line is its shape
//! with its values put back, whatever it means. Knows no dialect.

use std::{collections::HashMap, ops::Range};

use super::numbers::{pull, pull_bytes, pull_length, push, push_bytes};

/// Stands in a shape where a value was taken out; text that has this byte is not woven.
const HOLE: u8 = 0;
/// Fewer lines than this do not repeat enough.
const FEWEST_LINES: usize = 6;
/// More shapes, kinds or values in a line than a stream of events has: no weaving.
const MOST_SHAPES: usize = 200;
const MOST_HOLES: usize = 64;

/// Woven text: `cloth` says how the lines are made, `text` is the longest column of values, taken out of it
/// because it is what the model said and may come back in a later request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Woven {
    pub(super) cloth: Vec<u8>,
    pub(super) text: Vec<u8>,
}

#[derive(Default)]
struct Column {
    lengths: Vec<u8>,
    values: Vec<u8>,
}

/// The lines of one shape so far.
struct Shape {
    /// The first of its columns.
    column: usize,
    /// The newest line's values.
    last: Vec<Range<usize>>,
}

/// Weaves text; `None` where it does not repeat.
///
/// Layout of the cloth, numbers in LEB128: the shapes (count; each with its length), the kinds (count; each a
/// shape and the bits of the holes that change), the lines as runs (count; each a kind and how often), the
/// columns (each the length of its lengths, the lengths, and the length of its values and they), and which
/// column is the text.
pub(super) fn weave(text: &[u8]) -> Option<Woven> {
    if memchr::memchr(HOLE, text).is_some() || memchr::memchr_iter(b'\n', text).nth(FEWEST_LINES).is_none() {
        return None;
    }
    let mut shapes: Vec<Shape> = Vec::new();
    let mut shape_bytes = Vec::new();
    let mut by_bytes: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut columns: Vec<Column> = Vec::new();
    let mut kinds: HashMap<(usize, u64), u64> = HashMap::new();
    let mut kind_bytes = Vec::new();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut skeleton = Vec::new();
    let mut holes: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let end = memchr::memchr(b'\n', text.get(at..)?).map_or(text.len(), |found| at + found + 1);
        cut(text, at..end, &mut skeleton, &mut holes)?;
        at = end;
        let shape = match by_bytes.get(&skeleton) {
            Some(shape) => *shape,
            None => {
                if shapes.len() == MOST_SHAPES {
                    return None;
                }
                push_bytes(&mut shape_bytes, &skeleton);
                by_bytes.insert(skeleton.clone(), shapes.len());
                let column = columns.len();
                columns.resize_with(column + holes.len(), Column::default);
                // Before the first line every value is empty, and a value that was cut out never is.
                shapes.push(Shape { column, last: vec![0..0; holes.len()] });
                shapes.len() - 1
            }
        };
        let known = shapes.get_mut(shape)?;
        let mut changed = 0u64;
        for (number, (hole, last)) in holes.iter().zip(&mut known.last).enumerate() {
            let value = text.get(hole.clone())?;
            if text.get(last.clone())? != value {
                changed |= 1 << number;
                let column = columns.get_mut(known.column + number)?;
                push(&mut column.lengths, value.len() as u64);
                column.values.extend_from_slice(value);
                *last = hole.clone();
            }
        }
        let next = kinds.len() as u64;
        if next as usize > 2 * MOST_SHAPES {
            return None;
        }
        let kind = *kinds.entry((shape, changed)).or_insert_with(|| {
            push(&mut kind_bytes, shape as u64);
            push(&mut kind_bytes, changed);
            next
        });
        match runs.last_mut() {
            Some((last, times)) if *last == kind => *times += 1,
            _ => runs.push((kind, 1)),
        }
    }
    let longest = (0..columns.len()).max_by_key(|column| columns.get(*column).map(|c| c.values.len()));
    let mut cloth = Vec::new();
    push(&mut cloth, shapes.len() as u64);
    cloth.extend_from_slice(&shape_bytes);
    push(&mut cloth, kinds.len() as u64);
    cloth.extend_from_slice(&kind_bytes);
    push(&mut cloth, runs.len() as u64);
    for (kind, times) in runs {
        push(&mut cloth, kind);
        push(&mut cloth, times);
    }
    push(&mut cloth, longest.map_or(0, |longest| longest as u64 + 1));
    let mut said = Vec::new();
    for (number, column) in columns.into_iter().enumerate() {
        push_bytes(&mut cloth, &column.lengths);
        if Some(number) == longest {
            said = column.values;
        } else {
            push_bytes(&mut cloth, &column.values);
        }
    }
    Some(Woven { cloth, text: said })
}

/// Takes the values out of a line: strings that are no keys, and numbers.
fn cut(text: &[u8], line: Range<usize>, skeleton: &mut Vec<u8>, holes: &mut Vec<Range<usize>>) -> Option<()> {
    skeleton.clear();
    holes.clear();
    let bytes = text.get(..line.end)?;
    let (mut at, mut kept) = (line.start, line.start);
    let mut out = |value: Range<usize>, kept: &mut usize| -> Option<()> {
        if !value.is_empty() && holes.len() < MOST_HOLES {
            skeleton.extend_from_slice(bytes.get(*kept..value.start)?);
            skeleton.push(HOLE);
            *kept = value.end;
            holes.push(value);
        }
        Some(())
    };
    let mut before = b' ';
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let start = at + 1;
                at = start;
                loop {
                    match bytes.get(at) {
                        Some(b'"') | None => break,
                        Some(b'\\') => at += 2,
                        Some(_) => at += 1,
                    }
                }
                let end = at.min(line.end);
                at = end + 1;
                if bytes.get(end) == Some(&b'"') && bytes.get(at) != Some(&b':') {
                    out(start..end, &mut kept)?;
                }
            }
            b'0'..=b'9' if matches!(before, b':' | b'[' | b',' | b'-' | b' ') => {
                let start = at;
                while bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.') {
                    at += 1;
                }
                out(start..at, &mut kept)?;
            }
            _ => at += 1,
        }
        before = at.checked_sub(1).and_then(|last| bytes.get(last)).copied().unwrap_or(b' ');
    }
    skeleton.extend_from_slice(bytes.get(kept..)?);
    Some(())
}

/// The text that was woven; `None` where the cloth is damaged, or would make more than `most` bytes.
pub(super) fn unweave(mut cloth: &[u8], text: &[u8], most: usize) -> Option<Vec<u8>> {
    let cloth = &mut cloth;
    let count = pull_length(cloth)?;
    let mut shapes = Vec::new();
    let mut columns_before = 0;
    for _ in 0..count {
        let skeleton = pull_bytes(cloth)?;
        let holes = memchr::memchr_iter(HOLE, skeleton).count();
        shapes.push((skeleton, columns_before, holes));
        columns_before += holes;
    }
    let count = pull_length(cloth)?;
    let mut kinds = Vec::new();
    for _ in 0..count {
        kinds.push((pull_length(cloth)?, pull(cloth)?));
    }
    let count = pull_length(cloth)?;
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push((pull_length(cloth)?, pull_length(cloth)?));
    }
    let longest = pull_length(cloth)?.checked_sub(1);
    // Lengths and values that are left, and the newest value.
    let mut columns: Vec<(&[u8], &[u8], &[u8])> = Vec::new();
    for number in 0..columns_before {
        let lengths = pull_bytes(cloth)?;
        let values = if Some(number) == longest { text } else { pull_bytes(cloth)? };
        columns.push((lengths, values, &[]));
    }
    let mut out = Vec::new();
    for (kind, times) in runs {
        let (shape, changed) = *kinds.get(kind)?;
        let (skeleton, column, holes) = *shapes.get(shape)?;
        for _ in 0..times {
            let before = out.len();
            let mut pieces = skeleton.split(|byte| *byte == HOLE);
            out.extend_from_slice(pieces.next()?);
            for hole in 0..holes {
                let (lengths, values, last) = columns.get_mut(column + hole)?;
                if hole < 64 && changed & (1 << hole) != 0 {
                    let length = pull_length(lengths)?;
                    let (value, rest) = values.split_at_checked(length)?;
                    (*last, *values) = (value, rest);
                }
                out.extend_from_slice(last);
                out.extend_from_slice(pieces.next()?);
            }
            // A line without a byte would let a damaged run go on for ever.
            if out.len() > most || out.len() == before {
                return None;
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn back(text: &[u8]) -> Option<Woven> {
        let woven = weave(text)?;
        assert_eq!(unweave(&woven.cloth, &woven.text, text.len()).as_deref(), Some(text));
        Some(woven)
    }

    #[test]
    fn a_stream_is_its_text_and_little_else() {
        let mut stream = String::new();
        let said = "It is what a stream of small pieces says, and then it says some more of it.";
        for (number, word) in said.split_inclusive(' ').enumerate() {
            stream.push_str(&format!(
                "event: delta\ndata: {{\"id\":\"c-1\",\"n\":{number},\"choices\":[{{\"delta\":{{\"content\":\"{word}\"}}}}]}}\n\n"
            ));
        }
        stream.push_str("data: [DONE]\n\n");
        let woven = back(stream.as_bytes()).unwrap();
        assert_eq!(woven.text, said.as_bytes());
        assert!(woven.cloth.len() < 300, "{}", woven.cloth.len());
    }

    #[test]
    fn what_does_not_repeat_is_left_alone() {
        assert_eq!(back(b"one\ntwo\n"), None);
        assert_eq!(back(b"a\n\0\n\n\n\n\n\n\n\n\n"), None);
        let all_different: String = (0..400).map(|n| format!("{}\n", "x".repeat(n))).collect();
        assert_eq!(back(all_different.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn inv8_any_text_comes_back(lines in proptest::collection::vec(
            prop_oneof![
                Just("data: {\"a\":\"\\\"\",\"b\":1}\n".to_owned()),
                "data: \\{\"a\":\"[a-z\\\\\"]{0,4}\",\"b\":[0-9]{1,3}\\}\r?\n",
                "[ -~\n]{0,12}\n?",
                Just("\"".to_owned()), Just("\\".to_owned()), Just("\n".to_owned()),
            ], 0..40,
        )) {
            back(lines.concat().as_bytes());
        }

        #[test]
        fn inv8_any_bytes_come_back(bytes in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'"'), Just(b'\\'), Just(b':'), Just(b'1'), any::<u8>()], 0..200,
        )) {
            back(&bytes);
        }

        #[test]
        fn a_damaged_cloth_is_none_and_no_panic(cloth: Vec<u8>, text: Vec<u8>) {
            if let Some(out) = unweave(&cloth, &text, 10_000) {
                prop_assert!(out.len() <= 10_000);
            }
        }
    }
}
