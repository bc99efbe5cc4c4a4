//! Legacy completions: only the request differs from chat; the answer's envelope is the same with
//! `choices[].text`.

use serde_json::{json, value::RawValue};

use crate::{
    model::exchange::{Message, MessagePart, Request},
    wire::{json, notes::Notes},
};

use super::chat_request::{message, top_level};

pub(in crate::wire) fn read(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    top_level(body, &mut request, notes, |key, field, request, notes| match key {
        "prompt" => {
            request.messages = inputs(field, "user", notes);
            true
        }
        // Some servers take chats at this path.
        "messages" if json::is_array(field) => {
            json::each_item(field, |item| request.messages.extend(message(item, notes)));
            true
        }
        _ => false,
    });
    request
}

/// A text, several texts, a token array, or several token arrays: one message each. Tokens are counted,
/// not kept.
pub(super) fn inputs(raw: &RawValue, role: &str, notes: &mut Notes) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut add = |part, notes: &mut Notes| {
        if notes.spend(2) {
            messages.push(Message { role: role.to_owned(), name: None, parts: vec![part] });
        }
    };
    let (mut tokens, mut items) = (0u64, 0u64);
    json::each_item(raw, |item| {
        items += 1;
        tokens += u64::from(json::index(Some(item)).is_some());
    });
    if items > 0 && items == tokens {
        add(token_count(tokens), notes);
        return messages;
    }
    if !json::is_array(raw) {
        add(input(raw, notes), notes);
        return messages;
    }
    json::each_item(raw, |item| add(input(item, notes), notes));
    messages
}

fn input(raw: &RawValue, notes: &mut Notes) -> MessagePart {
    if let Some(text) = json::text(raw) {
        return MessagePart::Text { content: text.into_owned() };
    }
    if json::is_array(raw) {
        let mut tokens = 0;
        json::each_item(raw, |_| tokens += 1);
        return token_count(tokens);
    }
    MessagePart::Other { value: crate::wire::parts::without_media(raw, notes) }
}

fn token_count(tokens: u64) -> MessagePart {
    MessagePart::Other { value: json!({"type": "tokens", "count": tokens}) }
}
