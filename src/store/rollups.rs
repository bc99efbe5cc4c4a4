//! Sums of calls by time and place at several grains, written in the transaction that writes the calls, so
//! that a report never reads spans. Unknown is never counted as zero (invariant 6): a call without a cost is
//! in no cost sum. Which grain answers which report is `costs`' choice; sums per run are `totals`'.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params_from_iter, types::ToSqlOutput};

use super::totals::{self, Total};
use crate::model::{
    Error, NanoUsd, UnixNanos,
    call::{Call, CallStatus},
    filter::CostRow,
    usage::UsageSource,
};

pub(super) const HOUR: i64 = 3_600 * UnixNanos::SECOND;

/// The most that one call may add to a sum (tokens; nano-USD, that is a million dollars; nanoseconds, that is
/// eleven days): a nonsense figure from an upstream must not overflow the sums of all others.
const MOST_TOKENS: u64 = 1_000_000_000_000;
const MOST_COST: i64 = 1_000_000_000_000_000;
const MOST_DURATION: i64 = 1_000_000_000_000_000;

/// What a row of `rollups` tells apart: upstream, provider, model and operation always, the rest as named. The
/// numbers are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Grain {
    /// Experiment and key; no time.
    Ever = 0,
    /// Days alone.
    Days = 1,
    /// Days, experiment and key.
    PlacedDays = 2,
    /// Hours alone.
    Hours = 3,
    /// Experiment, run and key; no time.
    Runs = 4,
    /// Everything.
    All = 5,
}

impl Grain {
    const EACH: [Self; 6] = [Self::Ever, Self::Days, Self::PlacedDays, Self::Hours, Self::Runs, Self::All];

    /// The hour at which the grain's period around `hour` begins.
    fn period(self, hour: i64) -> i64 {
        match self {
            Self::Ever | Self::Runs => 0,
            Self::Days | Self::PlacedDays => hour - hour.rem_euclid(24),
            Self::Hours | Self::All => hour,
        }
    }

    fn tells_experiment(self) -> bool {
        !matches!(self, Self::Days | Self::Hours)
    }

    fn tells_run(self) -> bool {
        matches!(self, Self::Runs | Self::All)
    }
}

/// Names a sum's columns once, for what is added, read and summed.
macro_rules! columns {
    ($each:ident) => {
        $each!(
            calls,
            errors,
            input_tokens,
            cache_read_tokens,
            cache_write_tokens,
            output_tokens,
            reasoning_tokens,
            estimated_calls,
            usageless_calls,
            cost,
            cost_estimated,
            priced_calls,
            unpriced_calls,
            duration_ns,
            billed,
            cost_reported,
            reported_calls
        )
    };
}
pub(super) use columns;

macro_rules! added {
    ($first:ident $(, $column:ident)*) => {
        concat!(
            stringify!($first), " = ", stringify!($first), " + excluded.", stringify!($first)
            $(, ", ", stringify!($column), " = ", stringify!($column), " + excluded.", stringify!($column))*
        )
    };
}
pub(super) use added;

macro_rules! names {
    ($first:ident $(, $column:ident)*) => { concat!(stringify!($first) $(, ", ", stringify!($column))*) };
}
pub(super) use names;

macro_rules! sums {
    ($first:ident $(, $column:ident)*) => {
        concat!(
            "coalesce(sum(r.", stringify!($first), "), 0)"
            $(, ", coalesce(sum(r.", stringify!($column), "), 0)")*
        )
    };
}
pub(super) use sums;

const COLUMNS: usize = 17;

/// The sums of some calls, in the order of `columns`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums(pub(super) [i64; COLUMNS]);

impl Sums {
    /// What one call is in a sum.
    pub(super) fn of(call: &Call) -> Self {
        let tokens = |count: Option<u64>| count.unwrap_or(0).min(MOST_TOKENS) as i64;
        let usageless = call.usage.is_empty();
        let estimated = call.usage_source == Some(UsageSource::Estimated);
        let amount = |cost: Option<NanoUsd>| cost.map_or(0, |cost| cost.0.clamp(-MOST_COST, MOST_COST));
        let cost = amount(call.cost);
        let reported = call.cost.is_some() && call.is_cost_reported();
        Self([
            1,
            i64::from(call.status != CallStatus::Ok),
            tokens(call.usage.input),
            tokens(call.usage.cache_read),
            tokens(call.usage.cache_write),
            tokens(call.usage.output),
            tokens(call.usage.reasoning),
            i64::from(estimated && !usageless),
            i64::from(usageless),
            cost,
            if estimated && !reported { cost } else { 0 },
            i64::from(call.cost.is_some()),
            i64::from(call.cost.is_none() && !usageless),
            call.duration_ns().clamp(0, MOST_DURATION),
            amount(call.billed),
            if reported { cost } else { 0 },
            i64::from(reported),
        ])
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, one)| *sum = sum.saturating_add(one));
    }

    fn subtract(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, one)| *sum = sum.saturating_sub(one));
    }

    /// Reads the columns from `at` on.
    pub(super) fn read(row: &Row<'_>, at: usize, key: Vec<Option<String>>) -> rusqlite::Result<CostRow> {
        Ok(CostRow {
            key,
            calls: row.get(at)?,
            errors: row.get(at + 1)?,
            input_tokens: row.get(at + 2)?,
            cache_read_tokens: row.get(at + 3)?,
            cache_write_tokens: row.get(at + 4)?,
            output_tokens: row.get(at + 5)?,
            reasoning_tokens: row.get(at + 6)?,
            estimated_calls: row.get(at + 7)?,
            usageless_calls: row.get(at + 8)?,
            cost: NanoUsd(row.get(at + 9)?),
            cost_estimated: NanoUsd(row.get(at + 10)?),
            priced_calls: row.get(at + 11)?,
            unpriced_calls: row.get(at + 12)?,
            duration_ns: row.get(at + 13)?,
            billed: NanoUsd(row.get(at + 14)?),
            cost_reported: NanoUsd(row.get(at + 15)?),
            reported_calls: row.get(at + 16)?,
        })
    }
}

/// The texts of a key, in the order of the columns from `experiment_id` on.
type Place<'c> = [&'c str; 7];

const EXPERIMENT: usize = 0;
const RUN: usize = 1;
const KEY: usize = 6;

fn place(call: &Call) -> Place<'_> {
    [
        &call.experiment_id,
        call.run_id.as_deref().unwrap_or_default(),
        &call.upstream,
        &call.provider,
        call.model().unwrap_or_default(),
        &call.operation,
        call.key_fingerprint.as_deref().unwrap_or_default(),
    ]
}

/// What a transaction changes of the sums. Calls that share an hour and a place are added up here, so that
/// each row is written once however many they are.
#[derive(Debug, Default)]
pub(super) struct Tally {
    changes: HashMap<Vec<u8>, Change>,
    /// Some calls were taken out, so that rows may be left with none.
    removes: bool,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Change {
    hour: i64,
    place: [String; 7],
    sums: Sums,
    total: Total,
}

impl Tally {
    /// Adds a call, once: the caller knows that it is new.
    pub(super) fn add(&mut self, call: &Call) {
        let change = self.change(call);
        change.sums.add(&Sums::of(call));
        change.total.add(call);
    }

    /// Takes out a call that was added, as it was when it was added: to erase it, or to add it changed.
    pub(super) fn remove(&mut self, call: &Call) {
        self.removes = true;
        let change = self.change(call);
        change.sums.subtract(&Sums::of(call));
        change.total.remove(call);
    }

    fn change(&mut self, call: &Call) -> &mut Change {
        let hour = call.started_at.0.div_euclid(HOUR);
        let place = place(call);
        self.key.clear();
        self.key.extend_from_slice(&hour.to_le_bytes());
        for text in place {
            self.key.extend_from_slice(&text.len().to_le_bytes());
            self.key.extend_from_slice(text.as_bytes());
        }
        if !self.changes.contains_key(&self.key) {
            let (sums, total) = (Sums::default(), Total::default());
            let change = Change { hour, place: place.map(str::to_owned), sums, total };
            self.changes.insert(self.key.clone(), change);
        }
        self.changes.get_mut(&self.key).unwrap_or_else(|| unreachable!("it was put in just now"))
    }

    /// Writes the changes.
    pub(super) fn apply(self, connection: &Connection) -> Result<(), Error> {
        let mut rows: HashMap<(Grain, i64, Place<'_>), Sums> = HashMap::new();
        let mut runs: HashMap<(&str, &str), (Sums, Total)> = HashMap::new();
        for change in self.changes.values() {
            let place: Place<'_> = std::array::from_fn(|at| change.place[at].as_str());
            for grain in Grain::EACH {
                let mut place = place;
                if !grain.tells_experiment() {
                    (place[EXPERIMENT], place[KEY]) = ("", "");
                }
                if !grain.tells_run() {
                    place[RUN] = "";
                }
                rows.entry((grain, grain.period(change.hour), place)).or_default().add(&change.sums);
            }
            let (sums, total) = runs.entry((place[RUN], place[EXPERIMENT])).or_default();
            sums.add(&change.sums);
            total.merge(&change.total);
        }
        let mut add = connection.prepare_cached(ADD)?;
        for ((grain, period, place), sums) in rows {
            let key = [ToSqlOutput::from(grain as i64), ToSqlOutput::from(period)];
            let values = place.into_iter().map(ToSqlOutput::from).chain(sums.0.map(ToSqlOutput::from));
            add.execute(params_from_iter(key.into_iter().chain(values)))?;
        }
        for ((run, experiment), (sums, total)) in runs {
            totals::apply(connection, run, experiment, &sums, &total)?;
        }
        if self.removes {
            connection.prepare_cached("DELETE FROM rollups WHERE calls = 0")?.execute([])?;
            connection.prepare_cached("DELETE FROM run_totals WHERE calls = 0")?.execute([])?;
        }
        Ok(())
    }
}

const ADD: &str = concat!(
    "INSERT INTO rollups (
        grain, period, experiment_id, run_id, upstream, provider, model, operation, key_fingerprint, ",
    columns!(names),
    ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET ",
    columns!(added)
);

const OF_EXPERIMENT: &str =
    concat!("SELECT ", columns!(sums), " FROM rollups AS r WHERE r.experiment_id = ?1 AND r.grain = 0");

pub(super) fn of_experiment(connection: &Connection, id: &str) -> Result<CostRow, Error> {
    let read = |row: &Row<'_>| Sums::read(row, 0, Vec::new());
    Ok(connection.prepare_cached(OF_EXPERIMENT)?.query_row([id], read)?)
}
