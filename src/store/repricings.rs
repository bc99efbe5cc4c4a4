//! Costs that are stored already and change: with the sums that they are in, and written down.

use rusqlite::{Connection, params};

use super::{calls, packing::Unpacker, profiles, rollups::Tally, writer::Write};
use crate::model::{
    Error,
    call::{Repriced, Repricing},
};

const UPDATE: &str = "UPDATE spans SET cost = ?2, billed = ?3, profile = ?4 WHERE sequence = ?1";

/// Changes calls and sums together; a call that is gone meanwhile is passed over. Returns how many changed.
pub(super) fn apply(write: &mut Write<'_>, repriced: &[Repriced]) -> Result<u64, Error> {
    let connection = write.connection;
    let mut tally = Tally::default();
    let mut unpacker = Unpacker::default();
    let mut changed = 0;
    for one in repriced {
        let Some(mut call) = calls::by_sequence(connection, &mut unpacker, one.sequence)? else { continue };
        tally.remove(&call);
        (call.cost, call.billed) = (one.cost, one.billed);
        call.price_id.clone_from(&one.price_id);
        connection.prepare_cached(UPDATE)?.execute(params![
            one.sequence,
            one.cost.map(|cost| cost.0),
            one.billed.map(|billed| billed.0),
            profiles::of(connection, write.interned, &call)?.id,
        ])?;
        tally.add(&call);
        changed += 1;
    }
    tally.apply(connection)?;
    Ok(changed)
}

const KEEP: &str = "
    INSERT INTO repricings (at, asked, calls, changed_calls, cost_before, cost_after, billed_before, billed_after,
        unknown_before, unknown_after) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

pub(super) fn keep(connection: &Connection, one: &Repricing) -> Result<i64, Error> {
    connection.prepare_cached(KEEP)?.execute(params![
        one.at.0,
        one.asked,
        one.calls,
        one.changed_calls,
        one.cost_before.0,
        one.cost_after.0,
        one.billed_before.0,
        one.billed_after.0,
        one.unknown_before,
        one.unknown_after,
    ])?;
    Ok(connection.last_insert_rowid())
}
