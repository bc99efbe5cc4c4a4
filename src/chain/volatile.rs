//! Volatile markers: dates, times, uuids, ids and counters that programs write into system prompts. They are
//! left out where prompts are compared, and named where they are all that changed.

use std::borrow::Cow;

use super::hash::Digest;
use crate::model::lineage::{MarkerKind, Markers};

/// An id is at least this long; shorter mixtures of letters and digits are words (`gpt4`, `v2`, `mp3`).
const SHORTEST_ID: usize = 8;

/// What stands for a marker in a normalised text.
fn stand_in(kind: MarkerKind) -> &'static str {
    match kind {
        MarkerKind::Date => "⟨date⟩",
        MarkerKind::Time => "⟨time⟩",
        MarkerKind::Uuid => "⟨uuid⟩",
        MarkerKind::Id => "⟨id⟩",
        MarkerKind::Number => "⟨number⟩",
    }
}

/// The text with every marker replaced, and the markers' hashes.
pub fn normalise(text: &str) -> (Cow<'_, str>, Markers) {
    let mut out = String::new();
    let mut done = 0;
    let mut found: [Option<Digest>; MarkerKind::ALL.len()] = Default::default();
    for (start, word) in words(text) {
        let Some(kind) = classify(word) else { continue };
        out.push_str(text.get(done..start).unwrap_or_default());
        out.push_str(stand_in(kind));
        done = start + word.len();
        if let Some(slot) = found.get_mut(kind as usize) {
            slot.get_or_insert_with(|| Digest::of("marker")).text(word);
        }
    }
    if done == 0 {
        return (Cow::Borrowed(text), Markers::default());
    }
    out.push_str(text.get(done..).unwrap_or_default());
    // Never 0, which stands for none.
    let markers = found.map(|digest| digest.map_or(0, |digest| digest.finish() as u32 | 1));
    (Cow::Owned(out), Markers(markers))
}

/// The kinds of marker that differ between two texts.
pub fn changed(before: Markers, after: Markers) -> impl Iterator<Item = MarkerKind> {
    MarkerKind::ALL
        .into_iter()
        .zip(before.0.into_iter().zip(after.0))
        .filter(|(_, (before, after))| before != after)
        .map(|(kind, _)| kind)
}

/// What a word is a marker of, if of anything.
pub fn classify(word: &str) -> Option<MarkerKind> {
    let bytes = word.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        // Nearly all words end here, most of them by their first letter.
        let name = bytes.first().is_some_and(u8::is_ascii_uppercase) && NAMES.contains(&word);
        return name.then_some(MarkerKind::Date);
    }
    if is_uuid(bytes) {
        return Some(MarkerKind::Uuid);
    }
    if digits == bytes.len() {
        return Some(MarkerKind::Number);
    }
    let shape = |allowed: &[u8]| bytes.iter().all(|byte| byte.is_ascii_digit() || allowed.contains(byte));
    if shape(b":.Z+-T") && bytes.contains(&b':') {
        // `2026-11-25T03:00:00Z` is both; its date is what a day's cache breaks on, its time what a minute's does.
        return Some(MarkerKind::Time);
    }
    if shape(b"-/.") && separators(bytes) == 2 && (6..=10).contains(&bytes.len()) {
        return Some(MarkerKind::Date);
    }
    if shape(b".,-+%") {
        return Some(MarkerKind::Number);
    }
    let letters = bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let tail = word.rsplit(['_', '-', ':', '/', '.']).next().unwrap_or(word);
    let mixed = tail.len() >= SHORTEST_ID
        && tail.bytes().any(|byte| byte.is_ascii_digit())
        && tail.bytes().filter(u8::is_ascii_digit).count() * 8 >= tail.len();
    (letters > 0 && mixed).then_some(MarkerKind::Id)
}

/// Days and months as prompts write them; the short ones that are words of their own are left out.
const NAMES: [&str; 29] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "January",
    "February",
    "March",
    "April",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
    "Jan",
    "Feb",
    "Apr",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
    "Mon",
];

fn separators(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| !byte.is_ascii_digit()).count()
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Runs of letters, digits and what joins them inside ids and times, with where they start. What is no
/// ASCII is no part of a marker.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-:./+%,".contains(byte);
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes.get(at..)?.iter().position(u8::is_ascii_alphanumeric)?;
        let length = bytes.get(start..)?.iter().position(|byte| !inside(byte)).unwrap_or(bytes.len() - start);
        at = start + length;
        let word = text.get(start..at)?;
        Some((start, word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Vec<&'static str> {
        words(text).filter_map(|(_, word)| classify(word)).map(MarkerKind::as_str).collect()
    }

    #[test]
    fn markers_are_known_by_their_shape() {
        for (text, expected) in [
            ("Today is 2026-11-25.", vec!["date"]),
            ("It is Wednesday, November 25, 2026", vec!["date", "date", "number", "number"]),
            ("now: 2026-11-25T03:04:05.678Z", vec!["time"]),
            ("at 14:05", vec!["time"]),
            ("25/11/2026", vec!["date"]),
            ("session 5f0c6d1e-9f58-4f0b-8e1a-2f9a4d1c7b33", vec!["uuid"]),
            ("request req_8fa3b2c19d", vec!["id"]),
            ("turn 17 of 20", vec!["number", "number"]),
            ("use gpt4 and mp3 with utf-8", vec![]),
            ("You are a helpful assistant.", vec![]),
        ] {
            assert_eq!(kinds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_changed_is_named() {
        let (first, before) = normalise("You help. Date: 2026-11-25, ticket 81.");
        let (second, after) = normalise("You help. Date: 2026-11-26, ticket 81.");
        assert_eq!(first, second);
        assert_eq!(changed(before, after).collect::<Vec<_>>(), [MarkerKind::Date]);
        assert_eq!(first, "You help. Date: ⟨date⟩, ticket ⟨number⟩.");
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text: String) {
            let (normalised, _) = normalise(&text);
            // Twice changes nothing more.
            prop_assert_eq!(normalise(&normalised).0, normalised.clone());
        }
    }
}
