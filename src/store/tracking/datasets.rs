//! What runs read and wrote besides figures: datasets and models, as inputs and outputs.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{batch, experiments, read};
use crate::model::{
    Error,
    dataset::{CONTEXT_TAG, Dataset, DatasetInput, DatasetSummary},
    id::ExperimentId,
    run::{ModelOutput, RunWhole, Tag},
};

const EXPERIMENT: &str = "SELECT experiment_id FROM runs WHERE number = ?1";
const FIND: &str = "SELECT id FROM datasets WHERE experiment_id = ?1 AND name = ?2 AND digest = ?3";
const ADD: &str = "
    INSERT INTO datasets (experiment_id, name, digest, source_type, source, schema, profile)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const ADD_INPUT: &str = "INSERT INTO dataset_inputs (run, dataset) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
const ADD_TAG: &str = "
    INSERT INTO dataset_input_tags (run, dataset, key, value) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET value = excluded.value";
const ADD_MODEL: &str = "INSERT INTO model_inputs (run, model_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";

/// Notes inputs, each dataset once per run: what was said first stays.
pub(super) fn log_inputs(
    connection: &Connection,
    id: &str,
    datasets: &[DatasetInput],
    models: &[String],
) -> Result<(), Error> {
    let run = batch::active(connection, id)?;
    let experiment: ExperimentId =
        connection.prepare_cached(EXPERIMENT)?.query_row([run], |row| row.get(0))?;
    add_inputs(connection, run, &experiment, datasets, models)
}

pub(super) fn add_inputs(
    connection: &Connection,
    run: i64,
    experiment: &str,
    datasets: &[DatasetInput],
    models: &[String],
) -> Result<(), Error> {
    for DatasetInput { dataset, tags } in datasets {
        let found: Option<i64> = connection
            .prepare_cached(FIND)?
            .query_row([experiment, &dataset.name, &dataset.digest], |row| row.get(0))
            .optional()?;
        let number = match found {
            Some(number) => number,
            None => {
                connection.prepare_cached(ADD)?.execute(params![
                    experiment,
                    dataset.name,
                    dataset.digest,
                    dataset.source_type,
                    dataset.source,
                    dataset.schema,
                    dataset.profile
                ])?;
                connection.last_insert_rowid()
            }
        };
        if connection.prepare_cached(ADD_INPUT)?.execute([run, number])? == 1 {
            for tag in tags {
                connection.prepare_cached(ADD_TAG)?.execute(params![run, number, tag.key, tag.value])?;
            }
        }
    }
    for model in models {
        connection.prepare_cached(ADD_MODEL)?.execute(params![run, model])?;
    }
    Ok(())
}

const ADD_OUTPUT: &str = "
    INSERT INTO model_outputs (run, model_id, step) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET step = excluded.step";

pub(super) fn log_outputs(connection: &Connection, id: &str, models: &[ModelOutput]) -> Result<(), Error> {
    add_outputs(connection, batch::active(connection, id)?, models)
}

pub(super) fn add_outputs(connection: &Connection, run: i64, models: &[ModelOutput]) -> Result<(), Error> {
    for model in models {
        connection.prepare_cached(ADD_OUTPUT)?.execute(params![run, model.model_id, model.step])?;
    }
    Ok(())
}

const INPUTS_OF: &str = "
    SELECT i.run, d.name, d.digest, d.source_type, d.source, d.schema, d.profile,
        (SELECT json_group_array(json_array(t.key, t.value)) FROM dataset_input_tags AS t
         WHERE t.run = i.run AND t.dataset = i.dataset)
    FROM json_each(?1) AS j
    CROSS JOIN dataset_inputs AS i ON i.run = j.value JOIN datasets AS d ON d.id = i.dataset";
const MODEL_INPUTS_OF: &str = "
    SELECT i.run, i.model_id FROM json_each(?1) AS j CROSS JOIN model_inputs AS i ON i.run = j.value";
const MODEL_OUTPUTS_OF: &str = "
    SELECT o.run, o.model_id, o.step FROM json_each(?1) AS j CROSS JOIN model_outputs AS o ON o.run = j.value";

/// Fills the inputs and outputs of runs.
pub(super) fn of_runs(
    connection: &Connection,
    numbers: &str,
    place: &HashMap<i64, usize>,
    runs: &mut [RunWhole],
) -> Result<(), Error> {
    read::each(connection, INPUTS_OF, numbers, place, runs, |run, row| {
        let tags: String = row.get(7)?;
        let tags: Vec<(String, String)> = serde_json::from_str(&tags).unwrap_or_default();
        run.datasets.push(DatasetInput {
            dataset: Dataset {
                name: row.get(1)?,
                digest: row.get(2)?,
                source_type: row.get(3)?,
                source: row.get(4)?,
                schema: row.get(5)?,
                profile: row.get(6)?,
            },
            tags: tags.into_iter().map(|(key, value)| Tag { key, value }).collect(),
        });
        Ok(())
    })?;
    read::each(connection, MODEL_INPUTS_OF, numbers, place, runs, |run, row| {
        run.model_inputs.push(row.get(1)?);
        Ok(())
    })?;
    read::each(connection, MODEL_OUTPUTS_OF, numbers, place, runs, |run, row| {
        run.model_outputs.push(ModelOutput { model_id: row.get(1)?, step: row.get(2)? });
        Ok(())
    })
}

const SUMMARIES: &str = "
    SELECT DISTINCT d.experiment_id, d.name, d.digest,
        (SELECT t.value FROM dataset_input_tags AS t
         WHERE t.run = i.run AND t.dataset = i.dataset AND t.key = ?2)
    FROM json_each(?1) AS j
    JOIN datasets AS d ON d.experiment_id = j.value JOIN dataset_inputs AS i ON i.dataset = d.id
    LIMIT 1000";

pub(super) fn summaries(
    connection: &Connection,
    experiment_ids: &[ExperimentId],
) -> Result<Vec<DatasetSummary>, Error> {
    let numbers: Vec<ExperimentId> =
        experiment_ids.iter().map(|id| experiments::number(id)).collect::<Result<_, _>>()?;
    let numbers = serde_json::Value::from(numbers).to_string();
    let mut statement = connection.prepare_cached(SUMMARIES)?;
    let rows = statement.query_map(params![numbers, CONTEXT_TAG], |row| {
        Ok(DatasetSummary {
            experiment_id: row.get(0)?,
            name: row.get(1)?,
            digest: row.get(2)?,
            context: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
