//! Stored stretches of bodies: each once by hash, packed; and the turns that make conversations of them.
//! Deletes nothing.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    dictionaries::Kind,
    heads::Templates,
    packing::{Packer, Unpacker},
    profiles::Profiles,
    recipes::{self, References},
};
use crate::model::{Error, error::sound};

/// Bytes of a hash that are kept: BLAKE3 cut to where nobody finds two contents with the same.
const HASH: usize = 16;
pub(super) type ContentHash = [u8; HASH];

pub(super) fn hash(bytes: &[u8]) -> ContentHash {
    let mut short = [0; HASH];
    short.copy_from_slice(blake3::hash(bytes).as_bytes().split_at(HASH).0);
    short
}

/// What the writer remembers between calls: ids of contents and turns it has seen, heads that repeat, and
/// compressors. It may only hold what is committed or about to be: `forget` after every rollback.
pub(super) struct Interned {
    contents: Generations<ContentHash, i64>,
    turns: Generations<(i64, i64), (i64, i64)>,
    pub(super) profiles: Profiles,
    pub(super) templates: Templates,
    pub(super) packer: Packer,
    unpacker: Unpacker,
    /// The id of the next content; looked up when it is not known.
    next_content: Option<i64>,
    /// The packer may know a dictionary that a rollback took back.
    stale: bool,
    watched: Option<Watched>,
}

/// Contents, turns and profiles that were handed out while somebody decides what may go.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) contents: HashSet<i64>,
    pub(super) turns: HashSet<i64>,
    pub(super) profiles: HashSet<i64>,
}

impl Interned {
    /// `capacity` bounds each of the two memories, in entries of about 60 bytes.
    pub(super) fn new(compression_level: i32, capacity: usize) -> Result<Self, Error> {
        Ok(Self {
            contents: Generations::new(capacity),
            turns: Generations::new(capacity),
            profiles: Profiles::default(),
            templates: Templates::default(),
            packer: Packer::new(compression_level)?,
            unpacker: Unpacker::default(),
            next_content: None,
            stale: true,
            watched: None,
        })
    }

    pub(super) fn forget(&mut self) {
        self.contents.clear();
        self.turns.clear();
        self.profiles.clear();
        self.templates.clear();
        self.unpacker = Unpacker::default();
        self.next_content = None;
        self.stale = true;
    }

    /// Before each job: takes the dictionaries into use that are there, at first and after `forget`.
    pub(super) fn refresh(&mut self, connection: &Connection) -> Result<(), Error> {
        if self.stale {
            self.packer.use_newest(connection)?;
            self.stale = false;
        }
        // Another process may have written meanwhile.
        self.next_content = None;
        Ok(())
    }

    /// Remembers from here on what is handed out, so that it is not taken for dead.
    pub(super) fn watch(&mut self) {
        self.watched = Some(Watched::default());
    }

    /// Tells that a content is used that the writer knew by itself.
    pub(super) fn hand_out(&mut self, content: i64) {
        if let Some(watched) = &mut self.watched {
            watched.contents.insert(content);
        }
    }

    pub(super) fn hand_out_profile(&mut self, profile: i64) {
        if let Some(watched) = &mut self.watched {
            watched.profiles.insert(profile);
        }
    }

    pub(super) fn watched(&self) -> Option<&Watched> {
        self.watched.as_ref()
    }

    pub(super) fn unwatch(&mut self) {
        self.watched = None;
    }
}

const FIND: &str = "SELECT content FROM content_keys WHERE key = ?1";
const INSERT: &str = "INSERT INTO contents (id, size, body) VALUES (?1, ?2, ?3)";
const INSERT_KEY: &str = "INSERT OR IGNORE INTO content_keys (key, content) VALUES (?1, ?2)";
const NEXT: &str = "SELECT coalesce(max(id), 0) + 1 FROM contents";

/// What a content is looked up by: the beginning of its hash. Two contents may have the same, so that what is found
/// is compared.
fn key(hash: &ContentHash) -> i64 {
    hash.first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

/// The id of the content with these bytes, where there is one.
pub(super) fn find(
    connection: &Connection,
    interned: &mut Interned,
    bytes: &[u8],
) -> Result<Option<i64>, Error> {
    let hash = hash(bytes);
    if let Some(id) = remembered(interned, &hash) {
        return Ok(Some(id));
    }
    let found = keyed(connection, interned, &hash, bytes)?;
    if let Some(id) = found {
        interned.contents.put(hash, id);
        interned.hand_out(id);
    }
    Ok(found)
}

fn remembered(interned: &mut Interned, hash: &ContentHash) -> Option<i64> {
    let id = interned.contents.get(hash)?;
    interned.hand_out(id);
    Some(id)
}

/// The content under the key of a hash, if its bytes are these.
fn keyed(
    connection: &Connection,
    interned: &mut Interned,
    hash: &ContentHash,
    bytes: &[u8],
) -> Result<Option<i64>, Error> {
    let id: Option<i64> =
        connection.prepare_cached(FIND)?.query_row([key(hash)], |row| row.get(0)).optional()?;
    let Some(id) = id else { return Ok(None) };
    let mut there = Vec::new();
    // What is damaged is not these bytes.
    let read = sound(append(connection, &mut interned.unpacker, id, &mut there))?;
    let Some(id) = read.filter(|()| there == bytes).map(|()| id) else { return Ok(None) };
    if interned.watched.is_some() {
        // The texts that it is put together from are used again with it, and nobody else names them.
        let mut references = References::default();
        let body: Vec<u8> = connection.prepare_cached(READ)?.query_row([id], |row| row.get(1))?;
        references.of_content(&body)?;
        references.contents.into_iter().for_each(|text| interned.hand_out(text));
    }
    Ok(Some(id))
}

/// The id of the content with these bytes, storing them when they are new.
pub(super) fn intern(connection: &Connection, interned: &mut Interned, bytes: &[u8]) -> Result<i64, Error> {
    intern_as(connection, interned, bytes, recipes::content)
}

/// As `intern`, for a text that others refer to and that refers to none itself.
pub(super) fn intern_text(
    connection: &Connection,
    interned: &mut Interned,
    bytes: &[u8],
) -> Result<i64, Error> {
    intern_as(connection, interned, bytes, |_, interned, bytes| {
        let mut body = Vec::new();
        interned.packer.pack(Kind::Content, bytes, &mut body)?;
        Ok(body)
    })
}

fn intern_as(
    connection: &Connection,
    interned: &mut Interned,
    bytes: &[u8],
    pack: impl Fn(&Connection, &mut Interned, &[u8]) -> Result<Vec<u8>, Error>,
) -> Result<i64, Error> {
    let hash = hash(bytes);
    if let Some(id) = remembered(interned, &hash) {
        return Ok(id);
    }
    let id = match interned.next_content {
        Some(next) => next,
        None => connection.prepare_cached(NEXT)?.query_row([], |row| row.get(0))?,
    };
    // Most are new, so the key is put in at once; one that another content has stays with that.
    let new = connection.prepare_cached(INSERT_KEY)?.execute([key(&hash), id])? > 0;
    if !new && let Some(found) = keyed(connection, interned, &hash, bytes)? {
        interned.contents.put(hash, found);
        interned.hand_out(found);
        return Ok(found);
    }
    let body = pack(connection, interned, bytes)?;
    connection.prepare_cached(INSERT)?.execute(params![id, bytes.len(), body])?;
    interned.next_content = Some(id + 1);
    interned.contents.put(hash, id);
    interned.hand_out(id);
    Ok(id)
}

const READ: &str = "SELECT size, body FROM contents WHERE id = ?1";

/// Appends the bytes of a content to `out`.
pub(super) fn append(
    connection: &Connection,
    unpacker: &mut Unpacker,
    id: i64,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    append_as(connection, unpacker, id, out, recipes::append_content)
}

/// The bytes of a content that many payloads refer to; unpacked once in a reading.
pub(super) fn shared(connection: &Connection, unpacker: &mut Unpacker, id: i64) -> Result<Arc<[u8]>, Error> {
    if let Some(bytes) = unpacker.shared(id) {
        return Ok(bytes);
    }
    let mut bytes = Vec::new();
    append(connection, unpacker, id, &mut bytes)?;
    let bytes = Arc::from(bytes);
    unpacker.share(id, &bytes);
    Ok(bytes)
}

/// Appends the bytes of a text, which refers to nothing: a damaged file cannot send this round in circles.
pub(super) fn append_text(
    connection: &Connection,
    unpacker: &mut Unpacker,
    id: i64,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    append_as(connection, unpacker, id, out, |connection, unpacker, body, size, out| {
        unpacker.unpack(connection, body, size, out)
    })
}

fn append_as(
    connection: &Connection,
    unpacker: &mut Unpacker,
    id: i64,
    out: &mut Vec<u8>,
    unpack: impl Fn(&Connection, &mut Unpacker, &[u8], usize, &mut Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(READ)?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else {
        return Err(Error::damaged(format!("expected content {id} in the store, found none")));
    };
    let size: usize = row.get(0)?;
    let body = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
    let before = out.len();
    unpack(connection, unpacker, body, size, out)
        .map_err(|error| Error::new(error.code, format!("content {id}: {}", error.message)))?;
    if out.len() - before != size {
        return Err(Error::damaged(format!(
            "expected {size} bytes of content {id}, found {}",
            out.len() - before
        )));
    }
    Ok(())
}

/// Puts other bytes in a content's place. Nobody finds it by its old hash any more.
pub(super) fn replace(
    connection: &Connection,
    interned: &mut Interned,
    id: i64,
    before: &[u8],
    after: &[u8],
) -> Result<(), Error> {
    let mut body = Vec::new();
    interned.packer.pack(Kind::Content, after, &mut body)?;
    let set = "UPDATE contents SET size = ?2, body = ?3 WHERE id = ?1";
    connection.prepare_cached(set)?.execute(params![id, after.len(), body])?;
    forget_key(connection, id, before)
}

const FORGET_KEY: &str = "DELETE FROM content_keys WHERE key = ?1 AND content = ?2";

/// Has nobody find a content by its bytes any more.
pub(super) fn forget_key(connection: &Connection, id: i64, bytes: &[u8]) -> Result<(), Error> {
    connection.prepare_cached(FORGET_KEY)?.execute([key(&hash(bytes)), id])?;
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
    let turn = match interned.turns.get(&(parent, content)) {
        Some(turn) => turn,
        None => {
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
            turn
        }
    };
    if let Some(watched) = &mut interned.watched {
        watched.turns.insert(turn.0);
    }
    Ok(turn)
}

const PARENT: &str = "SELECT parent, content, depth FROM turns WHERE id = ?1";

/// The contents on the path from the root to `turn`, which must be `count` long.
pub(super) fn path(connection: &Connection, turn: i64, count: u64) -> Result<Vec<i64>, Error> {
    let broken =
        || Error::damaged(format!("expected a chain of {count} turns up to turn {turn}, found another"));
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

/// A turn's parent and content.
pub(super) fn turn_at(connection: &Connection, id: i64) -> Result<Option<(i64, i64)>, Error> {
    let turn = "SELECT parent, content FROM turns WHERE id = ?1";
    Ok(connection.prepare_cached(turn)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
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

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrate;

    #[test]
    fn contents_under_one_key_are_told_apart() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::forward(&mut connection).unwrap();
        let mut interned = Interned::new(3, 100).unwrap();
        let one = intern(&connection, &mut interned, b"one").unwrap();
        // As if another text had the key of this one.
        connection
            .execute("INSERT INTO content_keys (key, content) VALUES (?1, ?2)", [key(&hash(b"other")), one])
            .unwrap();
        for forgetting in [false, true] {
            if forgetting {
                interned.forget();
            }
            assert_eq!(find(&connection, &mut interned, b"one").unwrap(), Some(one));
            assert_eq!(intern(&connection, &mut interned, b"one").unwrap(), one);
        }
        assert_eq!(find(&connection, &mut interned, b"other").unwrap(), None);
        let other = intern(&connection, &mut interned, b"other").unwrap();
        assert_ne!(other, one);
        assert_eq!(intern(&connection, &mut interned, b"other").unwrap(), other, "while it is remembered");
        let mut bytes = Vec::new();
        append(&connection, &mut Unpacker::default(), other, &mut bytes).unwrap();
        assert_eq!(bytes, b"other");
        // What goes takes no key with it that is another's.
        forget_key(&connection, other, b"other").unwrap();
        interned.forget();
        assert_eq!(find(&connection, &mut interned, b"one").unwrap(), Some(one));
    }

    #[test]
    fn a_content_that_is_used_again_while_others_go_spares_its_texts() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::forward(&mut connection).unwrap();
        let mut interned = Interned::new(3, 100).unwrap();
        let said = "what was said at some length, ".repeat(20);
        let message = serde_json::to_vec(&serde_json::json!({ "role": "user", "content": said })).unwrap();
        let text = intern_text(&connection, &mut interned, said.as_bytes()).unwrap();
        let content = intern(&connection, &mut interned, &message).unwrap();
        interned.forget();
        interned.watch();
        assert_eq!(intern(&connection, &mut interned, &message).unwrap(), content);
        assert_eq!(interned.watched().unwrap().contents, HashSet::from([text, content]));
    }

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
