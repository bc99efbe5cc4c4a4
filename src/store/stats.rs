//! How large the store is, cheaply enough to be asked at every scrape.

use std::path::Path;

use rusqlite::Connection;

use super::open;
use crate::model::{Error, UnixNanos};

/// Sizes of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct StoreStats {
    /// The database and its log, on disk.
    pub bytes: u64,
    /// ⊂ bytes: the log that is not yet in the database.
    pub log_bytes: u64,
    /// ⊂ bytes: freed pages that new rows will use.
    pub free_bytes: u64,
    /// The index of texts, on disk.
    pub index_bytes: u64,
    /// Calls, contents and turns that were ever stored.
    pub calls: u64,
    pub contents: u64,
    pub turns: u64,
    /// Requests of a known dialect whose body could not be cut and is kept as it came.
    pub uncut_bodies: u64,
}

/// A dictionary that is kept with the store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DictionaryStats {
    pub id: i64,
    /// What it is for: `content` or `response`.
    pub kind: String,
    pub trained_at: UnixNanos,
    pub samples: u64,
    pub bytes: u64,
}

const COUNTS: &str = "
    SELECT
        coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'spans'), 0),
        coalesce((SELECT max(id) FROM contents), 0),
        coalesce((SELECT max(id) FROM turns), 0),
        (SELECT count(*) FROM payloads WHERE uncut > 0),
        (SELECT freelist_count FROM pragma_freelist_count) * (SELECT page_size FROM pragma_page_size)";

pub(super) fn stats(connection: &Connection, file: &Path) -> Result<StoreStats, Error> {
    let mut stats = connection.prepare_cached(COUNTS)?.query_row([], |row| {
        Ok(StoreStats {
            calls: row.get(0)?,
            contents: row.get(1)?,
            turns: row.get(2)?,
            uncut_bodies: row.get(3)?,
            free_bytes: row.get(4)?,
            ..StoreStats::default()
        })
    })?;
    // No log is an empty log.
    stats.log_bytes = std::fs::metadata(open::log_of(file)).map_or(0, |log| log.len());
    let index = file.with_file_name(super::texts::FILE);
    stats.index_bytes = [open::log_of(&index), index]
        .iter()
        .map(|file| std::fs::metadata(file).map_or(0, |file| file.len()))
        .sum();
    stats.bytes = std::fs::metadata(file).map_or(0, |file| file.len()) + stats.log_bytes;
    Ok(stats)
}
