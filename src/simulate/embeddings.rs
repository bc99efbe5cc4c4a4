//! Embeddings: unit vectors made from a text's words, so that texts with common words are near each other.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{dice::Dice, prose, refusal::Refusal, text};

const DEFAULT_DIMENSIONS: usize = 256;
const MAX_DIMENSIONS: usize = 4096;
const MAX_INPUTS: usize = 2048;

fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut words = prose::content_words(text);
    // The text itself takes part, so that no text gives the zero vector and different texts differ.
    words.push(text.to_owned());
    let mut sum = vec![0.0f64; dimensions];
    for word in &words {
        let mut dice = Dice::new(0, &[b"embedding", word.as_bytes()]);
        for value in &mut sum {
            *value += dice.fraction() * 2.0 - 1.0;
        }
    }
    let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    sum.into_iter().map(|value| (value / length) as f32).collect()
}

/// The inputs with their token counts; token arrays stand for themselves.
fn inputs(body: &Value) -> Result<Vec<(String, usize)>, Refusal> {
    let wrong = || {
        Refusal::invalid(
            Some("input"),
            "Invalid 'input': expected a string, an array of strings, an array of tokens or an array of token arrays.",
        )
    };
    let tokens = |tokens: &[Value]| (Value::Array(tokens.to_vec()).to_string(), tokens.len());
    match body.get("input") {
        None => Err(Refusal::missing("input")),
        Some(Value::String(text)) => Ok(vec![(text.clone(), text::count(text))]),
        Some(Value::Array(items)) if items.is_empty() || items.len() > MAX_INPUTS => Err(wrong()),
        Some(Value::Array(items)) if items.iter().all(Value::is_u64) => Ok(vec![tokens(items)]),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok((text.clone(), text::count(text))),
                Value::Array(inner) if inner.iter().all(Value::is_u64) => Ok(tokens(inner)),
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

pub(super) fn whole(model: &str, body: &Value) -> Result<Value, Refusal> {
    let dimensions = match body.get("dimensions") {
        None | Some(Value::Null) => DEFAULT_DIMENSIONS,
        Some(value) => value
            .as_u64()
            .map(|dimensions| dimensions as usize)
            .filter(|dimensions| (1..=MAX_DIMENSIONS).contains(dimensions))
            .ok_or_else(|| {
                Refusal::invalid(
                    Some("dimensions"),
                    format!("Invalid 'dimensions': expected 1 to {MAX_DIMENSIONS}, found {value}."),
                )
            })?,
    };
    let base64 = match body.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(Refusal::invalid(
                Some("encoding_format"),
                format!("Invalid 'encoding_format': expected 'float' or 'base64', found '{other}'."),
            ));
        }
    };
    let inputs = inputs(body)?;
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, (text, _))| {
            let vector = vector(text, dimensions);
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let tokens: usize = inputs.iter().map(|(_, tokens)| tokens).sum();
    Ok(json!({
        "object": "list", "data": data, "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn vectors_have_length_one_and_common_words_bring_texts_near() {
        let (cat, kitten, disk) = (
            vector("the cat sleeps softly", 256),
            vector("a cat sleeps here", 256),
            vector("disk write latency", 256),
        );
        assert!((dot(&cat, &cat) - 1.0).abs() < 1e-5);
        assert!(dot(&cat, &kitten) > dot(&cat, &disk) + 0.2);
    }

    #[test]
    fn base64_holds_the_same_floats() {
        let float = whole("sim-embed", &json!({"input": ["a", "b"], "dimensions": 4})).unwrap();
        let packed =
            whole("sim-embed", &json!({"input": ["a", "b"], "dimensions": 4, "encoding_format": "base64"}));
        let packed = packed.unwrap();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(packed["data"][1]["embedding"].as_str().unwrap())
            .unwrap();
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(json!(values), float["data"][1]["embedding"]);
        assert_eq!(packed["usage"]["prompt_tokens"], 2);
    }

    #[test]
    fn wrong_inputs_are_told() {
        for wrong in
            [json!({}), json!({"input": []}), json!({"input": {}}), json!({"input": "a", "dimensions": 0})]
        {
            assert!(whole("sim-embed", &wrong).is_err(), "{wrong}");
        }
        assert_eq!(whole("sim-embed", &json!({"input": [1, 2, 3]})).unwrap()["usage"]["prompt_tokens"], 3);
    }
}
