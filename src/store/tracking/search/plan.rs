//! From where a search of runs takes them. SQLite cannot know how much a condition narrows when its values are
//! bound, so this counts, up to a bound, what each index would give:
//!
//! - few by some condition: those are tested, sorted and cut;
//! - many by each: the index that is in the order asked for is walked until a page is full.

use rusqlite::{Connection, params_from_iter};

use super::{
    order::{self, Key},
    runs::{Condition, Lead, Scope, Sorted, metric_test, rows},
    sql::Sql,
};
use crate::{
    model::{
        Error,
        filter::search::{Comparison, Field, Rank, RunAttribute, Test, Value},
    },
    store::tracking::system,
};

/// Runs that may be sorted without a second thought. Counting goes no further.
pub(super) const FEW: usize = 4_000;

/// The first `needed` runs of a search, in its order; up to `few` are sorted.
pub(super) fn numbers(
    connection: &Connection,
    scope: &Scope<'_>,
    needed: usize,
    few: usize,
) -> Result<Vec<i64>, Error> {
    if let Some(lead) = narrowest(connection, scope, few)? {
        return rows(connection, sorted(scope, lead, needed)?);
    }
    let Some(first) = scope.orders.first() else { return rows(connection, newest(scope, needed)?) };
    let (Some(key), Some(walk)) = (first.key, Walk::of(first)) else {
        return rows(connection, sorted(scope, Lead::Nothing, needed)?);
    };
    // Values, then NaN, then the runs without one: each part is read only when the ones before left room.
    let mut found = Vec::new();
    for part in [Part::Values, Part::Nan, Part::Missing] {
        if found.len() < needed && walk.has(scope, part) {
            let room = needed - found.len();
            found.extend(rows(connection, walk.part(scope, key, part, room)?)?);
        }
    }
    Ok(found)
}

/// The index that gives the fewest runs, if any gives few.
fn narrowest(connection: &Connection, scope: &Scope<'_>, few: usize) -> Result<Option<Lead>, Error> {
    let mut best: Option<(usize, Lead)> = None;
    let mut leads: Vec<Lead> = (0..scope.conditions.len()).map(Lead::Condition).collect();
    leads.push(Lead::Experiments);
    for lead in leads {
        let Some(source) = source(scope, lead)? else { continue };
        let bound = best.map_or(few, |(fewest, _)| fewest);
        let mut sql = Sql::default();
        sql.push("SELECT count(*) FROM (");
        sql.append(source);
        sql.limit(bound + 1);
        sql.push(")");
        let mut statement = connection.prepare_cached(&sql.text)?;
        let count: usize = statement.query_row(params_from_iter(sql.bound), |row| row.get(0))?;
        if count <= bound && best.is_none_or(|(fewest, _)| count < fewest) {
            best = Some((count, lead));
        }
    }
    Ok(best.map(|(_, lead)| lead))
}

/// The runs that one condition allows, from its index; `None` where it has none.
fn source(scope: &Scope<'_>, lead: Lead) -> Result<Option<Sql>, Error> {
    let mut sql = Sql::default();
    match lead {
        Lead::Nothing => return Ok(None),
        Lead::Experiments => {
            let Some(experiments) = &scope.experiments else { return Ok(None) };
            sql.push("SELECT x.number AS run FROM runs AS x WHERE x.experiment_id IN (SELECT value FROM json_each(");
            sql.bind(experiments.clone());
            sql.push("))");
        }
        Lead::Condition(at) => {
            let Some(Condition { clause, key }) = scope.conditions.get(at) else { return Ok(None) };
            let test = &clause.test;
            match (&clause.field, key) {
                (Field::Metric(_), Some(key)) if !unequal(test) => {
                    sql.push("SELECT x.run FROM latest_metrics AS x WHERE x.key = ");
                    sql.bind(*key);
                    sql.push(" AND ");
                    metric_test(&mut sql, "x", test);
                }
                (Field::Param(_), Some(key)) if is_narrow(test) => keyed(&mut sql, "params", *key, test)?,
                (Field::Tag(_), Some(key)) if is_narrow(test) => keyed(&mut sql, "run_tags", *key, test)?,
                (Field::Attribute(attribute @ (RunAttribute::Id | RunAttribute::Name)), _)
                    if is_narrow(test) =>
                {
                    sql.push("SELECT x.number AS run FROM runs AS x WHERE ");
                    sql.text_test(if *attribute == RunAttribute::Id { "x.id" } else { "x.name" }, test)?;
                }
                (Field::Attribute(RunAttribute::StartTime), _) if !unequal(test) => {
                    sql.push("SELECT x.number AS run FROM runs AS x INDEXED BY runs_by_start WHERE ");
                    sql.time_test("x.started_at", test);
                }
                _ => return Ok(None),
            }
        }
    }
    Ok(Some(sql))
}

fn keyed(sql: &mut Sql, table: &str, key: i64, test: &Test) -> Result<(), Error> {
    sql.push("SELECT x.run FROM ");
    sql.push(table);
    sql.push(" AS x WHERE x.key = ");
    sql.bind(key);
    if !matches!(test, Test::Exists(_)) {
        sql.push(" AND ");
        sql.text_test("x.value", test)?;
    }
    Ok(())
}

fn unequal(test: &Test) -> bool {
    matches!(test, Test::Compare(Comparison::NotEqual, _))
}

/// Whether an index by value can be entered by it.
fn is_narrow(test: &Test) -> bool {
    match test {
        Test::Compare(comparison, _) => *comparison == Comparison::Equal,
        Test::OneOf { not, .. } => !not,
        Test::Exists(there) => *there,
        Test::Like { .. } => false,
    }
}

/// All that match, sorted. Good for few.
fn sorted(scope: &Scope<'_>, lead: Lead, needed: usize) -> Result<Sql, Error> {
    let mut sql = Sql::default();
    sql.push("SELECT r.number FROM ");
    match source(scope, lead)? {
        Some(source) => {
            // A run may be found twice where several values fit.
            sql.push("(SELECT DISTINCT run FROM (");
            sql.append(source);
            sql.push(")) AS l CROSS JOIN runs AS r ON r.number = l.run");
        }
        None => sql.push("runs AS r"),
    }
    let keys = scope.keys(0, &mut sql);
    sql.push(" WHERE 1");
    finish(scope, sql, lead, &keys, scope.after.as_deref(), needed)
}

/// The conditions, where the page begins, the order and the bound.
fn finish(
    scope: &Scope<'_>,
    mut sql: Sql,
    lead: Lead,
    keys: &[Key],
    after: Option<&[Rank]>,
    needed: usize,
) -> Result<Sql, Error> {
    scope.filter(&mut sql, lead)?;
    if let Some(ranks) = after {
        order::behind(&mut sql, keys, ranks)?;
    }
    order::by(&mut sql, keys);
    sql.limit(needed);
    Ok(sql)
}

/// Newest first along an index, until a page is full.
fn newest(scope: &Scope<'_>, needed: usize) -> Result<Sql, Error> {
    let mut sql = Sql::default();
    let lead = match scope.search.experiments.as_deref() {
        // The index of one experiment is in this very order.
        Some([only]) => {
            sql.push("SELECT r.number FROM runs AS r INDEXED BY runs_by_experiment WHERE r.experiment_id = ");
            sql.bind(crate::store::tracking::experiments::number(only)?);
            Lead::Experiments
        }
        _ => {
            sql.push("SELECT r.number FROM runs AS r INDEXED BY runs_by_start WHERE 1");
            Lead::Nothing
        }
    };
    let keys = scope.keys(0, &mut Sql::default());
    finish(scope, sql, lead, &keys, scope.after.as_deref(), needed)
}

/// An index that is in the order of a metric, a param or a tag.
struct Walk<'s> {
    table: &'static str,
    index: &'static str,
    first: &'s Sorted<'s>,
}

/// In the order in which they are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Part {
    Values,
    Nan,
    Missing,
}

impl Part {
    /// Where a position is.
    fn of(ranks: &[Rank]) -> Option<Self> {
        Some(match ranks.first()? {
            Rank::Value(_) => Self::Values,
            Rank::Nan => Self::Nan,
            Rank::Missing => Self::Missing,
        })
    }
}

impl<'s> Walk<'s> {
    fn of(first: &'s Sorted<'s>) -> Option<Self> {
        let (table, index) = match &first.order.field {
            Field::Metric(name) if system::expression(name).is_none() => {
                ("latest_metrics", "latest_metrics_by_value")
            }
            Field::Param(_) => ("params", "params_by_value"),
            Field::Tag(_) => ("run_tags", "run_tags_by_value"),
            _ => return None,
        };
        Some(Self { table, index, first })
    }

    fn of_metric(&self) -> bool {
        self.table == "latest_metrics"
    }

    /// The conditions on the very field that is walked along.
    fn tests<'a>(&self, scope: &'a Scope<'_>) -> impl Iterator<Item = (usize, &'a Test)> {
        let field = self.first.order.field.clone();
        scope
            .conditions
            .iter()
            .enumerate()
            .filter(move |(_, condition)| condition.clause.field == field)
            .map(|(at, condition)| (at, &condition.clause.test))
    }

    /// Whether runs of this part can pass the conditions and be behind the page before.
    fn has(&self, scope: &Scope<'_>, part: Part) -> bool {
        if scope.after.as_deref().and_then(Part::of).is_some_and(|before| before > part) {
            return false;
        }
        match part {
            Part::Values => true,
            Part::Nan => self.of_metric() && self.tests(scope).all(|(_, test)| unequal(test)),
            Part::Missing => self.tests(scope).all(|(_, test)| *test == Test::Exists(false)),
        }
    }

    fn part(&self, scope: &Scope<'_>, key: i64, part: Part, needed: usize) -> Result<Sql, Error> {
        let mut sql = Sql::default();
        let mut lead = Lead::Nothing;
        if part == Part::Missing {
            sql.push("SELECT r.number FROM runs AS r");
        } else {
            sql.push(&format!(
                "SELECT r.number FROM {} AS o INDEXED BY {} CROSS JOIN runs AS r ON r.number = o.run",
                self.table, self.index
            ));
        }
        let mut keys = scope.keys(1, &mut sql);
        match part {
            Part::Missing => {
                sql.push(&format!(
                    " WHERE NOT EXISTS (SELECT 1 FROM {} AS o WHERE o.run = r.number AND o.key = ",
                    self.table
                ));
                sql.bind(key);
                sql.push(")");
            }
            Part::Values | Part::Nan => {
                sql.push(" WHERE o.key = ");
                sql.bind(key);
                if self.of_metric() {
                    sql.push(if part == Part::Nan { " AND o.nan = 1" } else { " AND o.nan = 0" });
                }
            }
        }
        let mut after = scope.after.as_deref().filter(|ranks| Part::of(ranks) == Some(part));
        if part == Part::Values {
            keys.insert(0, Key::of("o.value").directed(self.first.order.descending));
            // Where the walk begins and ends: the first condition on the field itself.
            if let Some((at, test @ Test::Compare(_, Value::Number(_)))) = self.tests(scope).next() {
                sql.push(" AND ");
                sql.number_test("o.value", test);
                lead = Lead::Condition(at);
            }
        }
        if part != Part::Values {
            after = after.and_then(|ranks| ranks.get(1..));
        }
        finish(scope, sql, lead, &keys, after, needed)
    }
}
