//! The cost report: from a query to the coarsest sums that answer it, so that it reads few rows however many
//! calls there are. The text is put together from fixed fragments only; every value is bound.

use rusqlite::{Connection, ToSql};

use super::{
    rollups::{Grain, HOUR, Sums, columns, sums},
    runs,
};
use crate::model::{
    Error, UnixNanos,
    filter::{CostQuery, CostRow, Dimension},
};

/// How a dimension is grouped by (ids, so that two runs of one name stay two lines) and how it is shown.
fn fragments(dimension: Dimension) -> (&'static str, &'static str) {
    match dimension {
        // Rounded towards the past, before 1970 too.
        Dimension::Day => {
            ("(r.period - (r.period % 24 + 24) % 24)", "(r.period - (r.period % 24 + 24) % 24)")
        }
        Dimension::Hour => ("r.period", "r.period"),
        Dimension::Experiment => {
            ("r.experiment_id", "(SELECT name FROM experiments WHERE id = r.experiment_id)")
        }
        Dimension::Run => ("r.run_id", "(SELECT name FROM runs WHERE id = r.run_id)"),
        Dimension::Model => ("r.model", "nullif(r.model, '')"),
        Dimension::Provider => ("r.provider", "nullif(r.provider, '')"),
        Dimension::Upstream => ("r.upstream", "nullif(r.upstream, '')"),
        Dimension::Operation => ("r.operation", "nullif(r.operation, '')"),
        Dimension::Key => ("r.key_fingerprint", "nullif(r.key_fingerprint, '')"),
    }
}

/// Sums of the rollups, largest cost first; in order of time where that is the first dimension.
pub(super) fn costs(connection: &Connection, query: &CostQuery) -> Result<Vec<CostRow>, Error> {
    let Some((text, values)) = select(connection, query)? else {
        // A place that does not exist has spent nothing.
        let total = CostRow::default();
        return Ok(if query.by.is_empty() { vec![total] } else { Vec::new() });
    };
    let mut statement = connection.prepare_cached(&text)?;
    let values: Vec<&dyn ToSql> = values.iter().map(|value| &**value).collect();
    let rows = statement.query_map(values.as_slice(), |row| {
        let mut key = Vec::with_capacity(query.by.len());
        for (column, dimension) in query.by.iter().enumerate() {
            key.push(match dimension {
                Dimension::Day => Some(UnixNanos(row.get::<_, i64>(column)?.saturating_mul(HOUR)).date()),
                Dimension::Hour => Some(hour(row.get(column)?)),
                _ => row.get(column)?,
            });
        }
        Sums::read(row, query.by.len(), key)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

type Bound = Box<dyn ToSql>;

/// Rows of one grain whose periods begin in a range of hours.
struct Source {
    grain: Grain,
    from: i64,
    until: i64,
}

/// Where the sums come from.
enum Sources {
    /// One row per run.
    RunTotals,
    Rollups(Vec<Source>),
}

impl Sources {
    fn of(query: &CostQuery) -> Self {
        let by = |wanted: &[Dimension]| query.by.iter().any(|one| wanted.contains(one));
        let timed = query.since.is_some() || query.until.is_some() || by(&[Dimension::Day, Dimension::Hour]);
        let run = query.run.is_some() || by(&[Dimension::Run]);
        let key = by(&[Dimension::Key]);
        let kind = by(&[Dimension::Model, Dimension::Provider, Dimension::Upstream, Dimension::Operation]);
        let placed = query.experiment.is_some() || by(&[Dimension::Experiment]) || key;
        let from = query.since.map_or(i64::MIN, |at| at.0.div_euclid(HOUR));
        let until =
            query.until.map_or(i64::MAX, |at| at.0.div_euclid(HOUR) + i64::from(at.0.rem_euclid(HOUR) > 0));
        let all = |grain| Self::Rollups(vec![Source { grain, from, until }]);
        if run {
            return match (timed, key || kind) {
                (true, _) => all(Grain::All),
                (false, true) => all(Grain::Runs),
                (false, false) => Self::RunTotals,
            };
        }
        if !timed {
            return all(Grain::Ever);
        }
        let (days, hours) =
            if placed { (Grain::PlacedDays, Grain::All) } else { (Grain::Days, Grain::Hours) };
        if by(&[Dimension::Hour]) {
            return all(hours);
        }
        // Whole days from the days' rows, and hours before and behind.
        let first = if from == i64::MIN { from } else { from + (24 - from.rem_euclid(24)) % 24 };
        let last = if until == i64::MAX { until } else { until - until.rem_euclid(24) };
        if first >= last {
            return all(hours);
        }
        let sources = [
            Source { grain: hours, from, until: first },
            Source { grain: days, from: first, until: last },
            Source { grain: hours, from: last, until },
        ];
        Self::Rollups(sources.into_iter().filter(|source| source.from < source.until).collect())
    }
}

/// The statement and its values; `None` where the query names an experiment or run that does not exist.
fn select(connection: &Connection, query: &CostQuery) -> Result<Option<(String, Vec<Bound>)>, Error> {
    let experiment = match &query.experiment {
        None => None,
        Some(experiment) => match runs::experiment_id(connection, experiment)? {
            None => return Ok(None),
            id => id,
        },
    };
    let runs = match &query.run {
        None => None,
        Some(run) => match runs::run_ids(connection, run)? {
            ids if ids.is_empty() => return Ok(None),
            ids => Some(serde_json::Value::from(ids).to_string()),
        },
    };
    let mut values: Vec<Bound> = Vec::new();
    let place = |text: &mut String, values: &mut Vec<Bound>| {
        if let Some(id) = &experiment {
            text.push_str(" AND experiment_id = ?");
            values.push(Box::new(id.clone()));
        }
        if let Some(ids) = &runs {
            text.push_str(" AND run_id IN (SELECT value FROM json_each(?))");
            values.push(Box::new(ids.clone()));
        }
    };
    let mut text = "SELECT ".to_owned();
    for dimension in &query.by {
        text.push_str(fragments(*dimension).1);
        text.push_str(", ");
    }
    text.push_str(columns!(sums));
    text.push_str(" FROM (");
    match Sources::of(query) {
        Sources::RunTotals => {
            text.push_str("SELECT * FROM run_totals WHERE 1");
            place(&mut text, &mut values);
        }
        Sources::Rollups(sources) => {
            for (index, source) in sources.into_iter().enumerate() {
                text.push_str(if index > 0 { " UNION ALL " } else { "" });
                text.push_str("SELECT * FROM rollups WHERE grain = ? AND period >= ? AND period < ?");
                values.push(Box::new(source.grain as i64));
                values.push(Box::new(source.from));
                values.push(Box::new(source.until));
                place(&mut text, &mut values);
            }
        }
    }
    text.push_str(") AS r");
    let groups: Vec<_> = query.by.iter().map(|dimension| fragments(*dimension).0).collect();
    if let Some(first) = groups.first() {
        let groups = groups.join(", ");
        text.push_str(" GROUP BY ");
        text.push_str(&groups);
        text.push_str(" ORDER BY ");
        if matches!(query.by.first(), Some(Dimension::Day | Dimension::Hour)) {
            text.push_str(first);
            text.push_str(", ");
        }
        text.push_str("sum(r.cost) DESC, sum(r.calls) DESC, ");
        text.push_str(&groups);
    }
    Ok(Some((text, values)))
}

/// `2026-11-23T08:00Z`.
fn hour(hours: i64) -> String {
    let mut text: String = UnixNanos(hours.saturating_mul(HOUR)).rfc3339().chars().take(16).collect();
    text.push('Z');
    text
}
