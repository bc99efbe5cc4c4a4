//! The schema: numbered migrations, compiled in, each run once in a transaction of its own and written
//! down by name. Never steps back: a schema newer than this program is refused.

use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::model::Error;

pub(super) struct Migration {
    pub(super) number: i64,
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

/// In order, numbered from 1 without gaps. A released one is never edited.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "0001_init", sql: include_str!("migrations/0001_init.sql") },
    Migration { number: 2, name: "0002_totals", sql: include_str!("migrations/0002_totals.sql") },
    Migration { number: 3, name: "0003_jobs", sql: include_str!("migrations/0003_jobs.sql") },
    Migration { number: 4, name: "0004_tracking", sql: include_str!("migrations/0004_tracking.sql") },
    Migration { number: 5, name: "0005_kinds", sql: include_str!("migrations/0005_kinds.sql") },
    Migration { number: 6, name: "0006_chain", sql: include_str!("migrations/0006_chain.sql") },
    Migration { number: 7, name: "0007_cache", sql: include_str!("migrations/0007_cache.sql") },
    Migration { number: 8, name: "0008_money", sql: include_str!("migrations/0008_money.sql") },
    Migration { number: 9, name: "0009_payloads", sql: include_str!("migrations/0009_payloads.sql") },
    Migration { number: 10, name: "0010_profiles", sql: include_str!("migrations/0010_profiles.sql") },
];

const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS migrations (
        number     INTEGER PRIMARY KEY,
        name       TEXT NOT NULL,
        applied_at INTEGER NOT NULL
    ) STRICT";
const APPLIED: &str = "
    INSERT INTO migrations (number, name, applied_at)
    VALUES (?1, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000)";

/// Brings the schema up to what this program knows.
pub(super) fn forward(connection: &mut Connection) -> Result<(), Error> {
    let found = newest(connection)?;
    if found == MIGRATIONS.len() as i64 {
        return Ok(());
    }
    if found > 0 {
        let wanted = MIGRATIONS.len();
        tracing::info!(
            found,
            wanted,
            "the store's schema is brought up to date; a large store takes a while"
        );
    }
    // A table that is made anew must not take with it what refers to it, and this cannot be said in a transaction.
    let checks: bool = connection.query_row("PRAGMA foreign_keys", [], |row| row.get(0))?;
    connection.pragma_update(None, "foreign_keys", false)?;
    let done = each(connection);
    connection.pragma_update(None, "foreign_keys", checks)?;
    done
}

fn each(connection: &mut Connection) -> Result<(), Error> {
    loop {
        // Immediate: another process may be migrating, and what is there is only known under the lock.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(CREATE)?;
        let at = newest(&transaction)?;
        let Some(next) = MIGRATIONS.iter().find(|migration| migration.number == at + 1) else {
            transaction.commit()?;
            return Ok(());
        };
        let begun = Instant::now();
        transaction.execute_batch(next.sql)?;
        transaction.execute(APPLIED, params![next.number, next.name])?;
        transaction.commit()?;
        if at > 0 {
            tracing::info!(
                schema = next.name,
                seconds = begun.elapsed().as_secs_f64(),
                "the store was migrated"
            );
        }
    }
}

/// Refuses a schema that is not exactly the one this program knows, for those who may not migrate.
pub(super) fn check(connection: &Connection) -> Result<(), Error> {
    let found = newest(connection)?;
    let known = MIGRATIONS.len() as i64;
    if found < known {
        return Err(Error::conflict(format!(
            "expected a store of schema {known}, found schema {found}: start the server on it once to migrate it"
        )));
    }
    Ok(())
}

const HAS_TABLE: &str = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'";
const NEWEST: &str = "SELECT number, name FROM migrations ORDER BY number DESC LIMIT 1";

/// The newest migration that was applied; 0 in an empty file.
fn newest(connection: &Connection) -> Result<i64, Error> {
    if connection.query_row(HAS_TABLE, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    let newest: Option<(i64, String)> =
        connection.query_row(NEWEST, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((number, name)) = newest else { return Ok(0) };
    match MIGRATIONS.iter().find(|migration| migration.number == number) {
        Some(known) if known.name == name => Ok(number),
        _ => Err(Error::conflict(format!(
            "expected a store of schema {} at most, found schema {number} ({name:?}): it was written by another \
             version; use that one or a newer one, or name another directory",
            MIGRATIONS.len()
        ))),
    }
}
