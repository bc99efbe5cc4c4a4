//! What logged models can be searched by. Their filter knows each entity by one name only, and their order is
//! not a text but a list of objects.

use super::{
    grammar::{Condition, Identifier, Operator, Wording, conditions},
    values::{Lists, Rule, Values, set, test},
};
use crate::model::{
    Error,
    filter::search::{
        Clause, Field, LoggedModelAttribute, LoggedModelOrder, MetricDataset, Order, Test, Value,
    },
};

const ATTRIBUTES: [(&str, LoggedModelAttribute); 11] = [
    ("name", LoggedModelAttribute::Name),
    ("model_id", LoggedModelAttribute::Id),
    ("model_type", LoggedModelAttribute::ModelType),
    ("status", LoggedModelAttribute::Status),
    ("source_run_id", LoggedModelAttribute::SourceRunId),
    ("creation_timestamp", LoggedModelAttribute::CreationTime),
    ("creation_time", LoggedModelAttribute::CreationTime),
    ("creation_timestamp_ms", LoggedModelAttribute::CreationTime),
    ("last_updated_timestamp", LoggedModelAttribute::LastUpdatedTime),
    ("last_updated_time", LoggedModelAttribute::LastUpdatedTime),
    ("last_updated_timestamp_ms", LoggedModelAttribute::LastUpdatedTime),
];

/// As filters name them.
const STATUSES: [&str; 4] = ["UNSPECIFIED", "PENDING", "READY", "FAILED"];

const OF_NUMBERS: &[Operator] = &[
    Operator::Less,
    Operator::LessOrEqual,
    Operator::Greater,
    Operator::GreaterOrEqual,
    Operator::Equal,
    Operator::NotEqual,
];
const OF_TEXTS: &[Operator] =
    &[Operator::Equal, Operator::NotEqual, Operator::Like, Operator::Ilike, Operator::In, Operator::NotIn];

pub fn filter(text: &str) -> Result<Vec<Clause<LoggedModelAttribute>>, Error> {
    conditions(text, Wording::Whole)?.iter().map(clause).collect()
}

/// One field of an order, from the parts of its object.
pub fn order(
    field_name: &str,
    ascending: bool,
    dataset_name: Option<&str>,
    dataset_digest: Option<&str>,
) -> Result<LoggedModelOrder, Error> {
    let field = match field_name.split_once('.') {
        Some(("metrics", key)) => Field::Metric(key.trim_matches('`').to_owned()),
        Some(_) => {
            return Err(Error::invalid(format!(
                "Invalid order by field name: {field_name}. Only metrics are supported."
            )));
        }
        None => Field::Attribute(
            attribute(field_name.trim())
                .ok_or_else(|| Error::invalid(format!("Invalid order by field name: {field_name}")))?,
        ),
    };
    let dataset = match (dataset_name, dataset_digest) {
        (Some(name), digest) => {
            Some(MetricDataset { name: name.to_owned(), digest: digest.map(str::to_owned) })
        }
        (None, Some(_)) => {
            return Err(Error::invalid(
                "`dataset_digest` can only be specified if `dataset_name` is also specified.",
            ));
        }
        (None, None) => None,
    };
    Ok(LoggedModelOrder { order: Order { field, descending: !ascending }, dataset })
}

fn attribute(name: &str) -> Option<LoggedModelAttribute> {
    ATTRIBUTES.iter().find(|(known, _)| *known == name).map(|(_, attribute)| *attribute)
}

fn field(identifier: &Identifier<'_>) -> Result<Field<LoggedModelAttribute>, Error> {
    let key = identifier.key.as_str();
    match identifier.entity.as_deref() {
        Some("metrics") => Ok(Field::Metric(key.to_owned())),
        Some("params") => Ok(Field::Param(key.to_owned())),
        Some("tags") => Ok(Field::Tag(key.to_owned())),
        None | Some("attributes") => attribute(key).map(Field::Attribute).ok_or_else(|| {
            let known = set(&ATTRIBUTES.map(|(name, _)| name));
            identifier
                .place
                .error(format!("Invalid attribute key '{key}' specified. Valid keys are '{known}'"))
        }),
        Some(other) => Err(identifier.place.error(format!(
            "Invalid entity type: '{other}'. Expected one of ['attributes', 'metrics', 'params', 'tags']."
        ))),
    }
}

fn clause(condition: &Condition<'_>) -> Result<Clause<LoggedModelAttribute>, Error> {
    let key = condition.left.key.as_str();
    let field = field(&condition.left)?;
    let (entity, rule) = match &field {
        Field::Metric(_) => {
            ("metrics", Rule { operators: OF_NUMBERS, values: Values::Number("metric".to_owned()) })
        }
        Field::Attribute(LoggedModelAttribute::CreationTime | LoggedModelAttribute::LastUpdatedTime) => {
            ("attributes", Rule { operators: OF_NUMBERS, values: Values::Time { key, whole: false } })
        }
        Field::Attribute(_) => ("attributes", texts("attributes")),
        Field::Tag(_) => ("tags", texts("tag")),
        Field::Param(_) | Field::Dataset(_) => ("params", texts("parameter")),
    };
    let operator = condition.operator;
    if matches!(operator, Operator::IsNull | Operator::IsNotNull) {
        return Err(condition.left.place.error(format!(
            "Invalid comparison: {}{}. Expected a comparison with 3 tokens.",
            condition.left.place.written(),
            operator.as_str()
        )));
    }
    if !rule.operators.contains(&operator) {
        let known: Vec<_> = rule.operators.iter().map(|known| format!("'{}'", known.as_str())).collect();
        return Err(condition.place.error(format!(
            "Invalid comparison operator for {entity}.{key}: '{}'. Expected one of ({}).",
            operator.as_str(),
            known.join(", ")
        )));
    }
    let test = test(condition, &rule)?;
    if field == Field::Attribute(LoggedModelAttribute::Status) {
        statuses(condition, &test)?;
    }
    Ok(Clause { field, test })
}

fn texts(what: &str) -> Rule<'_> {
    Rule { operators: OF_TEXTS, values: Values::Text { what, lists: Lists::Allowed, numbers: true } }
}

fn statuses(condition: &Condition<'_>, test: &Test) -> Result<(), Error> {
    let found: &[String] = match test {
        Test::Compare(_, Value::Text(status)) => std::slice::from_ref(status),
        Test::OneOf { values, .. } => values,
        _ => {
            let operator = condition.operator.as_str();
            return Err(condition.place.error(format!("Invalid comparison operator for status: {operator}")));
        }
    };
    match found.iter().all(|status| STATUSES.contains(&status.as_str())) {
        true => Ok(()),
        false => Err(condition
            .place
            .error(format!("Unknown model status in filter: {}", condition.place.written()))),
    }
}
