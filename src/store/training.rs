//! Training dictionaries from what is stored, and packing anew what was packed with others. Reads in slices
//! beside the writer; changes rows that are still as they were read, and only how they are packed.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    dictionaries::{self, Kind, Trained},
    heads,
    packing::{Packer, Unpacker},
    recipes,
};
use crate::model::{Error, UnixNanos, error::sound};

/// Samples of one kind at most, and bytes of one sample and of all.
const MOST_SAMPLES: i64 = 6_000;
const LONGEST_SAMPLE: usize = 16 << 10;
const MOST_BYTES: usize = 8 << 20;
/// Nobody waits for what is packed anew, and it stays.
const LEVEL: i32 = 15;
/// Rows of one slice.
const SLICE: i64 = 64;

/// How a training ended for one kind of bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Training {
    /// What it is for: `content` or `response`.
    pub kind: String,
    pub samples: u64,
    /// The new dictionary; null where there were too few samples or none would pay.
    pub dictionary: Option<i64>,
    pub dictionary_bytes: u64,
    /// Of samples kept out of the training: bytes packed without it, and with it.
    pub bytes_without: u64,
    pub bytes_with: u64,
}

const NEWEST_CONTENT: &str = "SELECT coalesce(max(id), 0) FROM contents";
const CONTENT: &str = "SELECT size, body FROM contents WHERE id >= ?1 ORDER BY id LIMIT 1";
const NEWEST_PAYLOAD: &str = "SELECT coalesce(max(sequence), 0) FROM payloads";
const RESPONSE: &str = "SELECT response FROM payloads WHERE sequence >= ?1 ORDER BY sequence LIMIT 1";

/// Samples of one kind, spread evenly over what is stored.
pub(super) fn samples(connection: &Connection, kind: Kind) -> Result<Vec<Vec<u8>>, Error> {
    let newest = match kind {
        Kind::Content => NEWEST_CONTENT,
        Kind::Response => NEWEST_PAYLOAD,
    };
    let newest: i64 = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
    let count = newest.min(MOST_SAMPLES);
    let mut unpacker = Unpacker::default();
    let (mut samples, mut bytes) = (Vec::new(), 0);
    for number in 0..count {
        let at = 1 + number * newest / count;
        let mut sample = Vec::new();
        match kind {
            Kind::Content => {
                let row: Option<(usize, Vec<u8>)> = connection
                    .prepare_cached(CONTENT)?
                    .query_row([at], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                let Some((size, body)) = row else { continue };
                let read = recipes::append_content(connection, &mut unpacker, &body, size, &mut sample);
                if sound(read)?.is_none() {
                    continue;
                }
            }
            Kind::Response => {
                let row: Option<Vec<u8>> =
                    connection.prepare_cached(RESPONSE)?.query_row([at], |row| row.get(0)).optional()?;
                let Some(recipe) = row else { continue };
                let mut unpack = |found: Kind, size: usize, packed: &[u8]| {
                    if found == Kind::Response {
                        unpacker.unpack(connection, packed, size, &mut sample)?;
                    }
                    Ok(None)
                };
                if sound(recipes::repacked(&recipe, Kind::Response, &mut unpack))?.is_none() {
                    continue;
                }
            }
        }
        sample.truncate(LONGEST_SAMPLE);
        // zstd learns nothing from a few bytes and says so.
        if sample.len() >= 8 {
            bytes += sample.len();
            samples.push(sample);
        }
        if bytes > MOST_BYTES {
            break;
        }
    }
    Ok(samples)
}

/// Trains a dictionary of a kind; nothing is written.
pub(super) fn train(connection: &Connection, kind: Kind) -> Result<(Training, Option<Trained>), Error> {
    let samples = samples(connection, kind)?;
    let mut training = Training {
        kind: kind.as_str().to_owned(),
        samples: samples.len() as u64,
        dictionary: None,
        dictionary_bytes: 0,
        bytes_without: 0,
        bytes_with: 0,
    };
    let trained = dictionaries::train(&samples, LEVEL)?;
    if let Some(trained) = &trained {
        training.dictionary_bytes = trained.body.len() as u64;
        training.bytes_without = trained.without as u64;
        training.bytes_with = trained.with as u64;
    }
    Ok((training, trained.filter(Trained::pays)))
}

/// Keeps what a training found.
pub(super) fn keep(
    connection: &Connection,
    kind: Kind,
    trained: &Trained,
    at: UnixNanos,
) -> Result<i64, Error> {
    dictionaries::keep(connection, kind, trained, at)
}

/// Where packing anew is: contents first, then payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repacking {
    pub content: i64,
    pub payload: i64,
    pub done: bool,
    pub rows: u64,
    pub saved_bytes: i64,
}

/// A row that is packed better, or stands between such rows.
#[derive(Debug)]
pub(super) enum Repacked {
    Content { id: i64, size: usize, before: Vec<u8>, after: Vec<u8> },
    Payload { sequence: i64, before: [Vec<u8>; 2], after: [Vec<u8>; 2] },
}

const CONTENTS: &str = "SELECT id, size, body FROM contents WHERE id > ?1 ORDER BY id LIMIT ?2";
const PAYLOADS: &str =
    "SELECT sequence, heads, response FROM payloads WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";

/// The rows of the next slice, if any would be smaller or needs a dictionary which is not the newest.
pub(super) fn slice(connection: &Connection, at: Repacking) -> Result<(Repacking, Vec<Repacked>), Error> {
    let mut packer = Packer::new(LEVEL)?;
    packer.use_newest(connection)?;
    let mut unpacker = Unpacker::default();
    let (mut next, mut found, mut read, mut changed) = (at, Vec::new(), 0, false);
    let mut again = |kind: Kind, size: usize, packed: &[u8]| -> Result<Option<Vec<u8>>, Error> {
        let (mut bytes, mut after) = (Vec::new(), Vec::new());
        unpacker.unpack(connection, packed, size, &mut bytes)?;
        packer.pack(kind, &bytes, &mut after)?;
        let retired =
            super::packing::dictionary_of(packed).is_some_and(|id| packer.dictionary(kind) != Some(id));
        Ok((after.len() < packed.len() || retired).then_some(after))
    };
    let mut statement = connection.prepare_cached(CONTENTS)?;
    let mut rows = statement.query(params![at.content, SLICE])?;
    while let Some(row) = rows.next()? {
        read += 1;
        let (id, size, before): (i64, usize, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        next.content = id;
        // What is damaged stays as it is.
        let after = sound(recipes::repacked_content(&before, size, &mut again))?.flatten();
        changed |= after.is_some();
        let after = after.unwrap_or_else(|| before.clone());
        found.push(Repacked::Content { id, size, before, after });
    }
    if read > 0 {
        return Ok((next, if changed { found } else { Vec::new() }));
    }
    let mut statement = connection.prepare_cached(PAYLOADS)?;
    let mut rows = statement.query(params![at.payload, SLICE])?;
    while let Some(row) = rows.next()? {
        read += 1;
        let (sequence, heads, response): (i64, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        next.payload = sequence;
        let after = [
            sound(heads::repacked(&heads, &mut again))?.flatten().unwrap_or_else(|| heads.clone()),
            sound(recipes::repacked(&response, Kind::Response, &mut again))?
                .flatten()
                .unwrap_or_else(|| response.clone()),
        ];
        let before = [heads, response];
        changed |= before != after;
        found.push(Repacked::Payload { sequence, before, after });
    }
    next.done = read == 0;
    Ok((next, if changed { found } else { Vec::new() }))
}

const TAKE_CONTENT: &str = "DELETE FROM contents WHERE id = ?1 AND body = ?2";
const PUT_CONTENT: &str = "INSERT INTO contents (id, size, body) VALUES (?1, ?2, ?3)";
const TAKE_PAYLOAD: &str = "
    DELETE FROM payloads WHERE sequence = ?1 AND heads = ?2 AND response = ?3
    RETURNING request, arrivals, uncut";
const PUT_PAYLOAD: &str = "
    INSERT INTO payloads (sequence, heads, request, response, arrivals, uncut) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Writes a slice; a row that changed meanwhile stays as it is. All rows are taken out before they are put back, so
/// that what they need less is given back as whole pages, not left as a gap in each.
pub(super) fn write(connection: &Connection, slice: &[Repacked], at: &mut Repacking) -> Result<(), Error> {
    let length = |all: &[Vec<u8>]| all.iter().map(Vec::len).sum::<usize>() as i64;
    let mut taken = Vec::with_capacity(slice.len());
    for row in slice {
        let rest: Option<(Vec<u8>, Vec<u8>, i64)> = match row {
            Repacked::Content { id, before, .. } => {
                let found = connection.prepare_cached(TAKE_CONTENT)?.execute(params![id, before])?;
                (found > 0).then(Default::default)
            }
            Repacked::Payload { sequence, before: [heads, response], .. } => connection
                .prepare_cached(TAKE_PAYLOAD)?
                .query_row(params![sequence, heads, response], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()?,
        };
        taken.push(rest);
    }
    for (row, rest) in slice.iter().zip(taken) {
        let Some((request, arrivals, uncut)) = rest else { continue };
        let saved = match row {
            Repacked::Content { id, size, before, after } => {
                connection.prepare_cached(PUT_CONTENT)?.execute(params![id, size, after])?;
                (before != after).then_some(before.len() as i64 - after.len() as i64)
            }
            Repacked::Payload { sequence, before, after } => {
                let [heads, response] = after;
                let put = params![sequence, heads, request, response, arrivals, uncut];
                connection.prepare_cached(PUT_PAYLOAD)?.execute(put)?;
                (before != after).then_some(length(before) - length(after))
            }
        };
        if let Some(saved) = saved {
            at.rows += 1;
            at.saved_bytes += saved;
        }
    }
    Ok(())
}

const DROP_OLD: &str = "
    DELETE FROM dictionaries WHERE id NOT IN (SELECT max(id) FROM dictionaries GROUP BY kind)
    AND id < ?1";

/// Forgets dictionaries that nothing was packed with when everything was packed anew with newer ones.
pub(super) fn drop_old(connection: &Connection, newest: i64) -> Result<usize, Error> {
    Ok(connection.prepare_cached(DROP_OLD)?.execute([newest])?)
}

const NEWEST: &str = "SELECT coalesce(max(id), 0) FROM dictionaries";

/// The newest dictionary of any kind; 0 where there is none.
pub(super) fn newest(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.prepare_cached(NEWEST)?.query_row([], |row| row.get(0))?)
}
