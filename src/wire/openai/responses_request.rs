//! Responses requests: `input` as text or items, `instructions` apart.

use serde_json::{Value, value::RawValue};

use crate::{
    model::exchange::{Message, MessagePart, Request},
    wire::{json, notes::Notes, parts},
};

use super::{
    chat_request::{message, top_level},
    responses::item_part,
};

pub(in crate::wire) fn read(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    top_level(body, &mut request, notes, |key, field, request, notes| match key {
        "input" => {
            request.messages.clear();
            if json::is_array(field) {
                json::each_item(field, |item| request.messages.extend(input_item(item, notes)));
            } else if let Some(text) = json::text(field) {
                let parts = vec![MessagePart::Text { content: text.into_owned() }];
                request.messages.push(Message { role: "user".into(), name: None, parts });
            } else if !json::is_null(field) {
                return false;
            }
            true
        }
        "instructions" => {
            request.system_instructions.clear();
            parts::content(field, notes, &mut request.system_instructions);
            true
        }
        _ => false,
    });
    request
}

/// A message, or an item of another type under the role that would have said it.
pub(in crate::wire) fn input_item(raw: &RawValue, notes: &mut Notes) -> Option<Message> {
    let [kind, role, id, output] = json::pick(raw.get(), ["type", "role", "call_id", "output"]);
    let kind = json::filled(kind).unwrap_or_default();
    if kind == "message" || (kind.is_empty() && role.is_some()) {
        let [role, content] = json::pick(raw.get(), ["role", "content"]);
        let mut parts = Vec::new();
        if let Some(content) = content {
            parts::content(content, notes, &mut parts);
        }
        let role = role.map(json::shown).unwrap_or_default();
        return notes.spend(1).then_some(Message { role, name: None, parts });
    }
    if kind.is_empty() && !json::is_object(raw) {
        return message(raw, notes);
    }
    if !notes.spend(2) {
        return None;
    }
    if kind.ends_with("_output") {
        let response = output.map_or(Value::Null, |output| parts::without_media(output, notes));
        let parts = vec![MessagePart::ToolCallResponse { id: json::filled(id), response }];
        return Some(Message { role: "tool".into(), name: None, parts });
    }
    let role = if kind.ends_with("_response") { "user" } else { "assistant" };
    let mut parts = Vec::new();
    item_part(raw, notes, &mut parts);
    Some(Message { role: role.into(), name: None, parts })
}
