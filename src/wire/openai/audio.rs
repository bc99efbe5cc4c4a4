//! Speech (text to sound) and transcriptions (sound to text, as JSON, as text or as events). Sound is
//! measured, never kept; where a provider bills by time, the seconds are the usage.

use serde_json::value::RawValue;

use crate::{
    model::{
        exchange::{Choice, Message, MessagePart, Request, Response},
        usage::Usage,
    },
    wire::{error, json, multipart, notes::Notes},
};

use super::{chat_request::top_level, images::take_text, usage};

pub(in crate::wire) fn read_speech_request(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    let mut events = false;
    top_level(body, &mut request, notes, |key, field, request, _| match key {
        "input" => {
            let parts = vec![MessagePart::Text { content: json::shown(field) }];
            request.messages = vec![Message { role: "user".to_owned(), name: None, parts }];
            true
        }
        "stream_format" => {
            events = field.get() == "\"sse\"";
            false
        }
        _ => false,
    });
    request.stream |= events;
    request
}

/// The sound itself: what kind and how much of it.
pub(in crate::wire) fn read_speech(bytes: u64, content_type: Option<&str>) -> Response {
    let mut response = Response { complete: true, ..Response::default() };
    if bytes > 0 {
        response.choices.push(sound(bytes, content_type));
    }
    response
}

fn sound(bytes: u64, content_type: Option<&str>) -> Choice {
    let mime_type = content_type.map(|kind| kind.split(';').next().unwrap_or(kind).trim().to_owned());
    let parts = vec![MessagePart::blob("audio", mime_type, bytes)];
    Choice { message: Message { role: "assistant".to_owned(), name: None, parts }, ..Choice::default() }
}

pub(in crate::wire) fn read_transcription_form(form: &[multipart::Part<'_>]) -> Request {
    let mut request = Request { parameters: multipart::parameters(form), ..Request::default() };
    request.model = take_text(&mut request, "model");
    request.stream = take_text(&mut request, "stream").is_some_and(|flag| flag == "true");
    let sounds = form.iter().filter_map(multipart::Part::blob).map(|part| match part {
        // Clients often name no type, or a general one.
        MessagePart::Blob { mime_type, bytes, extent, detail, .. } => {
            MessagePart::Blob { modality: "audio".to_owned(), mime_type, bytes, extent, detail }
        }
        other => other,
    });
    let prompt = take_text(&mut request, "prompt").map(|content| MessagePart::Text { content });
    let parts: Vec<_> = prompt.into_iter().chain(sounds).collect();
    if !parts.is_empty() {
        request.messages.push(Message { role: "user".to_owned(), name: None, parts });
    }
    request
}

/// JSON, or the text itself (`text`, `srt`, `vtt`).
pub(in crate::wire) fn read_transcription(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    if !body.trim_start().starts_with('{') {
        let choices = vec![said(body.trim_end().to_owned())];
        return Response { choices, complete: true, ..Response::default() };
    }
    let mut response = Response::default();
    let mut duration = None;
    let read = json::fields(body, |key, field| match key {
        "text" => response.choices = vec![said(json::shown(field))],
        "usage" => response.usage = read_usage(field, notes),
        "duration" => duration = seconds(field),
        _ => {}
    });
    if let (None, Some(seconds)) = (&response.usage, duration) {
        response.usage = Some(Usage { seconds: Some(seconds), ..Usage::default() });
    }
    response.complete = read.is_ok();
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    }
    response.error = error::inside(body, status);
    response
}

fn said(content: String) -> Choice {
    let parts = vec![MessagePart::Text { content }];
    Choice { message: Message { role: "assistant".to_owned(), name: None, parts }, ..Choice::default() }
}

/// Tokens, or seconds for models that are billed by time.
pub(super) fn read_usage(raw: &RawValue, notes: &mut Notes) -> Option<Usage> {
    let [kind, time] = json::pick(raw.get(), ["type", "seconds"]);
    if kind.is_some_and(|kind| kind.get() == "\"duration\"") {
        return Some(Usage { seconds: seconds(time?), ..Usage::default() });
    }
    usage::read(raw, notes)
}

/// Whole seconds, begun ones counted, as they are billed.
fn seconds(raw: &RawValue) -> Option<u64> {
    let seconds: f64 = raw.get().trim_matches('"').parse().ok()?;
    (0.0..1e9).contains(&seconds).then(|| seconds.ceil() as u64)
}

/// `speech.audio.delta`, `transcript.text.delta` and what ends them.
#[derive(Debug, Default)]
pub(in crate::wire) struct AudioStream {
    text: String,
    bytes: u64,
    response: Response,
}

impl AudioStream {
    /// Takes one event; `Ok(true)` when it brought sound or text.
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
        let [kind, delta, audio, text, counts, failure] =
            json::pick(data, ["type", "delta", "audio", "text", "usage", "error"]);
        let kind = json::filled(kind).unwrap_or_else(|| String::from_utf8_lossy(name).into_owned());
        match kind.as_str() {
            "speech.audio.delta" => {
                let sound = audio.and_then(json::text).unwrap_or_default();
                self.bytes += crate::wire::parts::base64_length(&sound);
                return Ok(!sound.is_empty());
            }
            "transcript.text.delta" => {
                let piece = delta.and_then(json::text).unwrap_or_default();
                self.text.push_str(&piece);
                return Ok(!piece.is_empty());
            }
            "speech.audio.done" | "transcript.text.done" => {
                if let Some(text) = json::filled(text) {
                    self.text = text;
                }
                if let Some(counts) = counts {
                    self.response.usage = read_usage(counts, notes);
                }
                self.response.complete = true;
            }
            _ => {
                if kind == "error" || failure.is_some_and(json::is_truthy) {
                    self.response.error = Some(error::from_value(failure.unwrap_or(whole), status));
                }
            }
        }
        Ok(false)
    }

    pub(in crate::wire) fn finish(self) -> Response {
        let mut response = self.response;
        if self.bytes > 0 {
            response.choices.push(sound(self.bytes, None));
        }
        if !self.text.is_empty() {
            response.choices.push(said(self.text));
        }
        response
    }
}
