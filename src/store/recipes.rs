//! Recipes: how bytes are put together from contents and turns, and back to exactly those bytes (invariant 8).
//!
//! A recipe is a sequence of parts, each a tag byte and numbers (`numbers`):
//!
//! | tag | then | meaning |
//! | --- | --- | --- |
//! | 0 | length, bytes | as they are |
//! | 1 | content | a content |
//! | 2 | turn, count, part | the contents of a chain of turns with the same part between each two |
//! | 3 | size, packed bytes | bytes packed in place |
//! | 4 | content, length, numbers | a recipe that many bodies share; the numbers are its chains' turns and counts |
//! | 5 | count, (gap, content)…, part | texts put into a part, each so many bytes behind the one before |
//! | 6 | size, part, part | woven text (`weave`): its size, its cloth, what was said |
//!
//! A content's own bytes are packed (`packing`), or a recipe behind the byte `RECIPE`.

mod outline;
mod references;
mod repack;

use std::ops::Range;

use rusqlite::Connection;

pub(super) use self::{
    outline::Outline,
    references::References,
    repack::{Again, repacked, repacked_content},
};
use super::{
    contents::{self, Interned},
    dictionaries::Kind,
    numbers::{pull, pull_bytes, pull_id, pull_length, push, push_bytes, take},
    packing::Unpacker,
    weave,
};
use crate::model::{
    Error,
    content::{Body, Part},
};

const INLINE: u8 = 0;
const CONTENT: u8 = 1;
const CHAIN: u8 = 2;
const PACKED: u8 = 3;
const SHAPED: u8 = 4;
const TEXTS: u8 = 5;
const WOVEN: u8 = 6;

/// First byte of a content that is a recipe; none of `packing`'s codecs.
const RECIPE: u8 = 9;

/// Literals shorter than this are kept in the recipe: a row of their own would be larger.
const SHORTEST_CONTENT: usize = 64;
/// Longer literals are cut: SQLite refuses blobs of a gigabyte, and compression works in memory.
const LONGEST_CONTENT: usize = 16 << 20;
/// A string of at least so many bytes is kept on its own where it may come back inside another message: what a
/// model said is in its answer and in the next request.
const LONG_TEXT: usize = 160;
/// Shorter recipes are not worth a content of their own.
const SHORTEST_SHAPE: usize = 24;
/// Responses from here on are looked for by their hash: two of the same bytes are likely one (embeddings).
const SHARED_RESPONSE: usize = 8 << 10;
/// More long texts than an answer has.
const MOST_TEXTS: usize = 64;

/// The recipe of a request's body.
pub(super) fn request(
    connection: &Connection,
    interned: &mut Interned,
    body: &Body,
) -> Result<Vec<u8>, Error> {
    let mut recipe = Recipe::default();
    for part in &body.parts {
        match part {
            Part::Literal(bytes) => recipe.literal(connection, interned, bytes)?,
            Part::Chain { items, separator }
                if separator.len() > LONGEST_CONTENT
                    || items.iter().any(|item| item.len() > LONGEST_CONTENT) =>
            {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        recipe.literal(connection, interned, separator)?;
                    }
                    recipe.literal(connection, interned, item)?;
                }
            }
            Part::Chain { items, .. } if items.is_empty() => {}
            Part::Chain { items, separator } => {
                let mut turn = contents::NO_TURN;
                for item in items {
                    let content = contents::intern(connection, interned, item)?;
                    turn = contents::turn(connection, interned, turn, content)?;
                }
                recipe.chains.push((turn.0 as u64, items.len() as u64));
                recipe.tags.push(CHAIN);
                recipe.piece(connection, interned, separator)?;
            }
        }
    }
    recipe.end(connection, interned)
}

/// A recipe whose chains' numbers stand apart, so that what is left is the same for many bodies.
#[derive(Default)]
struct Recipe {
    tags: Vec<u8>,
    chains: Vec<(u64, u64)>,
}

impl Recipe {
    /// A literal of any length, in pieces that fit.
    fn literal(
        &mut self,
        connection: &Connection,
        interned: &mut Interned,
        bytes: &[u8],
    ) -> Result<(), Error> {
        bytes.chunks(LONGEST_CONTENT).try_for_each(|bytes| self.piece(connection, interned, bytes))
    }

    fn piece(&mut self, connection: &Connection, interned: &mut Interned, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() < SHORTEST_CONTENT {
            self.tags.push(INLINE);
            push_bytes(&mut self.tags, bytes);
        } else {
            self.tags.push(CONTENT);
            push(&mut self.tags, contents::intern(connection, interned, bytes)? as u64);
        }
        Ok(())
    }

    fn end(self, connection: &Connection, interned: &mut Interned) -> Result<Vec<u8>, Error> {
        let Self { tags, chains } = self;
        let mut recipe = Vec::new();
        let numbers = chains.iter().flat_map(|(turn, count)| [*turn, *count]);
        if !chains.is_empty() && tags.len() >= SHORTEST_SHAPE {
            let shape = contents::intern(connection, interned, &tags)?;
            recipe.push(SHAPED);
            push(&mut recipe, shape as u64);
            push(&mut recipe, 2 * chains.len() as u64);
            numbers.for_each(|number| push(&mut recipe, number));
            return Ok(recipe);
        }
        if chains.is_empty() {
            return Ok(tags);
        }
        // Too short to be shared: the numbers go where a reader looks for them, behind the tag of each chain.
        let mut numbers = numbers;
        let mut input = tags.as_slice();
        while let Some(tag) = take(&mut input) {
            recipe.push(tag);
            match tag {
                CHAIN => numbers.by_ref().take(2).for_each(|number| push(&mut recipe, number)),
                INLINE => push_bytes(&mut recipe, pull_bytes(&mut input).unwrap_or_default()),
                _ => push(&mut recipe, pull(&mut input).unwrap_or_default()),
            }
        }
        Ok(recipe)
    }
}

/// The recipe of a response's body.
pub(super) fn response(
    connection: &Connection,
    interned: &mut Interned,
    body: &Body,
) -> Result<Vec<u8>, Error> {
    let whole = body.bytes();
    let mut recipe = Vec::new();
    for bytes in whole.chunks(LONGEST_CONTENT) {
        answer(connection, interned, bytes, &mut recipe)?;
    }
    Ok(recipe)
}

fn answer(
    connection: &Connection,
    interned: &mut Interned,
    bytes: &[u8],
    recipe: &mut Vec<u8>,
) -> Result<(), Error> {
    if bytes.len() < SHORTEST_CONTENT {
        recipe.push(INLINE);
        push_bytes(recipe, bytes);
        return Ok(());
    }
    if let Some(woven) = weave::weave(bytes)
        && 2 * (woven.cloth.len() + woven.text.len()) < bytes.len()
        // Woven text is exact by construction; it is looked at all the same, because nothing else is left.
        && weave::unweave(&woven.cloth, &woven.text, bytes.len()).as_deref() == Some(bytes)
    {
        recipe.push(WOVEN);
        push(recipe, bytes.len() as u64);
        packed(interned, Kind::Response, &woven.cloth, recipe)?;
        if woven.text.len() < LONG_TEXT {
            return packed(interned, Kind::Content, &woven.text, recipe);
        }
        recipe.push(CONTENT);
        push(recipe, contents::intern_text(connection, interned, &woven.text)? as u64);
        return Ok(());
    }
    let texts = texts(bytes);
    if texts.is_empty() && bytes.len() >= SHARED_RESPONSE {
        recipe.push(CONTENT);
        push(recipe, contents::intern(connection, interned, bytes)? as u64);
        return Ok(());
    }
    let mut found = Vec::new();
    for text in texts {
        let content =
            contents::intern_text(connection, interned, bytes.get(text.clone()).unwrap_or_default())?;
        found.push((text, content));
    }
    with_texts(interned, Kind::Response, bytes, &found, recipe)
}

/// The body of a content: its texts that are stored already are referred to, the rest is packed.
pub(super) fn content(
    connection: &Connection,
    interned: &mut Interned,
    bytes: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    let mut found = Vec::new();
    if matches!(bytes.first(), Some(b'{' | b'[')) {
        for text in texts(bytes) {
            let said = bytes.get(text.clone()).unwrap_or_default();
            if let Some(content) = contents::find(connection, interned, said)? {
                found.push((text, content));
            }
        }
    }
    if found.is_empty() {
        interned.packer.pack(Kind::Content, bytes, &mut body)?;
    } else {
        body.push(RECIPE);
        with_texts(interned, Kind::Content, bytes, &found, &mut body)?;
    }
    Ok(body)
}

fn with_texts(
    interned: &mut Interned,
    kind: Kind,
    bytes: &[u8],
    texts: &[(Range<usize>, i64)],
    recipe: &mut Vec<u8>,
) -> Result<(), Error> {
    if texts.is_empty() {
        return packed(interned, kind, bytes, recipe);
    }
    recipe.push(TEXTS);
    push(recipe, texts.len() as u64);
    let (mut rest, mut at) = (Vec::new(), 0);
    for (text, content) in texts {
        let gap = bytes.get(at..text.start).unwrap_or_default();
        push(recipe, gap.len() as u64);
        push(recipe, *content as u64);
        rest.extend_from_slice(gap);
        at = text.end;
    }
    rest.extend_from_slice(bytes.get(at..).unwrap_or_default());
    packed(interned, kind, &rest, recipe)
}

fn packed(interned: &mut Interned, kind: Kind, bytes: &[u8], recipe: &mut Vec<u8>) -> Result<(), Error> {
    let mut packed = Vec::new();
    interned.packer.pack(kind, bytes, &mut packed)?;
    recipe.push(PACKED);
    push(recipe, bytes.len() as u64);
    push_bytes(recipe, &packed);
    Ok(())
}

/// The insides of long JSON strings.
fn texts(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = bytes.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
        let start = at + open + 1;
        at = start;
        loop {
            let Some(hit) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) else {
                return found;
            };
            at += hit;
            if bytes.get(at) == Some(&b'"') {
                break;
            }
            at += 2;
        }
        if at - start >= LONG_TEXT && found.len() < MOST_TEXTS {
            found.push(start..at);
        }
        at += 1;
    }
    found
}

fn damaged() -> Error {
    Error::damaged("expected a recipe, found damaged bytes")
}

/// Appends what a recipe makes.
pub(super) fn rebuild(
    connection: &Connection,
    unpacker: &mut Unpacker,
    recipe: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut input = recipe;
    while let Some(tag) = take(&mut input) {
        match tag {
            CHAIN => {
                let (turn, count) = chain_numbers(&mut input)?;
                let separator = one(connection, unpacker, &mut input)?;
                chain(connection, unpacker, turn, count, &separator, out)?;
            }
            SHAPED => {
                let id = pull_id(&mut input).ok_or_else(damaged)?;
                let count = pull_length(&mut input).ok_or_else(damaged)?;
                let shape = contents::shared(connection, unpacker, id)?;
                let mut shape = &*shape;
                let mut chains = 0;
                while let Some(tag) = take(&mut shape) {
                    if tag == CHAIN {
                        let (turn, length) = chain_numbers(&mut input)?;
                        let separator = one(connection, unpacker, &mut shape)?;
                        chain(connection, unpacker, turn, length, &separator, out)?;
                        chains += 2;
                    } else {
                        part(connection, unpacker, tag, &mut shape, out)?;
                    }
                }
                if chains != count {
                    return Err(damaged());
                }
            }
            tag => part(connection, unpacker, tag, &mut input, out)?,
        }
    }
    Ok(())
}

fn chain_numbers(input: &mut &[u8]) -> Result<(i64, u64), Error> {
    pull_id(input).zip(pull(input)).ok_or_else(damaged)
}

fn chain(
    connection: &Connection,
    unpacker: &mut Unpacker,
    turn: i64,
    count: u64,
    separator: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    for (index, content) in contents::path(connection, turn, count)?.into_iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(separator);
        }
        contents::append(connection, unpacker, content, out)?;
    }
    Ok(())
}

/// The bytes of the next part.
fn one(connection: &Connection, unpacker: &mut Unpacker, input: &mut &[u8]) -> Result<Vec<u8>, Error> {
    let tag = take(input).ok_or_else(damaged)?;
    let mut out = Vec::new();
    part(connection, unpacker, tag, input, &mut out)?;
    Ok(out)
}

fn part(
    connection: &Connection,
    unpacker: &mut Unpacker,
    tag: u8,
    input: &mut &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    match tag {
        INLINE => out.extend_from_slice(pull_bytes(input).ok_or_else(damaged)?),
        CONTENT => {
            contents::append(connection, unpacker, pull_id(input).ok_or_else(damaged)?, out)?;
        }
        PACKED => {
            let size = pull_length(input).filter(|size| *size <= LONGEST_CONTENT).ok_or_else(damaged)?;
            unpacker.unpack(connection, pull_bytes(input).ok_or_else(damaged)?, size, out)?;
        }
        TEXTS => {
            let count = pull_length(input).ok_or_else(damaged)?;
            let mut texts = Vec::new();
            for _ in 0..count {
                texts.push(pull_length(input).zip(pull_id(input)).ok_or_else(damaged)?);
            }
            let rest = plain(connection, unpacker, input)?;
            let mut rest = rest.as_slice();
            for (gap, content) in texts {
                let (before, after) = rest.split_at_checked(gap).ok_or_else(damaged)?;
                out.extend_from_slice(before);
                contents::append_text(connection, unpacker, content, out)?;
                rest = after;
            }
            out.extend_from_slice(rest);
        }
        WOVEN => {
            let size = pull_length(input).filter(|size| *size <= LONGEST_CONTENT).ok_or_else(damaged)?;
            let cloth = plain(connection, unpacker, input)?;
            let text = plain(connection, unpacker, input)?;
            let woven = weave::unweave(&cloth, &text, size).filter(|woven| woven.len() == size);
            out.extend_from_slice(&woven.ok_or_else(damaged)?);
        }
        _ => return Err(damaged()),
    }
    Ok(())
}

/// The next part where no part may be inside it, so that a damaged file cannot nest without end.
fn plain(connection: &Connection, unpacker: &mut Unpacker, input: &mut &[u8]) -> Result<Vec<u8>, Error> {
    match input.first() {
        Some(&INLINE | &CONTENT | &PACKED) => one(connection, unpacker, input),
        _ => Err(damaged()),
    }
}

/// Appends a content from its row.
pub(super) fn append_content(
    connection: &Connection,
    unpacker: &mut Unpacker,
    body: &[u8],
    size: usize,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    match body.split_first() {
        Some((&RECIPE, mut recipe)) => {
            let tag = take(&mut recipe).filter(|tag| *tag == TEXTS).ok_or_else(damaged)?;
            part(connection, unpacker, tag, &mut recipe, out)
        }
        _ => unpacker.unpack(connection, body, size, out),
    }
}
