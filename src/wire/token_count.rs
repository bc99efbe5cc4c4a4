//! Counting tokens without generating any: Anthropic's `messages/count_tokens`, OpenAI's
//! `responses/input_tokens`. What is counted is shown and is no usage: nobody is billed for it.

use serde_json::json;

use crate::model::exchange::{Choice, Message, MessagePart, Request, Response};

use super::{anthropic::messages, error, json, notes::Notes, openai::responses_request};

pub(super) fn read_request(target: &str, body: &str, notes: &mut Notes) -> Request {
    if target.contains("/messages") {
        messages::read_request(body, notes)
    } else {
        responses_request::read(body, notes)
    }
}

pub(super) fn read(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    let mut response = Response::default();
    let mut counted = None;
    let read = json::fields(body, |key, field| {
        if key == "input_tokens" {
            counted = json::index(Some(field));
        }
    });
    response.complete = read.is_ok();
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    }
    response.error = error::inside(body, status);
    if let Some(count) = counted {
        let value = json!({"type": "token_count", "input_tokens": count});
        let message =
            Message { role: "output".into(), name: None, parts: vec![MessagePart::Other { value }] };
        response.choices.push(Choice { message, ..Choice::default() });
    }
    response
}
