//! Cuts a request body where its repeating parts begin and end, without reading what they mean. The
//! parts are slices of the body, so their concatenation is the body whatever was in it; a wrong cut could
//! only cost storage, and anything doubtful is not cut at all.

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr2;

use crate::model::{
    call::Dialect,
    content::{Body, Part},
};

/// Bodies smaller than this are one literal: cutting costs more than it saves.
const MIN_BODY: usize = 256;
/// Other top-level values of this size are resent often enough to be kept once: tools, system prompts,
/// response schemas.
const MIN_VALUE: usize = 512;
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
    cut(conversation, body).unwrap_or_else(|| Body::raw(body.clone()))
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
    Some(Body { parts })
}

fn chain(body: &Bytes, items: &[Range<usize>], parts: &mut Vec<Part>) {
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
