//! One choice of a chat or completions answer while it is put together: from deltas, or from a whole
//! message, which is one large delta.

use std::borrow::Cow;

use serde_json::{Map, Value, value::RawValue};

use crate::{
    model::exchange::{Choice, Message, MessagePart},
    wire::{json, notes::Notes, parts},
};

use super::tool_calls::ToolCalls;

#[derive(Debug, Default)]
pub(super) struct ChoiceDraft {
    role: Option<String>,
    content: String,
    reasoning: String,
    /// OpenRouter's `reasoning_details`, which repeat `reasoning`: used where that is missing.
    reasoning_details: String,
    refusal: String,
    transcript: String,
    audio_bytes: u64,
    tool_calls: ToolCalls,
    function: ToolCalls,
    /// Parts without a place of their own: images, Mistral's references, annotations, unknown fields.
    others: Vec<MessagePart>,
    finish_reason: Option<String>,
    logprobs: Option<Map<String, Value>>,
}

impl ChoiceDraft {
    pub(super) fn finish_reason(&mut self, raw: &RawValue) {
        if let Some(reason) = json::text(raw) {
            self.finish_reason = Some(reason.into_owned());
        }
    }

    pub(super) fn ended_with(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }

    /// Legacy completions: `choices[].text`.
    pub(super) fn text(&mut self, raw: &RawValue) -> bool {
        append(&mut self.content, Some(raw))
    }

    /// A `delta`, or (`whole`) a `message`. True when it brought content.
    pub(super) fn delta(&mut self, raw: &RawValue, whole: bool, notes: &mut Notes) -> bool {
        let mut brought = false;
        let (mut reasoning, mut reasoning_content) = (None, None);
        let read = json::fields(raw.get(), |key, field| {
            if json::is_null(field) {
                return;
            }
            match key {
                "role" => self.role = self.role.take().or_else(|| json::filled(Some(field))),
                "content" => brought |= self.push_content(field, notes),
                "reasoning" => reasoning = Some(field),
                "reasoning_content" => reasoning_content = Some(field),
                "reasoning_details" => brought |= self.push_details(field),
                "refusal" => brought |= append(&mut self.refusal, Some(field)),
                "tool_calls" => brought |= self.tool_calls.push(field, whole, notes),
                "function_call" => brought |= self.function.push_function(field),
                "audio" => brought |= self.push_audio(field),
                "images" => {
                    json::each_item(field, |image| self.others.extend(parts::part(image, notes)));
                    brought |= json::is_truthy(field);
                }
                "index" | "obfuscation" | "token_ids" | "token_id" => {}
                // A delta's unknown fields are the padding and bookkeeping of servers; a message's may
                // be its substance.
                "annotations" => self.push_other(key, field, notes),
                _ if whole => self.push_other(key, field, notes),
                _ => {}
            }
        });
        if read.is_err() {
            notes.add("a choice's message is no object");
        }
        // Servers in transition send the same text under both names.
        brought |= append(&mut self.reasoning, reasoning_content) || append(&mut self.reasoning, reasoning);
        brought
    }

    fn push_content(&mut self, raw: &RawValue, notes: &mut Notes) -> bool {
        if !json::is_array(raw) {
            return append(&mut self.content, Some(raw));
        }
        let mut brought = false;
        json::each_item(raw, |item| {
            brought = true;
            match parts::part(item, notes) {
                Some(MessagePart::Text { content }) => self.content.push_str(&content),
                Some(MessagePart::Reasoning { content }) => self.reasoning.push_str(&content),
                Some(MessagePart::Refusal { content }) => self.refusal.push_str(&content),
                other => self.others.extend(other),
            }
        });
        brought
    }

    fn push_details(&mut self, raw: &RawValue) -> bool {
        let mut brought = false;
        json::each_item(raw, |item| {
            let [text, summary] = json::pick(item.get(), ["text", "summary"]);
            brought |=
                append(&mut self.reasoning_details, text) || append(&mut self.reasoning_details, summary);
        });
        brought
    }

    fn push_audio(&mut self, raw: &RawValue) -> bool {
        let [data, transcript] = json::pick(raw.get(), ["data", "transcript"]);
        let bytes = data.and_then(json::text).map_or(0, |data| parts::base64_length(&data));
        self.audio_bytes = self.audio_bytes.saturating_add(bytes);
        append(&mut self.transcript, transcript) || bytes > 0
    }

    fn push_other(&mut self, key: &str, field: &RawValue, notes: &mut Notes) {
        if json::is_truthy(field) {
            let value = parts::without_media(field, notes);
            self.others
                .push(MessagePart::Other { value: Value::Object(Map::from_iter([(key.to_owned(), value)])) });
        }
    }

    /// Arrays are concatenated, whatever they are called (`content` and `refusal` of chat, `tokens`,
    /// `token_logprobs`, … of completions).
    pub(super) fn logprobs(&mut self, raw: &RawValue, notes: &mut Notes) {
        if !json::is_object(raw) {
            return;
        }
        let all = self.logprobs.get_or_insert_default();
        json::fields(raw.get(), |key, field| match (all.get_mut(key), json::value(field, notes)) {
            (Some(Value::Array(kept)), Value::Array(more)) => kept.extend(more),
            (Some(_), Value::Null) => {}
            (_, value) => {
                all.insert(key.to_owned(), value);
            }
        })
        .ok();
    }

    pub(super) fn into_choice(self, index: u32, notes: &mut Notes) -> Choice {
        let mut parts = Vec::new();
        let reasoning = if self.reasoning.is_empty() { self.reasoning_details } else { self.reasoning };
        if !reasoning.is_empty() {
            parts.push(MessagePart::Reasoning { content: reasoning });
        }
        if !self.content.is_empty() {
            parts.push(MessagePart::Text { content: self.content });
        }
        if !self.refusal.is_empty() {
            parts.push(MessagePart::Refusal { content: self.refusal });
        }
        if !self.transcript.is_empty() {
            parts.push(MessagePart::Text { content: self.transcript });
        }
        if self.audio_bytes > 0 {
            parts.push(MessagePart::blob("audio", None, self.audio_bytes));
        }
        parts.extend(self.function.into_parts(notes));
        parts.extend(self.tool_calls.into_parts(notes));
        parts.extend(self.others);
        Choice {
            index,
            message: Message { role: self.role.unwrap_or_else(|| "assistant".to_owned()), name: None, parts },
            finish_reason: self.finish_reason,
            logprobs: self.logprobs.map(Value::Object),
        }
    }
}

/// Appends a string; true when it was one and not empty.
fn append(place: &mut String, raw: Option<&RawValue>) -> bool {
    let text = raw.and_then(json::text).unwrap_or(Cow::Borrowed(""));
    place.push_str(&text);
    !text.is_empty()
}
