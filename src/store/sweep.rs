//! Finding and removing contents and turns that no payload refers to any more, and profiles that no call has. Marking reads in slices beside
//! the writer; removing works in slices of the writer that end in time. Whatever the writer hands out
//! meanwhile is watched and spared, so that traffic goes on.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use super::{
    contents,
    heads::{self, Overridden},
    packing::Unpacker,
    payloads,
    recipes::{self, References},
    traces::Traces,
    writer::Write,
};
use crate::model::{Error, error::sound};

/// Rows of one slice that reads.
const READ: i64 = 2_000;
/// How long one slice may hold the writer; what is begun is ended, so that a slice stays below 50 ms.
pub(super) const SLICE: Duration = Duration::from_millis(15);
/// Pages that are given back at once, in one step of a slice.
const PAGES: i64 = 16;

/// A set of ids from 1 on, as dense as they are.
#[derive(Debug, Default)]
pub struct Ids {
    words: Vec<u64>,
}

impl Ids {
    pub fn insert(&mut self, id: i64) {
        let Ok(id) = usize::try_from(id) else { return };
        if self.words.len() <= id / 64 {
            self.words.resize(id / 64 + 1, 0);
        }
        self.words[id / 64] |= 1 << (id % 64);
    }

    pub fn contains(&self, id: i64) -> bool {
        usize::try_from(id)
            .is_ok_and(|id| self.words.get(id / 64).is_some_and(|word| word & (1 << (id % 64)) != 0))
    }

    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

impl FromIterator<i64> for Ids {
    fn from_iter<I: IntoIterator<Item = i64>>(ids: I) -> Self {
        let mut all = Self::default();
        ids.into_iter().for_each(|id| all.insert(id));
        all
    }
}

/// What is referred to, as far as it was looked at.
#[derive(Debug)]
pub(super) struct Marks {
    profiles: Ids,
    contents: Ids,
    turns: Ids,
    /// The newest ids when marking began: what came later is nobody's to remove.
    newest_content: i64,
    newest_turn: i64,
    newest_profile: i64,
    /// By template, the lines that every head which uses it says otherwise.
    templates: Overridden,
    /// Payloads and contents that cannot be read.
    damaged: u64,
    stage: Stage,
    at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Calls,
    Payloads,
    Turns,
    Contents,
    Done,
}

const NEWEST: &str = "
    SELECT (SELECT coalesce(max(id), 0) FROM contents), (SELECT coalesce(max(id), 0) FROM turns),
        (SELECT coalesce(max(id), 0) FROM profiles)";

impl Marks {
    pub(super) fn begin(connection: &Connection) -> Result<Self, Error> {
        let (newest_content, newest_turn, newest_profile) = connection
            .prepare_cached(NEWEST)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(Self {
            profiles: Ids::default(),
            contents: Ids::default(),
            turns: Ids::default(),
            newest_content,
            newest_turn,
            newest_profile,
            templates: Overridden::new(),
            damaged: 0,
            stage: Stage::Calls,
            at: 0,
        })
    }

    pub(super) fn done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Nothing yet, beside what cannot be read.
    pub(super) fn swept(&self) -> Swept {
        Swept { damaged: self.damaged, ..Swept::default() }
    }

    /// Marks what the next rows refer to; payloads in `skip` are taken for gone.
    pub(super) fn step(&mut self, connection: &Connection, skip: &Ids) -> Result<(), Error> {
        match self.stage {
            Stage::Calls => self.calls(connection),
            Stage::Payloads => self.payloads(connection, skip),
            Stage::Turns => self.turns(connection),
            Stage::Contents => self.texts(connection),
            Stage::Done => Ok(()),
        }
    }

    /// What calls have alike; a call outlives its payload.
    fn calls(&mut self, connection: &Connection) -> Result<(), Error> {
        const NEXT: &str =
            "SELECT sequence, profile FROM spans WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
        let mut statement = connection.prepare_cached(NEXT)?;
        let mut rows = statement.query([self.at, 10 * READ])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            last = Some(row.get::<_, i64>(0)?);
            self.profiles.insert(row.get(1)?);
        }
        match last {
            Some(last) => self.at = last,
            None => (self.stage, self.at) = (Stage::Payloads, 0),
        }
        Ok(())
    }

    fn payloads(&mut self, connection: &Connection, skip: &Ids) -> Result<(), Error> {
        const NEXT: &str = "SELECT sequence FROM payloads WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
        let mut statement = connection.prepare_cached(NEXT)?;
        let sequences: Vec<i64> =
            statement.query_map([self.at, READ], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut unpacker = Unpacker::default();
        for sequence in &sequences {
            if skip.contains(*sequence) {
                continue;
            }
            let mut found = References::default();
            let read =
                payloads::references(connection, &mut unpacker, *sequence, &mut found, &mut self.templates);
            // What cannot be put together again refers to what was read of it.
            self.damaged += u64::from(sound(read)?.is_none());
            found.contents.into_iter().for_each(|id| self.contents.insert(id));
            found.turns.into_iter().for_each(|id| self.turns.insert(id));
        }
        match sequences.last() {
            Some(last) => self.at = *last,
            None => (self.stage, self.at) = (Stage::Turns, i64::MAX),
        }
        Ok(())
    }

    /// A turn's parent was there before it, so its id is lower: one pass from the newest down.
    fn turns(&mut self, connection: &Connection) -> Result<(), Error> {
        const NEXT: &str = "SELECT id, parent, content FROM turns WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
        let mut statement = connection.prepare_cached(NEXT)?;
        let mut rows = statement.query([self.at, 10 * READ])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            last = Some(id);
            if self.turns.contains(id) {
                self.turns.insert(row.get(1)?);
                self.contents.insert(row.get(2)?);
            }
        }
        match last {
            Some(last) => self.at = last,
            None => (self.stage, self.at) = (Stage::Contents, 0),
        }
        Ok(())
    }

    /// A content refers to texts, and a text to nothing: one pass in any order.
    fn texts(&mut self, connection: &Connection) -> Result<(), Error> {
        const NEXT: &str = "
            SELECT id, CASE WHEN substr(body, 1, 1) = x'09' THEN body ELSE x'' END
            FROM contents WHERE id > ?1 ORDER BY id LIMIT ?2";
        let mut statement = connection.prepare_cached(NEXT)?;
        let mut rows = statement.query([self.at, READ])?;
        let mut last = None;
        let mut found = References::default();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            last = Some(id);
            if self.contents.contains(id) {
                let body = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
                self.damaged += u64::from(sound(found.of_content(body))?.is_none());
            }
        }
        found.contents.into_iter().for_each(|id| self.contents.insert(id));
        match last {
            Some(last) => self.at = last,
            None => (self.stage, self.at) = (Stage::Done, 0),
        }
        Ok(())
    }
}

/// What a sweep removes or removed.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct Swept {
    pub contents: u64,
    pub turns: u64,
    /// Bytes of the contents as they are packed.
    pub bytes: u64,
    /// Payloads and contents that stay and cannot be read: the file was damaged.
    #[serde(default)]
    pub damaged: u64,
}

/// What removing would come to: nothing is written.
pub(super) fn measure(connection: &Connection, marks: &Marks) -> Result<Swept, Error> {
    let mut swept = marks.swept();
    let mut statement = connection.prepare_cached("SELECT id, length(body) FROM contents WHERE id <= ?1")?;
    let mut rows = statement.query([marks.newest_content])?;
    while let Some(row) = rows.next()? {
        if !marks.contents.contains(row.get(0)?) {
            swept.contents += 1;
            swept.bytes += row.get::<_, u64>(1)?;
        }
    }
    let mut statement = connection.prepare_cached("SELECT id FROM turns WHERE id <= ?1")?;
    let mut rows = statement.query([marks.newest_turn])?;
    while let Some(row) = rows.next()? {
        swept.turns += u64::from(!marks.turns.contains(row.get(0)?));
    }
    Ok(swept)
}

/// Where removing is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Removing {
    turn: i64,
    content: i64,
    profile: i64,
    pub(super) done: bool,
}

const NEXT_TURN: &str = "SELECT id FROM turns WHERE id > ?1 ORDER BY id LIMIT 256";
const NEXT_CONTENT: &str = "SELECT id FROM contents WHERE id > ?1 ORDER BY id LIMIT 256";
const NEXT_PROFILE: &str = "SELECT id FROM profiles WHERE id > ?1 ORDER BY id LIMIT 256";

/// Removes for as long as a slice may last.
pub(super) fn remove(
    write: &mut Write<'_>,
    marks: &Marks,
    traces: &mut Traces,
    at: &mut Removing,
    swept: &mut Swept,
) -> Result<(), Error> {
    let begun = Instant::now();
    let connection = write.connection;
    let mut unpacker = Unpacker::default();
    while begun.elapsed() < SLICE {
        if at.turn < marks.newest_turn {
            let unmarked = next(connection, NEXT_TURN, &mut at.turn, marks.newest_turn, &marks.turns)?;
            let Some(turn) = unmarked else { continue };
            if write.interned.watched().is_some_and(|watched| !watched.turns.contains(&turn)) {
                connection.prepare_cached("DELETE FROM turns WHERE id = ?1")?.execute([turn])?;
                swept.turns += 1;
            }
        } else if at.content < marks.newest_content {
            let unmarked =
                next(connection, NEXT_CONTENT, &mut at.content, marks.newest_content, &marks.contents)?;
            let Some(content) = unmarked else { continue };
            if write.interned.watched().is_some_and(|watched| !watched.contents.contains(&content)) {
                swept.bytes += delete_content(connection, &mut unpacker, traces, content)?;
                swept.contents += 1;
            }
        } else if at.profile < marks.newest_profile {
            let unmarked =
                next(connection, NEXT_PROFILE, &mut at.profile, marks.newest_profile, &marks.profiles)?;
            let Some(profile) = unmarked else { continue };
            if write.interned.watched().is_some_and(|watched| !watched.profiles.contains(&profile)) {
                connection.prepare_cached("DELETE FROM profiles WHERE id = ?1")?.execute([profile])?;
            }
        } else {
            at.done = true;
            return Ok(());
        }
    }
    Ok(())
}

/// The next id behind `at` that is not marked; `None` when the rows looked at had none. Moves `at` on.
fn next(
    connection: &Connection,
    rows: &str,
    at: &mut i64,
    newest: i64,
    marked: &Ids,
) -> Result<Option<i64>, Error> {
    let mut statement = connection.prepare_cached(rows)?;
    let mut rows = statement.query([*at])?;
    let mut none = true;
    while let Some(row) = rows.next()? {
        none = false;
        *at = row.get(0)?;
        if *at <= newest && !marked.contains(*at) {
            return Ok(Some(*at));
        }
    }
    if none {
        *at = newest;
    }
    Ok(None)
}

/// Takes out of templates what no head has from them any more: it was in heads that are gone.
pub(super) fn clean_templates(write: &mut Write<'_>, marks: &Marks) -> Result<(), Error> {
    for (id, lines) in &marks.templates {
        let watched = write.interned.watched().is_none_or(|watched| watched.contents.contains(id));
        if *lines != 0 && !watched {
            heads::blank(write.connection, write.interned, *id, *lines)?;
        }
    }
    Ok(())
}

/// Deletes a content and its key; returns the bytes it took.
fn delete_content(
    connection: &Connection,
    unpacker: &mut Unpacker,
    traces: &mut Traces,
    id: i64,
) -> Result<u64, Error> {
    let row: Option<(usize, Vec<u8>)> = connection
        .prepare_cached("SELECT size, body FROM contents WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((size, body)) = row else { return Ok(0) };
    let mut bytes = Vec::new();
    // The texts that it refers to may be gone already: then its key is found by its id.
    match recipes::append_content(connection, unpacker, &body, size, &mut bytes) {
        Ok(()) => {
            traces.look(&bytes);
            contents::forget_key(connection, id, &bytes)?;
        }
        Err(_) => {
            connection.prepare_cached("DELETE FROM content_keys WHERE content = ?1")?.execute([id])?;
        }
    }
    connection.prepare_cached("DELETE FROM contents WHERE id = ?1")?.execute([id])?;
    Ok(body.len() as u64)
}

const FREE: &str = "SELECT freelist_count FROM pragma_freelist_count";

/// Gives free pages back to the disk for as long as a slice may last; returns how many are left.
pub(super) fn vacuum(connection: &Connection) -> Result<i64, Error> {
    let begun = Instant::now();
    loop {
        let free: i64 = connection.prepare_cached(FREE)?.query_row([], |row| row.get(0))?;
        if free == 0 || begun.elapsed() >= SLICE {
            return Ok(free);
        }
        // Each row is a page that went.
        let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        let left: i64 = connection.prepare_cached(FREE)?.query_row([], |row| row.get(0))?;
        // A file that was made without auto-vacuum keeps its pages.
        if left == free {
            return Ok(0);
        }
    }
}
