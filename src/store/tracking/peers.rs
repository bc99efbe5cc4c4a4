//! Which run a call belongs to that names none: the one that its own address has open through MLflow's face.
//! Only times that were written down decide, so a call that is stored late or again is placed the same way.

use rusqlite::{Connection, params};

use crate::model::{Error, UnixNanos, id::ExperimentId, run::PARENT_RUN_TAG};

const OPEN: &str = "
    INSERT INTO run_peers (run, peer, opened_at) SELECT ?1, ?2, ?3
    WHERE NOT EXISTS (SELECT 1 FROM run_peers WHERE run = ?1 AND peer = ?2 AND closed_at IS NULL)
    ON CONFLICT DO UPDATE SET closed_at = NULL";
const CLOSE: &str = "UPDATE run_peers SET closed_at = ?2 WHERE run = ?1 AND closed_at IS NULL";

/// The run is open at this address from now on.
pub(super) fn open(connection: &Connection, run: i64, peer: &str, at: UnixNanos) -> Result<(), Error> {
    connection.prepare_cached(OPEN)?.execute(params![run, peer, at.0])?;
    Ok(())
}

/// The run is open nowhere any more.
pub(super) fn close(connection: &Connection, run: i64, at: UnixNanos) -> Result<(), Error> {
    connection.prepare_cached(CLOSE)?.execute(params![run, at.0])?;
    Ok(())
}

/// How long a run counts as open that nobody closed and that has no calls: its program may have died.
const FORGOTTEN_AFTER: i64 = UnixNanos::DAY;

const OPEN_AT: &str = "
    SELECT r.id, r.experiment_id, max(p.opened_at, coalesce(r.last_call_at, 0)),
        (SELECT t.value FROM run_tags AS t WHERE t.run = r.number
         AND t.key = (SELECT k.id FROM keys AS k WHERE k.name = ?3))
    FROM (
        SELECT run, opened_at FROM run_peers
        WHERE peer = ?1 AND closed_at IS NULL AND opened_at <= ?2
        UNION ALL
        SELECT run, opened_at FROM run_peers WHERE peer = ?1 AND closed_at > ?2 AND opened_at <= ?2
    ) AS p JOIN runs AS r ON r.number = p.run";

/// The run that was open at this address at that time: the only one, or the innermost of one line of runs
/// nested in each other. `None` where two could be meant.
pub(in crate::store) fn active_run(
    connection: &Connection,
    peer: &str,
    at: UnixNanos,
) -> Result<Option<(String, ExperimentId)>, Error> {
    let mut statement = connection.prepare_cached(OPEN_AT)?;
    let mut rows = statement.query(params![peer, at.0, PARENT_RUN_TAG])?;
    let mut open: Vec<Open> = Vec::new();
    while let Some(row) = rows.next()? {
        let alive: i64 = row.get(2)?;
        if alive.saturating_add(FORGOTTEN_AFTER) >= at.0 {
            open.push(Open { id: row.get(0)?, experiment: row.get(1)?, parent: row.get(3)? });
        }
    }
    Ok(innermost(open).map(|run| (run.id, run.experiment)))
}

struct Open {
    id: String,
    experiment: ExperimentId,
    parent: Option<String>,
}

/// The last of the runs where each is nested in the one before it.
fn innermost(mut open: Vec<Open>) -> Option<Open> {
    let is_open = |id: &str, open: &[Open]| open.iter().any(|run| run.id == id);
    let outermost: Vec<usize> = (0..open.len())
        .filter(|at| {
            !open.get(*at).and_then(|run| run.parent.as_deref()).is_some_and(|id| is_open(id, &open))
        })
        .collect();
    let [outermost] = outermost.as_slice() else { return None };
    let mut at = open.swap_remove(*outermost);
    while !open.is_empty() {
        let mut children = (0..open.len())
            .filter(|child| open.get(*child).is_some_and(|run| run.parent.as_ref() == Some(&at.id)));
        let (Some(child), None) = (children.next(), children.next()) else { return None };
        at = open.swap_remove(child);
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(runs: &[(&str, Option<&str>)]) -> Option<String> {
        let open = runs
            .iter()
            .map(|(id, parent)| Open {
                id: (*id).to_owned(),
                experiment: "0".to_owned(),
                parent: parent.map(str::to_owned),
            })
            .collect();
        innermost(open).map(|run| run.id)
    }

    #[test]
    fn one_run_or_one_line_of_runs_is_meant() {
        assert_eq!(meant(&[]), None);
        assert_eq!(meant(&[("a", None)]).as_deref(), Some("a"));
        // Its parent is over, or elsewhere.
        assert_eq!(meant(&[("a", Some("x"))]).as_deref(), Some("a"));
        assert_eq!(meant(&[("a", None), ("b", None)]), None);
        assert_eq!(meant(&[("b", Some("a")), ("a", None)]).as_deref(), Some("b"));
        assert_eq!(meant(&[("c", Some("b")), ("a", None), ("b", Some("a"))]).as_deref(), Some("c"));
        assert_eq!(meant(&[("a", None), ("b", Some("a")), ("c", Some("a"))]), None);
        // The middle one is over.
        assert_eq!(meant(&[("a", None), ("c", Some("b"))]), None);
        // A circle, which only a strange client makes.
        assert_eq!(meant(&[("a", Some("b")), ("b", Some("a"))]), None);
    }
}
