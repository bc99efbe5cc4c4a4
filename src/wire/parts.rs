//! Content parts of messages, in the spellings of every dialect: their `type`s do not collide, and
//! servers mix them. Media become a kind and a size; their bytes are never kept.

use std::borrow::Cow;

use serde_json::{Map, Value, value::RawValue};

use crate::model::exchange::MessagePart;

use super::{
    extent::{self, Encoded},
    json,
    notes::Notes,
};

/// A message's `content`: a string, an array of parts, one part, or null.
pub(super) fn content(raw: &RawValue, notes: &mut Notes, parts: &mut Vec<MessagePart>) {
    if let Some(text) = json::text(raw) {
        if notes.spend(1) {
            parts.push(MessagePart::Text { content: text.into_owned() });
        }
    } else if json::is_array(raw) {
        json::each_item(raw, |item| parts.extend(part(item, notes)));
    } else if !json::is_null(raw) {
        parts.extend(part(raw, notes));
    }
}

/// One part; `None` when the budget is spent.
pub(super) fn part(raw: &RawValue, notes: &mut Notes) -> Option<MessagePart> {
    if !notes.spend(1) {
        return None;
    }
    if let Some(text) = json::text(raw) {
        return Some(MessagePart::Text { content: text.into_owned() });
    }
    let [kind, text, thinking] = json::pick(raw.get(), ["type", "text", "thinking"]);
    let kind = kind.and_then(json::text).unwrap_or(Cow::Borrowed(if text.is_some() { "text" } else { "" }));
    let found = match &*kind {
        "text" | "input_text" | "output_text" => {
            text.and_then(json::text).map(|text| MessagePart::Text { content: text.into_owned() })
        }
        "reasoning_text" | "summary_text" => {
            text.and_then(json::text).map(|text| MessagePart::Reasoning { content: text.into_owned() })
        }
        "thinking" => thinking.map(|thinking| MessagePart::Reasoning { content: plain_text(thinking) }),
        "refusal" => {
            let [refusal] = json::pick(raw.get(), ["refusal"]);
            refusal.and_then(json::text).map(|text| MessagePart::Refusal { content: text.into_owned() })
        }
        "image_url" | "input_image" | "image" => media(raw, "image"),
        "video_url" | "input_video" | "video" => media(raw, "video"),
        "audio_url" | "input_audio" | "output_audio" | "audio" => media(raw, "audio"),
        "file" | "input_file" | "document" => media(raw, "document"),
        "tool_use" | "server_tool_use" => {
            let [id, name, input] = json::pick(raw.get(), ["id", "name", "input"]);
            Some(MessagePart::ToolCall {
                id: json::filled(id),
                name: json::filled(name).unwrap_or_default(),
                arguments: input.map_or(Value::Null, |input| json::value(input, notes)),
            })
        }
        kind if kind.ends_with("tool_result") => {
            let [id, content] = json::pick(raw.get(), ["tool_use_id", "content"]);
            Some(MessagePart::ToolCallResponse {
                id: json::filled(id),
                response: content.map_or(Value::Null, |content| without_media(content, notes)),
            })
        }
        _ => None,
    };
    Some(found.unwrap_or_else(|| MessagePart::Other { value: without_media(raw, notes) }))
}

/// The text of a string, or of all text parts of an array.
pub(super) fn plain_text(raw: &RawValue) -> String {
    if let Some(text) = json::text(raw) {
        return text.into_owned();
    }
    let mut all = String::new();
    json::each_item(raw, |item| {
        let [text, thinking] = json::pick(item.get(), ["text", "thinking"]);
        if let Some(text) = text.or(thinking).and_then(json::text) {
            all.push_str(&text);
        }
    });
    all
}

/// A string that holds JSON becomes that JSON when it is an object or array; anything else stays text.
pub(super) fn arguments(text: &str, notes: &mut Notes) -> Value {
    if text.trim_start().starts_with(['{', '['])
        && let Ok(raw) = serde_json::from_str::<&RawValue>(text)
    {
        return json::value(raw, notes);
    }
    Value::String(text.to_owned())
}

fn media(raw: &RawValue, modality: &str) -> Option<MessagePart> {
    let [source, image, video, audio, input_audio, file, sound] = json::pick(
        raw.get(),
        ["source", "image_url", "video_url", "audio_url", "input_audio", "file", "audio"],
    );
    // The Realtime API's parts carry the sound itself under this name.
    if let Some(sound) = sound.and_then(json::text) {
        return Some(MessagePart::blob(modality, None, base64_length(&sound)));
    }
    // The place where it is: the part itself, or an object inside it named after it.
    let inner = [source, image, video, audio, input_audio, file].into_iter().flatten().next();
    if let Some(url) = inner.and_then(json::text) {
        let [detail] = json::pick(raw.get(), ["detail"]);
        return Some(reference(&url, modality, json::filled(detail)));
    }
    let place = inner.filter(|inner| json::is_object(inner)).unwrap_or(raw);
    let [url, data, file_data, file_url, file_id, format, mime, text, detail] = json::pick(
        place.get(),
        ["url", "data", "file_data", "file_url", "file_id", "format", "media_type", "text", "detail"],
    );
    let detail = json::filled(detail);
    let kind =
        json::filled(mime).or_else(|| json::filled(format).map(|format| format!("{modality}/{format}")));
    if let Some(url) = url.or(file_url).or(file_data.filter(|data| data.get().starts_with("\"data:"))) {
        return Some(reference(&json::text(url)?, modality, detail));
    }
    if let Some(data) = data.or(file_data) {
        let data = json::text(data)?;
        // Anthropic's plain-text documents carry text where others carry base64.
        let (bytes, extent) = match &kind {
            Some(kind) if kind.starts_with("text/") => (data.len() as u64, None),
            _ => (base64_length(&data), extent::of(Encoded::Base64(&data))),
        };
        let modality = modality.to_owned();
        return Some(MessagePart::Blob { modality, mime_type: kind, bytes, extent, detail });
    }
    if let Some(file_id) = json::filled(file_id) {
        return Some(MessagePart::File { file_id });
    }
    text.and_then(json::text).map(|text| MessagePart::Text { content: text.into_owned() })
}

/// A URL, or the measure of what a `data:` URL carries.
fn reference(url: &str, modality: &str, detail: Option<String>) -> MessagePart {
    let modality = modality.to_owned();
    let Some((head, data)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(',')) else {
        return MessagePart::Uri { modality, uri: url.to_owned(), detail };
    };
    let mime_type = head.split(';').next().filter(|mime| !mime.is_empty()).map(str::to_owned);
    let (bytes, extent) = if head.ends_with(";base64") {
        (base64_length(data), extent::of(Encoded::Base64(data)))
    } else {
        (data.len() as u64, None)
    };
    MessagePart::Blob { modality, mime_type, bytes, extent, detail }
}

/// Bytes that base64 text stands for.
pub(super) fn base64_length(text: &str) -> u64 {
    let digits = text.trim_end().trim_end_matches('=').len() as u64;
    digits / 4 * 3 + (digits % 4).saturating_sub(1)
}

/// A value as it was, except that long runs of base64 in the places where media live are replaced by
/// their size.
pub(super) fn without_media(raw: &RawValue, notes: &mut Notes) -> Value {
    let mut value = json::value(raw, notes);
    measure(&mut value);
    value
}

fn measure(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(measure),
        Value::Object(fields) => measure_fields(fields),
        _ => {}
    }
}

fn measure_fields(fields: &mut Map<String, Value>) {
    for (name, field) in fields {
        match field {
            Value::String(text) if text.len() > 1024 => {
                let media_field = matches!(
                    name.as_str(),
                    "audio"
                        | "data"
                        | "file_data"
                        | "result"
                        | "image_url"
                        | "url"
                        | "b64_json"
                        | "partial_image_b64"
                );
                let encoded = text.starts_with("data:")
                    || text.bytes().take(1024).all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b));
                if media_field && encoded {
                    *text = match reference(text, "media", None) {
                        MessagePart::Blob { mime_type: Some(kind), bytes, .. } => {
                            format!("({kind}, {bytes} bytes, not shown)")
                        }
                        _ => format!("({} bytes of media, not shown)", base64_length(text)),
                    };
                }
            }
            other => measure(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Value {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        serde_json::to_value(part(raw, &mut Notes::new()).unwrap()).unwrap()
    }

    #[test]
    fn parts_of_every_dialect_are_read() {
        use serde_json::json;
        for (given, expected) in [
            (r#"{"type":"input_text","text":"a"}"#, json!({"type":"text","content":"a"})),
            (r#"{"type":"refusal","refusal":"no"}"#, json!({"type":"refusal","content":"no"})),
            (
                r#"{"type":"image_url","image_url":{"url":"https://e.org/a.png"}}"#,
                json!({"type":"uri","modality":"image","uri":"https://e.org/a.png"}),
            ),
            (
                r#"{"type":"input_image","image_url":"data:image/png;base64,AAAA"}"#,
                json!({"type":"blob","modality":"image","mime_type":"image/png","bytes":3}),
            ),
            (
                r#"{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AAA="}}"#,
                json!({"type":"blob","modality":"image","mime_type":"image/jpeg","bytes":2}),
            ),
            (
                r#"{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}"#,
                json!({"type":"blob","modality":"audio","mime_type":"audio/wav","bytes":1}),
            ),
            (
                r#"{"type":"input_audio","audio":"AAAA"}"#,
                json!({"type":"blob","modality":"audio","mime_type":null,"bytes":3}),
            ),
            (
                r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}"#,
                json!({"type":"blob","modality":"document","mime_type":"application/pdf","bytes":3}),
            ),
            (r#"{"type":"file","file":{"file_id":"f1"}}"#, json!({"type":"file","file_id":"f1"})),
            (
                r#"{"type":"thinking","thinking":[{"type":"text","text":"a"},{"text":"b"}]}"#,
                json!({"type":"reasoning","content":"ab"}),
            ),
            (
                r#"{"type":"tool_result","tool_use_id":"t","content":"4"}"#,
                json!({"type":"tool_call_response","id":"t","response":"4"}),
            ),
            (r#"{"type":"new","x":1}"#, json!({"type":"other","value":{"type":"new","x":1}})),
            (r#"{"type":"text","text":7}"#, json!({"type":"other","value":{"type":"text","text":7}})),
            ("7", json!({"type":"other","value":7})),
        ] {
            assert_eq!(read(given), expected, "{given}");
        }
    }

    #[test]
    fn media_in_unknown_parts_is_measured() {
        let long = "A".repeat(4000);
        let shown = read(&format!(r#"{{"type":"new","result":"{long}","note":"{long}"}}"#)).to_string();
        assert!(shown.contains("3000 bytes of media") && shown.len() < 5000);
    }
}
