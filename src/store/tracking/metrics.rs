//! Points of metrics as they are written: into the history, and into the row of the latest where they are it.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::keys;
use crate::model::{Error, metric::Metric};

const ADD: &str = "
    INSERT INTO metrics (run, key, timestamp, step, value, nan) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO NOTHING";
const LATEST: &str = "
    INSERT INTO latest_metrics (run, key, value, nan, timestamp, step) VALUES (?1, ?2, ?5, ?6, ?3, ?4)
    ON CONFLICT DO UPDATE SET
        value = excluded.value, nan = excluded.nan, timestamp = excluded.timestamp, step = excluded.step
    WHERE (excluded.step, excluded.timestamp, excluded.value) > (step, timestamp, value)";

/// A point as it is stored. NaN is 0 and marked; infinities are the largest finite numbers (MLflow's way, so
/// that every value can be compared and sent).
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) timestamp: i64,
    pub(super) step: i64,
    pub(super) value: f64,
    pub(super) nan: bool,
}

impl Point {
    pub(super) fn new(timestamp: i64, step: i64, value: f64) -> Self {
        let nan = value.is_nan();
        let value = if nan { 0.0 } else { value.clamp(f64::MIN, f64::MAX) };
        Self { timestamp, step, value, nan }
    }

    fn is_after(&self, other: &Self) -> bool {
        (self.step, self.timestamp, self.value) > (other.step, other.timestamp, other.value)
    }
}

/// Writes points of one run. Of several points of a key in one batch only the latest can be the latest.
pub(super) fn log<'m>(
    connection: &Connection,
    run: i64,
    metrics: impl IntoIterator<Item = &'m Metric>,
) -> Result<(), Error> {
    let mut add = connection.prepare_cached(ADD)?;
    let mut latest: HashMap<&str, (i64, Point)> = HashMap::new();
    for metric in metrics {
        let point = Point::new(metric.timestamp, metric.step, metric.value);
        let key = match latest.get_mut(metric.key.as_str()) {
            Some((key, known)) => {
                if point.is_after(known) {
                    *known = point;
                }
                *key
            }
            None => {
                let key = keys::intern(connection, &metric.key)?;
                latest.insert(&metric.key, (key, point));
                key
            }
        };
        add.execute(params![run, key, point.timestamp, point.step, point.value, point.nan])?;
    }
    let mut set = connection.prepare_cached(LATEST)?;
    for (key, point) in latest.into_values() {
        set.execute(params![run, key, point.timestamp, point.step, point.value, point.nan])?;
    }
    Ok(())
}
