//! Runs and experiments as the faces show them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    cost::{self, Totals},
    figures::instant,
    table::{Cell, Column, Table, Tone},
};
use crate::model::{
    filter::{ExperimentSummary, RunSummary},
    run::RunStatus,
};

/// A run with the sums of its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunRow {
    pub id: String,
    pub name: String,
    pub experiment_id: String,
    /// The experiment's name.
    pub experiment: String,
    pub status: RunStatus,
    pub started_at: String,
    pub ended_at: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub totals: Totals,
}

impl From<RunSummary> for RunRow {
    fn from(summary: RunSummary) -> Self {
        let run = summary.run;
        Self {
            id: run.id,
            name: run.name,
            experiment_id: run.experiment_id,
            experiment: summary.experiment,
            status: run.status,
            started_at: instant(run.started_at),
            ended_at: run.ended_at.map(instant),
            tags: run.tags,
            totals: Totals::of(&summary.totals),
        }
    }
}

/// An experiment with the sums of its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExperimentRow {
    pub id: String,
    pub name: String,
    pub created_at: String,
    pub updated_at: String,
    pub runs: u64,
    pub totals: Totals,
}

impl From<ExperimentSummary> for ExperimentRow {
    fn from(summary: ExperimentSummary) -> Self {
        let experiment = summary.experiment;
        Self {
            id: experiment.id,
            name: experiment.name,
            created_at: instant(experiment.created_at),
            updated_at: instant(experiment.updated_at),
            runs: summary.runs,
            totals: Totals::of(&summary.totals),
        }
    }
}

pub fn exact_runs(rows: &[RunRow]) -> Table {
    let mut columns: Vec<_> =
        ["id", "name", "experiment_id", "experiment", "status", "started_at", "ended_at"]
            .map(Column::left)
            .into();
    columns.extend(cost::exact_columns());
    let mut table = Table::new(columns);
    table.rows = rows
        .iter()
        .map(|row| {
            let mut cells = vec![
                Cell::text(&row.id),
                Cell::text(&row.name),
                Cell::text(&row.experiment_id),
                Cell::text(&row.experiment),
                Cell::text(row.status.as_str()),
                Cell::text(&row.started_at),
                Cell::maybe(row.ended_at.as_deref()),
            ];
            cells.extend(cost::exact_cells(&row.totals));
            cells
        })
        .collect();
    table
}

pub fn exact_experiments(rows: &[ExperimentRow]) -> Table {
    let mut columns: Vec<_> = ["id", "name", "created_at", "updated_at"].map(Column::left).into();
    columns.push(Column::right("runs"));
    columns.extend(cost::exact_columns());
    let mut table = Table::new(columns);
    table.rows = rows
        .iter()
        .map(|row| {
            let mut cells = vec![
                Cell::text(&row.id),
                Cell::text(&row.name),
                Cell::text(&row.created_at),
                Cell::text(&row.updated_at),
                Cell::figure(row.runs),
            ];
            cells.extend(cost::exact_cells(&row.totals));
            cells
        })
        .collect();
    table
}

/// `when` writes a point in time as the reader's clock shows it.
pub fn readable_runs(rows: &[RunRow], when: impl Fn(&str) -> String) -> Table {
    let mut columns: Vec<_> = ["run", "id", "experiment", "status", "started"].map(Column::left).into();
    columns.extend(cost::readable_columns());
    let mut table = Table::new(columns);
    table.rows = rows
        .iter()
        .map(|row| {
            let tone = match row.status {
                RunStatus::Finished => Tone::Good,
                RunStatus::Failed | RunStatus::Killed => Tone::Bad,
                RunStatus::Running | RunStatus::Scheduled => Tone::Plain,
            };
            let mut cells = vec![
                Cell::text(&row.name),
                Cell::Toned(Tone::Faint, row.id.clone()),
                Cell::text(&row.experiment),
                Cell::Toned(tone, row.status.as_str().to_lowercase()),
                Cell::text(when(&row.started_at)),
            ];
            cells.extend(cost::readable_cells(&row.totals));
            cells
        })
        .collect();
    table
}

pub fn readable_experiments(rows: &[ExperimentRow], when: impl Fn(&str) -> String) -> Table {
    let mut columns: Vec<_> = ["experiment", "id", "updated"].map(Column::left).into();
    columns.push(Column::right("runs"));
    columns.extend(cost::readable_columns());
    let mut table = Table::new(columns);
    table.rows = rows
        .iter()
        .map(|row| {
            let mut cells = vec![
                Cell::text(&row.name),
                Cell::Toned(Tone::Faint, row.id.clone()),
                Cell::text(when(&row.updated_at)),
                Cell::figure(row.runs),
            ];
            cells.extend(cost::readable_cells(&row.totals));
            cells
        })
        .collect();
    table
}
