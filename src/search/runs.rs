//! What runs can be searched by.

use super::{
    grammar::{Condition, Identifier, Operator, Wording, conditions, ordering, orderings},
    values::{
        Lists, OF_NUMBERS, OF_TEXTS_AND_LISTS, OF_TEXTS_OR_NULL, PARAM_VALUES, Rule, TAG_VALUES, Values, set,
        test,
    },
};
use crate::model::{
    Error,
    filter::search::{Clause, DatasetField, Field, Order, RunAttribute},
};

/// Names of attributes; the last five are spelled as MLflow's pages did.
const ATTRIBUTES: [(&str, RunAttribute); 12] = [
    ("run_id", RunAttribute::Id),
    ("run_name", RunAttribute::Name),
    ("status", RunAttribute::Status),
    ("user_id", RunAttribute::User),
    ("artifact_uri", RunAttribute::ArtifactUri),
    ("start_time", RunAttribute::StartTime),
    ("end_time", RunAttribute::EndTime),
    ("created", RunAttribute::StartTime),
    ("Created", RunAttribute::StartTime),
    ("run name", RunAttribute::Name),
    ("Run name", RunAttribute::Name),
    ("Run Name", RunAttribute::Name),
];
/// An order knows the names up to here.
const ORDERED: usize = 9;

const ONLY_RUN_ID: &str =
    "Only ['run_id'] attributes support comparison with a list of quoted string values.";

pub fn filter(text: &str) -> Result<Vec<Clause<RunAttribute>>, Error> {
    conditions(text, Wording::Quoted)?.iter().map(clause).collect()
}

/// The fields of an order, none of them twice.
pub fn order(list: &[String]) -> Result<Vec<Order<RunAttribute>>, Error> {
    let mut found: Vec<Order<RunAttribute>> = Vec::new();
    for next in orderings(list, one_order)? {
        if found.iter().any(|known| known.field == next.field) {
            return Err(Error::invalid(format!("`order_by` contains duplicate fields: {list:?}")));
        }
        found.push(next);
    }
    Ok(found)
}

fn one_order(text: &str) -> Result<Order<RunAttribute>, Error> {
    let (identifier, descending) = ordering(text)?;
    let field = field(&identifier, &ATTRIBUTES[..ORDERED])?;
    if matches!(field, Field::Dataset(_)) {
        return Err(identifier.place.error("Invalid identifier type 'dataset'"));
    }
    Ok(Order { field, descending })
}

fn field(
    identifier: &Identifier<'_>,
    attributes: &[(&str, RunAttribute)],
) -> Result<Field<RunAttribute>, Error> {
    let key = identifier.key.clone();
    match identifier.entity.as_deref() {
        Some("metric" | "metrics") => Ok(Field::Metric(key)),
        Some("parameter" | "parameters" | "param" | "params") => Ok(Field::Param(key)),
        Some("tag" | "tags") => Ok(Field::Tag(key)),
        None | Some("attribute" | "attributes" | "attr" | "run") => {
            let found = attributes.iter().find(|(name, _)| *name == key);
            let attribute = found.map(|(_, attribute)| *attribute).ok_or_else(|| {
                let known: Vec<_> = attributes.iter().map(|(name, _)| *name).collect();
                let known = set(&known);
                identifier
                    .place
                    .error(format!("Invalid attribute key '{key}' specified. Valid keys are '{known}'"))
            })?;
            Ok(Field::Attribute(attribute))
        }
        Some("dataset" | "datasets") => match key.as_str() {
            "name" => Ok(Field::Dataset(DatasetField::Name)),
            "digest" => Ok(Field::Dataset(DatasetField::Digest)),
            "context" => Ok(Field::Dataset(DatasetField::Context)),
            _ => Err(identifier.place.error(format!(
                "Invalid dataset key '{key}' specified. Valid keys are '{{'name', 'digest', 'context'}}'"
            ))),
        },
        Some(other) => Err(identifier.place.error(format!(
            "Invalid entity type '{other}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']"
        ))),
    }
}

fn clause(condition: &Condition<'_>) -> Result<Clause<RunAttribute>, Error> {
    let key = condition.left.key.as_str();
    let field = field(&condition.left, &ATTRIBUTES)?;
    let null = matches!(condition.operator, Operator::IsNull | Operator::IsNotNull);
    if null && !matches!(field, Field::Tag(_) | Field::Param(_)) {
        let kind = match field {
            Field::Metric(_) => "metric",
            Field::Dataset(_) => "dataset",
            _ => "attribute",
        };
        return Err(condition.place.error(format!(
            "IS NULL / IS NOT NULL is only supported for tags and params, not for '{kind}' '{key}'"
        )));
    }
    let rule = match &field {
        Field::Metric(_) => Rule { operators: OF_NUMBERS, values: Values::Number("metric".to_owned()) },
        Field::Param(_) => Rule { operators: OF_TEXTS_OR_NULL, values: PARAM_VALUES },
        Field::Tag(_) => Rule { operators: OF_TEXTS_OR_NULL, values: TAG_VALUES },
        Field::Attribute(RunAttribute::StartTime | RunAttribute::EndTime) => {
            Rule { operators: OF_NUMBERS, values: Values::Time { key, whole: false } }
        }
        Field::Attribute(attribute) => {
            let lists = match attribute {
                RunAttribute::Id => Lists::Allowed,
                _ => Lists::RefusedAs(ONLY_RUN_ID),
            };
            Rule {
                operators: OF_TEXTS_AND_LISTS,
                values: Values::Text { what: "attributes", lists, numbers: false },
            }
        }
        Field::Dataset(_) => {
            let values = Values::Text { what: "dataset attributes", lists: Lists::Allowed, numbers: false };
            Rule { operators: OF_TEXTS_AND_LISTS, values }
        }
    };
    let test = test(condition, &rule)?;
    Ok(Clause { field, test })
}
