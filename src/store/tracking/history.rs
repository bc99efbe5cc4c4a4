//! Histories of metrics: by time in pages, of several runs at once, and as an even sample by step.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{keys, metrics::Point, read, system};
use crate::model::{
    Error,
    metric::{HistoryPage, HistoryPlace, Metric, MetricOfRun, SampleQuery},
};

const NUMBER: &str = "SELECT number FROM runs WHERE id = ?1";

fn run_number(connection: &Connection, id: &str) -> Result<Option<i64>, Error> {
    Ok(connection.prepare_cached(NUMBER)?.query_row([id], |row| row.get(0)).optional()?)
}

fn point(key: &str, row: &Row<'_>) -> rusqlite::Result<Metric> {
    Ok(Metric { key: key.to_owned(), timestamp: row.get(0)?, step: row.get(1)?, value: read::value(row, 2)? })
}

/// In the order of the primary key, so a page is one walk along it.
const PAGE: &str = "
    SELECT timestamp, step, value, nan FROM metrics WHERE run = ?1 AND key = ?2
    ORDER BY timestamp, step, value, nan LIMIT ?3 OFFSET ?4";

/// The same behind a point: the walk begins there, however far into the history that is.
const PAGE_AFTER: &str = "
    SELECT timestamp, step, value, nan FROM metrics WHERE run = ?1 AND key = ?2
        AND (timestamp, step, value, nan) > (?4, ?5, ?6, ?7)
    ORDER BY timestamp, step, value, nan LIMIT ?3";

/// The points of a page and whether there are more. A run or metric that does not exist has no points.
pub(super) fn page(
    connection: &Connection,
    run: &str,
    key: &str,
    page: &HistoryPage,
) -> Result<(Vec<Metric>, bool), Error> {
    let limit = page.limit.and_then(|limit| i64::try_from(limit).ok());
    if let Some(points) = system::history(connection, run, key)? {
        let (offset, limit) = (page.offset as usize, limit.map_or(usize::MAX, |limit| limit as usize));
        let more = points.len().saturating_sub(offset) > limit;
        return Ok((points.into_iter().skip(offset).take(limit).collect(), more));
    }
    let (Some(run), Some(number)) = (run_number(connection, run)?, keys::find(connection, key)?) else {
        return Ok((Vec::new(), false));
    };
    let asked = limit.map_or(-1, |limit| limit.saturating_add(1));
    let mut points: Vec<Metric> = match page.after {
        Some(HistoryPlace { timestamp, step, value }) => {
            let Point { timestamp, step, value, nan } = Point::new(timestamp, step, value);
            connection
                .prepare_cached(PAGE_AFTER)?
                .query_map(params![run, number, asked, timestamp, step, value, nan], |row| point(key, row))?
                .collect::<Result<_, _>>()?
        }
        None => {
            let offset = i64::try_from(page.offset).unwrap_or(i64::MAX);
            connection
                .prepare_cached(PAGE)?
                .query_map(params![run, number, asked, offset], |row| point(key, row))?
                .collect::<Result<_, _>>()?
        }
    };
    let more = limit.is_some_and(|limit| points.len() as i64 > limit);
    if more {
        points.pop();
    }
    Ok((points, more))
}

pub(super) fn bulk(
    connection: &Connection,
    mut runs: Vec<String>,
    key: &str,
    limit: u64,
) -> Result<Vec<MetricOfRun>, Error> {
    runs.sort();
    runs.dedup();
    let mut all = Vec::new();
    for run_id in runs {
        let left = limit.saturating_sub(all.len() as u64);
        if left == 0 {
            break;
        }
        let (points, _) =
            page(connection, &run_id, key, &HistoryPage { limit: Some(left), ..HistoryPage::default() })?;
        all.extend(points.into_iter().map(|metric| MetricOfRun { run_id: run_id.clone(), metric }));
    }
    Ok(all)
}

const COUNT: &str = "SELECT count(*) FROM metrics WHERE run = ?1 AND key = ?2 AND step BETWEEN ?3 AND ?4";

/// The first of each of `?6` groups of equal size in the order of steps, and the last of all. The first
/// groups are one point larger where the points do not divide evenly, as SQL's NTILE has it.
const SAMPLE: &str = "
    SELECT timestamp, step, value, nan FROM (
        SELECT timestamp, step, value, nan,
            row_number() OVER (ORDER BY step, timestamp, value, nan) - 1 AS place
        FROM metrics WHERE run = ?1 AND key = ?2 AND step BETWEEN ?3 AND ?4
    )
    WHERE place = ?5 - 1
        OR CASE WHEN place < (?5 % ?6) * (?5 / ?6 + 1)
            THEN place % (?5 / ?6 + 1)
            ELSE (place - (?5 % ?6) * (?5 / ?6 + 1)) % (?5 / ?6)
        END = 0
    ORDER BY place";

/// At most `limit` points of each run, spread evenly over its history, the first and the last among them.
pub(super) fn sample(connection: &Connection, query: &SampleQuery) -> Result<Vec<MetricOfRun>, Error> {
    let Some(key) = keys::find(connection, &query.key)? else { return Ok(Vec::new()) };
    let (first, last) = query.steps.unwrap_or((i64::MIN, i64::MAX));
    let limit = i64::try_from(query.limit.max(1)).unwrap_or(i64::MAX);
    let mut all = Vec::new();
    for run_id in &query.runs {
        let Some(run) = run_number(connection, run_id)? else { continue };
        let count: i64 =
            connection.prepare_cached(COUNT)?.query_row([run, key, first, last], |row| row.get(0))?;
        if count == 0 {
            continue;
        }
        let groups = limit.min(count);
        let mut statement = connection.prepare_cached(SAMPLE)?;
        let mut points: Vec<Metric> = statement
            .query_map(params![run, key, first, last, count, groups], |row| point(&query.key, row))?
            .collect::<Result<_, _>>()?;
        // One group more than asked for came with the last point: it takes the place of the one before it.
        if points.len() as i64 > limit {
            let at = points.len() - 2;
            points.remove(at);
        }
        all.extend(points.into_iter().map(|metric| MetricOfRun { run_id: run_id.clone(), metric }));
    }
    Ok(all)
}
