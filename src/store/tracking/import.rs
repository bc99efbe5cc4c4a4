//! Rows that another tracking server made, under the ids that they have there. Everything here can be done
//! again: what is there already stays or becomes the same.

use rusqlite::{Connection, OptionalExtension, params};

use super::{batch, datasets, keys, metrics, read};
use crate::{
    model::{
        Error,
        id::ExperimentId,
        logged_model::LoggedModel,
        metric::Metric,
        run::{ARTIFACT_ROOT, Experiment, RUN_NAME_TAG, RunCounts, RunWhole, Tag},
    },
    store::runs,
};

const ID_OF_NAME: &str = "SELECT id FROM experiments WHERE name = ?1";
const ID_TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM experiments WHERE id = ?1 OR name = ?1)";
const ADD_EXPERIMENT: &str = "
    INSERT INTO experiments (id, name, created_at, updated_at, deleted_at, artifact_location)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const ADD_EXPERIMENT_TAG: &str = "
    INSERT INTO experiment_tags (experiment_id, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";

/// The experiment of the same name here, made when there is none: under its own id where that is free.
pub(super) fn experiment(connection: &Connection, experiment: &Experiment) -> Result<ExperimentId, Error> {
    let found: Option<String> =
        connection.prepare_cached(ID_OF_NAME)?.query_row([&experiment.name], |row| row.get(0)).optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            let free = experiment.id.parse::<u32>().is_ok()
                && !connection.prepare_cached(ID_TAKEN)?.query_row([&experiment.id], |row| row.get(0))?;
            let id = match free {
                true => experiment.id.clone(),
                false => runs::next_experiment_id(connection, &experiment.name)?,
            };
            connection.prepare_cached(ADD_EXPERIMENT)?.execute(params![
                id,
                experiment.name,
                experiment.created_at.0,
                experiment.updated_at.0,
                experiment.deleted_at.map(|at| at.0),
                remote(&experiment.artifact_location)
            ])?;
            id
        }
    };
    for (key, value) in &experiment.tags {
        connection.prepare_cached(ADD_EXPERIMENT_TAG)?.execute([&id, key, value])?;
    }
    Ok(id)
}

/// A place that only its own clients reach is kept; what was in a folder or behind the server is here now.
fn remote(uri: &str) -> Option<&str> {
    let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
    let own = uri.is_empty() || uri.starts_with(ARTIFACT_ROOT) || matches!(scheme, None | Some("file"));
    (!own).then_some(uri)
}

const FIND_RUN: &str = "SELECT number, experiment_id FROM runs WHERE id = ?1";
const ADD_RUN: &str = "
    INSERT INTO runs (id, experiment_id, name, status, started_at, ended_at, implicit, user, deleted_at, artifact_uri)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9)";
const UPDATE_RUN: &str = "
    UPDATE runs SET name = ?2, status = ?3, ended_at = ?4, deleted_at = ?5, artifact_uri = ?6 WHERE number = ?1";
const ADD_PARAM: &str = "INSERT INTO params (run, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";

/// A run with everything but the points of its metrics, in an experiment of ours.
pub(super) fn run(connection: &Connection, experiment: &str, whole: &RunWhole) -> Result<(), Error> {
    let run = &whole.run;
    let found: Option<(i64, String)> = connection
        .prepare_cached(FIND_RUN)?
        .query_row([&run.id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (status, ended_at) = (run.status.as_str(), run.ended_at.map(|at| at.0));
    let deleted_at = run.deleted_at.map(|at| at.0);
    let number = match found {
        Some((_, other)) if other != experiment => {
            return Err(Error::conflict(format!(
                "the run {} is in experiment {other} here, expected it in {experiment}",
                run.id
            )));
        }
        Some((number, _)) => {
            let values = params![number, run.name, status, ended_at, deleted_at, remote(&run.artifact_uri)];
            connection.prepare_cached(UPDATE_RUN)?.execute(values)?;
            number
        }
        None => {
            connection.prepare_cached(ADD_RUN)?.execute(params![
                run.id,
                experiment,
                run.name,
                status,
                run.started_at.0,
                ended_at,
                run.user,
                deleted_at,
                remote(&run.artifact_uri)
            ])?;
            connection.last_insert_rowid()
        }
    };
    for param in &whole.params {
        let key = keys::intern(connection, &param.key)?;
        connection.prepare_cached(ADD_PARAM)?.execute(params![number, key, param.value])?;
    }
    batch::set_tag(connection, number, RUN_NAME_TAG, &run.name)?;
    for (key, value) in &run.tags {
        batch::set_tag(connection, number, key, value)?;
    }
    datasets::add_inputs(connection, number, experiment, &whole.datasets, &whole.model_inputs)?;
    datasets::add_outputs(connection, number, &whole.model_outputs)
}

/// Points of one run's metrics.
pub(super) fn points(connection: &Connection, run: &str, points: &[Metric]) -> Result<(), Error> {
    metrics::log(connection, number(connection, run)?, points)
}

pub(super) fn tag(connection: &Connection, run: &str, tag: &Tag) -> Result<(), Error> {
    batch::set_tag(connection, number(connection, run)?, &tag.key, &tag.value)
}

fn number(connection: &Connection, run: &str) -> Result<i64, Error> {
    Ok(read::head(connection, run)?.0)
}

const COUNTS: &str = "
    SELECT (SELECT count(*) FROM params WHERE run = ?1), (SELECT count(*) FROM metrics WHERE run = ?1),
        (SELECT count(*) FROM dataset_inputs WHERE run = ?1)";

/// How much there is of a run here; `None` where the run is not.
pub(super) fn counts(connection: &Connection, run: &str) -> Result<Option<RunCounts>, Error> {
    let found: Option<i64> =
        connection.prepare_cached(FIND_RUN)?.query_row([run], |row| row.get(0)).optional()?;
    let Some(number) = found else { return Ok(None) };
    Ok(Some(connection.prepare_cached(COUNTS)?.query_row([number], |row| {
        Ok(RunCounts { params: row.get(0)?, metric_points: row.get(1)?, datasets: row.get(2)? })
    })?))
}

const ADD_MODEL: &str = "
    INSERT INTO logged_models (
        id, experiment_id, name, artifact_uri, model_type, source_run_id, status, status_message, created_at,
        updated_at
    ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT (id) DO UPDATE SET
        status = excluded.status, updated_at = excluded.updated_at, artifact_uri = excluded.artifact_uri";
const MODEL: &str = "SELECT number FROM logged_models WHERE id = ?1";
const ADD_MODEL_PARAM: &str = "
    INSERT INTO logged_model_params (model, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
const ADD_MODEL_TAG: &str = "
    INSERT INTO logged_model_tags (model, key, value) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET value = excluded.value";
const ADD_MODEL_METRIC: &str = "
    INSERT INTO logged_model_metrics (model, key, timestamp, step, run, value, dataset_name, dataset_digest)
    SELECT ?1, ?2, ?3, ?4, number, ?6, ?7, ?8 FROM runs WHERE id = ?5 ON CONFLICT DO NOTHING";

/// A model; its points are kept where the run that logged them is here.
pub(super) fn model(connection: &Connection, experiment: &str, model: &LoggedModel) -> Result<(), Error> {
    let uri = match remote(&model.artifact_uri) {
        Some(uri) => uri.to_owned(),
        None => format!("{ARTIFACT_ROOT}/{experiment}/models/{}/artifacts", model.id),
    };
    connection.prepare_cached(ADD_MODEL)?.execute(params![
        model.id,
        experiment,
        model.name,
        uri,
        model.model_type,
        model.source_run_id,
        model.status.as_str(),
        model.status_message,
        model.created_at.0,
        model.updated_at.0
    ])?;
    let number: i64 = connection.prepare_cached(MODEL)?.query_row([&model.id], |row| row.get(0))?;
    for param in &model.params {
        connection.prepare_cached(ADD_MODEL_PARAM)?.execute(params![number, param.key, param.value])?;
    }
    for (key, value) in &model.tags {
        connection.prepare_cached(ADD_MODEL_TAG)?.execute(params![number, key, value])?;
    }
    for of_run in &model.metrics {
        let (logged, point) = (&of_run.metric, &of_run.metric.metric);
        let value = (!point.value.is_nan()).then(|| point.value.clamp(f64::MIN, f64::MAX));
        connection.prepare_cached(ADD_MODEL_METRIC)?.execute(params![
            number,
            point.key,
            point.timestamp,
            point.step,
            of_run.run_id,
            value,
            logged.dataset_name,
            logged.dataset_digest
        ])?;
    }
    Ok(())
}
