//! The Responses API as typed events. The event that ends the stream carries the whole object; what came
//! before is put together only for a stream that was cut, or whose server sends an empty object.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    model::exchange::{MessagePart, Response},
    wire::{error, json, notes::Notes, parts},
};

use super::responses::{self, item_part};

#[derive(Debug, Default)]
pub(in crate::wire) struct ResponsesStream {
    /// From the last lifecycle event; the final one once `ended`.
    response: Response,
    items: BTreeMap<u32, ItemDraft>,
    ended: bool,
}

#[derive(Debug, Default)]
struct ItemDraft {
    /// The item as it was when it began, and when it was done.
    added: Option<Box<RawValue>>,
    done: Option<Box<RawValue>>,
    /// By kind and by place in the item.
    texts: BTreeMap<(TextKind, u32), String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TextKind {
    Reasoning,
    Output,
    Refusal,
    Transcript,
    Arguments,
}

impl ResponsesStream {
    /// Takes one event; `Ok(true)` when it brought content.
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
        let mut picked: [Option<&RawValue>; 8] = [None; 8];
        const NAMES: [&str; 8] =
            ["type", "response", "delta", "output_index", "content_index", "summary_index", "item", "error"];
        json::fields(data, |key, field| {
            if let Some(at) = NAMES.iter().position(|name| *name == key) {
                picked[at] = (!json::is_null(field)).then_some(field);
            }
        })?;
        let [kind, object, delta, output, content, summary, item, failure] = picked;
        // The JSON's own word counts; some servers leave it to the `event` field.
        let kind = json::filled(kind).unwrap_or_else(|| String::from_utf8_lossy(name).into_owned());
        let place = (json::index(output).unwrap_or(0), json::index(content.or(summary)).unwrap_or(0));
        match kind.as_str() {
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                if let Some(object) = object {
                    let earlier = self.response.error.take();
                    self.response = responses::object(object.get(), status, notes);
                    self.response.error = self.response.error.take().or(earlier);
                }
                self.ended = true;
            }
            "response.created" | "response.queued" | "response.in_progress" => {
                if let Some(object) = object.filter(|_| !self.ended) {
                    self.response = responses::object(object.get(), status, notes);
                }
            }
            "error" => {
                let whole =
                    serde_json::from_str(data).map_err(|fault: serde_json::Error| fault.to_string())?;
                self.response.error = Some(error::from_value(failure.unwrap_or(whole), status));
            }
            "response.output_item.added" => {
                if let Some(draft) = self.item(place.0, notes) {
                    draft.added = item.map(ToOwned::to_owned);
                }
            }
            "response.output_item.done" => {
                if let Some(draft) = self.item(place.0, notes) {
                    *draft = ItemDraft { done: item.map(ToOwned::to_owned), ..ItemDraft::default() };
                }
            }
            "response.audio.delta" => return Ok(delta.is_some_and(json::is_truthy)),
            _ => match (text_kind(&kind), delta.and_then(json::text)) {
                (Some(kind), Some(text)) if !text.is_empty() => {
                    if let Some(draft) = self.item(place.0, notes) {
                        draft.texts.entry((kind, place.1)).or_default().push_str(&text);
                    }
                    return Ok(true);
                }
                // A chat-style error that some servers send here too.
                (None, _) => {
                    if let Some(failure) = failure.filter(|failure| json::is_truthy(failure)) {
                        self.response.error = Some(error::from_value(failure, status));
                    }
                }
                _ => {}
            },
        }
        Ok(false)
    }

    fn item(&mut self, index: u32, notes: &mut Notes) -> Option<&mut ItemDraft> {
        if !self.items.contains_key(&index) && !notes.spend(4) {
            return None;
        }
        Some(self.items.entry(index).or_default())
    }

    pub(in crate::wire) fn finish(self, notes: &mut Notes) -> Response {
        let mut response = self.response;
        response.complete = self.ended;
        let empty = response.choices.iter().all(|choice| choice.message.parts.is_empty());
        if empty && !self.items.is_empty() {
            let mut parts = Vec::new();
            for draft in self.items.into_values() {
                draft.into_parts(notes, &mut parts);
            }
            let finish = response.choices.pop().and_then(|choice| choice.finish_reason);
            if !parts.is_empty() || finish.is_some() {
                response.choices.push(responses::choice(parts, finish));
            }
        } else if !self.ended {
            // The status of a response in progress is no reason to have finished.
            response.choices.iter_mut().for_each(|choice| choice.finish_reason = None);
        }
        response
    }
}

/// Whether an event's delta is text that the model made; the Realtime API has names of its own for some.
pub(super) fn is_spoken(event: &str) -> bool {
    text_kind(event).is_some()
        || matches!(
            event,
            "response.text.delta"
                | "response.output_audio_transcript.delta"
                | "response.audio_transcript.delta"
        )
}

fn text_kind(event: &str) -> Option<TextKind> {
    Some(match event {
        "response.output_text.delta" => TextKind::Output,
        "response.refusal.delta" => TextKind::Refusal,
        "response.audio.transcript.delta" => TextKind::Transcript,
        "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => TextKind::Reasoning,
        "response.function_call_arguments.delta"
        | "response.custom_tool_call_input.delta"
        | "response.mcp_call_arguments.delta"
        | "response.code_interpreter_call_code.delta"
        | "response.shell_call_command.delta" => TextKind::Arguments,
        _ => return None,
    })
}

impl ItemDraft {
    fn into_parts(self, notes: &mut Notes, parts: &mut Vec<MessagePart>) {
        if let Some(done) = self.done {
            return item_part(&done, notes, parts);
        }
        let [id, call_id, name, kind] = self
            .added
            .as_deref()
            .map_or([None; 4], |added| json::pick(added.get(), ["id", "call_id", "name", "type"]));
        let free_text = kind.is_some_and(|kind| kind.get() == "\"custom_tool_call\"");
        let called = kind.and_then(json::text).is_some_and(|kind| kind.ends_with("_call"));
        let before = parts.len();
        for ((kind, _), content) in self.texts {
            parts.push(match kind {
                TextKind::Reasoning => MessagePart::Reasoning { content },
                TextKind::Output | TextKind::Transcript => MessagePart::Text { content },
                TextKind::Refusal => MessagePart::Refusal { content },
                TextKind::Arguments => MessagePart::ToolCall {
                    id: json::filled(call_id.or(id)),
                    name: json::filled(name).unwrap_or_default(),
                    arguments: if free_text { content.into() } else { parts::arguments(&content, notes) },
                },
            });
        }
        // Cut before its first piece: what is known is that it began.
        if parts.len() == before
            && called
            && let Some(added) = self.added
        {
            item_part(&added, notes, parts);
        }
    }
}
