//! Cuts a request body where its repeating parts begin and end, without reading what they mean. The
//! parts are slices of the body, so their concatenation is the body whatever was in it; a wrong cut could
//! only cost storage, and anything doubtful is not cut at all.

use std::ops::Range;

use bytes::Bytes;
use memchr::{memchr, memchr2};

use crate::model::{
    call::Dialect,
    content::{Body, Part},
};

/// Bodies smaller than this are one literal: cutting costs more than it saves.
const MIN_BODY: usize = 256;
/// Other top-level values of this size are resent often enough to be kept once: tools, system prompts,
/// response schemas.
const MIN_VALUE: usize = 512;
/// Inline media of this size are a part of their own: the same picture is shown in many messages.
const MIN_MEDIA: usize = 4 << 10;
/// `data:` with its type and parameters is not longer.
const MAX_MEDIA_HEAD: usize = 128;
/// More items than any conversation has; beyond, the array is no conversation.
const MAX_ITEMS: usize = 20_000;

/// Cuts a request body where its repeating parts begin and end (messages, tools), so that the store
/// keeps each once. Concatenated, the parts are the body; anything not understood is one literal.
pub fn split(dialect: Dialect, body: &Bytes) -> Body {
    let conversation: &[u8] = match dialect {
        Dialect::ChatCompletions | Dialect::Messages => b"messages",
        Dialect::Responses => b"input",
        _ => return Body::raw(body.clone()),
    };
    if body.len() < MIN_BODY {
        return Body::raw(body.clone());
    }
    cut(conversation, body).unwrap_or_else(|| Body { uncut: true, ..Body::raw(body.clone()) })
}

/// `None` on any doubt.
fn cut(conversation: &[u8], body: &Bytes) -> Option<Body> {
    let mut scanner = Scanner { bytes: body, at: 0 };
    let (mut parts, mut done, mut found) = (Vec::new(), 0, false);
    let literal = |range: Range<usize>, parts: &mut Vec<Part>| {
        if !range.is_empty() {
            parts.push(Part::Literal(body.slice(range)));
        }
    };
    scanner.fields(|scanner, key, value| {
        let bytes = scanner.bytes.get(value.clone())?;
        let array = bytes.first() == Some(&b'[');
        if key == conversation {
            // Twice: which one counts is for the server to say.
            if std::mem::replace(&mut found, true) {
                return None;
            }
            let items = if array { scanner.items(value.clone())? } else { Vec::new() };
            if let (Some(first), Some(last)) = (items.first(), items.last()) {
                literal(done..first.start, &mut parts);
                done = last.end;
                chain(body, &items, &mut parts);
                return Some(());
            }
        }
        let tools = matches!(key, b"tools" | b"functions") && array && bytes.len() > 2;
        if tools || bytes.len() >= MIN_VALUE {
            literal(done..value.start, &mut parts);
            literal(value.clone(), &mut parts);
            done = value.end;
        }
        Some(())
    })?;
    literal(done..body.len(), &mut parts);
    Some(Body { parts, uncut: false })
}

/// A conversation: chains of messages, and between them those whose media are cut out.
fn chain(body: &Bytes, items: &[Range<usize>], parts: &mut Vec<Part>) {
    let gap = |index: usize| items.get(index.checked_sub(1)?).map(|before| before.end..items[index].start);
    // A system prompt that tells the time is another one in each call; what follows it is not.
    let leading = items.iter().take_while(|item| instructs(body, item)).count();
    let mut plain = if leading < items.len() { leading } else { 0 };
    for (index, item) in items.iter().take(plain).enumerate() {
        parts.extend(gap(index).map(|gap| Part::Literal(body.slice(gap))));
        parts.push(Part::Literal(body.slice(item.clone())));
    }
    for (index, item) in items.iter().enumerate().skip(plain) {
        let media = media(body, item.clone());
        if media.is_empty() {
            continue;
        }
        run(body, items, plain..index, parts);
        parts.extend(gap(index).map(|gap| Part::Literal(body.slice(gap))));
        let mut done = item.start;
        for found in media {
            parts.push(Part::Literal(body.slice(done..found.start)));
            done = found.end;
            parts.push(Part::Literal(body.slice(found)));
        }
        parts.push(Part::Literal(body.slice(done..item.end)));
        plain = index + 1;
    }
    run(body, items, plain..items.len(), parts);
}

/// Whether a message is a part of the system prompt.
fn instructs(body: &Bytes, item: &Range<usize>) -> bool {
    let Some(bytes) = body.get(item.clone()) else { return false };
    let mut found = false;
    let read = Scanner { bytes, at: 0 }.fields(|scanner, key, value| {
        found |=
            key == b"role" && matches!(scanner.bytes.get(value), Some(br#""system""# | br#""developer""#));
        Some(())
    });
    read.is_some() && found
}

/// Items without media one after the other, with the gap before them.
fn run(body: &Bytes, all: &[Range<usize>], which: Range<usize>, parts: &mut Vec<Part>) {
    let (before, items) = all.split_at(which.start);
    let items = items.get(..which.len()).unwrap_or_default();
    let Some(first) = items.first() else { return };
    if let Some(before) = before.last() {
        parts.push(Part::Literal(body.slice(before.end..first.start)));
    }
    let mut gaps = items.windows(2).map(|pair| pair[0].end..pair[1].start);
    let separator = gaps.next().unwrap_or(0..0);
    let equal = gaps.all(|gap| body.get(gap) == body.get(separator.clone()));
    let mut slices = items.iter().map(|item| body.slice(item.clone()));
    if equal {
        parts.push(Part::Chain { items: slices.collect(), separator: body.slice(separator) });
        return;
    }
    parts.extend(slices.next().map(Part::Literal));
    for (slice, pair) in slices.zip(items.windows(2)) {
        parts.push(Part::Literal(body.slice(pair[0].end..pair[1].start)));
        parts.push(Part::Literal(slice));
    }
}

/// Where an item holds long strings of base64, without what says that they are (`data:…;base64,`): dialects
/// differ in that, and the picture is the same.
fn media(body: &Bytes, item: Range<usize>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if item.len() < MIN_MEDIA {
        return found;
    }
    let Some(bytes) = body.get(..item.end) else { return found };
    let mut scanner = Scanner { bytes, at: item.start };
    while let Some(hit) = bytes.get(scanner.at..).and_then(|rest| memchr(b'"', rest)) {
        scanner.at += hit;
        let Some(string) = scanner.string() else { break };
        let (mut start, end) = (string.start + 1, string.end - 1);
        if end - start < MIN_MEDIA {
            continue;
        }
        let head = bytes.get(start..start + MAX_MEDIA_HEAD).unwrap_or_default();
        if let Some(at) = memchr::memmem::find(head, b";base64,") {
            start += at + ";base64,".len();
        }
        let encoded =
            |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte));
        if end - start >= MIN_MEDIA && bytes.get(start..end).is_some_and(encoded) {
            found.push(start..end);
        }
    }
    found
}

/// Walks JSON by its punctuation: exact about strings and nesting, silent about what is between.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// A top-level object to the very end of the body.
    fn fields(&mut self, mut each: impl FnMut(&Self, &'a [u8], Range<usize>) -> Option<()>) -> Option<()> {
        self.space();
        self.eat(b'{')?;
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.eat(b':')?;
            self.space();
            let value = self.value()?;
            each(self, self.bytes.get(key.start + 1..key.end - 1)?, value)?;
            self.space();
            if self.eat(b',').is_none() {
                break;
            }
        }
        self.eat(b'}')?;
        self.space();
        (self.at == self.bytes.len()).then_some(())
    }

    /// The items of an array, when it is one of objects only.
    fn items(&self, array: Range<usize>) -> Option<Vec<Range<usize>>> {
        let mut inner = Scanner { bytes: self.bytes.get(..array.end)?, at: array.start };
        let mut items = Vec::new();
        inner.eat(b'[')?;
        inner.space();
        if inner.eat(b']').is_some() {
            return Some(items);
        }
        loop {
            inner.space();
            if inner.bytes.get(inner.at) != Some(&b'{') || items.len() == MAX_ITEMS {
                return Some(Vec::new());
            }
            items.push(inner.value()?);
            inner.space();
            if inner.eat(b',').is_none() {
                break;
            }
        }
        inner.eat(b']')?;
        (inner.at == array.end).then_some(items)
    }

    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.eat(b'"')?;
        loop {
            let rest = self.bytes.get(self.at..)?;
            let hit = memchr2(b'"', b'\\', rest)?;
            self.at += hit + 1;
            if rest.get(hit) == Some(&b'"') {
                return Some(start..self.at);
            }
            // The escaped byte; of `\u0041` the digits are like any others.
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        match self.bytes.get(start)? {
            b'"' => return self.string(),
            b'{' | b'[' => self.nested()?,
            _ => {
                while self.bytes.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
                {
                    self.at += 1;
                }
                if self.at == start {
                    return None;
                }
            }
        }
        Some(start..self.at)
    }

    /// To the bracket that closes the one here. Only depth is followed, not which bracket it is: what is
    /// mixed up inside stays inside.
    fn nested(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
