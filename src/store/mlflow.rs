//! MLflow's own SQLite file, read only: the tables of its tracking store as our nouns. Tables that its version
//! does not have yet are empty.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags, Row, params};

use crate::model::{
    Error, UnixNanos,
    dataset::{Dataset, DatasetInput},
    logged_model::{LoggedModel, LoggedModelStatus, ModelMetric},
    metric::{LoggedMetric, Metric},
    run::{Experiment, ModelOutput, Param, Run, RunStatus, RunWhole, Tag},
};

/// Runs of a page.
const PAGE: i64 = 500;

/// An MLflow tracking database.
pub struct MlflowDatabase {
    connection: Mutex<Connection>,
    has_inputs: bool,
    has_steps: bool,
    has_models: bool,
}

impl fmt::Debug for MlflowDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MlflowDatabase").finish_non_exhaustive()
    }
}

const TABLE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
const COLUMN: &str = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)";

impl MlflowDatabase {
    pub fn open(file: &Path) -> Result<Self, Error> {
        let wrong = |error: rusqlite::Error| {
            Error::invalid(format!("expected MLflow's SQLite file at {}, found: {error}", file.display()))
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).map_err(wrong)?;
        let table =
            |name: &str| connection.query_row(TABLE, [name], |row| row.get::<_, bool>(0)).map_err(wrong);
        if !(table("experiments")? && table("latest_metrics")? && table("alembic_version")?) {
            return Err(Error::invalid(format!(
                "expected MLflow's tables in {}, found a database without them",
                file.display()
            )));
        }
        let has_inputs = table("datasets")? && table("inputs")?;
        let has_models = table("logged_models")?;
        let has_steps = connection.query_row(COLUMN, ["inputs", "step"], |row| row.get(0)).map_err(wrong)?;
        Ok(Self { connection: Mutex::new(connection), has_inputs, has_steps, has_models })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        read(&self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn experiments(&self) -> Result<Vec<Experiment>, Error> {
        self.read(|connection| {
            let mut found: Vec<Experiment> = connection
                .prepare_cached(
                    "SELECT CAST(experiment_id AS TEXT), name, artifact_location, creation_time, last_update_time,
                        lifecycle_stage = 'deleted'
                     FROM experiments ORDER BY experiment_id",
                )?
                .query_map([], |row| {
                    let updated_at = nanos(row.get::<_, Option<i64>>(4)?);
                    Ok(Experiment {
                        id: row.get(0)?,
                        name: row.get(1)?,
                        artifact_location: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
                        created_at: nanos(row.get(3)?),
                        updated_at,
                        deleted_at: row.get::<_, bool>(5)?.then_some(updated_at),
                        tags: BTreeMap::new(),
                    })
                })?
                .collect::<Result<_, _>>()?;
            for experiment in &mut found {
                experiment.tags = pairs(
                    connection,
                    "SELECT key, value FROM experiment_tags WHERE CAST(experiment_id AS TEXT) = ?1",
                    &experiment.id,
                )?
                .into_iter()
                .collect();
            }
            Ok(found)
        })
    }

    pub fn count(&self, experiment: &str) -> Result<u64, Error> {
        self.read(|connection| {
            Ok(connection
                .prepare_cached("SELECT count(*) FROM runs WHERE experiment_id = CAST(?1 AS INTEGER)")?
                .query_row([experiment], |row| row.get(0))?)
        })
    }

    /// A page of an experiment's runs by id, deleted ones included.
    pub fn runs(&self, experiment: &str, after: Option<&str>) -> Result<Vec<RunWhole>, Error> {
        self.read(|connection| {
            let heads: Vec<Run> = connection
                .prepare_cached(
                    "SELECT run_uuid, name, user_id, status, start_time, end_time, deleted_time,
                        lifecycle_stage = 'deleted', artifact_uri
                     FROM runs WHERE experiment_id = CAST(?1 AS INTEGER) AND run_uuid > ?2
                     ORDER BY run_uuid LIMIT ?3",
                )?
                .query_map(params![experiment, after.unwrap_or(""), PAGE], |row| head(row, experiment))?
                .collect::<Result<_, _>>()?;
            heads.into_iter().map(|run| self.whole(connection, run)).collect()
        })
    }

    fn whole(&self, connection: &Connection, mut run: Run) -> Result<RunWhole, Error> {
        let id = run.id.clone();
        run.tags =
            pairs(connection, "SELECT key, value FROM tags WHERE run_uuid = ?1", &id)?.into_iter().collect();
        if run.name.is_empty() {
            run.name = run.tags.get("mlflow.runName").cloned().unwrap_or_default();
        }
        let params =
            pairs(connection, "SELECT key, value FROM params WHERE run_uuid = ?1 ORDER BY key", &id)?
                .into_iter()
                .map(|(key, value)| Param { key, value })
                .collect();
        let metrics = metrics(
            connection,
            "SELECT key, value, is_nan, timestamp, step FROM latest_metrics WHERE run_uuid = ?1 ORDER BY key",
            &[&id],
        )?;
        let mut whole = RunWhole {
            run,
            metrics,
            params,
            datasets: Vec::new(),
            model_inputs: Vec::new(),
            model_outputs: Vec::new(),
        };
        if self.has_inputs {
            whole.datasets = datasets(connection, &id)?;
        }
        if self.has_models {
            whole.model_inputs = pairs(
                connection,
                "SELECT destination_id, '' FROM inputs
                 WHERE source_type = 'RUN_INPUT' AND source_id = ?1 AND destination_type = 'MODEL_INPUT'",
                &id,
            )?
            .into_iter()
            .map(|(model, _)| model)
            .collect();
            let step = if self.has_steps { "step" } else { "0" };
            let sql = format!(
                "SELECT destination_id, {step} FROM inputs
                 WHERE source_type = 'RUN_OUTPUT' AND source_id = ?1 AND destination_type = 'MODEL_OUTPUT'"
            );
            whole.model_outputs = connection
                .prepare_cached(&sql)?
                .query_map([&id], |row| Ok(ModelOutput { model_id: row.get(0)?, step: row.get(1)? }))?
                .collect::<Result<_, _>>()?;
        }
        Ok(whole)
    }

    /// Every point of a metric.
    pub fn history(&self, run: &str, key: &str) -> Result<Vec<Metric>, Error> {
        self.read(|connection| {
            metrics(
                connection,
                "SELECT key, value, is_nan, timestamp, step FROM metrics WHERE run_uuid = ?1 AND key = ?2
                 ORDER BY timestamp, step",
                &[run, key],
            )
        })
    }

    pub fn models(&self, experiment: &str) -> Result<Vec<LoggedModel>, Error> {
        if !self.has_models {
            return Ok(Vec::new());
        }
        self.read(|connection| {
            let mut found: Vec<LoggedModel> = connection
                .prepare_cached(
                    "SELECT model_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms,
                        status, model_type, source_run_id, status_message
                     FROM logged_models
                     WHERE experiment_id = CAST(?1 AS INTEGER) AND lifecycle_stage <> 'deleted' ORDER BY model_id",
                )?
                .query_map([experiment], |row| model(row, experiment))?
                .collect::<Result<_, _>>()?;
            for model in &mut found {
                let texts = "SELECT param_key, param_value FROM logged_model_params WHERE model_id = ?1";
                model.params = pairs(connection, texts, &model.id)?
                    .into_iter()
                    .map(|(key, value)| Param { key, value })
                    .collect();
                let tags = "SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ?1";
                model.tags = pairs(connection, tags, &model.id)?.into_iter().collect();
                model.metrics = model_metrics(connection, &model.id)?;
            }
            Ok(found)
        })
    }
}

fn nanos(millis: Option<i64>) -> UnixNanos {
    UnixNanos(millis.unwrap_or(0).saturating_mul(1_000_000))
}

fn head(row: &Row<'_>, experiment: &str) -> rusqlite::Result<Run> {
    let text = |at: usize| row.get::<_, Option<String>>(at).map(Option::unwrap_or_default);
    let deleted = row.get::<_, Option<bool>>(7)?.unwrap_or(false);
    Ok(Run {
        id: row.get(0)?,
        experiment_id: experiment.to_owned(),
        name: text(1)?,
        user: text(2)?,
        status: RunStatus::parse(&text(3)?).unwrap_or(RunStatus::Finished),
        started_at: nanos(row.get(4)?),
        ended_at: row.get::<_, Option<i64>>(5)?.map(|at| nanos(Some(at))),
        deleted_at: if deleted { Some(nanos(row.get(6)?)) } else { None },
        artifact_uri: text(8)?,
        tags: BTreeMap::new(),
    })
}

fn model(row: &Row<'_>, experiment: &str) -> rusqlite::Result<LoggedModel> {
    let text = |at: usize| row.get::<_, Option<String>>(at).map(Option::unwrap_or_default);
    Ok(LoggedModel {
        id: row.get(0)?,
        experiment_id: experiment.to_owned(),
        name: text(1)?,
        artifact_uri: text(2)?,
        created_at: nanos(row.get(3)?),
        updated_at: nanos(row.get(4)?),
        status: match row.get::<_, i64>(5)? {
            1 => LoggedModelStatus::Pending,
            2 => LoggedModelStatus::Ready,
            3 => LoggedModelStatus::Failed,
            _ => LoggedModelStatus::Unspecified,
        },
        model_type: text(6)?,
        source_run_id: text(7)?,
        status_message: row.get(8)?,
        deleted_at: None,
        params: Vec::new(),
        tags: BTreeMap::new(),
        metrics: Vec::new(),
    })
}

fn pairs(connection: &Connection, sql: &str, id: &str) -> Result<Vec<(String, String)>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement
        .query_map([id], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default())))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn metrics(connection: &Connection, sql: &str, values: &[&str]) -> Result<Vec<Metric>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
        Ok(Metric {
            key: row.get(0)?,
            value: if row.get(2)? { f64::NAN } else { row.get(1)? },
            timestamp: row.get(3)?,
            step: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn datasets(connection: &Connection, run: &str) -> Result<Vec<DatasetInput>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema,
            d.dataset_profile
         FROM inputs AS i JOIN datasets AS d ON d.dataset_uuid = i.source_id
         WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = ?1",
    )?;
    let rows = statement.query_map([run], |row| {
        let dataset = Dataset {
            name: row.get(1)?,
            digest: row.get(2)?,
            source_type: row.get(3)?,
            source: row.get(4)?,
            schema: row.get(5)?,
            profile: row.get(6)?,
        };
        Ok((row.get::<_, String>(0)?, dataset))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (input, dataset) = row?;
        let tags = pairs(connection, "SELECT name, value FROM input_tags WHERE input_uuid = ?1", &input)?;
        let tags = tags.into_iter().map(|(key, value)| Tag { key, value }).collect();
        found.push(DatasetInput { dataset, tags });
    }
    Ok(found)
}

fn model_metrics(connection: &Connection, model: &str) -> Result<Vec<ModelMetric>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT run_id, metric_name, metric_value, metric_timestamp_ms, metric_step, dataset_name, dataset_digest
         FROM logged_model_metrics WHERE model_id = ?1",
    )?;
    let rows = statement.query_map([model], |row| {
        Ok(ModelMetric {
            run_id: row.get(0)?,
            metric: LoggedMetric {
                metric: Metric {
                    key: row.get(1)?,
                    value: row.get::<_, Option<f64>>(2)?.unwrap_or(f64::NAN),
                    timestamp: row.get(3)?,
                    step: row.get(4)?,
                },
                model_id: Some(model.to_owned()),
                dataset_name: row.get(5)?,
                dataset_digest: row.get(6)?,
            },
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
