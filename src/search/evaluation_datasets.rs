//! What evaluation datasets can be searched by.

use super::{
    grammar::{Condition, Identifier, Operator, Wording, conditions, ordering, orderings},
    values::{Lists, OF_NUMBERS, OF_TEXTS, Rule, TAG_VALUES, Values, set, test},
};
use crate::model::{
    Error,
    filter::search::{Clause, EvaluationDatasetAttribute, Field, Order},
};

const ATTRIBUTES: [(&str, EvaluationDatasetAttribute); 5] = [
    ("name", EvaluationDatasetAttribute::Name),
    ("created_time", EvaluationDatasetAttribute::CreatedTime),
    ("last_update_time", EvaluationDatasetAttribute::LastUpdateTime),
    ("created_by", EvaluationDatasetAttribute::CreatedBy),
    ("last_updated_by", EvaluationDatasetAttribute::LastUpdatedBy),
];
/// An order knows the names up to here.
const ORDERED: usize = 3;

const ONLY_NAME: &str = "Only ['name'] attributes support comparison with a list of quoted string values.";

pub fn filter(text: &str) -> Result<Vec<Clause<EvaluationDatasetAttribute>>, Error> {
    conditions(text, Wording::Plain)?.iter().map(clause).collect()
}

pub fn order(list: &[String]) -> Result<Vec<Order<EvaluationDatasetAttribute>>, Error> {
    orderings(list, |text| {
        let (identifier, descending) = ordering(text)?;
        match field(&identifier, &ATTRIBUTES[..ORDERED])? {
            Field::Tag(_) => Err(identifier.place.error("Invalid order_by entity: tag")),
            field => Ok(Order { field, descending }),
        }
    })
}

fn field(
    identifier: &Identifier<'_>,
    attributes: &[(&str, EvaluationDatasetAttribute)],
) -> Result<Field<EvaluationDatasetAttribute>, Error> {
    let key = identifier.key.as_str();
    match identifier.entity.as_deref() {
        Some("tag" | "tags") => Ok(Field::Tag(key.to_owned())),
        None => {
            let found = attributes.iter().find(|(name, _)| *name == key);
            found.map(|(_, attribute)| Field::Attribute(*attribute)).ok_or_else(|| {
                let known: Vec<_> = attributes.iter().map(|(name, _)| *name).collect();
                let known = set(&known);
                identifier
                    .place
                    .error(format!("Invalid attribute key '{key}' specified. Valid keys are: {known}"))
            })
        }
        Some(other) => Err(identifier.place.error(format!("Invalid identifier token '{other}' specified"))),
    }
}

fn clause(condition: &Condition<'_>) -> Result<Clause<EvaluationDatasetAttribute>, Error> {
    let key = condition.left.key.as_str();
    let field = field(&condition.left, &ATTRIBUTES)?;
    let attribute = match &field {
        Field::Attribute(attribute) => Some(*attribute),
        _ => None,
    };
    if matches!(condition.operator, Operator::IsNull | Operator::IsNotNull) {
        let sentence = match attribute {
            Some(_) => format!(
                "IS NULL / IS NOT NULL is only supported for tags and params, not for 'attribute' '{key}'"
            ),
            None => format!("Invalid comparator for tag: {}", condition.operator.as_str()),
        };
        return Err(condition.place.error(sentence));
    }
    if condition.operator == Operator::NotIn && attribute == Some(EvaluationDatasetAttribute::Name) {
        let sentence = "List values for 'name' are only supported with the IN comparator.";
        return Err(condition.place.error(sentence));
    }
    let rule = match attribute {
        Some(EvaluationDatasetAttribute::CreatedTime | EvaluationDatasetAttribute::LastUpdateTime) => {
            Rule { operators: OF_NUMBERS, values: Values::Time { key, whole: true } }
        }
        Some(EvaluationDatasetAttribute::Name) => {
            const OF_NAMES: &[Operator] =
                &[Operator::NotEqual, Operator::Equal, Operator::Like, Operator::Ilike, Operator::In];
            Rule {
                operators: OF_NAMES,
                values: Values::Text { what: "attributes", lists: Lists::Allowed, numbers: false },
            }
        }
        Some(_) => {
            let values =
                Values::Text { what: "attributes", lists: Lists::RefusedAs(ONLY_NAME), numbers: false };
            Rule { operators: OF_TEXTS, values }
        }
        None => Rule { operators: OF_TEXTS, values: TAG_VALUES },
    };
    let test = test(condition, &rule)?;
    Ok(Clause { field, test })
}
