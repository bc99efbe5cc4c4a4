//! Token estimates where the upstream reports none: what a reader of the exchange can count, with the
//! model's own encoding where one is published, and media by their published formulas. Hidden reasoning is
//! not seen, so the figures are lower bounds. It never asks anybody, and never runs on the path of a call.

mod encoding;
mod media;
mod tally;
mod tools;

use serde_json::Value;

use crate::model::{
    call::{Dialect, Held},
    exchange::{Choice, Exchange, Extent, MessagePart, Response, Uncounted},
    usage::Usage,
};

use encoding::Encoding;
use media::Medium;
use tally::Tally;

/// What a chat model reads around each message, and before its answer (OpenAI's published framing).
const PER_MESSAGE: u64 = 3;
const REPLY_PRIMER: u64 = 3;
/// A message's `name` costs one token beside its own.
const PER_NAME: u64 = 1;

/// Counts the tokens of a text.
trait TokenCounter {
    fn count(&self, text: &str) -> u64;
}

/// What was counted, and in sentences what of it is a guess or could not be counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Estimate {
    pub usage: Usage,
    pub notes: Vec<String>,
}

/// Counts the exchange's tokens with the model's own encoding where one is known. `None` when there is
/// nothing to count (no model call, or an error without output).
pub fn estimate(exchange: &Exchange) -> Option<Estimate> {
    let Exchange { dialect, request, response, .. } = exchange;
    // Without any sign of an answer, nothing says that the model read the input.
    let answered =
        !response.choices.is_empty() || (response.error.is_none() && *response != Response::default());
    if !answered {
        return None;
    }
    // Read out once the answer began, whatever became of it.
    if *dialect == Dialect::Speech {
        return characters(exchange);
    }
    let model = response.model.as_deref().or(request.model.as_deref())?;
    if *dialect == Dialect::Transcriptions {
        return heard(exchange, model);
    }
    if !dialect.is_text() {
        return None;
    }
    let encoding = Encoding::of(model);
    let mut found = Found::default();
    let input = input(exchange, model, encoding, &mut found);
    let output =
        (*dialect != Dialect::Embeddings).then(|| output(&response.choices, encoding, |_| true)).flatten();
    let part = |tokens: u64| (tokens > 0).then_some(tokens);
    let usage = Usage {
        input,
        output,
        input_image: part(found.images),
        input_audio: part(found.sound),
        ..Usage::default()
    };
    (!usage.is_empty()).then(|| Estimate { usage, notes: found.notes() })
}

/// Output that was not in the last count that the upstream gave: the whole output as it is counted then.
pub fn counted_on(exchange: &Exchange, uncounted: Uncounted) -> Option<u64> {
    let Exchange { request, response, .. } = exchange;
    let encoding = Encoding::of(response.model.as_deref().or(request.model.as_deref())?);
    let reported = response.usage.as_ref().and_then(|usage| usage.output).unwrap_or(0);
    let choices = match uncounted {
        Uncounted::Rest => response.choices.as_slice(),
        Uncounted::LastChoice => response.choices.last().map(std::slice::from_ref)?,
    };
    let said = output(choices, encoding, |_| true)?;
    let all = match uncounted {
        Uncounted::Rest => said,
        Uncounted::LastChoice => reported.saturating_add(said),
    };
    (all > reported).then_some(all)
}

/// What a transcription is billed by where nothing was reported: the sound's time, or its tokens and the text's.
fn heard(exchange: &Exchange, model: &str) -> Option<Estimate> {
    let parts = || exchange.request.messages.iter().flat_map(|message| &message.parts);
    let lengths = parts().filter_map(|part| match part {
        MessagePart::Blob { extent: Some(Extent::Milliseconds(ms)), .. } => Some(*ms),
        _ => None,
    });
    let ms: u64 = lengths.sum();
    if ms == 0 {
        return None;
    }
    let encoding = Encoding::of(model);
    // OpenAI's newer models count tokens of sound; all others that are known, its time.
    let usage = if encoding::bare(model).starts_with("gpt-") {
        let sound = parts().filter_map(|part| media::measure(part, model)).map(|medium| match medium {
            Medium::Sound { tokens } => tokens,
            _ => 0,
        });
        let sound: u64 = sound.sum();
        Usage {
            input: Some(sound),
            input_audio: Some(sound),
            output: output(&exchange.response.choices, encoding, |_| true),
            ..Usage::default()
        }
    } else {
        Usage { seconds: Some(ms.div_ceil(1_000)), ..Usage::default() }
    };
    Some(Estimate { usage, notes: Vec::new() })
}

/// What speech is billed by where no tokens are reported.
fn characters(exchange: &Exchange) -> Option<Estimate> {
    let texts = exchange.request.messages.iter().flat_map(|message| &message.parts);
    let count = texts.map(|part| match part {
        MessagePart::Text { content } => content.chars().count() as u64,
        _ => 0,
    });
    let usage = Usage { characters: Some(count.sum()), ..Usage::default() };
    (usage.characters > Some(0)).then(|| Estimate { usage, notes: Vec::new() })
}

/// The output without its reasoning, as far as the answer shows any.
pub fn said(exchange: &Exchange) -> Option<u64> {
    let Exchange { request, response, .. } = exchange;
    let model = response.model.as_deref().or(request.model.as_deref())?;
    output(&response.choices, Encoding::of(model), |part| !matches!(part, MessagePart::Reasoning { .. }))
}

fn input(exchange: &Exchange, model: &str, encoding: Encoding, found: &mut Found) -> Option<u64> {
    let request = &exchange.request;
    if request.messages.is_empty() && request.system_instructions.is_empty() {
        return None;
    }
    let framed = !matches!(exchange.dialect, Dialect::Embeddings | Dialect::Completions);
    let mut tally = Tally::new(encoding.counter());
    let mut framing = 0;
    for message in &request.messages {
        if framed {
            framing += PER_MESSAGE;
            tally.add(&message.role);
        }
        if let Some(name) = &message.name {
            framing += PER_NAME;
            tally.add(name);
        }
        for part in &message.parts {
            count_part(part, &mut tally);
            found.add(media::measure(part, model));
        }
    }
    if !request.system_instructions.is_empty() {
        framing += PER_MESSAGE + 1;
        request.system_instructions.iter().for_each(|part| count_part(part, &mut tally));
    }
    if framed {
        framing += REPLY_PRIMER;
    }
    if !request.tools.is_empty() {
        framing += tools::overhead(model, request.parameters.get("tool_choice"));
        tally.add(&tools::render(&request.tools, model));
    }
    if let Some(schema) = tools::answer_schema(&request.parameters) {
        tally.add(&schema.to_string());
    }
    let counted = encoding.scale(tally.tokens());
    Some([framing, tally.given(), found.tokens()].into_iter().fold(counted, u64::saturating_add))
}

fn output(choices: &[Choice], encoding: Encoding, wanted: fn(&MessagePart) -> bool) -> Option<u64> {
    if choices.is_empty() {
        return None;
    }
    let mut tally = Tally::new(encoding.counter());
    for part in choices.iter().flat_map(|choice| &choice.message.parts) {
        // A tool's result inside an answer was put there by the server, not by the model.
        if wanted(part) && !matches!(part, MessagePart::ToolCallResponse { .. } | MessagePart::Other { .. }) {
            count_part(part, &mut tally);
        }
    }
    Some(encoding.scale(tally.tokens()))
}

fn count_part(part: &MessagePart, tally: &mut Tally) {
    match part {
        MessagePart::Text { content }
        | MessagePart::Reasoning { content }
        | MessagePart::Refusal { content } => tally.add(content),
        MessagePart::ToolCall { name, arguments, .. } => {
            tally.add(name);
            count_value(arguments, tally);
        }
        MessagePart::ToolCallResponse { response, .. } => count_value(response, tally),
        // An input that came as tokens says itself how many they are.
        MessagePart::Other { value } => match (value.get("type"), value.get("count").and_then(Value::as_u64))
        {
            (Some(Value::String(kind)), Some(count)) if kind == "tokens" => tally.give(count),
            _ => {}
        },
        // By `media`.
        MessagePart::Blob { .. } | MessagePart::Uri { .. } | MessagePart::File { .. } => {}
    }
}

fn count_value(value: &Value, tally: &mut Tally) {
    match value {
        Value::Null => {}
        Value::String(text) => tally.add(text),
        other => tally.add(&other.to_string()),
    }
}

/// The media of an input.
#[derive(Debug, Default)]
struct Found {
    images: u64,
    sound: u64,
    documents: u64,
    /// Counted as if they had a usual size.
    unsized_images: u64,
    unsized_documents: u64,
    /// Not counted.
    unknown: u64,
}

impl Found {
    fn add(&mut self, medium: Option<Medium>) {
        let Some(medium) = medium else { return };
        let (sum, tokens) = match medium {
            Medium::Image { tokens, sized } => {
                self.unsized_images += u64::from(!sized);
                (&mut self.images, tokens)
            }
            Medium::Document { tokens, sized } => {
                self.unsized_documents += u64::from(!sized);
                (&mut self.documents, tokens)
            }
            Medium::Sound { tokens } => (&mut self.sound, tokens),
            Medium::Unknown => (&mut self.unknown, 1),
        };
        *sum = sum.saturating_add(tokens);
    }

    fn tokens(&self) -> u64 {
        self.images.saturating_add(self.sound).saturating_add(self.documents)
    }

    fn notes(&self) -> Vec<String> {
        [
            (self.unsized_images, "images whose size is not known were counted as 1024 × 1024"),
            (self.unsized_documents, "documents whose pages could not be counted were counted as one page"),
            (self.unknown, "images, documents or recordings were not counted: their size, or the model's formula, is not known"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("estimated tokens: {count} {what}"))
        .collect()
    }
}

/// What a call's input holds besides text, by which its estimate is judged.
pub fn held(exchange: &Exchange) -> Held {
    let mut held = if exchange.request.tools.is_empty() { Held::Text } else { Held::Tools };
    for part in exchange.request.messages.iter().flat_map(|message| &message.parts) {
        let (MessagePart::Blob { modality, .. } | MessagePart::Uri { modality, .. }) = part else { continue };
        held = held.max(match modality.as_str() {
            "image" => Held::Images,
            "audio" | "video" => Held::Sound,
            _ => Held::Documents,
        });
    }
    held
}

#[cfg(test)]
mod tests;
