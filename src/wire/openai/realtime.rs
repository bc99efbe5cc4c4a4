//! A WebSocket session of the Realtime API, or of the Responses API in its WebSocket form: events both ways.
//! One session is one call; every response in it is a choice, and their usage is added up.

use serde_json::value::RawValue;

use crate::{
    model::{
        exchange::{Choice, Message, MessagePart, Request, Response, Uncounted},
        usage::Usage,
    },
    wire::{error, json, notes::Notes, parts},
};

use super::{responses, responses_stream, usage};

/// Responses and messages of one session that are shown; the others are counted in its usage all the same.
const MAX_SHOWN: usize = 1_000;
/// Characters that are kept of a response that has not ended.
const MAX_SAID: usize = 1 << 20;

/// What the server sends.
#[derive(Debug, Default)]
pub(in crate::wire) struct RealtimeSession {
    response: Response,
    /// What the user said, as the server heard it.
    pub(in crate::wire) heard: Vec<Message>,
    in_progress: bool,
    /// What the response in progress has said.
    said: String,
}

impl RealtimeSession {
    /// Takes one event; `Ok(true)` when it brought content.
    pub(in crate::wire) fn event(&mut self, data: &str, notes: &mut Notes) -> Result<bool, String> {
        let whole = serde_json::from_str::<&RawValue>(data).map_err(|fault| fault.to_string())?;
        let [kind, session, response, delta, failure, transcript] =
            json::pick(data, ["type", "session", "response", "delta", "error", "transcript"]);
        let kind = json::filled(kind).unwrap_or_default();
        match kind.as_str() {
            "session.created" | "session.updated" => {
                if let Some(session) = session {
                    let [id, model] = json::pick(session.get(), ["id", "model"]);
                    self.response.id = json::filled(id).or(self.response.id.take());
                    self.response.model = json::filled(model).or(self.response.model.take());
                }
            }
            "response.created" => {
                self.in_progress = true;
                self.said.clear();
            }
            "response.done" | "response.completed" | "response.incomplete" | "response.failed" => {
                self.in_progress = false;
                if let Some(response) = response {
                    self.done(response, notes);
                }
            }
            "conversation.item.input_audio_transcription.completed" => {
                if let Some(content) = json::filled(transcript) {
                    self.hear(vec![MessagePart::Text { content }], notes);
                }
            }
            "error" => self.response.error = Some(error::from_value(failure.unwrap_or(whole), None)),
            kind if kind.ends_with(".delta") => {
                if responses_stream::is_spoken(kind)
                    && let Some(text) = delta.and_then(json::text)
                {
                    let left = MAX_SAID.saturating_sub(self.said.len());
                    self.said.extend(text.chars().take(left));
                }
                return Ok(delta.is_some_and(json::is_truthy));
            }
            _ => {}
        }
        Ok(false)
    }

    fn hear(&mut self, parts: Vec<MessagePart>, notes: &mut Notes) {
        if self.heard.len() < MAX_SHOWN && notes.spend(2) {
            self.heard.push(Message { role: "user".to_owned(), name: None, parts });
        }
    }

    fn done(&mut self, response: &RawValue, notes: &mut Notes) {
        let [model, state, output, counts, failure] =
            json::pick(response.get(), ["model", "status", "output", "usage", "error"]);
        if self.response.model.is_none() {
            self.response.model = json::filled(model);
        }
        if let Some(counts) = counts.and_then(|counts| usage::read(counts, notes)) {
            self.response.usage.get_or_insert_with(Usage::default).add(&counts);
        }
        if let Some(failure) = failure.filter(|failure| json::is_truthy(failure)) {
            self.response.error = Some(error::from_value(failure, None));
        }
        if self.response.choices.len() < MAX_SHOWN && notes.spend(8) {
            let mut all = Vec::new();
            if let Some(output) = output {
                json::each_item(output, |item| item_parts(item, notes, &mut all));
            }
            let index = u32::try_from(self.response.choices.len()).unwrap_or(u32::MAX);
            let choice = responses::choice(all, json::filled(state));
            self.response.choices.push(Choice { index, ..choice });
        }
    }

    /// `whole`: the session was closed, not broken off.
    pub(in crate::wire) fn finish(self, whole: bool) -> Response {
        let mut response = Response { complete: whole && !self.in_progress, ..self.response };
        if self.in_progress && !self.said.is_empty() {
            response.uncounted = response.usage.is_some().then_some(Uncounted::LastChoice);
            let index = u32::try_from(response.choices.len()).unwrap_or(u32::MAX);
            let choice = responses::choice(vec![MessagePart::Text { content: self.said }], None);
            response.choices.push(Choice { index, ..choice });
        }
        response
    }
}

/// An output item; sound is told by its transcript.
fn item_parts(item: &RawValue, notes: &mut Notes, all: &mut Vec<MessagePart>) {
    let [kind, content] = json::pick(item.get(), ["type", "content"]);
    let Some(content) = content.filter(|_| kind.is_some_and(|kind| kind.get() == "\"message\"")) else {
        return responses::item_part(item, notes, all);
    };
    json::each_item(content, |part| {
        let [transcript] = json::pick(part.get(), ["transcript"]);
        match json::filled(transcript) {
            Some(content) => all.push(MessagePart::Text { content }),
            None => all.extend(parts::part(part, notes)),
        }
    });
}

/// What the client sends: items of the conversation, and the session's settings.
pub(in crate::wire) fn client_event(data: &str, request: &mut Request, notes: &mut Notes) {
    let [kind, item, session, response, model, input] =
        json::pick(data, ["type", "item", "session", "response", "model", "input"]);
    match json::filled(kind).as_deref() {
        Some("conversation.item.create") => {
            let Some(item) = item.filter(|_| request.messages.len() < MAX_SHOWN && notes.spend(2)) else {
                return;
            };
            let [role, call, output] = json::pick(item.get(), ["role", "call_id", "output"]);
            let mut parts = Vec::new();
            let role = match output {
                Some(output) => {
                    let response = parts::without_media(output, notes);
                    parts.push(MessagePart::ToolCallResponse { id: json::filled(call), response });
                    "tool".to_owned()
                }
                None => {
                    item_parts(item, notes, &mut parts);
                    json::filled(role).unwrap_or_else(|| "user".to_owned())
                }
            };
            request.messages.push(Message { role, name: None, parts });
        }
        Some("session.update") => settings(session, request, notes),
        Some("response.create") => {
            if let Some(model) = json::filled(model) {
                request.model = Some(model);
            }
            // The Responses form carries the whole request.
            if let Some(input) = input.filter(|_| notes.spend(2)) {
                let body = format!("{{\"input\":{}}}", input.get());
                request.messages.extend(super::responses_request::read(&body, notes).messages);
            }
            settings(response, request, notes);
        }
        _ => {}
    }
}

fn settings(raw: Option<&RawValue>, request: &mut Request, notes: &mut Notes) {
    let Some(raw) = raw.filter(|raw| json::is_object(raw)) else { return };
    json::fields(raw.get(), |key, field| match key {
        "model" => request.model = json::filled(Some(field)).or(request.model.take()),
        "instructions" => {
            request.system_instructions.clear();
            parts::content(field, notes, &mut request.system_instructions);
        }
        "tools" => {
            request.tools.clear();
            json::each_item(field, |tool| request.tools.push(json::value(tool, notes)));
        }
        _ => {
            request.parameters.insert(key.to_owned(), parts::without_media(field, notes));
        }
    })
    .ok();
}
