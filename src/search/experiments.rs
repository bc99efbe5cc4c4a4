//! What experiments can be searched by.

use super::{
    grammar::{Condition, Identifier, Operator, Wording, conditions, ordering, orderings},
    values::{Lists, OF_NUMBERS, OF_TEXTS_AND_LISTS, OF_TEXTS_OR_NULL, Rule, TAG_VALUES, Values, set, test},
};
use crate::model::{
    Error,
    filter::search::{Clause, ExperimentAttribute, Field, Order, Test, Value},
};

const ATTRIBUTES: [(&str, ExperimentAttribute); 4] = [
    ("name", ExperimentAttribute::Name),
    ("experiment_id", ExperimentAttribute::Id),
    ("creation_time", ExperimentAttribute::CreationTime),
    ("last_update_time", ExperimentAttribute::LastUpdateTime),
];

const ONLY_EXPERIMENT_ID: &str =
    "Only ['experiment_id'] attributes support comparison with a list of quoted string values.";

pub fn filter(text: &str) -> Result<Vec<Clause<ExperimentAttribute>>, Error> {
    conditions(text, Wording::Plain)?.iter().map(clause).collect()
}

pub fn order(list: &[String]) -> Result<Vec<Order<ExperimentAttribute>>, Error> {
    orderings(list, |text| {
        let (identifier, descending) = ordering(text)?;
        match field(&identifier)? {
            Field::Tag(_) => Err(identifier.place.error("Invalid order_by entity: tag")),
            field => Ok(Order { field, descending }),
        }
    })
}

fn field(identifier: &Identifier<'_>) -> Result<Field<ExperimentAttribute>, Error> {
    let key = identifier.key.as_str();
    match identifier.entity.as_deref() {
        Some("tag" | "tags") => Ok(Field::Tag(key.to_owned())),
        None | Some("attribute" | "attributes") => {
            let found = ATTRIBUTES.iter().find(|(name, _)| *name == key);
            found.map(|(_, attribute)| Field::Attribute(*attribute)).ok_or_else(|| {
                let known = set(&ATTRIBUTES.map(|(name, _)| name));
                identifier
                    .place
                    .error(format!("Invalid attribute key '{key}' specified. Valid keys are '{known}'"))
            })
        }
        Some(other) => Err(identifier.place.error(format!(
            "Invalid entity type '{other}'. Valid entity types are ('attribute', 'attributes', 'tag', 'tags')"
        ))),
    }
}

fn clause(condition: &Condition<'_>) -> Result<Clause<ExperimentAttribute>, Error> {
    let key = condition.left.key.as_str();
    let field = field(&condition.left)?;
    let operator = condition.operator;
    let null = matches!(operator, Operator::IsNull | Operator::IsNotNull);
    let rule = match &field {
        Field::Attribute(_) if null => {
            return Err(condition.place.error(format!(
                "IS NULL / IS NOT NULL is only supported for tags, not for attribute '{key}'"
            )));
        }
        Field::Attribute(ExperimentAttribute::CreationTime | ExperimentAttribute::LastUpdateTime) => {
            Rule { operators: OF_NUMBERS, values: Values::Time { key, whole: true } }
        }
        Field::Attribute(ExperimentAttribute::Id) => {
            const OF_IDS: &[Operator] = &[Operator::Equal, Operator::NotEqual, Operator::In, Operator::NotIn];
            if !OF_IDS.contains(&operator) {
                let sentence = format!("Invalid comparator for experiment_id: {}", operator.as_str());
                return Err(condition.place.error(sentence));
            }
            let values = Values::Text { what: "attributes", lists: Lists::Allowed, numbers: false };
            Rule { operators: OF_IDS, values }
        }
        Field::Attribute(_) => {
            let values = Values::Text {
                what: "attributes",
                lists: Lists::RefusedAs(ONLY_EXPERIMENT_ID),
                numbers: false,
            };
            Rule { operators: OF_TEXTS_AND_LISTS, values }
        }
        _ => Rule { operators: OF_TEXTS_OR_NULL, values: TAG_VALUES },
    };
    let test = test(condition, &rule)?;
    if field == Field::Attribute(ExperimentAttribute::Id) {
        ids(condition, &test)?;
    }
    Ok(Clause { field, test })
}

/// Ids are whole numbers, written as text.
fn ids(condition: &Condition<'_>, test: &Test) -> Result<(), Error> {
    let ids: &[String] = match test {
        Test::Compare(_, Value::Text(id)) => std::slice::from_ref(id),
        Test::OneOf { values, .. } => values,
        _ => &[],
    };
    match ids.iter().find(|id| id.parse::<i64>().is_err()) {
        None => Ok(()),
        Some(id) => Err(condition
            .place
            .error(format!("Invalid experiment ID '{id}'. Experiment ID must be a valid integer."))),
    }
}
