//! The search of runs: what its conditions and orders are in SQL, and a page of them.

use std::collections::HashMap;

use rusqlite::{Connection, params_from_iter};

use super::{
    order::{self, Key},
    plan,
    sql::Sql,
};
use crate::{
    model::{
        Error,
        dataset::CONTEXT_TAG,
        filter::search::{
            Clause, Comparison, DatasetField, Field, Found, Order, Position, Rank, RunAttribute, RunSearch,
            Start, Test,
        },
        run::{Run, RunWhole, ViewType},
    },
    store::tracking::{
        experiments, keys,
        read::{from_runs, read_run, run_columns, wholes},
        system,
    },
};

const HEADS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " ",
    from_runs!(),
    "WHERE r.number IN (SELECT value FROM json_each(?1))"
);

/// A page of whole runs. However many there are, it takes a fixed number of queries.
pub(in crate::store::tracking) fn page(
    connection: &Connection,
    search: &RunSearch,
) -> Result<Found<RunWhole>, Error> {
    let Found { items: numbers, next } = numbers(connection, search)?;
    let all = serde_json::Value::from(numbers.as_slice()).to_string();
    let mut statement = connection.prepare_cached(HEADS)?;
    let mut rows = statement.query([all])?;
    let mut heads: HashMap<i64, Run> = HashMap::with_capacity(numbers.len());
    while let Some(row) = rows.next()? {
        let (number, run) = read_run(row)?;
        heads.insert(number, run);
    }
    let heads = numbers.into_iter().filter_map(|number| Some((number, heads.remove(&number)?))).collect();
    Ok(Found { items: wholes(connection, heads)?, next })
}

/// The numbers of the runs of a page, in its order.
pub(in crate::store) fn numbers(connection: &Connection, search: &RunSearch) -> Result<Found<i64>, Error> {
    planned(connection, search, plan::FEW)
}

pub(super) fn planned(connection: &Connection, search: &RunSearch, few: usize) -> Result<Found<i64>, Error> {
    let Some(scope) = Scope::new(connection, search)? else {
        return Ok(Found { items: Vec::new(), next: None });
    };
    let skipped = if let Start::Skip(rows) = search.page.start { rows } else { 0 };
    // One more than asked for tells whether there is a next page.
    let needed = skipped.saturating_add(search.page.limit).saturating_add(1);
    let mut numbers = plan::numbers(connection, &scope, needed, few)?;
    let mut items = numbers.split_off(skipped.min(numbers.len()));
    let more = items.len() > search.page.limit;
    items.truncate(search.page.limit);
    let next = match items.last() {
        Some(last) if more => Some(scope.position(connection, *last)?),
        _ => None,
    };
    Ok(Found { items, next })
}

/// What is asked, with names resolved to their numbers.
pub(super) struct Scope<'s> {
    pub(super) search: &'s RunSearch,
    /// As JSON; `None` for all.
    pub(super) experiments: Option<String>,
    pub(super) conditions: Vec<Condition<'s>>,
    pub(super) orders: Vec<Sorted<'s>>,
    /// The position before the page, in terms of `orders` and what settles ties.
    pub(super) after: Option<Vec<Rank>>,
}

pub(super) struct Condition<'s> {
    pub(super) clause: &'s Clause<RunAttribute>,
    /// The number of its metric, param or tag.
    pub(super) key: Option<i64>,
}

pub(super) struct Sorted<'s> {
    pub(super) order: &'s Order<RunAttribute>,
    /// The place among the orders that were asked for.
    at: usize,
    pub(super) key: Option<i64>,
}

impl<'s> Scope<'s> {
    /// `None` where it is clear that nothing matches.
    fn new(connection: &Connection, search: &'s RunSearch) -> Result<Option<Self>, Error> {
        let mut conditions = Vec::with_capacity(search.clauses.len());
        for clause in &search.clauses {
            let Some(name) = stored_name(&clause.field) else {
                conditions.push(Condition { clause, key: None });
                continue;
            };
            match (keys::find(connection, name)?, &clause.test) {
                (Some(key), _) => conditions.push(Condition { clause, key: Some(key) }),
                (None, Test::Exists(false)) => {}
                (None, _) => return Ok(None),
            }
        }
        let mut orders = Vec::with_capacity(search.order.len());
        let mut after = match &search.page.start {
            Start::Behind(position) => Some(position.0.clone()),
            Start::Top | Start::Skip(_) => None,
        };
        for (at, order) in search.order.iter().enumerate() {
            let key = match stored_name(&order.field) {
                Some(name) => match keys::find(connection, name)? {
                    Some(key) => Some(key),
                    // A name that nobody used sorts nothing.
                    None => {
                        if let Some(ranks) = &mut after
                            && orders.len() < ranks.len()
                        {
                            ranks.remove(orders.len());
                        }
                        continue;
                    }
                },
                None => None,
            };
            orders.push(Sorted { order, at, key });
        }
        let experiments = match &search.experiments {
            None => None,
            Some(ids) => {
                let ids: Vec<_> = ids.iter().map(|id| experiments::number(id)).collect::<Result<_, _>>()?;
                if ids.is_empty() {
                    return Ok(None);
                }
                Some(serde_json::Value::from(ids).to_string())
            }
        };
        Ok(Some(Self { search, experiments, conditions, orders, after }))
    }

    /// What the runs are sorted by, from the order `first` on, and behind it what settles ties. `joins` gets what
    /// the keys are about.
    pub(super) fn keys(&self, first: usize, joins: &mut Sql) -> Vec<Key> {
        let of_orders = self.orders.iter().skip(first);
        let mut keys: Vec<_> = of_orders.filter_map(|sorted| sort_key(sorted, joins)).collect();
        let starts = Field::Attribute(RunAttribute::StartTime);
        if !self.orders.iter().any(|sorted| sorted.order.field == starts) {
            keys.push(Key::of("r.started_at").directed(true));
        }
        keys.push(Key::of("r.id"));
        keys
    }

    /// Where a run stands.
    fn position(&self, connection: &Connection, run: i64) -> Result<Position, Error> {
        let mut joins = Sql::default();
        let keys = self.keys(0, &mut joins);
        let mut sql = Sql::default();
        sql.push("SELECT r.number");
        order::columns(&mut sql, &keys);
        sql.push(" FROM runs AS r");
        sql.append(joins);
        sql.push(" WHERE r.number = ");
        sql.bind(run);
        let mut statement = connection.prepare_cached(&sql.text)?;
        let mut rows = statement.query(params_from_iter(sql.bound))?;
        let row = rows.next()?.ok_or_else(|| Error::internal("expected the last run of a page"))?;
        let mut position = order::read(row, keys.len())?;
        for at in 0..self.search.order.len() {
            if !self.orders.iter().any(|sorted| sorted.at == at) {
                position.0.insert(at, Rank::Missing);
            }
        }
        Ok(position)
    }

    /// ` AND …` for all that a run must be, but for the condition `leading` that the statement already is about.
    pub(super) fn filter(&self, sql: &mut Sql, leading: Lead) -> Result<(), Error> {
        sql.push(match self.search.view {
            ViewType::ActiveOnly => " AND r.deleted_at IS NULL",
            ViewType::DeletedOnly => " AND r.deleted_at IS NOT NULL",
            ViewType::All => "",
        });
        if let Some(experiments) = self.experiments.as_ref().filter(|_| leading != Lead::Experiments) {
            // `+`: what leads was chosen; SQLite must not take another index instead.
            sql.push(" AND +r.experiment_id IN (SELECT value FROM json_each(");
            sql.bind(experiments.clone());
            sql.push("))");
        }
        for (at, condition) in self.conditions.iter().enumerate() {
            if leading != Lead::Condition(at) {
                sql.push(" AND ");
                condition.push(sql)?;
            }
        }
        Ok(())
    }
}

/// What a statement takes its runs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    Nothing,
    Experiments,
    Condition(usize),
}

/// The name of a field that is kept by its number; metrics of tapline's own are not.
fn stored_name(field: &Field<RunAttribute>) -> Option<&str> {
    match field {
        Field::Metric(name) if system::expression(name).is_some() => None,
        Field::Metric(name) | Field::Param(name) | Field::Tag(name) => Some(name),
        Field::Attribute(_) | Field::Dataset(_) => None,
    }
}

const RUN_TOTALS: &str =
    "SELECT 1 FROM run_totals AS s WHERE s.run_id = r.id AND s.experiment_id = r.experiment_id";

/// `+` before a value: a run is looked up by its number, which gives one row. SQLite makes joins of what must exist, and
/// would enter an index by the value, which may give as many rows as there are runs, for each run anew.
impl Condition<'_> {
    fn push(&self, sql: &mut Sql) -> Result<(), Error> {
        let Clause { field, test } = self.clause;
        match field {
            Field::Metric(name) => match system::expression(name) {
                Some(expression) => {
                    sql.push("EXISTS (");
                    sql.push(RUN_TOTALS);
                    sql.push(" AND ");
                    sql.number_test(expression, test);
                    sql.push(")");
                }
                None => {
                    sql.push("EXISTS (SELECT 1 FROM latest_metrics AS m WHERE m.run = r.number AND m.key = ");
                    sql.bind(self.key);
                    sql.push(" AND ");
                    metric_test(sql, "+m", test);
                    sql.push(")");
                }
            },
            Field::Param(_) => self.keyed(sql, "params")?,
            Field::Tag(_) => self.keyed(sql, "run_tags")?,
            Field::Dataset(field) => {
                sql.push("EXISTS (SELECT 1 FROM dataset_inputs AS i JOIN datasets AS d ON d.id = i.dataset ");
                if *field == DatasetField::Context {
                    sql.push("JOIN dataset_input_tags AS t ON t.run = i.run AND t.dataset = i.dataset AND t.key = ");
                    sql.bind(CONTEXT_TAG.to_owned());
                }
                sql.push(" WHERE i.run = r.number AND ");
                let column = match field {
                    DatasetField::Name => "+d.name",
                    DatasetField::Digest => "d.digest",
                    DatasetField::Context => "t.value",
                };
                sql.text_test(column, test)?;
                sql.push(")");
            }
            Field::Attribute(attribute @ (RunAttribute::StartTime | RunAttribute::EndTime)) => {
                sql.time_test(attribute_expression(*attribute), test);
            }
            Field::Attribute(attribute) => sql.text_test(attribute_expression(*attribute), test)?,
        }
        Ok(())
    }

    /// A param or a tag of the run.
    fn keyed(&self, sql: &mut Sql, table: &str) -> Result<(), Error> {
        let test = &self.clause.test;
        sql.push(if *test == Test::Exists(false) { "NOT EXISTS (" } else { "EXISTS (" });
        sql.push("SELECT 1 FROM ");
        sql.push(table);
        sql.push(" AS k WHERE k.run = r.number AND k.key = ");
        sql.bind(self.key);
        if !matches!(test, Test::Exists(_)) {
            sql.push(" AND ");
            sql.text_test("+k.value", test)?;
        }
        sql.push(")");
        Ok(())
    }
}

/// A test of a metric's latest value: NaN differs from every number and is no more than that.
pub(super) fn metric_test(sql: &mut Sql, table: &str, test: &Test) {
    let unequal = matches!(test, Test::Compare(Comparison::NotEqual, _));
    sql.push(if unequal { "(" } else { "" });
    sql.push(table);
    sql.push(if unequal { ".nan = 1 OR " } else { ".nan = 0 AND " });
    sql.number_test(&format!("{table}.value"), test);
    sql.push(if unequal { ")" } else { "" });
}

fn attribute_expression(attribute: RunAttribute) -> &'static str {
    match attribute {
        RunAttribute::Id => "r.id",
        RunAttribute::Name => "r.name",
        RunAttribute::Status => "r.status",
        RunAttribute::User => "r.user",
        RunAttribute::StartTime => "r.started_at",
        RunAttribute::EndTime => "r.ended_at",
        // As `read::artifact_uri` has it, for locations without a query.
        RunAttribute::ArtifactUri => {
            "coalesce(r.artifact_uri, (SELECT rtrim(coalesce(e.artifact_location, 'mlflow-artifacts:/' || e.id), '/')
              FROM experiments AS e WHERE e.id = r.experiment_id) || '/' || r.id || '/artifacts')"
        }
    }
}

/// What an order joins, as the table `o<at>`, and sorts by.
fn sort_key(sorted: &Sorted<'_>, joins: &mut Sql) -> Option<Key> {
    let table = format!("o{}", sorted.at);
    let kept = match &sorted.order.field {
        Field::Metric(name) => match system::expression(name) {
            Some(expression) => {
                joins.push(&format!(
                    " LEFT JOIN run_totals AS {table} ON {table}.run_id = r.id AND {table}.experiment_id = r.experiment_id"
                ));
                let value = expression.replace("s.", &format!("{table}."));
                return Some(Key::optional(value).directed(sorted.order.descending));
            }
            None => "latest_metrics",
        },
        Field::Param(_) => "params",
        Field::Tag(_) => "run_tags",
        Field::Attribute(attribute) => {
            let expression = attribute_expression(*attribute);
            let ends = *attribute == RunAttribute::EndTime;
            let key = if ends { Key::optional(expression) } else { Key::of(expression) };
            return Some(key.directed(sorted.order.descending));
        }
        Field::Dataset(_) => return None,
    };
    joins.push(&format!(" LEFT JOIN {kept} AS {table} ON {table}.run = r.number AND {table}.key = "));
    joins.bind(sorted.key);
    let key = match kept {
        "latest_metrics" => Key::number(&table),
        _ => Key::optional(format!("{table}.value")),
    };
    Some(key.directed(sorted.order.descending))
}

pub(super) fn rows(connection: &Connection, sql: Sql) -> Result<Vec<i64>, Error> {
    let mut statement = connection.prepare_cached(&sql.text)?;
    let rows = statement.query_map(params_from_iter(sql.bound), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
