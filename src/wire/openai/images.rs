//! The Images API: generations as JSON, edits and variations as forms, answers whole or as partial images.
//! Images are measured, never kept.

use serde_json::value::RawValue;

use crate::{
    model::{
        exchange::{Choice, Message, MessagePart, Request, Response},
        usage::Usage,
    },
    wire::{error, json, multipart, notes::Notes, parts},
};

use super::{chat_request::top_level, usage};

pub(in crate::wire) fn read_request(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    top_level(body, &mut request, notes, |key, field, request, notes| match key {
        "prompt" => {
            let message = request.messages.pop().unwrap_or_else(user);
            request.messages.push(message);
            prepend_text(request, field);
            true
        }
        // Edits may come as JSON with references.
        "images" if json::is_array(field) => {
            json::each_item(field, |image| {
                let part = parts::part(image, notes);
                message_of(request).parts.extend(part);
            });
            true
        }
        _ => false,
    });
    request
}

pub(in crate::wire) fn read_form(form: &[multipart::Part<'_>]) -> Request {
    let mut request = Request { parameters: multipart::parameters(form), ..Request::default() };
    request.model = take_text(&mut request, "model");
    request.stream = take_text(&mut request, "stream").is_some_and(|flag| flag == "true");
    let prompt = take_text(&mut request, "prompt").map(|content| MessagePart::Text { content });
    let images = form.iter().filter_map(multipart::Part::blob);
    let parts: Vec<_> = prompt.into_iter().chain(images).collect();
    if !parts.is_empty() {
        request.messages.push(Message { parts, ..user() });
    }
    request
}

pub(super) fn take_text(request: &mut Request, name: &str) -> Option<String> {
    match request.parameters.remove(name)? {
        serde_json::Value::String(text) => Some(text),
        other => {
            request.parameters.insert(name.to_owned(), other);
            None
        }
    }
}

fn user() -> Message {
    Message { role: "user".to_owned(), ..Message::default() }
}

fn message_of(request: &mut Request) -> &mut Message {
    if request.messages.is_empty() {
        request.messages.push(user());
    }
    let last = request.messages.len() - 1;
    &mut request.messages[last]
}

fn prepend_text(request: &mut Request, field: &RawValue) {
    let content = json::shown(field);
    message_of(request).parts.insert(0, MessagePart::Text { content });
}

pub(in crate::wire) fn read(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    let mut response = Response::default();
    let read = json::fields(body, |key, field| match key {
        "data" => json::each_item(field, |image| {
            let index = u32::try_from(response.choices.len()).unwrap_or(u32::MAX);
            if notes.spend(4) {
                response.choices.push(choice(index, image));
            }
        }),
        "usage" => response.usage = read_usage(field, notes),
        "model" => response.model = json::filled(Some(field)),
        _ => {}
    });
    response.complete = read.is_ok();
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    }
    response.error = error::inside(body, status);
    response
}

/// A picture and, where the model changed it, the prompt that made it.
fn choice(index: u32, image: &RawValue) -> Choice {
    let [data, url, revised] = json::pick(image.get(), ["b64_json", "url", "revised_prompt"]);
    let mut parts = Vec::new();
    if let Some(data) = data.and_then(json::text) {
        let bytes = parts::base64_length(&data);
        parts.push(MessagePart::blob("image", None, bytes));
    } else if let Some(uri) = json::filled(url) {
        parts.push(MessagePart::uri("image", uri));
    }
    if let Some(content) = json::filled(revised) {
        parts.push(MessagePart::Text { content });
    }
    let message = Message { role: "assistant".to_owned(), name: None, parts };
    Choice { index, message, ..Choice::default() }
}

/// All output of an image model is image tokens unless it says otherwise.
fn read_usage(raw: &RawValue, notes: &mut Notes) -> Option<Usage> {
    let mut usage = usage::read(raw, notes)?;
    let [details] = json::pick(raw.get(), ["output_tokens_details"]);
    if details.is_none() {
        usage.output_image = usage.output;
    }
    Some(usage)
}

/// `image_generation.partial_image`, `image_generation.completed` and their `image_edit` twins.
#[derive(Debug, Default)]
pub(in crate::wire) struct ImagesStream {
    response: Response,
}

impl ImagesStream {
    /// Takes one event; `Ok(true)` when it brought an image.
    pub(in crate::wire) fn event(
        &mut self,
        name: &[u8],
        data: &str,
        status: Option<u16>,
        notes: &mut Notes,
    ) -> Result<bool, String> {
        if data.starts_with("[DONE]") {
            return Ok(false);
        }
        let whole = serde_json::from_str::<&RawValue>(data).map_err(|fault| fault.to_string())?;
        let [kind, counts, failure, image] = json::pick(data, ["type", "usage", "error", "b64_json"]);
        let kind = json::filled(kind).unwrap_or_else(|| String::from_utf8_lossy(name).into_owned());
        if kind.ends_with(".completed") {
            let index = u32::try_from(self.response.choices.len()).unwrap_or(u32::MAX);
            if notes.spend(4) {
                self.response.choices.push(choice(index, whole));
            }
            if let Some(counts) = counts {
                self.response.usage = read_usage(counts, notes).or(self.response.usage.take());
            }
            self.response.complete = true;
        } else if kind == "error" || failure.is_some_and(json::is_truthy) {
            self.response.error = Some(error::from_value(failure.unwrap_or(whole), status));
        }
        Ok(image.is_some())
    }

    pub(in crate::wire) fn finish(self) -> Response {
        self.response
    }
}
