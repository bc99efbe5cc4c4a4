//! Token estimates where the upstream reports none: what a reader of the exchange can count, with the
//! model's own encoding where one is published. Hidden reasoning and images are not seen, so the figures
//! are lower bounds. It never asks anybody, and never runs on the path of a call.

mod encoding;
mod tally;
mod tools;

use serde_json::Value;

use crate::model::{
    call::Dialect,
    exchange::{Exchange, MessagePart, Response},
    usage::Usage,
};

use encoding::Encoding;
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

/// Counts the exchange's tokens with the model's own encoding where one is known. `None` when there is
/// nothing to count (no model call, or an error without output).
pub fn estimate(exchange: &Exchange) -> Option<Usage> {
    let Exchange { dialect, request, response, .. } = exchange;
    // Without any sign of an answer, nothing says that the model read the input.
    let answered =
        !response.choices.is_empty() || (response.error.is_none() && *response != Response::default());
    // Read out once the answer began, whatever became of it.
    if *dialect == Dialect::Speech && answered {
        return characters(exchange);
    }
    if !dialect.is_text() || !answered {
        return None;
    }
    let model = response.model.as_deref().or(request.model.as_deref())?;
    let encoding = Encoding::of(model);
    let input = input(exchange, encoding);
    let output = (*dialect != Dialect::Embeddings).then(|| output(response, encoding, |_| true));
    let usage = Usage { input, output: output.flatten(), ..Usage::default() };
    (!usage.is_empty()).then_some(usage)
}

/// What speech is billed by where no tokens are reported.
fn characters(exchange: &Exchange) -> Option<Usage> {
    let texts = exchange.request.messages.iter().flat_map(|message| &message.parts);
    let count = texts.map(|part| match part {
        MessagePart::Text { content } => content.chars().count() as u64,
        _ => 0,
    });
    let usage = Usage { characters: Some(count.sum()), ..Usage::default() };
    (usage.characters > Some(0)).then_some(usage)
}

/// The output without its reasoning, as far as the answer shows any.
pub fn said(exchange: &Exchange) -> Option<u64> {
    let Exchange { request, response, .. } = exchange;
    let model = response.model.as_deref().or(request.model.as_deref())?;
    output(response, Encoding::of(model), |part| !matches!(part, MessagePart::Reasoning { .. }))
}

fn input(exchange: &Exchange, encoding: Encoding) -> Option<u64> {
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
        message.parts.iter().for_each(|part| count_part(part, &mut tally));
    }
    if !request.system_instructions.is_empty() {
        framing += PER_MESSAGE + 1;
        request.system_instructions.iter().for_each(|part| count_part(part, &mut tally));
    }
    if framed {
        framing += REPLY_PRIMER;
    }
    if !request.tools.is_empty() {
        framing += tools::OVERHEAD;
        tally.add(&tools::render(&request.tools));
    }
    Some(encoding.scale(tally.tokens()).saturating_add(framing).saturating_add(tally.given()))
}

fn output(response: &Response, encoding: Encoding, wanted: fn(&MessagePart) -> bool) -> Option<u64> {
    if response.choices.is_empty() {
        return None;
    }
    let mut tally = Tally::new(encoding.counter());
    for part in response.choices.iter().flat_map(|choice| &choice.message.parts) {
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
        // Media cost by size and model, which the exchange does not hold.
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

#[cfg(test)]
mod tests;
