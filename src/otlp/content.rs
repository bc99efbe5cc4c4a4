//! Messages and tool definitions as JSON text in the GenAI message schema, within a byte limit. What is
//! too long stays valid JSON: viewers parse it.

use serde_json::{Map, Value, json};

use super::attributes::{ELLIPSIS, cut};
use crate::model::exchange::{Choice, Message, MessagePart};

pub(super) fn input_messages(messages: &[Message], limit: usize) -> (String, bool) {
    fit(messages.iter().map(message).collect(), limit)
}

/// One entry per choice, with its finish reason in the schema's spelling.
pub(super) fn output_messages(choices: &[Choice], limit: usize) -> (String, bool) {
    let all = choices
        .iter()
        .map(|choice| {
            let mut value = message(&choice.message);
            if let (Value::Object(fields), Some(reason)) = (&mut value, &choice.finish_reason) {
                fields.insert("finish_reason".to_owned(), Value::from(finish_reason(reason)));
            }
            value
        })
        .collect();
    fit(all, limit)
}

pub(super) fn system_instructions(parts: &[MessagePart], limit: usize) -> (String, bool) {
    fit(parts.iter().map(part).collect(), limit)
}

/// `{"type":"function","name":…,"description":…,"parameters":…}`: chat completions nests these under
/// `function`, Anthropic writes `input_schema`.
pub(super) fn tool_definitions(tools: &[Value], limit: usize) -> (String, bool) {
    let all = tools
        .iter()
        .map(|tool| {
            let inner = tool.get("function").filter(|inner| inner.is_object()).unwrap_or(tool);
            let Some(name) = inner.get("name") else { return tool.clone() };
            let kind = tool.get("type").and_then(Value::as_str).unwrap_or("function");
            let kind =
                if kind == "custom" && inner.get("input_schema").is_some() { "function" } else { kind };
            let mut definition = Map::new();
            definition.insert("type".to_owned(), Value::from(kind));
            definition.insert("name".to_owned(), name.clone());
            if let Some(description) = inner.get("description") {
                definition.insert("description".to_owned(), description.clone());
            }
            if let Some(schema) = inner.get("parameters").or_else(|| inner.get("input_schema")) {
                definition.insert("parameters".to_owned(), schema.clone());
            }
            Value::Object(definition)
        })
        .collect();
    fit(all, limit)
}

/// The schema's word for a provider's finish reason. (The span's `gen_ai.response.finish_reasons` keeps the
/// provider's.)
fn finish_reason(reason: &str) -> &str {
    match reason {
        "tool_calls" | "tool_use" | "function_call" => "tool_call",
        "end_turn" | "stop_sequence" | "completed" | "eos" => "stop",
        "max_tokens" | "max_output_tokens" | "model_context_window_exceeded" => "length",
        "refusal" => "content_filter",
        other => other,
    }
}

fn message(message: &Message) -> Value {
    let mut fields = Map::new();
    fields.insert("role".to_owned(), Value::from(message.role.as_str()));
    if let Some(name) = &message.name {
        fields.insert("name".to_owned(), Value::from(name.as_str()));
    }
    fields.insert("parts".to_owned(), message.parts.iter().map(part).collect());
    Value::Object(fields)
}

fn part(part: &MessagePart) -> Value {
    let mut value = match part {
        MessagePart::Text { content } => json!({"type": "text", "content": content}),
        MessagePart::Reasoning { content } => json!({"type": "reasoning", "content": content}),
        MessagePart::Refusal { content } => json!({"type": "refusal", "content": content}),
        MessagePart::ToolCall { id, name, arguments } => {
            json!({"type": "tool_call", "id": id, "name": name, "arguments": arguments})
        }
        MessagePart::ToolCallResponse { id, response } => {
            json!({"type": "tool_call_response", "id": id, "response": response})
        }
        // The bytes are in tapline's store; a span carries what and how large.
        MessagePart::Blob { modality, mime_type, bytes, .. } => {
            json!({"type": "blob", "modality": modality, "mime_type": mime_type, "bytes": bytes})
        }
        MessagePart::Uri { modality, uri, .. } => json!({"type": "uri", "modality": modality, "uri": uri}),
        MessagePart::File { file_id } => json!({"type": "file", "file_id": file_id}),
        MessagePart::Other { value } if value.get("type").is_some_and(Value::is_string) => value.clone(),
        MessagePart::Other { value } => json!({"type": "other", "value": value}),
    };
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// The array as JSON of at most `limit` bytes. Long texts are cut first; then elements between the first
/// and the last ones go, and one in their place says how many.
fn fit(mut items: Vec<Value>, limit: usize) -> (String, bool) {
    let mut pieces: Vec<String> = items.iter().map(Value::to_string).collect();
    if joined_length(&pieces) <= limit {
        return (join(&pieces), false);
    }
    // A quarter each lets the first and the last few survive whatever the rest is.
    for (item, piece) in items.iter_mut().zip(&mut pieces) {
        shrink(item, piece, limit / 4);
    }
    if joined_length(&pieces) <= limit {
        return (join(&pieces), true);
    }
    let count = pieces.len();
    let marker = |left_out: usize| {
        let text = format!("{ELLIPSIS} {left_out} left out by tapline");
        json!({"role": "tapline", "parts": [{"type": "text", "content": text}]}).to_string()
    };
    let mut room = limit.saturating_sub(2 + marker(count).len() + 1);
    let head = usize::from(pieces.first().is_some_and(|first| first.len() < room));
    room = room.saturating_sub(pieces.first().filter(|_| head == 1).map_or(0, |first| first.len() + 1));
    let mut tail = count;
    while tail > head && pieces.get(tail - 1).is_some_and(|piece| piece.len() < room) {
        tail -= 1;
        room -= pieces.get(tail).map_or(0, |piece| piece.len() + 1);
    }
    let mut kept: Vec<String> = pieces.drain(tail..).collect();
    kept.insert(0, marker(tail - head));
    pieces.truncate(head);
    pieces.append(&mut kept);
    let text = join(&pieces);
    (if text.len() <= limit { text } else { "[]".to_owned() }, true)
}

/// Cuts the texts of `item` until its JSON fits `target` or there is nothing left to cut.
fn shrink(item: &mut Value, piece: &mut String, target: usize) {
    let mut longest = target / 2;
    while piece.len() > target && longest >= 16 {
        cut_texts(item, longest);
        *piece = item.to_string();
        longest /= 2;
    }
}

fn cut_texts(value: &mut Value, longest: usize) {
    match value {
        Value::String(text) => {
            cut(text, longest);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, longest)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cut_texts(field, longest)),
        _ => {}
    }
}

fn joined_length(pieces: &[String]) -> usize {
    2 + pieces.iter().map(String::len).sum::<usize>() + pieces.len().saturating_sub(1)
}

fn join(pieces: &[String]) -> String {
    format!("[{}]", pieces.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(role: &str, content: &str) -> Message {
        Message {
            role: role.to_owned(),
            name: None,
            parts: vec![MessagePart::Text { content: content.to_owned() }],
        }
    }

    proptest! {
        #[test]
        fn whatever_is_cut_stays_valid_json_within_the_limit(
            texts in proptest::collection::vec(".{0,400}", 0..30),
            limit in 128usize..4096,
        ) {
            let messages: Vec<Message> = texts.iter().map(|text| said("user", text)).collect();
            let (json, was_cut) = input_messages(&messages, limit);
            prop_assert!(json.len() <= limit);
            let back: Vec<Value> = serde_json::from_str(&json).unwrap();
            let whole: Vec<Value> = messages.iter().map(message).collect();
            prop_assert_eq!(was_cut, back != whole);
        }
    }

    #[test]
    fn of_a_long_conversation_the_first_and_the_last_messages_stay() {
        let mut messages = vec![said("system", "be brief")];
        messages.extend((0..200).map(|turn| said("user", &format!("turn {turn} {}", "x".repeat(50)))));
        let (json, was_cut) = input_messages(&messages, 2_000);
        assert!(was_cut && json.contains("be brief") && json.contains("turn 199 "), "{json}");
        assert!(!json.contains("turn 5 ") && json.contains("left out by tapline"), "{json}");
    }

    #[test]
    fn one_huge_message_keeps_its_beginning() {
        let (json, was_cut) = input_messages(&[said("user", &"ü".repeat(10_000))], 1_000);
        assert!(was_cut && json.contains("üü") && json.contains(ELLIPSIS), "{json}");
    }

    #[test]
    fn tools_of_every_dialect_have_one_shape() {
        let schema = json!({"type": "object"});
        let chat =
            json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}});
        let responses = json!({"type": "function", "name": "f", "description": "d", "parameters": schema});
        let anthropic = json!({"name": "f", "description": "d", "input_schema": schema});
        let expected = json!([{"type": "function", "name": "f", "description": "d", "parameters": schema}]);
        for tool in [chat, responses, anthropic] {
            assert_eq!(tool_definitions(&[tool], 1_000).0, expected.to_string());
        }
        let hosted = json!({"type": "web_search", "user_location": null});
        assert_eq!(tool_definitions(std::slice::from_ref(&hosted), 1_000).0, json!([hosted]).to_string());
    }
}
