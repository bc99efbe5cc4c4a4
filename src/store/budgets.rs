//! What was spent since a time, by whatever a budget may tell apart; and the budgets that runs have of their own.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rollups::{Grain, HOUR};
use crate::model::{
    Error, NanoUsd, RunId, UnixNanos,
    budget::{Action, RunBudget, Spending},
};

/// From the sums per hour: nobody's user is in them.
const OF_ROLLUPS: &str = "
    SELECT (SELECT name FROM experiments WHERE id = r.experiment_id), nullif(r.run_id, ''),
        (SELECT name FROM runs WHERE id = r.run_id), nullif(r.key_fingerprint, ''), NULL, r.upstream,
        nullif(r.model, ''), sum(r.billed), sum(r.calls), sum(r.priced_calls), sum(r.unpriced_calls)
    FROM rollups AS r WHERE r.grain = ?1 AND r.period >= ?2
    GROUP BY r.experiment_id, r.run_id, r.key_fingerprint, r.upstream, r.model";

const OF_SPANS: &str = "
    SELECT (SELECT name FROM experiments WHERE id = s.experiment_id), s.run_id,
        (SELECT name FROM runs WHERE id = s.run_id), p.key_fingerprint, s.user, k.upstream, nullif(k.model, ''),
        coalesce(sum(s.billed), 0), count(*), count(s.billed),
        sum(s.billed IS NULL AND s.input IS NOT NULL)
    FROM spans AS s CROSS JOIN profiles AS p ON p.id = s.profile CROSS JOIN kinds AS k ON k.id = s.kind
    WHERE s.started_at >= ?1
    GROUP BY s.experiment_id, s.run_id, p.key_fingerprint, s.user, k.upstream, k.model";

fn spending(row: &Row<'_>) -> rusqlite::Result<Spending> {
    Ok(Spending {
        experiment: row.get(0)?,
        run_id: row.get(1)?,
        run: row.get(2)?,
        key: row.get(3)?,
        user: row.get(4)?,
        upstream: row.get(5)?,
        model: row.get(6)?,
        billed: NanoUsd(row.get(7)?),
        calls: row.get(8)?,
        priced_calls: row.get(9)?,
        unknown_calls: row.get(10)?,
    })
}

/// What was spent since a full hour; by user too where that is asked for, which reads the calls themselves.
pub(super) fn since(
    connection: &Connection,
    since: UnixNanos,
    by_user: bool,
) -> Result<Vec<Spending>, Error> {
    let rows = if by_user {
        let mut statement = connection.prepare_cached(OF_SPANS)?;
        let rows = statement.query_map([since.0], spending)?;
        rows.collect::<Result<_, _>>()?
    } else {
        let mut statement = connection.prepare_cached(OF_ROLLUPS)?;
        let rows = statement.query_map(params![Grain::All as i64, since.0.div_euclid(HOUR)], spending)?;
        rows.collect::<Result<_, _>>()?
    };
    Ok(rows)
}

macro_rules! own_budgets {
    () => {
        "SELECT b.run_id, b.amount, b.action, coalesce(t.billed, 0), coalesce(t.calls, 0),
             coalesce(t.priced_calls, 0), coalesce(t.unpriced_calls, 0), r.name, e.name
         FROM run_budgets AS b LEFT JOIN run_totals AS t ON t.run_id = b.run_id
         LEFT JOIN runs AS r ON r.id = b.run_id LEFT JOIN experiments AS e ON e.id = r.experiment_id"
    };
}

const RUNS: &str = own_budgets!();
const RUN: &str = concat!(own_budgets!(), " WHERE b.run_id = ?1");

type OwnBudget = (RunId, RunBudget, Spending);

fn own(row: &Row<'_>) -> Result<OwnBudget, Error> {
    let id: RunId = row.get(0)?;
    let budget = RunBudget { limit: NanoUsd(row.get(1)?), action: Action::parse(&row.get::<_, String>(2)?)? };
    let spending = Spending {
        run_id: Some(id.clone()),
        billed: NanoUsd(row.get(3)?),
        calls: row.get(4)?,
        priced_calls: row.get(5)?,
        unknown_calls: row.get(6)?,
        run: row.get(7)?,
        experiment: row.get(8)?,
        ..Spending::default()
    };
    Ok((id, budget, spending))
}

/// Every run's own budget, and what the run has spent.
pub(super) fn runs(connection: &Connection) -> Result<Vec<OwnBudget>, Error> {
    let mut statement = connection.prepare_cached(RUNS)?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(own(row)?);
    }
    Ok(all)
}

const SET: &str = "
    INSERT INTO run_budgets (run_id, amount, action, set_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET amount = excluded.amount, action = excluded.action, set_at = excluded.set_at";

/// Gives a run its budget; returns what the run has spent until now.
pub(super) fn set(
    connection: &Connection,
    run: &str,
    budget: RunBudget,
    at: UnixNanos,
) -> Result<Spending, Error> {
    connection.prepare_cached(SET)?.execute(params![run, budget.limit.0, budget.action.as_str(), at.0])?;
    let mut statement = connection.prepare_cached(RUN)?;
    let found = statement.query_row([run], |row| Ok(own(row))).optional()?;
    found.transpose().map(|found| found.map(|(_, _, spending)| spending).unwrap_or_default())
}

pub(super) fn clear(connection: &Connection, run: &str) -> Result<bool, Error> {
    Ok(connection.prepare_cached("DELETE FROM run_budgets WHERE run_id = ?1")?.execute([run])? > 0)
}
