//! JSON that fits a schema: arguments of tool calls and structured answers, filled with words of the
//! question where a property's name suggests it.

use serde_json::{Map, Value, json};

use super::{dice::Dice, prose};

/// What the values may be taken from.
#[derive(Debug, Clone)]
pub(super) struct Clues {
    pub(super) question: String,
    pub(super) topic: String,
    pub(super) nouns: Vec<String>,
    numbers: Vec<f64>,
}

impl Clues {
    pub(super) fn of(question: &str) -> Self {
        let numbers = question
            .split_whitespace()
            .filter_map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok())
            .collect();
        Self {
            question: question.chars().take(200).collect(),
            topic: prose::topic(question),
            nouns: prose::proper_nouns(question),
            numbers,
        }
    }

    /// The clues of the `index`th of several parallel calls: each has a noun of its own.
    pub(super) fn only_noun(&self, index: usize) -> Self {
        let nouns = self.nouns.get(index).cloned().into_iter().collect();
        Self { nouns, ..self.clone() }
    }
}

/// How deep a schema may nest before the rest is left out; recursive schemas exist.
const MAX_DEPTH: usize = 8;

pub(super) fn instance(schema: &Value, clues: &Clues, dice: &mut Dice) -> Value {
    value(schema, schema, "", clues, dice, 0)
}

fn value(root: &Value, schema: &Value, name: &str, clues: &Clues, dice: &mut Dice, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, |found| value(root, found, name, clues, dice, depth + 1));
    }
    if let Some(only) = schema.get("const") {
        return only.clone();
    }
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        // An option that the question names beats chance.
        let asked = clues.question.to_lowercase();
        let named = options
            .iter()
            .find(|option| option.as_str().is_some_and(|text| asked.contains(&text.to_lowercase())));
        return named.or_else(|| options.get(dice.below(options.len()))).cloned().unwrap_or_default();
    }
    for union in ["anyOf", "oneOf"] {
        if let Some(first) = schema.get(union).and_then(Value::as_array).and_then(|all| all.first()) {
            return value(root, first, name, clues, dice, depth + 1);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    };
    match kind {
        "object" => {
            let mut object = Map::new();
            for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                object.insert(name.clone(), value(root, property, name, clues, dice, depth + 1));
            }
            Value::Object(object)
        }
        "array" => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 16);
            let items = schema.get("items").unwrap_or(&Value::Null);
            (0..least).map(|_| value(root, items, name, clues, dice, depth + 1)).collect()
        }
        "integer" => json!(number(schema, clues, dice).round() as i64),
        "number" => json!((number(schema, clues, dice) * 100.0).round() / 100.0),
        "boolean" => json!(dice.below(2) == 0),
        "null" => Value::Null,
        _ => Value::String(text(name, clues, dice)),
    }
}

fn number(schema: &Value, clues: &Clues, dice: &mut Dice) -> f64 {
    let bound = |name| schema.get(name).and_then(Value::as_f64);
    let least =
        bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + 1.0)).unwrap_or(0.0);
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|most| most - 1.0));
    let most = most.unwrap_or(least + 10.0).max(least);
    match clues.numbers.iter().find(|number| (least..=most).contains(*number)) {
        Some(named) => *named,
        None => least + dice.fraction() * (most - least),
    }
}

fn text(name: &str, clues: &Clues, dice: &mut Dice) -> String {
    let name = name.to_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if is(&["query", "question", "prompt", "input", "message"]) {
        return clues.question.clone();
    }
    if is(&["city", "location", "place", "name", "country", "customer", "person", "user", "product"])
        && let Some(noun) = clues.nouns.first()
    {
        return noun.clone();
    }
    if is(&["summary", "answer", "description", "explanation", "reason", "text", "body"]) {
        return prose::more(&clues.topic, dice);
    }
    if is(&["date", "day"]) {
        return "2026-11-23".to_owned();
    }
    if is(&["id", "number", "code"])
        && let Some(token) =
            clues.question.split_whitespace().find(|word| word.contains(|c: char| c.is_ascii_digit()))
    {
        return token.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    }
    clues.nouns.first().cloned().unwrap_or_else(|| clues.topic.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_use_the_words_of_the_question() {
        let schema = json!({"type": "object", "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
        }});
        let clues = Clues::of("What is the weather in Oslo for 3 days in fahrenheit?");
        let made = instance(&schema, &clues, &mut Dice::new(0, &[]));
        assert_eq!(made, json!({"city": "Oslo", "unit": "fahrenheit", "days": 3}));
    }

    #[test]
    fn references_unions_and_recursion_end() {
        let schema = json!({
            "$defs": {"node": {"type": "object", "properties": {
                "label": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "next": {"$ref": "#/$defs/node"},
            }}},
            "$ref": "#/$defs/node",
        });
        let made = instance(&schema, &Clues::of("about trees"), &mut Dice::new(0, &[]));
        assert_eq!(made["label"], json!("trees"));
        assert!(made["next"]["next"].is_object());
    }
}
