//! The searches of experiments, logged models and evaluation datasets: tables that stay small beside runs, so
//! their conditions are tested row by row.

use rusqlite::{Connection, Row, params_from_iter};

use super::{
    order::{self, Key},
    sql::Sql,
};
use crate::{
    model::{
        Error,
        evaluation_dataset::EvaluationDataset,
        filter::search::{
            Clause, EvaluationDatasetAttribute, EvaluationDatasetSearch, ExperimentAttribute,
            ExperimentSearch, Field, Found, LoggedModelAttribute, LoggedModelSearch, MetricDataset, Order,
            Slice, Start, Test,
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

/// A page of what `rows` selects, in an order. One more row than asked for tells whether there is a next page.
fn slice<T>(
    connection: &Connection,
    rows: Sql,
    keys: &[Key],
    page: &Slice,
    mut read: impl FnMut(&Row<'_>) -> Result<T, Error>,
) -> Result<Found<T>, Error> {
    let mut sql = Sql::default();
    sql.push("SELECT t.*");
    order::columns(&mut sql, keys);
    sql.push(" FROM (");
    sql.append(rows);
    sql.push(") AS t WHERE 1");
    if let Start::Behind(position) = &page.start {
        order::behind(&mut sql, keys, &position.0)?;
    }
    order::by(&mut sql, keys);
    sql.limit(page.limit.saturating_add(1));
    if let Start::Skip(rows) = page.start {
        sql.push(" OFFSET ");
        sql.bind(i64::try_from(rows).unwrap_or(i64::MAX));
    }
    let mut statement = connection.prepare_cached(&sql.text)?;
    let mut rows = statement.query(params_from_iter(sql.bound))?;
    let (mut items, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        if items.len() == page.limit {
            return Ok(Found { items, next: last });
        }
        items.push(read(row)?);
        if items.len() == page.limit {
            last = Some(order::read(row, keys.len())?);
        }
    }
    Ok(Found { items, next: None })
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
        keys.push(Key::of(experiment_order(*attribute)).directed(*descending));
    }
    if keys.is_empty() {
        keys.extend([Key::of("t.created_at").directed(true), Key::of(EXPERIMENT_NUMBER)]);
    } else if !search.order.iter().any(|order| order.field == Field::Attribute(ExperimentAttribute::Id)) {
        keys.push(Key::of(EXPERIMENT_NUMBER).directed(true));
    }
    let mut found = slice(connection, sql, &keys, &search.page, |row| Ok(read_experiment(row)?))?;
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

const EXPERIMENT_NUMBER: &str = "CAST(t.id AS INTEGER)";

fn experiment_order(attribute: ExperimentAttribute) -> &'static str {
    match attribute {
        ExperimentAttribute::Id => EXPERIMENT_NUMBER,
        ExperimentAttribute::Name => "t.name",
        ExperimentAttribute::CreationTime => "t.created_at",
        ExperimentAttribute::LastUpdateTime => "t.updated_at",
    }
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
    let mut from = Sql::default();
    from.push(" FROM logged_models AS m WHERE m.deleted_at IS NULL AND ");
    from.one_of("m.experiment_id", &ids, false);
    for Clause { field, test } in &search.clauses {
        from.push(" AND ");
        match field {
            Field::Attribute(
                attribute @ (LoggedModelAttribute::CreationTime | LoggedModelAttribute::LastUpdatedTime),
            ) => from.time_test(model_column(*attribute), test),
            Field::Attribute(attribute) => from.text_test(model_column(*attribute), test)?,
            Field::Metric(key) => {
                let mut latest = Sql::default();
                latest_of_model(&mut latest, key, &search.datasets);
                from.push("EXISTS (SELECT 1 FROM (");
                from.append(latest);
                from.push(") AS w WHERE ");
                from.number_test("w.value", test);
                from.push(")");
            }
            Field::Param(key) => keyed(&mut from, "logged_model_params", "model", "m.number", key, test)?,
            Field::Tag(key) => keyed(&mut from, "logged_model_tags", "model", "m.number", key, test)?,
            Field::Dataset(_) => return Err(unknown("dataset", "logged models")),
        }
    }
    let by_metric = search.clauses.iter().any(|clause| matches!(clause.field, Field::Metric(_)));
    if !search.datasets.is_empty() && !by_metric {
        from.push(" AND EXISTS (SELECT 1 FROM logged_model_metrics AS v WHERE v.model = m.number");
        on_datasets(&mut from, &search.datasets);
        from.push(")");
    }
    let mut keys = Vec::new();
    let mut latest = Vec::new();
    for by in &search.order {
        let key = match &by.order.field {
            Field::Attribute(attribute) => Key::of(model_column(*attribute).replace("m.", "t.")),
            Field::Metric(name) => {
                // An order's own dataset narrows those of the search.
                let own: Vec<_> = by.dataset.iter().cloned().collect();
                let mut value = Sql::default();
                latest_of_model(&mut value, name, if own.is_empty() { &search.datasets } else { &own });
                latest.push(value);
                Key::optional(format!("t.latest{}", latest.len()))
            }
            _ => return Err(unknown("param, tag or dataset", "an order of logged models")),
        };
        keys.push(key.directed(by.order.descending));
    }
    keys.extend([Key::of("t.created_at").directed(true), Key::of("t.id")]);
    let mut sql = Sql::default();
    sql.push(concat!("SELECT ", model_columns!()));
    for (value, number) in latest.into_iter().zip(1..) {
        sql.push(", (");
        sql.append(value);
        sql.push(&format!(") AS latest{number}"));
    }
    sql.append(from);
    let found = slice(connection, sql, &keys, &search.page, read_model)?;
    let items = found
        .items
        .into_iter()
        .map(|(number, model)| logged_models::fill(connection, number, model))
        .collect::<Result<_, _>>()?;
    Ok(Found { items, next: found.next })
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
        let column = dataset_column(*attribute).replace("d.", "t.");
        keys.push(Key::optional(column).directed(*descending));
    }
    if keys.is_empty() {
        keys.push(Key::of("t.created_at").directed(true));
    }
    keys.push(Key::of("t.id").directed(true));
    let found = slice(connection, sql, &keys, &search.page, |row| Ok(read_head(row)?))?;
    let items = found
        .items
        .into_iter()
        .map(|(number, dataset)| evaluation_datasets::fill(connection, number, dataset))
        .collect::<Result<_, _>>()?;
    Ok(Found { items, next: found.next })
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
