//! Moderations: a text is flagged where it names what a category is about.

use serde_json::{Map, Value, json};

use super::{call::Call, dice::Dice, refusal::Refusal};

/// Categories with the words that flag them.
const CATEGORIES: [(&str, &[&str]); 13] = [
    ("harassment", &["idiot"]),
    ("harassment/threatening", &[]),
    ("hate", &["hate"]),
    ("hate/threatening", &[]),
    ("illicit", &["steal"]),
    ("illicit/violent", &[]),
    ("self-harm", &[]),
    ("self-harm/intent", &[]),
    ("self-harm/instructions", &[]),
    ("sexual", &[]),
    ("sexual/minors", &[]),
    ("violence", &["kill", "attack"]),
    ("violence/graphic", &[]),
];

/// The inputs: a text, texts, or parts that together are one input.
fn inputs(body: &Value) -> Result<Vec<String>, Refusal> {
    match body.get("input") {
        None => Err(Refusal::missing("input")),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            Ok(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            Ok(vec![texts.collect::<Vec<_>>().join("\n")])
        }
        Some(_) => Err(Refusal::invalid(Some("input"), "Invalid 'input': expected a string or an array.")),
    }
}

pub(super) fn whole(id: &str, call: &Call) -> Result<Value, Refusal> {
    let results: Vec<Value> = inputs(&call.body)?
        .iter()
        .map(|text| {
            let said = text.to_lowercase();
            let (mut flags, mut scores, mut applied) = (Map::new(), Map::new(), Map::new());
            for (category, words) in CATEGORIES {
                let flagged = words.iter().any(|word| said.contains(word));
                let chance = Dice::new(0, &[category.as_bytes(), said.as_bytes()]).fraction();
                let score = if flagged { 0.9 + chance / 10.0 } else { chance / 100.0 };
                flags.insert(category.to_owned(), json!(flagged));
                scores.insert(category.to_owned(), json!(score));
                applied.insert(category.to_owned(), if flagged { json!(["text"]) } else { json!([]) });
            }
            let flagged = flags.values().any(|flag| *flag == true);
            json!({"flagged": flagged, "categories": flags, "category_scores": scores,
                "category_applied_input_types": applied})
        })
        .collect();
    Ok(json!({"id": id, "model": call.model, "results": results}))
}
