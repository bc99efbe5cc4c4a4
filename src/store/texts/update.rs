//! Writing the index: each text once, and which call brought it into which place.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Writing,
    spoken::{Going, Heard, Origin},
};
use crate::model::Error;

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

/// Adds texts in one transaction, with how far the store is then indexed.
pub(super) fn add(writing: &mut Writing, heard: &[Heard], sequence: i64) -> Result<(), Error> {
    let added = try_add(writing, heard, sequence);
    if added.is_err() {
        writing.memory.clear();
    }
    added
}

fn try_add(writing: &mut Writing, heard: &[Heard], sequence: i64) -> Result<(), Error> {
    let memory = &mut writing.memory;
    let transaction = writing.index.transaction()?;
    for one in heard {
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
        transaction.prepare_cached(MENTION)?.execute(params![
            text,
            place,
            one.sequence,
            one.origin.number()
        ])?;
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
        )
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
            })
        })?;
        for row in rows {
            going.push(row?);
        }
    }
    Ok(going)
}

/// Removes mentions, and texts that nobody mentions any more. An index without the text's own row takes it out
/// by its words, so those must be the very same: they are looked at by their hash.
pub(super) fn remove(writing: &mut Writing, going: Vec<(Going, Vec<String>)>) -> Result<(), Error> {
    // What was known may be gone now.
    writing.memory.clear();
    let transaction = writing.index.transaction()?;
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
    }
    transaction.commit()?;
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
