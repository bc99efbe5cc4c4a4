//! The grammar the other way: clauses that can be, and how they are written.

use proptest::prelude::*;

use crate::model::filter::search::{Clause, Comparison, DatasetField, Field, RunAttribute, Test, Value};

pub(super) fn filter(clauses: &[Clause<RunAttribute>]) -> String {
    clauses.iter().map(condition).collect::<Vec<_>>().join(" AND ")
}

pub(super) fn order(field: &Field<RunAttribute>, descending: bool) -> String {
    format!("{} {}", name(field), if descending { "DESC" } else { "ASC" })
}

fn condition(clause: &Clause<RunAttribute>) -> String {
    let left = name(&clause.field);
    match &clause.test {
        Test::Compare(comparison, value) => format!("{left} {} {}", operator(*comparison), literal(value)),
        Test::Like { pattern, any_case } => {
            format!("{left} {} {}", if *any_case { "ILIKE" } else { "LIKE" }, quoted(pattern))
        }
        Test::OneOf { values, not } => {
            let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
            format!("{left} {} ({})", if *not { "NOT IN" } else { "IN" }, values.join(", "))
        }
        Test::Exists(true) => format!("{left} IS NOT NULL"),
        Test::Exists(false) => format!("{left} IS NULL"),
    }
}

fn name(field: &Field<RunAttribute>) -> String {
    let key = |key: &str| format!("`{}`", key.replace('`', "``"));
    match field {
        Field::Metric(name) => format!("metrics.{}", key(name)),
        Field::Param(name) => format!("params.{}", key(name)),
        Field::Tag(name) => format!("tags.{}", key(name)),
        Field::Dataset(DatasetField::Name) => "dataset.name".to_owned(),
        Field::Dataset(DatasetField::Digest) => "dataset.digest".to_owned(),
        Field::Dataset(DatasetField::Context) => "dataset.context".to_owned(),
        Field::Attribute(attribute) => format!(
            "attributes.{}",
            match attribute {
                RunAttribute::Id => "run_id",
                RunAttribute::Name => "run_name",
                RunAttribute::Status => "status",
                RunAttribute::User => "user_id",
                RunAttribute::ArtifactUri => "artifact_uri",
                RunAttribute::StartTime => "start_time",
                RunAttribute::EndTime => "end_time",
            }
        ),
    }
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => format!("{number:e}"),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Without backslashes, whose meaning before a quote is a guess.
fn text() -> impl Strategy<Value = String> {
    "[^\\\\]{0,12}"
}

fn comparison(all: bool) -> impl Strategy<Value = Comparison> {
    let mut known = vec![Comparison::Equal, Comparison::NotEqual];
    if all {
        known.extend([
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
        ]);
    }
    prop::sample::select(known)
}

fn texts(null: bool, lists: bool) -> BoxedStrategy<Test> {
    let mut all = vec![
        (comparison(false), text()).prop_map(|(is, text)| Test::Compare(is, Value::Text(text))).boxed(),
        (text(), any::<bool>()).prop_map(|(pattern, any_case)| Test::Like { pattern, any_case }).boxed(),
    ];
    if null {
        all.push(any::<bool>().prop_map(Test::Exists).boxed());
    }
    if lists {
        let values = prop::collection::vec(text(), 1..4);
        all.push((values, any::<bool>()).prop_map(|(values, not)| Test::OneOf { values, not }).boxed());
    }
    prop::strategy::Union::new(all).boxed()
}

/// A field of runs that an order can name.
pub(super) fn field() -> BoxedStrategy<Field<RunAttribute>> {
    prop_oneof![
        text().prop_map(Field::Metric),
        text().prop_map(Field::Param),
        text().prop_map(Field::Tag),
        prop::sample::select(vec![RunAttribute::Name, RunAttribute::User, RunAttribute::StartTime])
            .prop_map(Field::Attribute),
    ]
    .boxed()
}

pub(super) fn clause() -> BoxedStrategy<Clause<RunAttribute>> {
    let number = (comparison(true), any::<f64>())
        .prop_filter("finite", |(_, number)| number.is_finite())
        .prop_map(|(is, number)| Test::Compare(is, Value::Number(number)));
    let time = (comparison(true), any::<i64>()).prop_map(|(is, at)| Test::Compare(is, Value::Integer(at)));
    let clause = |(field, test)| Clause { field, test };
    prop_oneof![
        (text().prop_map(Field::Metric), number).prop_map(clause),
        (text().prop_map(Field::Param), texts(true, false)).prop_map(clause),
        (text().prop_map(Field::Tag), texts(true, false)).prop_map(clause),
        (Just(Field::Attribute(RunAttribute::Id)), texts(false, true)).prop_map(clause),
        (Just(Field::Attribute(RunAttribute::Name)), texts(false, false)).prop_map(clause),
        (Just(Field::Attribute(RunAttribute::EndTime)), time).prop_map(clause),
        (Just(Field::Dataset(DatasetField::Digest)), texts(false, true)).prop_map(clause),
    ]
    .boxed()
}

/// What filters are made of, in no order that makes sense.
pub(super) fn piece() -> BoxedStrategy<String> {
    let known = [
        "metrics",
        "params",
        "tags",
        "run_id",
        "name",
        "status",
        ".",
        "`",
        "'",
        "\"",
        "\\",
        "(",
        ")",
        ",",
        ";",
        " ",
        "\n",
        "=",
        "!=",
        "<",
        ">=",
        "==",
        "!",
        "AND",
        "and",
        "OR",
        "NOT",
        "IN",
        "IS",
        "NULL",
        "LIKE",
        "ILIKE",
        "DESC",
        "1",
        "-",
        "1.5",
        "e",
        "ü",
        "☃",
        "/",
        "x",
        "'x'",
        "`x`",
        " AND ",
        "metrics.a > 1",
        "params.a = 'x'",
    ];
    prop_oneof![4 => prop::sample::select(known.map(str::to_owned).to_vec()), 1 => "\\PC{0,3}"].boxed()
}
