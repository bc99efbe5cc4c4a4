//! The names of metrics, params and tags, each once, as small numbers.

use rusqlite::{Connection, OptionalExtension};

use crate::model::Error;

const FIND: &str = "SELECT id FROM keys WHERE name = ?1";
const ADD: &str = "INSERT INTO keys (name) VALUES (?1)";

/// The number of a name that was ever used.
pub(in crate::store) fn find(connection: &Connection, name: &str) -> Result<Option<i64>, Error> {
    Ok(connection.prepare_cached(FIND)?.query_row([name], |row| row.get(0)).optional()?)
}

/// The number of a name, made when it is new.
pub(super) fn intern(connection: &Connection, name: &str) -> Result<i64, Error> {
    if let Some(id) = find(connection, name)? {
        return Ok(id);
    }
    connection.prepare_cached(ADD)?.execute([name])?;
    Ok(connection.last_insert_rowid())
}
