//! A message as words: what a person would search for, whatever its dialect wraps around it.

use serde_json::{Value, value::RawValue};

use super::{
    notes::Notes,
    openai::{chat_request, responses_request},
};
use crate::model::{
    call::Dialect,
    exchange::{Message, MessagePart},
};

/// Reads one item of a request's conversation; `None` where it is none.
pub fn message(dialect: Dialect, item: &[u8]) -> Option<Message> {
    let raw: &RawValue = serde_json::from_slice(item).ok()?;
    let mut notes = Notes::new();
    match dialect {
        Dialect::Responses => responses_request::input_item(raw, &mut notes),
        _ => chat_request::message(raw, &mut notes),
    }
}

/// The words of a message's parts, in their order; media have none.
pub fn words(parts: &[MessagePart]) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            MessagePart::Text { content }
            | MessagePart::Reasoning { content }
            | MessagePart::Refusal { content } => line(content, &mut text),
            MessagePart::ToolCall { name, arguments, .. } => {
                line(name, &mut text);
                values(arguments, &mut text);
            }
            MessagePart::ToolCallResponse { response: value, .. } | MessagePart::Other { value } => {
                values(value, &mut text);
            }
            MessagePart::Uri { uri, .. } => line(uri, &mut text),
            MessagePart::Blob { .. } | MessagePart::File { .. } => {}
        }
    }
    text
}

fn line(words: &str, text: &mut String) {
    if !words.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(words);
    }
}

/// Strings and numbers, and the names of fields with them.
fn values(value: &Value, text: &mut String) {
    match value {
        Value::String(words) => line(words, text),
        Value::Number(number) => line(&number.to_string(), text),
        Value::Array(items) => items.iter().for_each(|item| values(item, text)),
        Value::Object(fields) => fields.values().for_each(|field| values(field, text)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_words_in_every_dialect() {
        for (dialect, item, expected) in [
            (
                Dialect::ChatCompletions,
                r#"{"role":"user","content":"Caf\u00e9 \"au lait\""}"#,
                "Café \"au lait\"",
            ),
            (
                Dialect::ChatCompletions,
                r#"{"role":"assistant","content":"Looking.","tool_calls":[{"id":"c","type":"function","function":{"name":"find","arguments":"{\"path\":\"a.rs\",\"limit\":5}"}}]}"#,
                "Looking.\nfind\na.rs\n5",
            ),
            (
                Dialect::Messages,
                r#"{"role":"user","content":[{"type":"text","text":"One"},{"type":"tool_result","tool_use_id":"t","content":"Two"}]}"#,
                "One\nTwo",
            ),
            (
                Dialect::Responses,
                r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"Three"}]}"#,
                "Three",
            ),
            (Dialect::Responses, r#"{"type":"function_call_output","call_id":"c","output":"Four"}"#, "Four"),
        ] {
            assert_eq!(words(&message(dialect, item.as_bytes()).unwrap().parts), expected);
        }
        assert_eq!(message(Dialect::ChatCompletions, b"{"), None);
    }
}
