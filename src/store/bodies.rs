//! Bodies as recipes over contents and turns, and back to the exact bytes (invariant 8).
//!
//! A recipe is a sequence of parts, each a tag byte and LEB128 numbers: `0 length bytes` for a short
//! literal kept in place, `1 content` for a longer one, `2 turn count separator` for a chain, whose
//! separator is itself a literal of tag 0 or 1. Arrivals are pairs of LEB128: offset since the frame before
//! (zigzag, a clock may step back) and length.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Side, calls,
    contents::{self, Interned},
};
use crate::model::{
    CallId, Error,
    content::{Arrival, Body, Part, StoredBody},
};

const INLINE: u8 = 0;
const CONTENT: u8 = 1;
const CHAIN: u8 = 2;

/// Literals shorter than this are kept in the recipe: a row of their own would be larger.
const SHORTEST_CONTENT: usize = 64;
/// Longer literals are cut: SQLite refuses blobs of a gigabyte, and compression works in memory.
const LONGEST_CONTENT: usize = 16 << 20;

const INSERT: &str = "INSERT INTO bodies (sequence, side, recipe, arrivals) VALUES (?1, ?2, ?3, ?4)";

/// Stores a body of the call at `sequence`; one without bytes leaves no row.
pub(super) fn insert(
    connection: &Connection,
    interned: &mut Interned,
    sequence: i64,
    side: Side,
    body: &Body,
    arrivals: &[Arrival],
) -> Result<(), Error> {
    let recipe = recipe(connection, interned, body)?;
    if recipe.is_empty() && arrivals.is_empty() {
        return Ok(());
    }
    let arrivals = encode_arrivals(arrivals);
    connection.prepare_cached(INSERT)?.execute(params![sequence, number(side), recipe, arrivals])?;
    Ok(())
}

fn number(side: Side) -> i64 {
    match side {
        Side::Request => 0,
        Side::Response => 1,
    }
}

fn recipe(connection: &Connection, interned: &mut Interned, body: &Body) -> Result<Vec<u8>, Error> {
    let mut recipe = Vec::new();
    for part in &body.parts {
        match part {
            Part::Literal(bytes) => literal(connection, interned, bytes, &mut recipe)?,
            Part::Chain { items, separator }
                if separator.len() > LONGEST_CONTENT
                    || items.iter().any(|item| item.len() > LONGEST_CONTENT) =>
            {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        literal(connection, interned, separator, &mut recipe)?;
                    }
                    literal(connection, interned, item, &mut recipe)?;
                }
            }
            Part::Chain { items, .. } if items.is_empty() => {}
            Part::Chain { items, separator } => {
                let mut turn = contents::NO_TURN;
                for item in items {
                    let content = contents::intern(connection, interned, item)?;
                    turn = contents::turn(connection, interned, turn, content)?;
                }
                recipe.push(CHAIN);
                push(&mut recipe, turn.0 as u64);
                push(&mut recipe, items.len() as u64);
                piece(connection, interned, separator, &mut recipe)?;
            }
        }
    }
    Ok(recipe)
}

/// A literal of any length, in pieces that fit.
fn literal(
    connection: &Connection,
    interned: &mut Interned,
    bytes: &[u8],
    recipe: &mut Vec<u8>,
) -> Result<(), Error> {
    bytes.chunks(LONGEST_CONTENT).try_for_each(|bytes| piece(connection, interned, bytes, recipe))
}

fn piece(
    connection: &Connection,
    interned: &mut Interned,
    bytes: &[u8],
    recipe: &mut Vec<u8>,
) -> Result<(), Error> {
    if bytes.len() < SHORTEST_CONTENT {
        recipe.push(INLINE);
        push(recipe, bytes.len() as u64);
        recipe.extend_from_slice(bytes);
    } else {
        let id = contents::intern(connection, interned, bytes)?;
        recipe.push(CONTENT);
        push(recipe, id as u64);
    }
    Ok(())
}

const READ: &str = "SELECT recipe, arrivals FROM bodies WHERE sequence = ?1 AND side = ?2";

pub(super) fn read(connection: &Connection, call: CallId, side: Side) -> Result<StoredBody, Error> {
    let Some(sequence) = calls::sequence(connection, call)? else {
        return Err(Error::not_found(format!("expected a stored call, found none with id {call}")));
    };
    let row: Option<(Vec<u8>, Vec<u8>)> = connection
        .prepare_cached(READ)?
        .query_row(params![sequence, number(side)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (recipe, arrivals) = row.unwrap_or_default();
    let damaged = || {
        Error::internal(format!(
            "expected the recipe of a body, found damaged bytes at call {call} ({side:?})"
        ))
    };
    let bytes = rebuild(connection, &recipe, damaged)?;
    Ok(StoredBody { bytes: bytes.into(), arrivals: decode_arrivals(&arrivals).ok_or_else(damaged)? })
}

fn rebuild(connection: &Connection, recipe: &[u8], damaged: impl Fn() -> Error) -> Result<Vec<u8>, Error> {
    let mut input = recipe;
    let mut out = Vec::new();
    while let Some(tag) = take(&mut input) {
        if tag != CHAIN {
            append_piece(connection, tag, &mut input, &mut out, &damaged)?;
            continue;
        }
        let turn = pull(&mut input).and_then(|id| i64::try_from(id).ok()).ok_or_else(&damaged)?;
        let count = pull(&mut input).ok_or_else(&damaged)?;
        let tag = take(&mut input).ok_or_else(&damaged)?;
        let mut separator = Vec::new();
        append_piece(connection, tag, &mut input, &mut separator, &damaged)?;
        for (index, content) in contents::path(connection, turn, count)?.into_iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(&separator);
            }
            contents::append(connection, content, &mut out)?;
        }
    }
    Ok(out)
}

fn append_piece(
    connection: &Connection,
    tag: u8,
    input: &mut &[u8],
    out: &mut Vec<u8>,
    damaged: impl Fn() -> Error,
) -> Result<(), Error> {
    let number = pull(input).ok_or_else(&damaged)?;
    match tag {
        INLINE => {
            let length = usize::try_from(number).map_err(|_| damaged())?;
            let (bytes, rest) = input.split_at_checked(length).ok_or_else(&damaged)?;
            *input = rest;
            out.extend_from_slice(bytes);
            Ok(())
        }
        CONTENT => contents::append(connection, i64::try_from(number).map_err(|_| damaged())?, out),
        _ => Err(damaged()),
    }
}

fn encode_arrivals(arrivals: &[Arrival]) -> Vec<u8> {
    let mut out = Vec::with_capacity(arrivals.len() * 4);
    let mut before = 0u64;
    for arrival in arrivals {
        let step = arrival.offset_us.wrapping_sub(before) as i64;
        push(&mut out, ((step << 1) ^ (step >> 63)) as u64);
        push(&mut out, arrival.length);
        before = arrival.offset_us;
    }
    out
}

fn decode_arrivals(mut input: &[u8]) -> Option<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    let mut before = 0u64;
    while !input.is_empty() {
        let step = pull(&mut input)?;
        let step = (step >> 1) as i64 ^ -((step & 1) as i64);
        before = before.wrapping_add(step as u64);
        arrivals.push(Arrival { offset_us: before, length: pull(&mut input)? });
    }
    Some(arrivals)
}

fn take(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

/// Writes a number as LEB128: seven bits a byte, the lowest first.
fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a LEB128; `None` where the input ends early or the number does not fit.
fn pull(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(input)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive(number: u64) {
            let mut out = Vec::new();
            push(&mut out, number);
            let mut input = out.as_slice();
            prop_assert_eq!(pull(&mut input), Some(number));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn arrivals_survive(pairs: Vec<(u64, u64)>) {
            let arrivals: Vec<_> =
                pairs.into_iter().map(|(offset_us, length)| Arrival { offset_us, length }).collect();
            prop_assert_eq!(decode_arrivals(&encode_arrivals(&arrivals)), Some(arrivals));
        }

        #[test]
        fn damaged_arrivals_do_not_panic(bytes: Vec<u8>) {
            let decoded = decode_arrivals(&bytes);
            prop_assert!(decoded.is_none_or(|arrivals| arrivals.len() <= bytes.len()));
        }
    }

    #[test]
    fn a_typical_stream_costs_a_few_bytes_a_frame() {
        let arrivals: Vec<_> =
            (0..1_000).map(|frame| Arrival { offset_us: frame * 8_000, length: 180 }).collect();
        assert!(encode_arrivals(&arrivals).len() < 5_100);
    }
}
