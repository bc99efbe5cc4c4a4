//! Answers made apart from the call that asked for them: which call has their usage. The first that sees it
//! keeps it; every other call that shows the same answer has none, so that no sum counts it twice.

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::{
    CallId, Error,
    call::{Call, Dialect},
    exchange::Job,
    usage::Usage,
};

#[derive(Debug, Default)]
struct Known {
    job: String,
    made_by: Option<CallId>,
    counted_by: Option<CallId>,
}

/// Settles whether `call` keeps the usage it shows, and notes whose answer it is.
pub(super) fn settle(connection: &Connection, call: &mut Call, job: &Job) -> Result<(), Error> {
    let names = || std::iter::once(&job.id).chain(&job.also);
    let mut known = None;
    for name in names() {
        known = find(connection, &call.upstream, name)?.or(known);
        if known.is_some() {
            break;
        }
    }
    let seen_before = known.is_some();
    let mut known = known.unwrap_or_else(|| Known { job: job.id.clone(), ..Known::default() });
    if job.asked {
        known.made_by = Some(call.id);
    }
    if let Some(maker) = known.made_by.filter(|maker| *maker != call.id) {
        call.metadata.insert("tapline.asked_by".to_owned(), maker.to_string().into());
    }
    if call.usage_source.is_some() {
        // A response that was not made in the background has its usage in the call that made it, and one
        // that was made elsewhere is nobody's here; a batch is always fetched.
        let foreign = !seen_before && !job.asked && call.dialect == Dialect::Responses;
        match known.counted_by {
            Some(other) => give_up(call, &format!("the usage of {} is counted at call {other}", job.id)),
            None if foreign => {
                give_up(call, &format!("the usage of {} belongs to the call that made it", job.id));
            }
            None => known.counted_by = Some(call.id),
        }
    }
    for name in names() {
        put(connection, &call.upstream, name, &known)?;
    }
    share(connection, &call.upstream, &known)
}

fn give_up(call: &mut Call, why: &str) {
    call.usage = Usage::default();
    call.usage_source = None;
    call.cost = None;
    call.price_id = None;
    call.notes.push(format!("usage: {why}"));
}

const FIND: &str = "SELECT job, made_by, counted_by FROM jobs WHERE upstream = ?1 AND name = ?2";

fn find(connection: &Connection, upstream: &str, name: &str) -> Result<Option<Known>, Error> {
    let known = connection
        .prepare_cached(FIND)?
        .query_row(params![upstream, name], |row| {
            Ok(Known {
                job: row.get(0)?,
                made_by: row.get::<_, Option<_>>(1)?.map(CallId),
                counted_by: row.get::<_, Option<_>>(2)?.map(CallId),
            })
        })
        .optional()?;
    Ok(known)
}

const PUT: &str = "
    INSERT INTO jobs (upstream, name, job, made_by, counted_by) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (upstream, name) DO UPDATE SET
        made_by = coalesce(made_by, excluded.made_by), counted_by = coalesce(counted_by, excluded.counted_by)";

fn put(connection: &Connection, upstream: &str, name: &str, known: &Known) -> Result<(), Error> {
    let (made_by, counted_by) = (known.made_by.map(|id| id.0), known.counted_by.map(|id| id.0));
    connection.prepare_cached(PUT)?.execute(params![upstream, name, known.job, made_by, counted_by])?;
    Ok(())
}

const SHARE: &str = "
    UPDATE jobs SET made_by = coalesce(made_by, ?3), counted_by = coalesce(counted_by, ?4)
    WHERE upstream = ?1 AND job = ?2";

/// Tells the job's other names.
fn share(connection: &Connection, upstream: &str, known: &Known) -> Result<(), Error> {
    let (made_by, counted_by) = (known.made_by.map(|id| id.0), known.counted_by.map(|id| id.0));
    connection.prepare_cached(SHARE)?.execute(params![upstream, known.job, made_by, counted_by])?;
    Ok(())
}

/// Forgets what a call has to do with jobs, and jobs that no call has anything to do with any more.
pub(super) fn forget(connection: &Connection, call: CallId) -> Result<(), Error> {
    connection.prepare_cached("UPDATE jobs SET made_by = NULL WHERE made_by = ?1")?.execute([call.0])?;
    connection
        .prepare_cached("UPDATE jobs SET counted_by = NULL WHERE counted_by = ?1")?
        .execute([call.0])?;
    connection.prepare_cached("DELETE FROM jobs WHERE made_by IS NULL AND counted_by IS NULL")?.execute([])?;
    Ok(())
}
