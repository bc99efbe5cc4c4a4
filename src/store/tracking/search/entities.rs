//! The searches of experiments, logged models and evaluation datasets: tables that stay small beside runs, so
//! their conditions are tested row by row.

use rusqlite::{Connection, Row, params_from_iter};

use super::sql::Sql;
use crate::{
    model::{
        Error,
        evaluation_dataset::EvaluationDataset,
        filter::search::{
            Clause, EvaluationDatasetAttribute, EvaluationDatasetSearch, ExperimentAttribute,
            ExperimentSearch, Field, Found, LoggedModelAttribute, LoggedModelSearch, MetricDataset, Order,
            Slice, Test,
        },
        logged_model::LoggedModel,
        run::{Experiment, ViewType},
    },
    store::tracking::{
        evaluation_datasets::{self, evaluation_dataset_columns, read_head},
        experiments::{self, experiment_columns, read_experiment, tags_of_experiment},
        logged_models::{self, model_columns, read_model},
    },
};

/// One more row than asked for tells whether there is a next page.
fn slice<T>(
    connection: &Connection,
    mut sql: Sql,
    page: Slice,
    mut read: impl FnMut(&Row<'_>) -> Result<T, Error>,
) -> Result<Found<T>, Error> {
    sql.limit(page.limit.saturating_add(1));
    sql.push(" OFFSET ");
    sql.bind(i64::try_from(page.offset).unwrap_or(i64::MAX));
    let mut statement = connection.prepare_cached(&sql.text)?;
    let mut rows = statement.query(params_from_iter(sql.bound))?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(read(row)?);
    }
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    Ok(Found { items, more })
}

/// A param or tag in a table that names its owner `owner` and has `key` and `value`.
fn keyed(sql: &mut Sql, table: &str, owner: &str, is: &str, key: &str, test: &Test) -> Result<(), Error> {
    sql.push(if *test == Test::Exists(false) { "NOT EXISTS (" } else { "EXISTS (" });
    sql.push(&format!("SELECT 1 FROM {table} AS k WHERE k.{owner} = {is} AND k.key = "));
    sql.bind(key.to_owned());
    if !matches!(test, Test::Exists(_)) {
        sql.push(" AND ");
        sql.text_test("k.value", test)?;
    }
    sql.push(")");
    Ok(())
}

fn unknown(field: &str, kind: &str) -> Error {
    Error::invalid(format!("expected a field of {kind}, found a {field}"))
}

pub(in crate::store::tracking) fn experiments(
    connection: &Connection,
    search: &ExperimentSearch,
) -> Result<Found<Experiment>, Error> {
    let mut sql = Sql::default();
    sql.push(concat!("SELECT ", experiment_columns!(), " FROM experiments AS e WHERE "));
    sql.push(match search.view {
        ViewType::ActiveOnly => "e.deleted_at IS NULL",
        ViewType::DeletedOnly => "e.deleted_at IS NOT NULL",
        ViewType::All => "1",
    });
    for Clause { field, test } in &search.clauses {
        sql.push(" AND ");
        match field {
            Field::Attribute(
                attribute @ (ExperimentAttribute::CreationTime | ExperimentAttribute::LastUpdateTime),
            ) => {
                sql.time_test(experiment_column(*attribute), test);
            }
            Field::Attribute(attribute) => sql.text_test(experiment_column(*attribute), test)?,
            Field::Tag(key) => keyed(&mut sql, "experiment_tags", "experiment_id", "e.id", key, test)?,
            _ => return Err(unknown("metric, param or dataset", "experiments")),
        }
    }
    let mut keys = Vec::new();
    for Order { field, descending } in &search.order {
        let Field::Attribute(attribute) = field else {
            return Err(unknown("name of a thing", "experiments"));
        };
        keys.push(directed(experiment_order(*attribute), *descending));
    }
    if keys.is_empty() {
        keys.extend(["e.created_at DESC".to_owned(), "CAST(e.id AS INTEGER)".to_owned()]);
    } else if !search.order.iter().any(|order| order.field == Field::Attribute(ExperimentAttribute::Id)) {
        keys.push("CAST(e.id AS INTEGER) DESC".to_owned());
    }
    order_by(&mut sql, &keys);
    let mut found = slice(connection, sql, search.page, |row| Ok(read_experiment(row)?))?;
    for experiment in &mut found.items {
        experiment.tags = tags_of_experiment(connection, &experiment.id)?;
    }
    Ok(found)
}

fn experiment_column(attribute: ExperimentAttribute) -> &'static str {
    match attribute {
        ExperimentAttribute::Id => "e.id",
        ExperimentAttribute::Name => "e.name",
        ExperimentAttribute::CreationTime => "e.created_at",
        ExperimentAttribute::LastUpdateTime => "e.updated_at",
    }
}

fn experiment_order(attribute: ExperimentAttribute) -> &'static str {
    match attribute {
        ExperimentAttribute::Id => "CAST(e.id AS INTEGER)",
        ExperimentAttribute::Name => "e.name",
        ExperimentAttribute::CreationTime => "e.created_at",
        ExperimentAttribute::LastUpdateTime => "e.updated_at",
    }
}

fn directed(expression: &str, descending: bool) -> String {
    format!("{expression}{}", if descending { " DESC" } else { "" })
}

fn order_by(sql: &mut Sql, keys: &[String]) {
    sql.push(" ORDER BY ");
    sql.push(&keys.join(", "));
}

/// Where a metric's latest value for a model is, on the datasets in question.
fn latest_of_model(sql: &mut Sql, key: &str, datasets: &[MetricDataset]) {
    sql.push("SELECT v.value FROM logged_model_metrics AS v WHERE v.model = m.number AND v.key = ");
    sql.bind(key.to_owned());
    on_datasets(sql, datasets);
    sql.push(" ORDER BY v.step DESC, v.timestamp DESC, v.value DESC LIMIT 1");
}

fn on_datasets(sql: &mut Sql, datasets: &[MetricDataset]) {
    for (at, dataset) in datasets.iter().enumerate() {
        sql.push(if at == 0 { " AND (" } else { " OR " });
        sql.push("(v.dataset_name = ");
        sql.bind(dataset.name.clone());
        if let Some(digest) = &dataset.digest {
            sql.push(" AND v.dataset_digest = ");
            sql.bind(digest.clone());
        }
        sql.push(")");
    }
    if !datasets.is_empty() {
        sql.push(")");
    }
}

pub(in crate::store::tracking) fn logged_models(
    connection: &Connection,
    search: &LoggedModelSearch,
) -> Result<Found<LoggedModel>, Error> {
    let ids: Vec<_> =
        search.experiments.iter().map(|id| experiments::number(id)).collect::<Result<_, _>>()?;
    let mut sql = Sql::default();
    sql.push(concat!(
        "SELECT ",
        model_columns!(),
        " FROM logged_models AS m WHERE m.deleted_at IS NULL AND "
    ));
    sql.one_of("m.experiment_id", &ids, false);
    for Clause { field, test } in &search.clauses {
        sql.push(" AND ");
        match field {
            Field::Attribute(
                attribute @ (LoggedModelAttribute::CreationTime | LoggedModelAttribute::LastUpdatedTime),
            ) => sql.time_test(model_column(*attribute), test),
            Field::Attribute(attribute) => sql.text_test(model_column(*attribute), test)?,
            Field::Metric(key) => {
                let mut latest = Sql::default();
                latest_of_model(&mut latest, key, &search.datasets);
                sql.push("EXISTS (SELECT 1 FROM (");
                sql.append(latest);
                sql.push(") AS w WHERE ");
                sql.number_test("w.value", test);
                sql.push(")");
            }
            Field::Param(key) => keyed(&mut sql, "logged_model_params", "model", "m.number", key, test)?,
            Field::Tag(key) => keyed(&mut sql, "logged_model_tags", "model", "m.number", key, test)?,
            Field::Dataset(_) => return Err(unknown("dataset", "logged models")),
        }
    }
    let by_metric = search.clauses.iter().any(|clause| matches!(clause.field, Field::Metric(_)));
    if !search.datasets.is_empty() && !by_metric {
        sql.push(" AND EXISTS (SELECT 1 FROM logged_model_metrics AS v WHERE v.model = m.number");
        on_datasets(&mut sql, &search.datasets);
        sql.push(")");
    }
    sql.push(" ORDER BY ");
    for by in &search.order {
        let mut key = Sql::default();
        match &by.order.field {
            Field::Attribute(attribute) => key.push(model_column(*attribute)),
            Field::Metric(name) => {
                let datasets: Vec<_> = search.datasets.iter().chain(&by.dataset).cloned().collect();
                // An order's own dataset narrows those of the search.
                let datasets =
                    if by.dataset.is_some() { by.dataset.iter().cloned().collect() } else { datasets };
                key.push("(");
                latest_of_model(&mut key, name, &datasets);
                key.push(")");
            }
            _ => return Err(unknown("param, tag or dataset", "an order of logged models")),
        }
        sql.append(key);
        sql.push(if by.order.descending { " DESC NULLS LAST, " } else { " ASC NULLS LAST, " });
    }
    sql.push("m.created_at DESC, m.id");
    let found = slice(connection, sql, search.page, read_model)?;
    let items = found
        .items
        .into_iter()
        .map(|(number, model)| logged_models::fill(connection, number, model))
        .collect::<Result<_, _>>()?;
    Ok(Found { items, more: found.more })
}

fn model_column(attribute: LoggedModelAttribute) -> &'static str {
    match attribute {
        LoggedModelAttribute::Id => "m.id",
        LoggedModelAttribute::Name => "m.name",
        LoggedModelAttribute::ModelType => "m.model_type",
        LoggedModelAttribute::Status => "m.status",
        LoggedModelAttribute::SourceRunId => "m.source_run_id",
        LoggedModelAttribute::CreationTime => "m.created_at",
        LoggedModelAttribute::LastUpdatedTime => "m.updated_at",
    }
}

pub(in crate::store::tracking) fn evaluation_datasets(
    connection: &Connection,
    search: &EvaluationDatasetSearch,
) -> Result<Found<EvaluationDataset>, Error> {
    let mut sql = Sql::default();
    sql.push(concat!("SELECT ", evaluation_dataset_columns!(), " FROM evaluation_datasets AS d WHERE 1"));
    if !search.experiments.is_empty() {
        sql.push(
            " AND EXISTS (SELECT 1 FROM evaluation_dataset_experiments AS x WHERE x.dataset = d.number AND ",
        );
        sql.one_of("x.experiment_id", &search.experiments, false);
        sql.push(")");
    }
    for Clause { field, test } in &search.clauses {
        sql.push(" AND ");
        match field {
            Field::Attribute(
                attribute @ (EvaluationDatasetAttribute::CreatedTime
                | EvaluationDatasetAttribute::LastUpdateTime),
            ) => sql.time_test(dataset_column(*attribute), test),
            Field::Attribute(attribute) => sql.text_test(dataset_column(*attribute), test)?,
            Field::Tag(key) => keyed(&mut sql, "evaluation_dataset_tags", "dataset", "d.number", key, test)?,
            _ => return Err(unknown("metric, param or dataset", "evaluation datasets")),
        }
    }
    let mut keys = Vec::new();
    for Order { field, descending } in &search.order {
        let Field::Attribute(attribute) = field else {
            return Err(unknown("tag", "an order of evaluation datasets"));
        };
        let expression = match attribute {
            EvaluationDatasetAttribute::CreatedTime => "d.created_at",
            EvaluationDatasetAttribute::LastUpdateTime => "d.updated_at",
            attribute => dataset_column(*attribute),
        };
        keys.push(directed(expression, *descending));
    }
    if keys.is_empty() {
        keys.push("d.created_at DESC".to_owned());
    }
    keys.push("d.id DESC".to_owned());
    order_by(&mut sql, &keys);
    let found = slice(connection, sql, search.page, |row| Ok(read_head(row)?))?;
    let items = found
        .items
        .into_iter()
        .map(|(number, dataset)| evaluation_datasets::fill(connection, number, dataset))
        .collect::<Result<_, _>>()?;
    Ok(Found { items, more: found.more })
}

fn dataset_column(attribute: EvaluationDatasetAttribute) -> &'static str {
    match attribute {
        EvaluationDatasetAttribute::Name => "d.name",
        EvaluationDatasetAttribute::CreatedBy => "d.created_by",
        EvaluationDatasetAttribute::LastUpdatedBy => "d.updated_by",
        EvaluationDatasetAttribute::CreatedTime => "d.created_at",
        EvaluationDatasetAttribute::LastUpdateTime => "d.updated_at",
    }
}
