//! What a call carried, one row a call: heads, the recipes of both bodies, and when the response's frames came.
//! Everything here has the life of payloads; a call's facts outlive it.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Side, arrivals, calls,
    contents::Interned,
    dictionaries::Kind,
    heads::{self, Overridden},
    packing::Unpacker,
    recipes::{self, Outline, References},
};
use crate::model::{
    CallId, Error,
    call::{Call, Settled},
    content::StoredBody,
    record::Header,
};

/// Bits of `uncut`.
const REQUEST: i64 = 1;

const INSERT: &str = "
    INSERT INTO payloads (sequence, heads, request, response, arrivals, uncut) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Stores what the call at `sequence` carried; nothing leaves no row.
pub(super) fn insert(
    connection: &Connection,
    interned: &mut Interned,
    sequence: i64,
    settled: &Settled,
) -> Result<(), Error> {
    let Settled { call, request, response, arrivals, .. } = settled;
    let mut heads = Vec::new();
    if !call.request_headers.is_empty() || !call.response_headers.is_empty() {
        heads::encode(connection, interned, &call.request_headers, &mut heads)?;
        heads::encode(connection, interned, &call.response_headers, &mut heads)?;
    }
    // The answer first: it is what later requests refer to.
    let answer = recipes::response(connection, interned, response)?;
    let asked = recipes::request(connection, interned, request)?;
    let arrivals = arrivals::encode(arrivals, &response.bytes());
    if heads.is_empty() && asked.is_empty() && answer.is_empty() && arrivals.is_empty() {
        return Ok(());
    }
    let uncut = if request.uncut { REQUEST } else { 0 };
    connection.prepare_cached(INSERT)?.execute(params![sequence, heads, asked, answer, arrivals, uncut])?;
    Ok(())
}

const BODIES: &str = "SELECT request, response, arrivals FROM payloads WHERE sequence = ?1";

/// The exact bytes that were recorded; none where nothing was kept or its life is over.
pub(super) fn body(connection: &Connection, call: CallId, side: Side) -> Result<StoredBody, Error> {
    let Some(sequence) = calls::sequence(connection, call)? else {
        return Err(Error::not_found(format!("expected a stored call, found none with id {call}")));
    };
    body_at(connection, &mut Unpacker::default(), sequence, side)
        .map_err(|error| Error::new(error.code, format!("call {call} ({side:?}): {}", error.message)))
}

pub(super) fn body_at(
    connection: &Connection,
    unpacker: &mut Unpacker,
    sequence: i64,
    side: Side,
) -> Result<StoredBody, Error> {
    let row: Option<(Vec<u8>, Vec<u8>, Vec<u8>)> = connection
        .prepare_cached(BODIES)?
        .query_row([sequence], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (request, response, came) = row.unwrap_or_default();
    let mut bytes = Vec::new();
    match side {
        Side::Request => {
            recipes::rebuild(connection, unpacker, &request, &mut bytes)?;
            Ok(StoredBody { bytes: bytes.into(), arrivals: Vec::new() })
        }
        Side::Response => {
            recipes::rebuild(connection, unpacker, &response, &mut bytes)?;
            let arrivals = arrivals::decode(&came, &bytes)
                .ok_or_else(|| Error::damaged("expected the arrivals of a body, found damaged bytes"))?;
            Ok(StoredBody { bytes: bytes.into(), arrivals })
        }
    }
}

/// The request of the call at `sequence` without its conversation and tools.
pub(super) fn outline(
    connection: &Connection,
    unpacker: &mut Unpacker,
    sequence: i64,
) -> Result<Outline, Error> {
    let request: Option<Vec<u8>> = connection
        .prepare_cached("SELECT request FROM payloads WHERE sequence = ?1")?
        .query_row([sequence], |row| row.get(0))
        .optional()?;
    Outline::of(connection, unpacker, &request.unwrap_or_default())
}

const HEADS: &str = "SELECT heads FROM payloads WHERE sequence = ?1";

/// Request and response head.
pub(super) fn heads(
    connection: &Connection,
    unpacker: &mut Unpacker,
    sequence: i64,
) -> Result<(Vec<Header>, Vec<Header>), Error> {
    let heads: Option<Vec<u8>> =
        connection.prepare_cached(HEADS)?.query_row([sequence], |row| row.get(0)).optional()?;
    heads::decode_both(connection, unpacker, &heads.unwrap_or_default())
}

/// Fills the heads of a call that was read without them.
pub(super) fn with_heads(
    connection: &Connection,
    unpacker: &mut Unpacker,
    sequence: i64,
    mut call: Call,
) -> Result<Call, Error> {
    let (request, response) = heads(connection, unpacker, sequence)?;
    (call.request_headers, call.response_headers) = (request.into(), response.into());
    Ok(call)
}
const REFERENCES: &str = "SELECT heads, request, response FROM payloads WHERE sequence = ?1";

/// What the payload at `sequence` refers to.
pub(super) fn references(
    connection: &Connection,
    unpacker: &mut Unpacker,
    sequence: i64,
    found: &mut References,
    templates: &mut Overridden,
) -> Result<(), Error> {
    let row: Option<(Vec<u8>, Vec<u8>, Vec<u8>)> = connection
        .prepare_cached(REFERENCES)?
        .query_row([sequence], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((heads, request, response)) = row else { return Ok(()) };
    heads::references(&heads, &mut found.contents, templates)?;
    found.of_recipe(connection, unpacker, &request)?;
    found.of_recipe(connection, unpacker, &response)
}
const DELETE: &str = "DELETE FROM payloads WHERE sequence = ?1";

/// Ends the life of a payload; what it alone referred to is for the sweep.
pub(super) fn delete(connection: &Connection, sequence: i64) -> Result<bool, Error> {
    Ok(connection.prepare_cached(DELETE)?.execute([sequence])? > 0)
}

/// Appends the bytes that are packed in the payload itself: heads, and what is left of the response.
pub(super) fn packed_bytes(
    connection: &Connection,
    unpacker: &mut Unpacker,
    sequence: i64,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let row: Option<(Vec<u8>, Vec<u8>)> = connection
        .prepare_cached("SELECT heads, response FROM payloads WHERE sequence = ?1")?
        .query_row([sequence], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((heads, response)) = row else { return Ok(()) };
    let mut unpack = |_: Kind, size: usize, packed: &[u8]| {
        unpacker.unpack(connection, packed, size, out)?;
        Ok(None)
    };
    heads::repacked(&heads, &mut unpack)?;
    recipes::repacked(&response, Kind::Response, &mut unpack)?;
    Ok(())
}
