//! Writing the index: each text once, and which call brought it into which place.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Writing,
    spoken::{Heard, Origin},
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
