//! Chat requests.

use serde_json::{Map, Value, value::RawValue};

use crate::{
    model::exchange::{Message, MessagePart, Request},
    wire::{json, notes::Notes, parts},
};

use super::tool_calls::ToolCalls;

pub(in crate::wire) fn read(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    let mut functions = Vec::new();
    top_level(body, &mut request, notes, |key, field, request, notes| match key {
        "messages" if json::is_array(field) => {
            request.messages.clear();
            json::each_item(field, |item| request.messages.extend(message(item, notes)));
            true
        }
        // The older form of tools.
        "functions" if json::is_array(field) => {
            functions.clear();
            json::each_item(field, |item| {
                let function = json::value(item, notes);
                functions.push(serde_json::json!({"type": "function", "function": function}));
            });
            true
        }
        _ => false,
    });
    request.tools.append(&mut functions);
    request
}

/// Reads the fields that all dialects share; `take` sees the others first and says whether it took one.
/// What nobody takes is a parameter.
pub(in crate::wire) fn top_level<'a>(
    body: &'a str,
    request: &mut Request,
    notes: &mut Notes,
    mut take: impl FnMut(&str, &'a RawValue, &mut Request, &mut Notes) -> bool,
) {
    let read = json::fields(body, |key, field| match (key, field.get()) {
        ("model", _) if json::text(field).is_some() => request.model = json::filled(Some(field)),
        ("stream", flag @ ("true" | "false")) => request.stream = flag == "true",
        ("tools", _) if json::is_array(field) => {
            request.tools.clear();
            json::each_item(field, |tool| request.tools.push(json::value(tool, notes)));
        }
        _ => {
            if !take(key, field, request, notes) {
                request.parameters.insert(key.to_owned(), parts::without_media(field, notes));
            }
        }
    });
    if let Err(fault) = read {
        notes.add(if body.trim().is_empty() {
            "the request has no body".to_owned()
        } else {
            format!("the request body is no JSON object of this dialect: {fault}")
        });
    }
}

/// One message of a conversation; `None` when the budget is spent.
pub(in crate::wire) fn message(raw: &RawValue, notes: &mut Notes) -> Option<Message> {
    if !notes.spend(1) {
        return None;
    }
    let mut message = Message::default();
    let (mut content, mut result_of) = (None, None);
    let mut calls = ToolCalls::default();
    let mut tail = Vec::new();
    let mut unknown = Map::new();
    let (mut reasoning, mut reasoning_content) = (None, None);
    let read = json::fields(raw.get(), |key, field| {
        if json::is_null(field) {
            return;
        }
        match key {
            "role" => message.role = json::shown(field),
            "name" => message.name = Some(json::shown(field)),
            "content" => content = Some(field),
            "tool_call_id" => result_of = json::filled(Some(field)),
            "tool_calls" if json::is_array(field) => {
                calls.push(field, true, notes);
            }
            "function_call" if json::is_object(field) => {
                calls.push_function(field);
            }
            "refusal" => {
                tail.push(MessagePart::Refusal { content: json::shown(field) });
            }
            "reasoning" => reasoning = json::filled(Some(field)),
            "reasoning_content" => reasoning_content = json::filled(Some(field)),
            "audio" => {
                let [id] = json::pick(field.get(), ["id"]);
                if let Some(file_id) = json::filled(id) {
                    tail.push(MessagePart::File { file_id });
                }
            }
            _ => {
                if json::is_truthy(field) {
                    unknown.insert(key.to_owned(), parts::without_media(field, notes));
                }
            }
        }
    });
    if read.is_err() {
        notes.add("a message is no object");
        let value = parts::without_media(raw, notes);
        return Some(Message { parts: vec![MessagePart::Other { value }], ..message });
    }
    if let Some(content) = reasoning_content.or(reasoning) {
        message.parts.push(MessagePart::Reasoning { content });
    }
    if let Some(content) = content {
        if matches!(message.role.as_str(), "tool" | "function") {
            let response = result(content, notes);
            message.parts.push(MessagePart::ToolCallResponse { id: result_of, response });
        } else {
            parts::content(content, notes, &mut message.parts);
        }
    }
    message.parts.append(&mut tail);
    message.parts.extend(calls.into_parts(notes));
    if !unknown.is_empty() {
        message.parts.push(MessagePart::Other { value: Value::Object(unknown) });
    }
    Some(message)
}

/// A tool's result: text that was sent as parts becomes one text again.
fn result(content: &RawValue, notes: &mut Notes) -> Value {
    if let Some(text) = json::text(content) {
        return Value::String(text.into_owned());
    }
    let (mut only_text, mut any) = (json::is_array(content), false);
    json::each_item(content, |item| {
        let [text] = json::pick(item.get(), ["text"]);
        only_text &= text.is_some();
        any = true;
    });
    if only_text && any {
        return Value::String(parts::plain_text(content));
    }
    parts::without_media(content, notes)
}
