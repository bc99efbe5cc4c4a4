//! Embeddings: texts in, counts out. The vectors themselves are never kept.

use serde_json::{json, value::RawValue};

use crate::{
    model::exchange::{Choice, Message, MessagePart, Request, Response},
    wire::{error, json, notes::Notes, parts},
};

use super::{chat_request::top_level, completions::inputs, usage};

pub(in crate::wire) fn read_request(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    top_level(body, &mut request, notes, |key, field, request, notes| match key {
        "input" => {
            request.messages = inputs(field, "input", notes);
            true
        }
        _ => false,
    });
    request
}

pub(in crate::wire) fn read(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    let mut response = Response::default();
    let (mut vectors, mut dimensions) = (0u64, None);
    let read = json::fields(body, |key, field| match key {
        "id" => response.id = json::filled(Some(field)),
        "model" => response.model = json::filled(Some(field)),
        "usage" => response.usage = usage::read(field, notes),
        "data" => json::each_item(field, |item| {
            vectors += 1;
            if dimensions.is_none() {
                let [vector] = json::pick(item.get(), ["embedding"]);
                dimensions = vector.and_then(length);
            }
        }),
        _ => {}
    });
    response.complete = read.is_ok();
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    }
    response.error = error::inside(body, status);
    if vectors > 0 {
        let value = json!({"type": "embeddings", "count": vectors, "dimensions": dimensions});
        let message =
            Message { role: "output".into(), name: None, parts: vec![MessagePart::Other { value }] };
        response.choices.push(Choice { message, ..Choice::default() });
    }
    response
}

/// The length of a vector: an array of numbers, or base64 of 32-bit floats (what the SDKs ask for).
fn length(vector: &RawValue) -> Option<u64> {
    if let Some(text) = json::text(vector) {
        return Some(parts::base64_length(&text) / 4);
    }
    let mut numbers = 0;
    json::each_item(vector, |_| numbers += 1);
    (numbers > 0).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_measured_in_both_encodings() {
        let length = |json: &str| length(serde_json::from_str(json).unwrap());
        assert_eq!(length("[0.1,-2e-3,3]"), Some(3));
        // Two floats: eight bytes.
        assert_eq!(length("\"AACAPwAAAEA=\""), Some(2));
        assert_eq!(length("[]"), None);
    }
}
