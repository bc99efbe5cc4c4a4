//! From a condition to a test: whether the value is of the field's type and the operator one it knows.

use super::grammar::{Condition, Literal, Operator};
use crate::model::{
    Error,
    filter::search::{Comparison, Test, Value},
};

/// Operators of numbers and of texts, as MLflow's errors list them.
pub(super) const OF_NUMBERS: &[Operator] = &[
    Operator::Greater,
    Operator::GreaterOrEqual,
    Operator::NotEqual,
    Operator::Equal,
    Operator::Less,
    Operator::LessOrEqual,
];
pub(super) const OF_TEXTS: &[Operator] =
    &[Operator::NotEqual, Operator::Equal, Operator::Like, Operator::Ilike];
pub(super) const OF_TEXTS_OR_NULL: &[Operator] = &[
    Operator::NotEqual,
    Operator::Equal,
    Operator::Like,
    Operator::Ilike,
    Operator::IsNull,
    Operator::IsNotNull,
];
pub(super) const OF_TEXTS_AND_LISTS: &[Operator] =
    &[Operator::NotEqual, Operator::Equal, Operator::Like, Operator::Ilike, Operator::In, Operator::NotIn];

/// What a field may be compared with.
#[derive(Debug)]
pub(super) struct Rule<'r> {
    pub(super) operators: &'r [Operator],
    pub(super) values: Values<'r>,
}

#[derive(Debug)]
pub(super) enum Values<'r> {
    /// Any number; the words say whose.
    Number(String),
    /// A time: a whole number of milliseconds where `whole`.
    Time { key: &'r str, whole: bool },
    /// Quoted text; the words say what for.
    /// A bare number is a text where `numbers`.
    Text { what: &'r str, lists: Lists<'r>, numbers: bool },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Lists<'r> {
    Allowed,
    Refused,
    /// Refused with this sentence.
    RefusedAs(&'r str),
}

pub(super) const PARAM_VALUES: Values<'static> =
    Values::Text { what: "parameter (e.g. 'my-value')", lists: Lists::Refused, numbers: false };
pub(super) const TAG_VALUES: Values<'static> =
    Values::Text { what: "tag (e.g. 'my-value')", lists: Lists::Refused, numbers: false };

pub(super) fn test(condition: &Condition<'_>, rule: &Rule<'_>) -> Result<Test, Error> {
    let value = match condition.operator {
        Operator::IsNull | Operator::IsNotNull => None,
        _ => Some(value(condition, &rule.values)?),
    };
    let operator = condition.operator;
    if !rule.operators.contains(&operator) {
        let known: Vec<_> = rule.operators.iter().map(|known| format!("'{}'", known.as_str())).collect();
        return Err(condition.place.error(format!(
            "Invalid comparator '{}' not one of '{{{}}}{}",
            operator.as_str(),
            known.join(", "),
            // MLflow closes the quote for params and texts of attributes only.
            match rule.values {
                Values::Text { what, .. } if what == "attributes" || what.starts_with("param") => "'",
                _ => "",
            }
        )));
    }
    built(condition, value)
}

fn built(condition: &Condition<'_>, value: Option<Given>) -> Result<Test, Error> {
    let compare = |comparison, value| match value {
        Given::One(value) => Ok(Test::Compare(comparison, value)),
        Given::Many(_) => Err(condition.place.error(format!(
            "Invalid comparator '{}' for a list of values: use IN or NOT IN",
            condition.operator.as_str()
        ))),
    };
    Ok(match (condition.operator, value) {
        (Operator::IsNull, _) => Test::Exists(false),
        (Operator::IsNotNull, _) => Test::Exists(true),
        (Operator::In | Operator::NotIn, Some(Given::Many(values))) => {
            Test::OneOf { values, not: condition.operator == Operator::NotIn }
        }
        (Operator::Like | Operator::Ilike, Some(Given::One(Value::Text(pattern)))) => {
            Test::Like { pattern, any_case: condition.operator == Operator::Ilike }
        }
        (Operator::Equal, Some(value)) => compare(Comparison::Equal, value)?,
        (Operator::NotEqual, Some(value)) => compare(Comparison::NotEqual, value)?,
        (Operator::Less, Some(value)) => compare(Comparison::Less, value)?,
        (Operator::LessOrEqual, Some(value)) => compare(Comparison::LessOrEqual, value)?,
        (Operator::Greater, Some(value)) => compare(Comparison::Greater, value)?,
        (Operator::GreaterOrEqual, Some(value)) => compare(Comparison::GreaterOrEqual, value)?,
        _ => {
            return Err(condition.place.error(format!(
                "Invalid value for comparator '{}': {}",
                condition.operator.as_str(),
                condition.place.written()
            )));
        }
    })
}

enum Given {
    One(Value),
    Many(Vec<String>),
}

fn value(condition: &Condition<'_>, values: &Values<'_>) -> Result<Given, Error> {
    let (place, written) = (condition.place, condition.place.written());
    match (values, &condition.right) {
        (Values::Number(_), Literal::Number) => {
            let number = written.parse().map_err(|_| place.error(format!("expected a number, found {written}")))?;
            Ok(Given::One(Value::Number(number)))
        }
        (Values::Number(whose), _) => {
            Err(place.error(format!("Expected numeric value type for {whose}. Found {written}")))
        }
        (Values::Time { key, whole }, Literal::Number) => match written.parse::<i64>() {
            Ok(at) => Ok(Given::One(Value::Integer(at))),
            Err(_) => match written.parse::<f64>() {
                Ok(at) if !whole => Ok(Given::One(Value::Number(at))),
                _ => Err(place.error(format!("Invalid value for numeric attribute '{key}': '{written}'"))),
            },
        },
        (Values::Time { key, .. }, _) => Err(place.error(format!(
            "Expected numeric value type for numeric attribute: {key}. Found {written}"
        ))),
        (Values::Text { numbers: true, .. }, Literal::Number) => Ok(Given::One(Value::Text(written.to_owned()))),
        (Values::Text { .. }, Literal::Text(text)) => Ok(Given::One(Value::Text(text.clone()))),
        (Values::Text { .. }, Literal::Name) => Err(place.error(format!(
            "Parameter value is either not quoted or unidentified quote types used for string value {written}. \
             Use either single or double quotes."
        ))),
        (Values::Text { lists: Lists::RefusedAs(sentence), .. }, Literal::List(_) | Literal::OtherList) => {
            Err(place.error(sentence))
        }
        (Values::Text { lists: Lists::Allowed, .. }, Literal::List(values)) => Ok(Given::Many(values.clone())),
        (Values::Text { lists: Lists::Allowed, .. }, Literal::OtherList) => Err(place.error(format!(
            "While parsing a list in the query, expected string value, punctuation, or whitespace, but got \
             different type in list: {written}"
        ))),
        (Values::Text { what, .. }, _) => {
            Err(place.error(format!("Expected a quoted string value for {what}. Got value {written}")))
        }
    }
}

/// Python's way of writing a set of names, in which MLflow lists what it knows.
pub(super) fn set(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("{{{}}}", quoted.join(", "))
}
