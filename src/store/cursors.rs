//! The order of storing, and how far each consumer (export, tail) has come in it.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Sequenced, calls, packing::Unpacker};
use crate::model::Error;

const AFTER: &str = "SELECT sequence FROM spans WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";

pub(super) fn stored_after(
    connection: &Connection,
    sequence: i64,
    limit: usize,
) -> Result<Vec<Sequenced>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sequences: Vec<i64> = connection
        .prepare_cached(AFTER)?
        .query_map(params![sequence, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut stored = Vec::with_capacity(sequences.len());
    let mut unpacker = Unpacker::default();
    for sequence in sequences {
        if let Some(call) = calls::by_sequence(connection, &mut unpacker, sequence)? {
            stored.push(Sequenced { sequence, call });
        }
    }
    Ok(stored)
}

/// What SQLite itself remembers, so that it never steps back when the newest call is deleted.
const LAST: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'spans'";

pub(super) fn last(connection: &Connection) -> Result<i64, Error> {
    let last = connection.prepare_cached(LAST)?.query_row([], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0))
}

const GET: &str = "SELECT sequence FROM cursors WHERE consumer = ?1";

pub(super) fn get(connection: &Connection, consumer: &str) -> Result<i64, Error> {
    let at = connection.prepare_cached(GET)?.query_row([consumer], |row| row.get(0)).optional()?;
    Ok(at.unwrap_or(0))
}

const SET: &str = "
    INSERT INTO cursors (consumer, sequence) VALUES (?1, ?2)
    ON CONFLICT (consumer) DO UPDATE SET sequence = excluded.sequence";

pub(super) fn set(connection: &Connection, consumer: &str, sequence: i64) -> Result<(), Error> {
    connection.prepare_cached(SET)?.execute(params![consumer, sequence])?;
    Ok(())
}
