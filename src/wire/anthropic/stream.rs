//! The Messages API as events: content blocks that are started, continued and stopped.

use std::collections::BTreeMap;

use serde_json::{Value, json, value::RawValue};

use crate::{
    model::exchange::{Choice, MessagePart, Response, Uncounted},
    wire::{error, json, notes::Notes, parts},
};

use super::messages::{Counts, envelope, served};

#[derive(Debug, Default)]
pub(in crate::wire) struct MessagesStream {
    response: Response,
    counts: Counts,
    role: Option<String>,
    stop_reason: Option<String>,
    blocks: BTreeMap<u32, BlockDraft>,
    started: bool,
    /// `message_start` counts the first token or so of the output; the last count comes at the end.
    counted: bool,
}

#[derive(Debug, Default)]
struct BlockDraft {
    /// The block as `content_block_start` gave it.
    start: Option<Box<RawValue>>,
    text: String,
    thinking: String,
    /// Fragments of a tool's input.
    input: String,
}

impl MessagesStream {
    /// Takes one event; `Ok(true)` when it brought content.
    pub(in crate::wire) fn event(
        &mut self,
        name: &[u8],
        data: &str,
        status: Option<u16>,
        notes: &mut Notes,
    ) -> Result<bool, String> {
        let mut picked: [Option<&RawValue>; 7] = [None; 7];
        const NAMES: [&str; 7] = ["type", "message", "index", "content_block", "delta", "usage", "error"];
        json::fields(data, |key, field| {
            if let Some(at) = NAMES.iter().position(|name| *name == key) {
                picked[at] = (!json::is_null(field)).then_some(field);
            }
        })?;
        let [kind, message, index, block, delta, usage, failure] = picked;
        let kind = json::filled(kind).unwrap_or_else(|| String::from_utf8_lossy(name).into_owned());
        match (kind.as_str(), message, block, delta) {
            ("message_start", Some(message), ..) => {
                self.started = true;
                let Self { response, counts, role, .. } = self;
                json::fields(message.get(), |key, field| match key {
                    "role" => *role = json::filled(Some(field)),
                    _ => envelope(key, field, response, counts, notes),
                })
                .ok();
            }
            ("content_block_start", _, Some(block), _) => {
                if let Some(draft) = self.block(index, notes) {
                    draft.start = Some(block.to_owned());
                }
                // A tool's call begins with its name; text begins empty.
                return Ok(json::pick(block.get(), ["name"])[0].is_some());
            }
            ("content_block_delta", _, _, Some(delta)) => {
                let [text, thinking, partial] = json::pick(delta.get(), ["text", "thinking", "partial_json"]);
                let Some(draft) = self.block(index, notes) else { return Ok(false) };
                let mut brought = false;
                for (place, piece) in
                    [(&mut draft.text, text), (&mut draft.thinking, thinking), (&mut draft.input, partial)]
                {
                    if let Some(piece) = piece.and_then(json::text) {
                        brought |= !piece.is_empty();
                        place.push_str(&piece);
                    }
                }
                return Ok(brought);
            }
            ("message_delta", ..) => {
                if let Some([Some(reason)]) = delta.map(|delta| json::pick(delta.get(), ["stop_reason"])) {
                    self.stop_reason = json::filled(Some(reason));
                }
                if let Some(usage) = usage {
                    self.counted = true;
                    self.counts.merge(usage, notes);
                    served(usage, &mut self.response);
                }
            }
            ("message_stop", ..) => self.response.complete = true,
            _ => {
                if let Some(failure) = failure.filter(|failure| json::is_truthy(failure)) {
                    self.response.error.get_or_insert_with(|| error::from_value(failure, status));
                }
            }
        }
        Ok(false)
    }

    fn block(&mut self, index: Option<&RawValue>, notes: &mut Notes) -> Option<&mut BlockDraft> {
        let index = json::index(index).unwrap_or(0);
        if !self.blocks.contains_key(&index) && !notes.spend(4) {
            return None;
        }
        Some(self.blocks.entry(index).or_default())
    }

    pub(in crate::wire) fn finish(self, notes: &mut Notes) -> Response {
        let mut response = self.response;
        response.usage = self.counts.into_usage();
        response.uncounted = (response.usage.is_some() && !self.counted).then_some(Uncounted::Rest);
        if self.started || !self.blocks.is_empty() {
            let mut choice = Choice { finish_reason: self.stop_reason, ..Choice::default() };
            choice.message.role = self.role.unwrap_or_else(|| "assistant".to_owned());
            choice.message.parts =
                self.blocks.into_values().filter_map(|block| block.into_part(notes)).collect();
            response.choices.push(choice);
        }
        response
    }
}

impl BlockDraft {
    fn into_part(self, notes: &mut Notes) -> Option<MessagePart> {
        let [kind, id, name] =
            self.start.as_deref().map_or([None; 3], |start| json::pick(start.get(), ["type", "id", "name"]));
        let kind = json::filled(kind).unwrap_or_default();
        if kind.ends_with("tool_use") || (kind.is_empty() && !self.input.is_empty()) {
            let arguments = match self.input.as_str() {
                // No fragment, or only empty ones: a tool without input, or one that came whole.
                "" => self
                    .start
                    .as_deref()
                    .and_then(|start| json::pick(start.get(), ["input"])[0])
                    .map_or_else(|| json!({}), |input| json::value(input, notes)),
                input => parts::arguments(input, notes),
            };
            return Some(MessagePart::ToolCall {
                id: json::filled(id),
                name: json::filled(name).unwrap_or_default(),
                arguments,
            });
        }
        if !self.thinking.is_empty() {
            return Some(MessagePart::Reasoning { content: self.thinking });
        }
        if !self.text.is_empty() {
            return Some(MessagePart::Text { content: self.text });
        }
        match kind.as_str() {
            // Begun and left empty.
            "text" | "thinking" => self.start.and_then(|start| parts::part(&start, notes)).filter(|part| {
                !matches!(part, MessagePart::Text { content } | MessagePart::Reasoning { content } if content.is_empty())
            }),
            _ => self.start.map(|start| {
                parts::part(&start, notes).unwrap_or(MessagePart::Other { value: Value::Null })
            }),
        }
    }
}
