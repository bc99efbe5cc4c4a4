//! A decoded call as its outline. Two readings of one conversation: the prompt exactly, for what a provider's
//! cache could serve; and what was said, for what belongs together. The second leaves out whatever clients
//! drop or rewrite between an answer and its resending: reasoning, white space, the form of a message.

use super::{
    anchors,
    hash::{self, Digest},
    volatile,
};
use crate::model::{
    call::Dialect,
    exchange::{Exchange, Message, MessagePart},
    lineage::{Element, ElementKind, Markers, Outline, Reply, Speaker, Unit},
};

/// A shorter id of a tool call is one that small servers count up (`call_0`).
const SHORTEST_UNIQUE: usize = 8;
/// Alternatives of an answer that are looked at.
const REPLIES: usize = 4;
/// Sentences of the opening that are kept.
const OPENING: usize = 96;
/// A shorter argument of a tool call is no task.
const SHORTEST_TASK: usize = 32;
/// Texts handed on that are kept.
const DELEGATED: usize = 8;

/// `None` for what is no conversation.
pub fn outline(exchange: &Exchange, marked: bool) -> Option<Outline> {
    if !matches!(exchange.dialect, Dialect::ChatCompletions | Dialect::Responses | Dialect::Messages) {
        return None;
    }
    let request = &exchange.request;
    if request.messages.is_empty() && request.system_instructions.is_empty() {
        return None;
    }
    let mut outline = Outline { marked, ..Outline::default() };
    prompt(exchange, &mut outline);

    let said: Vec<&Message> = request.messages.iter().filter(|message| !is_system(message)).collect();
    let mut drafts = Vec::new();
    for message in &said {
        draft(message, &mut drafts);
    }
    for message in said.iter().take_while(|message| !is_assistant(message)) {
        texts(message, |text| {
            let room = OPENING.saturating_sub(outline.opening.len());
            outline.opening.extend(anchors::sentences(text).into_iter().take(room));
            let whole = text.trim();
            if room > 0 && whole.len() >= SHORTEST_TASK {
                outline.opening.push(task(whole));
            }
        });
    }
    outline.units = drafts.iter().map(Draft::unit).collect();

    for choice in exchange.response.choices.iter().take(REPLIES) {
        // An answer changes nothing but the last draft, or comes behind it.
        let mut newest: Vec<Draft> = drafts.last().cloned().into_iter().collect();
        let (earlier, length) = (drafts.len() - newest.len(), newest.len());
        let mut answer = choice.message.clone();
        answer.role = "assistant".to_owned();
        draft(&answer, &mut newest);
        // It goes on with what the request itself had begun to say for the model.
        let continued = newest.len() == length;
        if let Some(unit) = newest.last().map(Draft::unit)
            && (!continued || outline.units.last() != Some(&unit))
        {
            let at = u32::try_from(earlier + newest.len() - 1).unwrap_or(u32::MAX);
            outline.replies.push(Reply { at, unit });
        }
    }
    if let Some(choice) = exchange.response.choices.first() {
        texts(&choice.message, |text| outline.said.extend(anchors::longest(text)));
        outline.said.truncate(anchors::KEPT);
        for part in &choice.message.parts {
            if let MessagePart::ToolCall { arguments, .. } = part {
                delegated(arguments, &mut outline.delegated, 4);
            }
        }
        outline.delegated.truncate(DELEGATED);
    }
    Some(outline)
}

/// The hash of a text that may be somebody's task.
fn task(text: &str) -> u64 {
    hash::text("task", text.trim())
}

fn delegated(value: &serde_json::Value, into: &mut Vec<u64>, depth: u32) {
    use serde_json::Value;
    match value {
        Value::String(text) if text.trim().len() >= SHORTEST_TASK => {
            into.push(task(text));
            into.extend(anchors::longest(text));
        }
        Value::Array(items) if depth > 0 => items.iter().for_each(|item| delegated(item, into, depth - 1)),
        Value::Object(fields) if depth > 0 => {
            fields.values().for_each(|field| delegated(field, into, depth - 1));
        }
        _ => {}
    }
}

fn prompt(exchange: &Exchange, outline: &mut Outline) {
    let request = &exchange.request;
    let mut tools = Digest::of("tools");
    for tool in &request.tools {
        let mut digest = Digest::of("tool");
        digest.value(tool);
        tools.number(digest.finish());
        outline.elements.push(element(ElementKind::Tool, &digest));
    }
    if !request.tools.is_empty() {
        outline.tools = tools.finish();
    }
    let mut system = Digest::of("system");
    let mut markers = Digest::of("markers");
    let mut found = Markers::default();
    let mut is_there = false;
    let mut instruct = |parts: &[MessagePart], elements: &mut Vec<Element>| {
        for part in parts {
            elements.push(exact(ElementKind::System, "system", std::slice::from_ref(part)));
            is_there = true;
            if let MessagePart::Text { content } = part {
                let (text, markers_here) = volatile::normalise(content);
                system.text(text.trim());
                for (slot, hash) in found.0.iter_mut().zip(markers_here.0) {
                    if hash != 0 {
                        markers.number(u64::from(*slot)).number(u64::from(hash));
                        *slot = markers.finish() as u32 | 1;
                    }
                }
            } else {
                parts_exactly(&mut system, std::slice::from_ref(part));
            }
        }
    };
    instruct(&request.system_instructions, &mut outline.elements);
    // Only the instructions before the conversation are the system prompt; later ones are a part of it.
    let leading = request.messages.iter().take_while(|message| is_system(message)).count();
    let (instructions, messages) = request.messages.split_at(leading);
    instructions.iter().for_each(|message| instruct(&message.parts, &mut outline.elements));
    if is_there {
        outline.system = system.finish();
        outline.markers = found;
    }
    outline.elements.extend(parameters(exchange));
    outline.elements.extend(messages.iter().map(|one| exact(ElementKind::Message, &one.role, &one.parts)));
}

/// The parameters that the prompt cache of the dialect's provider depends on, where any is given: a schema of
/// the answer stands before the messages, and Anthropic forgets messages when tools or thinking are chosen anew.
fn parameters(exchange: &Exchange) -> Option<Element> {
    let names: &[&str] = match exchange.dialect {
        Dialect::Messages => &["tool_choice", "thinking"],
        _ => &["response_format", "text"],
    };
    let mut digest = Digest::of("parameters");
    let given = names.iter().filter_map(|name| Some((*name, exchange.request.parameters.get(*name)?)));
    let mut any = false;
    for (name, value) in given {
        digest.text(name).value(value);
        any = true;
    }
    any.then(|| element(ElementKind::Parameter, &digest))
}

/// The hash of a message as it is in the prompt.
pub fn exact(kind: ElementKind, role: &str, parts: &[MessagePart]) -> Element {
    let mut digest = Digest::of("element");
    digest.text(role);
    parts_exactly(&mut digest, parts);
    element(kind, &digest)
}

fn element(kind: ElementKind, digest: &Digest) -> Element {
    Element { kind, hash: digest.finish(), bytes: u32::try_from(digest.weight()).unwrap_or(u32::MAX) }
}

fn parts_exactly(digest: &mut Digest, parts: &[MessagePart]) {
    for part in parts {
        match part {
            MessagePart::Text { content } => digest.number(1).text(content),
            MessagePart::Reasoning { content } => digest.number(2).text(content),
            MessagePart::Refusal { content } => digest.number(3).text(content),
            MessagePart::ToolCall { id, name, arguments } => {
                digest.number(4).maybe(id.as_deref()).text(name).value(arguments)
            }
            MessagePart::ToolCallResponse { id, response } => {
                digest.number(5).maybe(id.as_deref()).value(response)
            }
            MessagePart::Blob { modality, mime_type, bytes, .. } => {
                digest.number(6).text(modality).maybe(mime_type.as_deref()).number(*bytes)
            }
            MessagePart::Uri { modality, uri, .. } => digest.number(7).text(modality).text(uri),
            MessagePart::File { file_id } => digest.number(8).text(file_id),
            MessagePart::Other { value } => digest.number(9).value(value),
        };
    }
}

/// A system prompt, whatever the model calls it.
pub fn is_system(message: &Message) -> bool {
    matches!(message.role.as_str(), "system" | "developer")
}

fn is_assistant(message: &Message) -> bool {
    matches!(message.role.as_str(), "assistant" | "model")
}

fn texts<'a>(message: &'a Message, mut each: impl FnMut(&'a str)) {
    for part in &message.parts {
        match part {
            MessagePart::Text { content } | MessagePart::Refusal { content } => each(content),
            MessagePart::ToolCallResponse { response: serde_json::Value::String(text), .. } => each(text),
            _ => {}
        }
    }
}

/// A unit while messages are still added to it.
#[derive(Debug, Clone)]
struct Draft {
    speaker: Speaker,
    /// Of an assistant: all text, still as it was.
    text: String,
    rest: Digest,
    unique: bool,
}

impl Draft {
    fn unit(&self) -> Unit {
        let (hash, weight) = match self.speaker {
            Speaker::Other => (self.rest.finish(), self.rest.weight()),
            Speaker::Assistant => {
                let text = answer_text(&self.text);
                let hash = Digest::of("answer").text(&text).number(self.rest.finish()).finish();
                (hash, text.len() + self.rest.weight())
            }
        };
        Unit {
            speaker: self.speaker,
            hash,
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
            unique: self.unique,
        }
    }
}

/// Adds a message to the conversation: as a unit of its own, or to the answer that it goes on with.
fn draft(message: &Message, drafts: &mut Vec<Draft>) {
    if !is_assistant(message) {
        let mut rest = Digest::of("unit");
        // A function's or a user's name tells speakers apart.
        rest.maybe(message.name.as_deref());
        let mut unique = false;
        for part in &message.parts {
            match part {
                MessagePart::Text { content } => {
                    rest.number(1).text(content.trim());
                }
                MessagePart::ToolCallResponse { id, response } => {
                    unique |= is_unique(id.as_deref());
                    rest.number(5).maybe(id.as_deref()).value(response);
                }
                other => parts_exactly(&mut rest, std::slice::from_ref(other)),
            }
        }
        if !message.parts.is_empty() {
            drafts.push(Draft { speaker: Speaker::Other, text: String::new(), rest, unique });
        }
        return;
    }
    let says = |part: &MessagePart| match part {
        MessagePart::Text { content } | MessagePart::Refusal { content } => !content.trim().is_empty(),
        MessagePart::ToolCall { .. } => true,
        _ => false,
    };
    if !message.parts.iter().any(says) {
        return;
    }
    if drafts.last().is_none_or(|last| last.speaker != Speaker::Assistant) {
        drafts.push(Draft {
            speaker: Speaker::Assistant,
            text: String::new(),
            rest: Digest::of("calls"),
            unique: false,
        });
    }
    let Some(draft) = drafts.last_mut() else { return };
    for part in &message.parts {
        match part {
            MessagePart::Text { content } | MessagePart::Refusal { content } => {
                draft.text.push_str(content);
            }
            MessagePart::ToolCall { id, name, arguments } => {
                draft.unique |= is_unique(id.as_deref());
                draft.rest.maybe(id.as_deref()).text(name).value(arguments);
            }
            _ => {}
        }
    }
}

fn is_unique(id: Option<&str>) -> bool {
    id.is_some_and(|id| id.len() >= SHORTEST_UNIQUE)
}

/// An answer's text as it survives being resent: without the thinking that some servers put in front of it,
/// and without white space, which clients trim and join by.
fn answer_text(text: &str) -> String {
    let text = text.trim_start();
    let text = match text.strip_prefix("<think>").and_then(|rest| rest.split_once("</think>")) {
        Some((_, answer)) => answer,
        None => text,
    };
    without_space(text)
}

/// Every message of a history is read so with every call, so the common case is a pass over bytes.
fn without_space(text: &str) -> String {
    if !text.is_ascii() {
        return text.split_whitespace().collect();
    }
    let mut left = Vec::with_capacity(text.len());
    // What Unicode calls white space among ASCII.
    for run in text.as_bytes().split(|byte| matches!(byte, b'\t'..=b'\r' | b' ')) {
        left.extend_from_slice(run);
    }
    String::from_utf8(left).unwrap_or_else(|_| text.split_whitespace().collect())
}

#[cfg(test)]
mod tests;
