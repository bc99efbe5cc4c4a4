//! How far tapline's own token counts are from what upstreams reported: one line per
//! model and side, the input by what it holds besides text.

use rusqlite::{Connection, params};

use crate::model::{
    Error,
    call::{Held, TokenSample},
    filter::TokenError,
};

const ADD: &str = "
    INSERT INTO token_errors (model, side, calls, reported, estimated, abs_error, worst)
    VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6)
    ON CONFLICT DO UPDATE SET
        calls = calls + 1,
        reported = reported + excluded.reported,
        estimated = estimated + excluded.estimated,
        abs_error = abs_error + excluded.abs_error,
        worst = max(worst, excluded.worst)";

/// The most that one call may add: a nonsense figure must not overflow the sums of all others.
const MOST: u64 = 1_000_000_000_000;

pub(super) fn add(connection: &Connection, sample: &TokenSample) -> Result<(), Error> {
    let input = match sample.held {
        Held::Text => "input",
        Held::Tools => "input with tools",
        Held::Images => "input with images",
        Held::Sound => "input with sound",
        Held::Documents => "input with documents",
    };
    for (side, reported, estimated) in [
        (input, sample.input_reported, sample.input_estimated),
        ("output", sample.output_reported, sample.output_estimated),
    ] {
        let (reported, estimated) = (reported.min(MOST), estimated.min(MOST));
        if reported == 0 {
            continue;
        }
        let error = reported.abs_diff(estimated);
        let worst = error.saturating_mul(1_000) / reported;
        connection.prepare_cached(ADD)?.execute(params![
            sample.model,
            side,
            reported,
            estimated,
            error,
            worst.min(MOST)
        ])?;
    }
    Ok(())
}

const ALL: &str = "
    SELECT model, side, calls, reported, estimated, abs_error, worst FROM token_errors
    ORDER BY calls DESC, model, side";

pub(super) fn all(connection: &Connection) -> Result<Vec<TokenError>, Error> {
    let mut statement = connection.prepare_cached(ALL)?;
    let rows = statement.query_map([], |row| {
        Ok(TokenError {
            model: row.get(0)?,
            side: row.get(1)?,
            calls: row.get(2)?,
            reported: row.get(3)?,
            estimated: row.get(4)?,
            abs_error: row.get(5)?,
            worst_thousandths: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const DROP_UNUSED: &str = "DELETE FROM token_errors WHERE model NOT IN (SELECT model FROM kinds)";

/// Drops the lines of models that no call is of any more. What an erased call added to the line of a model that
/// others are of as well stays: it is a sum of counts, and not kept by call.
pub(super) fn drop_unused(connection: &Connection) -> Result<(), Error> {
    connection.prepare_cached(DROP_UNUSED)?.execute([])?;
    Ok(())
}
