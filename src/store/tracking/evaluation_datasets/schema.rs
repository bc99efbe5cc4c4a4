//! Which fields a dataset's records have, and of what type: the first type that a field is seen with stays.

use serde_json::{Map, Value, json};

use crate::model::evaluation_dataset::NewEvaluationRecord;

pub(super) struct Schema {
    json: Map<String, Value>,
    empty: bool,
}

impl Schema {
    pub(super) fn read(text: Option<&str>) -> Self {
        let known = text.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
        let empty = known.is_none();
        let fresh = || match json!({"inputs": {}, "outputs": {}, "expectations": {}, "version": "1.0"}) {
            Value::Object(json) => json,
            _ => Map::new(),
        };
        Self { json: known.unwrap_or_else(fresh), empty }
    }

    pub(super) fn add(&mut self, record: &NewEvaluationRecord) {
        self.empty = false;
        self.fields("inputs", &record.inputs);
        match &record.outputs {
            Some(Value::Object(outputs)) => self.fields("outputs", outputs),
            None | Some(Value::Null) => {}
            // Outputs that are no object have one type, where nothing else was seen.
            Some(other) => {
                if self.json.get("outputs").is_none_or(|known| known == &json!({})) {
                    self.json.insert("outputs".to_owned(), kind(other).into());
                }
            }
        }
        self.fields("expectations", &record.expectations);
    }

    fn fields(&mut self, part: &str, values: &Map<String, Value>) {
        let Some(Value::Object(known)) = self.json.get_mut(part) else { return };
        for (key, value) in values {
            if !known.contains_key(key) {
                known.insert(key.clone(), kind(value).into());
            }
        }
    }

    /// `None` where no record was ever seen.
    pub(super) fn write(self) -> Option<String> {
        (!self.empty).then(|| Value::Object(self.json).to_string())
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_type_of_a_field_stays() {
        let record = |inputs: Value, outputs: Option<Value>| NewEvaluationRecord {
            inputs: inputs.as_object().cloned().unwrap_or_default(),
            outputs,
            ..NewEvaluationRecord::default()
        };
        assert_eq!(Schema::read(None).write(), None);
        let mut schema = Schema::read(None);
        schema.add(&record(json!({"a": 1, "b": [1]}), Some(json!("text"))));
        let text = schema.write().unwrap_or_default();
        let mut schema = Schema::read(Some(&text));
        schema.add(&record(
            json!({"a": "now text", "c": null, "d": 1.5, "e": true, "f": {}}),
            Some(json!({"x": 1})),
        ));
        let read: Value = serde_json::from_str(&schema.write().unwrap_or_default()).unwrap_or_default();
        assert_eq!(
            read,
            json!({
                "inputs": {"a": "integer", "b": "array", "c": "null", "d": "float", "e": "boolean", "f": "object"},
                "outputs": "string", "expectations": {}, "version": "1.0"
            })
        );
    }
}
