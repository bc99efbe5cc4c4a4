//! Writing the index: each text once, and which call brought it into which place.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Writing,
    spoken::{Going, Origin, Spoken},
};
use crate::model::Error;

pub(super) fn unread(connection: &Connection) -> Result<u64, Error> {
    // An index of an earlier version has no such table until a server makes it anew.
    const THERE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'unread')";
    if !connection.prepare_cached(THERE)?.query_row([], |row| row.get::<_, bool>(0))? {
        return Ok(0);
    }
    Ok(connection.prepare_cached("SELECT count(*) FROM unread")?.query_row([], |row| row.get(0))?)
}

pub(super) fn progress(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.prepare_cached("SELECT sequence FROM progress")?.query_row([], |row| row.get(0))?)
}

const FIND_TEXT: &str = "SELECT text FROM text_hashes WHERE hash = ?1";
const NEW_TEXT: &str = "INSERT INTO words (text) VALUES (?1)";
const NEW_HASH: &str = "INSERT INTO text_hashes (hash, text) VALUES (?1, ?2)";
const PLACE: &str = "SELECT id FROM places WHERE experiment_id = ?1 AND run_id = ?2 AND session = ?3";
const NEW_PLACE: &str = "INSERT INTO places (experiment_id, run_id, session) VALUES (?1, ?2, ?3)";
const MENTION: &str = "
    INSERT OR IGNORE INTO mentions (text, place, sequence, origin) VALUES (?1, ?2, ?3, ?4)";

const UNREAD: &str = "INSERT OR IGNORE INTO unread (sequence) VALUES (?1)";
const REPEATED: &str = "
    INSERT OR IGNORE INTO repeated (text, place)
    SELECT text, place FROM mentions WHERE text = ?1 AND place = ?2 AND sequence <> ?3";

/// Adds what calls brought in, in one transaction, with how far the store is then indexed.
pub(super) fn add(writing: &mut Writing, spoken: &[Spoken], sequence: i64) -> Result<(), Error> {
    let added = try_add(writing, spoken, sequence);
    if added.is_err() {
        writing.memory.clear();
    }
    added
}

fn try_add(writing: &mut Writing, spoken: &[Spoken], sequence: i64) -> Result<(), Error> {
    let memory = &mut writing.memory;
    let transaction = writing.index.transaction()?;
    for damaged in spoken.iter().filter(|spoken| spoken.damaged) {
        transaction.prepare_cached(UNREAD)?.execute([damaged.sequence])?;
    }
    for one in spoken.iter().flat_map(Spoken::heard) {
        // Nothing that is indexed is urgent.
        std::thread::yield_now();
        let known = match one.origin {
            Origin::Content(id) => memory.texts.get(&id),
            Origin::Request | Origin::Response => None,
        };
        let text = match (known, &one.text) {
            (Some(text), _) => text,
            (None, Some(text)) if !text.trim().is_empty() => {
                let hash = hash(text.as_bytes());
                let found =
                    transaction.prepare_cached(FIND_TEXT)?.query_row([hash], |row| row.get(0)).optional()?;
                let id = match found {
                    Some(id) => id,
                    None => {
                        transaction.prepare_cached(NEW_TEXT)?.execute([text])?;
                        let id = transaction.last_insert_rowid();
                        transaction.prepare_cached(NEW_HASH)?.execute(params![hash, id])?;
                        id
                    }
                };
                if let Origin::Content(content) = one.origin {
                    memory.texts.put(content, id);
                }
                id
            }
            _ => continue,
        };
        let place = params![one.experiment_id, one.run_id, one.session];
        let found = transaction.prepare_cached(PLACE)?.query_row(place, |row| row.get(0)).optional()?;
        let place: i64 = match found {
            Some(id) => id,
            None => {
                transaction.prepare_cached(NEW_PLACE)?.execute(place)?;
                transaction.last_insert_rowid()
            }
        };
        let mention = params![text, place, one.sequence, one.origin.number()];
        if transaction.prepare_cached(MENTION)?.execute(mention)? == 0 && one.session.is_empty() {
            transaction.prepare_cached(REPEATED)?.execute([text, place, one.sequence])?;
        }
    }
    transaction.prepare_cached("UPDATE progress SET sequence = max(sequence, ?1)")?.execute([sequence])?;
    transaction.commit()?;
    Ok(())
}

const OF_CALL: &str = "
    SELECT m.text, m.place, m.sequence, m.origin,
        NOT EXISTS (
            SELECT 1 FROM mentions AS o WHERE o.text = m.text
            AND o.sequence NOT IN (SELECT value FROM json_each(?2))
        ),
        (SELECT hash FROM text_hashes AS h WHERE h.text = m.text),
        EXISTS (SELECT 1 FROM places AS p WHERE p.id = m.place AND p.session = ''),
        EXISTS (SELECT 1 FROM repeated AS r WHERE r.text = m.text AND r.place = m.place)
    FROM mentions AS m WHERE m.sequence = ?1";

/// What calls mention, and whether nobody else does.
pub(super) fn mentions(writing: &mut Writing, sequences: &[i64]) -> Result<Vec<Going>, Error> {
    let all = serde_json::Value::from(sequences).to_string();
    let mut statement = writing.index.prepare_cached(OF_CALL)?;
    let mut going = Vec::new();
    for sequence in sequences {
        let rows = statement.query_map(params![sequence, all], |row| {
            Ok(Going {
                text: row.get(0)?,
                place: row.get(1)?,
                sequence: row.get(2)?,
                origin: Origin::of(row.get(3)?),
                last: row.get(4)?,
                hash: row.get::<_, Option<TextHash>>(5)?.unwrap_or_default(),
                alone: row.get(6)?,
                repeated: row.get(7)?,
            })
        })?;
        for row in rows {
            going.push(row?);
        }
    }
    Ok(going)
}

/// Removes mentions, and texts that nobody mentions any more. An index without the text's own row takes it out
/// by its words, so those must be the very same: they are looked at by their hash. True where words are left of a
/// text that could not be found again.
pub(super) fn remove(
    writing: &mut Writing,
    sequences: &[i64],
    going: Vec<(Going, Vec<String>)>,
) -> Result<bool, Error> {
    // What was known may be gone now.
    writing.memory.clear();
    let transaction = writing.index.transaction()?;
    let mut stale = false;
    for sequence in sequences {
        transaction.prepare_cached("DELETE FROM unread WHERE sequence = ?1")?.execute([sequence])?;
    }
    for (one, candidates) in going {
        for text in candidates {
            let hash = hash(text.as_bytes());
            let gone = "DELETE FROM text_hashes WHERE hash = ?1 AND text = ?2";
            if transaction.prepare_cached(gone)?.execute(params![hash, one.text])? > 0 {
                let delete = "INSERT INTO words (words, rowid, text) VALUES ('delete', ?1, ?2)";
                transaction.prepare_cached(delete)?.execute(params![one.text, text])?;
            }
        }
        let delete = "DELETE FROM mentions WHERE text = ?1 AND place = ?2";
        transaction.prepare_cached(delete)?.execute([one.text, one.place])?;
        let delete = "DELETE FROM repeated WHERE text = ?1 AND place = ?2";
        transaction.prepare_cached(delete)?.execute([one.text, one.place])?;
        if one.last {
            let known = "SELECT EXISTS (SELECT 1 FROM text_hashes WHERE text = ?1)";
            let left: bool = transaction.prepare_cached(known)?.query_row([one.text], |row| row.get(0))?;
            stale |= left;
        }
    }
    transaction.commit()?;
    Ok(stale)
}

/// Leaves of texts those that their place does not mention.
pub(super) fn missing(connection: &Connection, wanted: &mut Vec<Going>) -> Result<(), Error> {
    const MENTIONED: &str = "
        SELECT EXISTS (
            SELECT 1 FROM text_hashes AS h JOIN mentions AS m ON m.text = h.text WHERE h.hash = ?1 AND m.place = ?2
        )";
    let mut mentioned = connection.prepare_cached(MENTIONED)?;
    let mut left = Vec::new();
    for one in wanted.drain(..) {
        if !mentioned.query_row(params![one.hash, one.place], |row| row.get(0))? {
            left.push(one);
        }
    }
    *wanted = left;
    Ok(())
}

const GONE_PLACE: &str = "
    DELETE FROM places WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM mentions WHERE place = ?1)";

/// Drops a place that nothing is mentioned in.
pub(super) fn drop_place(connection: &Connection, place: i64) -> Result<(), Error> {
    connection.prepare_cached(GONE_PLACE)?.execute([place])?;
    Ok(())
}

const PLACE_OF: &str = "SELECT experiment_id, run_id, session FROM places WHERE id = ?1";

/// A place's experiment, run and session.
pub(super) fn place(connection: &Connection, id: i64) -> Result<Option<[String; 3]>, Error> {
    let read = |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?]);
    Ok(connection.prepare_cached(PLACE_OF)?.query_row([id], read).optional()?)
}

/// Gives freed pages back and empties the log, so that nothing that was removed is left in the files.
pub(super) fn settle(connection: &Connection) -> Result<(), Error> {
    let mut vacuum = connection.prepare("PRAGMA incremental_vacuum")?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    empty_log(connection)
}

pub(super) fn empty_log(connection: &Connection) -> Result<(), Error> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// 16 bytes of BLAKE3: enough to tell texts apart.
pub(super) type TextHash = [u8; 16];

pub(super) fn hash(text: &[u8]) -> TextHash {
    let mut hash = [0; 16];
    blake3::Hasher::new().update(text).finalize_xof().fill(&mut hash);
    hash
}
