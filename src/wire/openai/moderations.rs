//! Moderations: texts and images in, what was flagged out. Nobody is billed for them.

use serde_json::{json, value::RawValue};

use crate::{
    model::exchange::{Choice, Message, MessagePart, Request, Response},
    wire::{error, json, notes::Notes, parts},
};

use super::{chat_request::top_level, completions::inputs};

pub(in crate::wire) fn read_request(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    top_level(body, &mut request, notes, |key, field, request, notes| match key {
        "input" => {
            request.messages = input(field, notes);
            true
        }
        _ => false,
    });
    request
}

/// Texts are a message each; typed parts are one message.
fn input(raw: &RawValue, notes: &mut Notes) -> Vec<Message> {
    let mut typed = false;
    json::each_item(raw, |item| typed |= json::is_object(item));
    if !typed {
        return inputs(raw, "user", notes);
    }
    let mut message = Message { role: "user".to_owned(), ..Message::default() };
    parts::content(raw, notes, &mut message.parts);
    vec![message]
}

pub(in crate::wire) fn read(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    let mut response = Response::default();
    let read = json::fields(body, |key, field| match key {
        "id" => response.id = json::filled(Some(field)),
        "model" => response.model = json::filled(Some(field)),
        "results" => json::each_item(field, |result| {
            let index = u32::try_from(response.choices.len()).unwrap_or(u32::MAX);
            if notes.spend(8) {
                response.choices.push(verdict(index, result));
            }
        }),
        _ => {}
    });
    response.complete = read.is_ok();
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    }
    response.error = error::inside(body, status);
    response
}

/// Results that come with an answer which was asked to be moderated: a note for what was flagged or not judged.
/// The answer's own parts stay what the model said.
pub(super) fn beside(raw: &RawValue, notes: &mut Notes) {
    for (side, found) in ["input", "output"].into_iter().zip(json::pick(raw.get(), ["input", "output"])) {
        let Some(found) = found else { continue };
        let [kind, results, message] = json::pick(found.get(), ["type", "results", "message"]);
        if json::filled(kind).as_deref() == Some("error") {
            let message = json::filled(message).unwrap_or_else(|| "no reason given".to_owned());
            notes.add(format!("moderation: the {side} could not be judged: {message}"));
        }
        let mut named = Vec::new();
        results.into_iter().for_each(|results| {
            json::each_item(results, |result| named.extend(flagged_for(result)));
        });
        if !named.is_empty() {
            notes.add(format!("moderation: the {side} was flagged for {}", named.join(", ")));
        }
    }
}

fn flagged_for(result: &RawValue) -> Vec<String> {
    let mut named = Vec::new();
    if let [Some(categories)] = json::pick(result.get(), ["categories"]) {
        json::fields(categories.get(), |name, is| {
            if is.get() == "true" {
                named.push(name.to_owned());
            }
        })
        .ok();
    }
    named
}

/// Whether it was flagged, and for what; the scores stay in the body.
fn verdict(index: u32, result: &RawValue) -> Choice {
    let [flagged] = json::pick(result.get(), ["flagged"]);
    let flagged = flagged.is_some_and(|flagged| flagged.get() == "true");
    let value = json!({"type": "moderation", "flagged": flagged, "categories": flagged_for(result)});
    let message = Message { role: "output".into(), name: None, parts: vec![MessagePart::Other { value }] };
    Choice { index, message, ..Choice::default() }
}
