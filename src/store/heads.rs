//! Heads: header lines, most of which are the same in every call of a client. What two heads with the same
//! names have in common becomes a template, a content; a head is its template and what differs.
//!
//! A head is 0 and its lines packed, or 1, the template, and for each line that the template does not give
//! whole: its number and its value without what the template gives of it.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{
    contents::{self, Interned},
    dictionaries::Kind,
    numbers::{pull, pull_bytes, pull_id, pull_length, push, push_bytes, take},
    packing::Unpacker,
    recipes::Again,
};
use crate::model::{Error, record::Header};

const WHOLE: u8 = 0;
const TEMPLATE: u8 = 1;
/// A migrated head: all of both sides as JSON in a zstd frame, which begins so.
const JSON: u8 = 0x28;

/// More sets of names than clients and upstreams have; beyond, learning begins anew.
const MOST_TEMPLATES: usize = 512;
/// Ends what differs from a template; lines count from 1.
const END: usize = 0;
/// Heads of fewer lines have little in common.
const FEWEST_LINES: usize = 3;
/// The largest head that is read back.
const LARGEST: usize = 64 << 20;

/// How a value in a line begins and ends in a template, and whether that is all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    before: String,
    after: String,
    whole: bool,
}

enum Known {
    /// A first head with these names.
    First(Vec<String>),
    Template(i64, Vec<Line>),
}

/// The templates that the writer knows, by the names of the lines.
#[derive(Default)]
pub(super) struct Templates {
    known: HashMap<String, Known>,
    /// Of the head in hand.
    names: String,
}

impl Templates {
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

/// Appends a head.
pub(super) fn encode(
    connection: &Connection,
    interned: &mut Interned,
    head: &[Header],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    if head.len() >= FEWEST_LINES && differing(connection, interned, head, out)? {
        return Ok(());
    }
    out.push(WHOLE);
    let mut lines = Vec::new();
    for (name, value) in head {
        push_bytes(&mut lines, name.as_bytes());
        push_bytes(&mut lines, value.as_bytes());
    }
    push(out, lines.len() as u64);
    let mut packed = Vec::new();
    interned.packer.pack(Kind::Content, &lines, &mut packed)?;
    push_bytes(out, &packed);
    Ok(())
}

/// Writes a head as what differs from its template; false where there is none yet.
fn differing(
    connection: &Connection,
    interned: &mut Interned,
    head: &[Header],
    out: &mut Vec<u8>,
) -> Result<bool, Error> {
    let Templates { known, names } = &mut interned.templates;
    names.clear();
    for (name, _) in head {
        names.push_str(name);
        names.push('\n');
    }
    let values = || Known::First(head.iter().map(|(_, value)| value.clone()).collect());
    let learned = match known.get(names) {
        None => {
            if known.len() >= MOST_TEMPLATES {
                known.clear();
            }
            known.insert(names.clone(), values());
            return Ok(false);
        }
        Some(Known::First(first)) => Some(common(head, first)),
        Some(Known::Template(..)) => None,
    };
    if let Some(lines) = learned {
        let id = contents::intern(connection, interned, &template(&lines))?;
        let Templates { known, names } = &mut interned.templates;
        known.insert(names.clone(), Known::Template(id, lines));
    }
    let Templates { known, names } = &mut interned.templates;
    let Some(Known::Template(id, lines)) = known.get(names) else { return Ok(false) };
    let id = *id;
    let before = out.len();
    out.push(TEMPLATE);
    push(out, id as u64);
    let mut changed = 0;
    for (number, ((_, value), line)) in head.iter().zip(lines).enumerate() {
        if line.whole && *value == line.before {
            continue;
        }
        changed += usize::from(line.whole);
        // A date is short as a whole.
        let inner = (!line.whole && seconds(value.as_bytes()).is_none())
            .then(|| value.strip_prefix(&line.before)?.strip_suffix(&line.after))
            .flatten();
        push(out, 2 * (number as u64 + 1) + u64::from(inner.is_some()));
        push_value(out, inner.unwrap_or(value).as_bytes());
    }
    // Most of what was common is not any more: it is learned anew from here.
    if changed > head.len() / 2 {
        out.truncate(before);
        known.insert(names.clone(), values());
        return Ok(false);
    }
    push(out, END as u64);
    interned.hand_out(id);
    Ok(true)
}

/// What two heads with the same names have in common. Nothing of it is one call's own.
fn common(head: &[Header], first: &[String]) -> Vec<Line> {
    let lines = head.iter().zip(first).map(|((name, value), other)| {
        if value == other {
            return Line { name: name.clone(), before: value.clone(), after: String::new(), whole: true };
        }
        let equal = |(a, b): &(char, char)| a == b;
        let prefix: String = value.chars().zip(other.chars()).take_while(equal).map(|(a, _)| a).collect();
        let longest = value.chars().count().min(other.chars().count()) - prefix.chars().count();
        let ends = value.chars().rev().zip(other.chars().rev()).take(longest);
        let suffix: String = ends.take_while(equal).map(|(a, _)| a).collect();
        let after = suffix.chars().rev().collect();
        Line { name: name.clone(), before: prefix, after, whole: false }
    });
    lines.collect()
}

fn template(lines: &[Line]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        push_bytes(&mut out, line.name.as_bytes());
        push_bytes(&mut out, line.before.as_bytes());
        out.push(u8::from(line.whole));
        if !line.whole {
            push_bytes(&mut out, line.after.as_bytes());
        }
    }
    out
}

fn read_template(mut input: &[u8]) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    while !input.is_empty() {
        let (name, before) = (text(pull_bytes(&mut input)?)?, text(pull_bytes(&mut input)?)?);
        let whole = take(&mut input)? == 1;
        let after = if whole { String::new() } else { text(pull_bytes(&mut input)?)? };
        lines.push(Line { name, before, after, whole });
    }
    Some(lines)
}

/// In place of the length of a value: it is a date as HTTP writes it, of so many seconds since 1970. Fewer than
/// four digits are never written as digits, so no length is this.
const DATE: u64 = 1;

/// Bytes of a date: `Wed, 25 Nov 2026 10:00:00 GMT`.
const DATE_LENGTH: usize = 29;

fn seconds(value: &[u8]) -> Option<u64> {
    let value = std::str::from_utf8(value).ok().filter(|value| value.len() == DATE_LENGTH)?;
    let at = httpdate::parse_http_date(value).ok()?;
    let seconds = at.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    (date(seconds)?.as_bytes() == value.as_bytes()).then_some(seconds)
}

fn date(seconds: u64) -> Option<String> {
    // The end of the year 9999: httpdate writes no later one.
    let at = std::time::Duration::from_secs(Some(seconds).filter(|seconds| *seconds < 253_402_300_800)?);
    Some(httpdate::fmt_http_date(std::time::UNIX_EPOCH.checked_add(at)?))
}

/// A value behind twice its length; odd where it is an even number of lower hex digits, two in a byte.
fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    if let Some(seconds) = seconds(value) {
        push(out, DATE);
        push(out, seconds);
        return;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    let digits: Option<Vec<u32>> = value.iter().map(digit).collect();
    match digits {
        Some(digits) if value.len() >= 4 && value.len().is_multiple_of(2) => {
            push(out, value.len() as u64 + 1);
            out.extend(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8));
        }
        _ => {
            push(out, 2 * value.len() as u64);
            out.extend_from_slice(value);
        }
    }
}

fn pull_value(input: &mut &[u8]) -> Option<Vec<u8>> {
    let length = pull_length(input)?;
    if length as u64 == DATE {
        return date(pull(input)?).map(String::into_bytes);
    }
    let bytes = super::numbers::split(input, length / 2)?;
    if length.is_multiple_of(2) {
        return Some(bytes.to_vec());
    }
    let digit = |half: u8| char::from_digit(u32::from(half), 16).map_or(b'0', |digit| digit as u8);
    Some(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// Request and response head of a call.
pub(super) fn decode_both(
    connection: &Connection,
    unpacker: &mut Unpacker,
    heads: &[u8],
) -> Result<(Vec<Header>, Vec<Header>), Error> {
    let damaged = || Error::damaged("expected the headers of a call, found damaged bytes");
    if heads.is_empty() {
        return Ok(Default::default());
    }
    if heads.first() == Some(&JSON) {
        let json = zstd::stream::decode_all(heads).map_err(|_| damaged())?;
        return serde_json::from_slice(&json).map_err(|_| damaged());
    }
    let mut input = heads;
    let request = decode(connection, unpacker, &mut input)?.ok_or_else(damaged)?;
    let response = decode(connection, unpacker, &mut input)?.ok_or_else(damaged)?;
    Ok((request, response))
}

fn decode(
    connection: &Connection,
    unpacker: &mut Unpacker,
    input: &mut &[u8],
) -> Result<Option<Vec<Header>>, Error> {
    match take(input) {
        Some(WHOLE) => {
            let Some(size) = pull_length(input).filter(|size| *size <= LARGEST) else { return Ok(None) };
            let Some(packed) = pull_bytes(input) else { return Ok(None) };
            let mut lines = Vec::new();
            unpacker.unpack(connection, packed, size, &mut lines)?;
            let (mut lines, mut head) = (lines.as_slice(), Vec::new());
            while !lines.is_empty() {
                let line = pull_bytes(&mut lines).and_then(text).zip(pull_bytes(&mut lines).and_then(text));
                let Some(line) = line else { return Ok(None) };
                head.push(line);
            }
            Ok(Some(head))
        }
        Some(TEMPLATE) => {
            let Some(id) = pull_id(input) else { return Ok(None) };
            let bytes = contents::shared(connection, unpacker, id)?;
            Ok(read_template(&bytes).and_then(|lines| fill(&lines, input)))
        }
        _ => Ok(None),
    }
}

/// The head of a template; what differs ends at the number behind the last line.
fn fill(lines: &[Line], input: &mut &[u8]) -> Option<Vec<Header>> {
    let mut head: Vec<Header> =
        lines.iter().map(|line| (line.name.clone(), format!("{}{}", line.before, line.after))).collect();
    loop {
        let number = pull_length(input)?;
        if number == END {
            return Some(head);
        }
        let at = (number / 2).checked_sub(1)?;
        let (line, (_, value)) = lines.get(at).zip(head.get_mut(at))?;
        let inner = text(&pull_value(input)?)?;
        *value = if number % 2 == 1 { format!("{}{inner}{}", line.before, line.after) } else { inner };
    }
}

/// By template, the lines (the first 64) that all heads which use it say whole themselves.
pub(super) type Overridden = HashMap<i64, u64>;

/// The templates that heads refer to, and what they take from them.
pub(super) fn references(
    heads: &[u8],
    found: &mut Vec<i64>,
    templates: &mut Overridden,
) -> Result<(), Error> {
    let damaged = || Error::damaged("expected the headers of a call, found damaged bytes");
    if heads.first() == Some(&JSON) {
        return Ok(());
    }
    let mut input = heads;
    while let Some(tag) = take(&mut input) {
        match tag {
            WHOLE => {
                pull_length(&mut input).and_then(|_| pull_bytes(&mut input)).ok_or_else(damaged)?;
            }
            TEMPLATE => {
                let id = pull_id(&mut input).ok_or_else(damaged)?;
                let lines = skip_differences(&mut input).ok_or_else(damaged)?;
                found.push(id);
                *templates.entry(id).or_insert(u64::MAX) &= lines;
            }
            _ => return Err(damaged()),
        }
    }
    Ok(())
}

/// Takes lines out of a template that nothing is taken from any more; its names stay.
pub(super) fn blank(
    connection: &Connection,
    interned: &mut Interned,
    id: i64,
    lines: u64,
) -> Result<(), Error> {
    let mut bytes = Vec::new();
    contents::append(connection, &mut Unpacker::default(), id, &mut bytes)?;
    let Some(mut all) = read_template(&bytes) else { return Ok(()) };
    let mut changed = false;
    for (number, line) in all.iter_mut().enumerate().take(64) {
        if lines & (1 << number) != 0 && !(line.before.is_empty() && line.after.is_empty()) {
            (line.before, line.after, line.whole) = (String::new(), String::new(), false);
            changed = true;
        }
    }
    if changed {
        contents::replace(connection, interned, id, &bytes, &template(&all))?;
    }
    Ok(())
}

/// Skips what differs from a template; returns the lines that are said whole.
fn skip_differences(input: &mut &[u8]) -> Option<u64> {
    let mut lines = 0;
    loop {
        let number = pull_length(input)?;
        if number == END {
            return Some(lines);
        }
        pull_value(input)?;
        if number.is_multiple_of(2) && number / 2 <= 64 {
            lines |= 1 << (number / 2 - 1);
        }
    }
}

/// Heads with their packed lines packed better; `None` where none can be.
pub(super) fn repacked(heads: &[u8], again: &mut Again<'_>) -> Result<Option<Vec<u8>>, Error> {
    let damaged = || Error::damaged("expected the headers of a call, found damaged bytes");
    if heads.first() == Some(&JSON) {
        return Ok(None);
    }
    let (mut out, mut changed, mut input) = (Vec::new(), false, heads);
    while let Some((tag, after)) = input.split_first() {
        let mut rest = after;
        let mut better = None;
        if *tag == WHOLE {
            let size = pull_length(&mut rest).ok_or_else(damaged)?;
            let packed = pull_bytes(&mut rest).ok_or_else(damaged)?;
            better = again(Kind::Content, size, packed)?.map(|packed| (size, packed));
        } else {
            pull_id(&mut rest).ok_or_else(damaged)?;
            skip_differences(&mut rest).ok_or_else(damaged)?;
        }
        match better {
            Some((size, packed)) => {
                changed = true;
                out.push(WHOLE);
                push(&mut out, size as u64);
                push_bytes(&mut out, &packed);
            }
            None => out.extend_from_slice(input.get(..input.len() - rest.len()).unwrap_or_default()),
        }
        input = rest;
    }
    Ok(changed.then_some(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::migrate;

    fn store() -> (Connection, Interned) {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::forward(&mut connection).unwrap();
        (connection, Interned::new(3, 100).unwrap())
    }

    fn head(lines: &[(&str, String)]) -> Vec<Header> {
        lines.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn a_head_that_repeats_costs_what_differs() {
        let (connection, mut interned) = store();
        let mut sizes = Vec::new();
        for number in 0..5u64 {
            let request = head(&[
                ("host", "127.0.0.1:4000".into()),
                ("user-agent", "OpenAI/Python 2.8.1".into()),
                ("content-length", (1_000 + number * 7).to_string()),
            ]);
            let response = head(&[
                ("date", format!("Wed, 25 Nov 2026 10:00:0{number} GMT")),
                (
                    "x-request-id",
                    format!("req_{:032x}", u128::from(number) * 0x1234_5678_9abc_def0_1234_5678),
                ),
                ("server", "cloudflare".into()),
            ]);
            let mut out = Vec::new();
            encode(&connection, &mut interned, &request, &mut out).unwrap();
            encode(&connection, &mut interned, &response, &mut out).unwrap();
            let read = decode_both(&connection, &mut Unpacker::default(), &out).unwrap();
            assert_eq!(read, (request, response));
            let mut found = Vec::new();
            references(&out, &mut found, &mut Overridden::new()).unwrap();
            assert_eq!(found.len(), if number == 0 { 0 } else { 2 });
            sizes.push(out.len());
        }
        assert!(sizes[4] < 40, "{sizes:?}");
    }

    proptest! {
        #[test]
        fn any_heads_come_back(heads in proptest::collection::vec(
            proptest::collection::vec(("[ab]{0,2}", "[a-f0-9ÿ ]{0,9}|Wed, 2[0-9] Nov 20[0-9]{2} 10:00:0[0-9] GMT"), 0..6), 1..12,
        )) {
            let (connection, mut interned) = store();
            for head in heads {
                let mut out = Vec::new();
                encode(&connection, &mut interned, &head, &mut out).unwrap();
                encode(&connection, &mut interned, &[], &mut out).unwrap();
                let read = decode_both(&connection, &mut Unpacker::default(), &out).unwrap();
                prop_assert_eq!(read, (head, vec![]));
            }
        }
    }
}
