//! Connections: how the database file is opened, and what SQLite's failures mean to the house. Knows no
//! table.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode as Sqlite, OpenFlags, config::DbConfig};

use super::Config;
use crate::model::{Error, ErrorCode};

/// Prepared statements kept per connection; the store has fewer fixed ones than this.
const STATEMENTS: usize = 256;

/// KiB of pages that connections hold; what is not there comes from the system's own cache of the file, in a microsecond.
/// All of them together leave room below 60 MB for the rest of the process.
const WRITER_CACHE: i64 = 16 << 10;
const READER_CACHE: i64 = 4 << 10;

/// The one connection that writes; makes the file when there is none.
pub(super) fn writing(config: &Config, file: &Path) -> Result<Connection, Error> {
    let connection = open(
        config,
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE,
    )?;
    // Only takes hold in a file without tables, and only before WAL is switched on.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let mode = write_ahead(config, &connection)?;
    if mode != "wal" {
        return Err(Error::internal(format!(
            "expected {} to take write-ahead logging, found journal mode {mode}: put the store on a local disk",
            file.display()
        )));
    }
    // Plans stay as they were made, whatever values come. Otherwise a statement that could use a partial index is
    // parsed again for every value that is bound: measured, a third of the writer's time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // What is deleted is overwritten, so that erasing leaves nothing behind in a page.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(connection)
}

/// Switches to write-ahead logging; in a file that has it already this changes nothing. SQLite does not wait
/// for the lock that the switch takes, so processes that start together on a new file are waited for here.
fn write_ahead(config: &Config, connection: &Connection) -> Result<String, Error> {
    let patience = Duration::from_millis(config.busy_timeout_ms);
    let begun = Instant::now();
    loop {
        let switched = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match switched.map_err(Error::from) {
            Err(error) if error.code == ErrorCode::Busy && begun.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            switched => return switched,
        }
    }
}

/// A connection that cannot write, beside the writer or beside another process.
pub(super) fn reading(config: &Config, file: &Path) -> Result<Connection, Error> {
    let connection = open(
        config,
        file,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE,
    )?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE)?;
    Ok(connection)
}

fn open(config: &Config, file: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(file, flags).map_err(|error| {
        let Error { code, message } = Error::from(error);
        Error::new(code, format!("{}: {message}", file.display()))
    })?;
    connection.busy_timeout(Duration::from_millis(config.busy_timeout_ms))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// The write-ahead log beside a database.
pub(super) fn log_of(file: &Path) -> PathBuf {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Syncs the log. What is not in it any more was synced by the checkpoint that moved it (synchronous NORMAL
/// leaves out just this one sync, at each commit). SQLite's locks are on other files, so closing this one
/// drops none of them.
pub(super) fn sync_log(file: &Path) -> Result<(), Error> {
    let log = log_of(file);
    let synced = match std::fs::OpenOptions::new().append(true).open(&log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        opened => opened.and_then(|log| log.sync_all()),
    };
    synced.map_err(|error| Error::internal(format!("expected to sync {}, found: {error}", log.display())))
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let code = match error.sqlite_error_code() {
            Some(Sqlite::DatabaseBusy | Sqlite::DatabaseLocked | Sqlite::DiskFull) => ErrorCode::Busy,
            _ => ErrorCode::Internal,
        };
        let advice = match error.sqlite_error_code() {
            Some(Sqlite::DatabaseBusy | Sqlite::DatabaseLocked) => {
                "expected the store to be free, found it locked by another process; try again"
            }
            Some(Sqlite::DiskFull) => {
                "expected room for the store, found its disk full; free some and try again"
            }
            Some(Sqlite::NotADatabase | Sqlite::DatabaseCorrupt) => {
                "expected a sound tapline database, found a damaged or foreign file; restore it or move it away"
            }
            Some(Sqlite::CannotOpen | Sqlite::PermissionDenied | Sqlite::ReadOnly) => {
                "expected the store's file and directory to be readable and writable"
            }
            _ => "the store failed",
        };
        Self::new(code, format!("{advice} ({error})"))
    }
}
