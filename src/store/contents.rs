//! Stored stretches of bodies: each once by hash, compressed when that makes it smaller; and the turns
//! that make conversations of them. Deletes nothing.

use std::{collections::HashMap, hash::Hash};

use rusqlite::{Connection, OptionalExtension, params};

use super::kinds;
use crate::model::Error;

/// Below this many bytes zstd's frame costs more than it saves.
const SMALLEST_COMPRESSED: usize = 96;

/// Kinds of calls that are remembered.
const MOST_KINDS: usize = 64;

const RAW: i64 = 0;
const ZSTD: i64 = 1;

/// What the writer remembers between calls: ids of contents and turns it has seen, and a compressor.
/// It may only hold what is committed or about to be: `forget` after every rollback.
pub(super) struct Interned {
    contents: Generations<[u8; 32], i64>,
    turns: Generations<(i64, i64), (i64, i64)>,
    pub(super) kinds: Vec<(kinds::Key, i64)>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl Interned {
    /// `capacity` bounds each of the two memories, in entries of about 60 bytes.
    pub(super) fn new(compression_level: i32, capacity: usize) -> Result<Self, Error> {
        let compressor = zstd::bulk::Compressor::new(compression_level).map_err(|error| {
            Error::internal(format!(
                "expected a zstd compressor of level {compression_level}, found: {error}"
            ))
        })?;
        Ok(Self {
            contents: Generations::new(capacity),
            turns: Generations::new(capacity),
            kinds: Vec::new(),
            compressor,
        })
    }

    pub(super) fn forget(&mut self) {
        self.contents.clear();
        self.turns.clear();
        self.kinds.clear();
    }

    /// Few are in use at a time; what is forgotten is looked up.
    pub(super) fn remember_kind(&mut self, key: kinds::Key, id: i64) {
        if self.kinds.len() >= MOST_KINDS {
            self.kinds.clear();
        }
        self.kinds.push((key, id));
    }

    pub(super) fn compress(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        self.compressor.compress(bytes).map_err(|error| {
            Error::internal(format!("expected to compress {} bytes, found: {error}", bytes.len()))
        })
    }
}

const FIND: &str = "SELECT id FROM contents WHERE hash = ?1";
const INSERT: &str = "INSERT INTO contents (hash, encoding, size, body) VALUES (?1, ?2, ?3, ?4)";

/// The id of the content with these bytes, storing them when they are new.
pub(super) fn intern(connection: &Connection, interned: &mut Interned, bytes: &[u8]) -> Result<i64, Error> {
    let hash = *blake3::hash(bytes).as_bytes();
    if let Some(id) = interned.contents.get(&hash) {
        return Ok(id);
    }
    let found = connection.prepare_cached(FIND)?.query_row([hash], |row| row.get(0)).optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            let packed =
                if bytes.len() >= SMALLEST_COMPRESSED { Some(interned.compress(bytes)?) } else { None };
            let (encoding, body) = match &packed {
                Some(packed) if packed.len() < bytes.len() => (ZSTD, packed.as_slice()),
                _ => (RAW, bytes),
            };
            connection.prepare_cached(INSERT)?.execute(params![hash, encoding, bytes.len(), body])?;
            connection.last_insert_rowid()
        }
    };
    interned.contents.put(hash, id);
    Ok(id)
}

const READ: &str = "SELECT encoding, size, body FROM contents WHERE id = ?1";

/// Appends the bytes of a content to `out`.
pub(super) fn append(connection: &Connection, id: i64, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(READ)?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else {
        return Err(Error::internal(format!("expected content {id} in the store, found none")));
    };
    let (encoding, size): (i64, usize) = (row.get(0)?, row.get(1)?);
    let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    let before = out.len();
    match encoding {
        RAW => out.extend_from_slice(body),
        ZSTD => {
            let bytes = zstd::bulk::decompress(body, size).map_err(|error| {
                Error::internal(format!(
                    "expected content {id} to decompress to {size} bytes, found: {error}"
                ))
            })?;
            out.extend_from_slice(&bytes);
        }
        other => {
            return Err(Error::internal(format!(
                "expected content {id} raw or zstd, found encoding {other}"
            )));
        }
    }
    if out.len() - before != size {
        return Err(Error::internal(format!(
            "expected {size} bytes of content {id}, found {}",
            out.len() - before
        )));
    }
    Ok(())
}

const FIND_TURN: &str = "SELECT id, depth FROM turns WHERE parent = ?1 AND content = ?2";
const INSERT_TURN: &str = "INSERT INTO turns (parent, content, depth) VALUES (?1, ?2, ?3)";

/// The root of every conversation: no turn.
pub(super) const NO_TURN: (i64, i64) = (0, 0);

/// The turn (id, depth) of `content` after `parent`, storing it when it is new.
pub(super) fn turn(
    connection: &Connection,
    interned: &mut Interned,
    (parent, depth): (i64, i64),
    content: i64,
) -> Result<(i64, i64), Error> {
    if let Some(turn) = interned.turns.get(&(parent, content)) {
        return Ok(turn);
    }
    let found = connection
        .prepare_cached(FIND_TURN)?
        .query_row([parent, content], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let turn = match found {
        Some(turn) => turn,
        None => {
            connection.prepare_cached(INSERT_TURN)?.execute([parent, content, depth + 1])?;
            (connection.last_insert_rowid(), depth + 1)
        }
    };
    interned.turns.put((parent, content), turn);
    Ok(turn)
}

const PARENT: &str = "SELECT parent, content, depth FROM turns WHERE id = ?1";

/// The contents on the path from the root to `turn`, which must be `count` long.
pub(super) fn path(connection: &Connection, turn: i64, count: u64) -> Result<Vec<i64>, Error> {
    let broken =
        || Error::internal(format!("expected a chain of {count} turns up to turn {turn}, found another"));
    let mut statement = connection.prepare_cached(PARENT)?;
    let mut contents = Vec::new();
    let mut at = turn;
    while at != 0 {
        let (parent, content, depth): (i64, i64, u64) = statement
            .query_row([at], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?
            .ok_or_else(broken)?;
        // Depth falls by one at each step, so that a damaged file cannot send this round in circles.
        if depth.checked_add(contents.len() as u64) != Some(count) {
            return Err(broken());
        }
        contents.push(content);
        at = parent;
    }
    if contents.len() as u64 != count {
        return Err(broken());
    }
    contents.reverse();
    Ok(contents)
}

/// A bounded map that drops what was not asked for lately: when the young half is full it becomes the old
/// half, and what is asked for in the old half moves to the young one.
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash + Copy, V: Copy> Generations<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(*value);
        }
        let value = self.old.remove(key)?;
        self.put(*key, value);
        Some(value)
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let mut memory = Generations::new(10);
        memory.put(-1, -1);
        for number in 0..1_000 {
            memory.put(number, number);
            assert_eq!(memory.get(&-1), Some(-1), "asked for each time, so never dropped");
            assert!(memory.young.len() + memory.old.len() <= 10);
        }
        assert_eq!(memory.get(&0), None);
        assert_eq!(memory.get(&999), Some(999));
        memory.clear();
        assert_eq!(memory.get(&999), None);
    }
}
