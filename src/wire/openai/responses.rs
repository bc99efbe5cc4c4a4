//! The response object of the Responses API: one choice that holds the whole output.

use std::collections::BTreeSet;

use serde_json::{Value, value::RawValue};

use crate::{
    model::{
        exchange::{Choice, Job, Message, MessagePart, Request, Response},
        usage::{Meter, Usage},
    },
    wire::{error, json, notes::Notes, parts},
};

use super::{moderations, usage};

/// A plain body, of a status that is no error.
pub(in crate::wire) fn read(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    if let Err(fault) = json::fields(body, |_, _| {}) {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
        return object(body, status, notes);
    }
    Response { complete: true, ..object(body, status, notes) }
}

/// The object, of a body or of a lifecycle event; `complete` is left to the caller.
pub(super) fn object(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    let mut response = Response::default();
    let (mut state, mut reason, mut searches) = (None, None, None);
    let mut parts = Vec::new();
    let mut tools = HostedTools::default();
    json::fields(body, |key, field| {
        if json::is_null(field) {
            return;
        }
        match key {
            "id" => response.id = json::filled(Some(field)),
            "model" => response.model = json::filled(Some(field)),
            "service_tier" => response.service_tier = json::filled(Some(field)),
            "status" => state = json::filled(Some(field)),
            "incomplete_details" => reason = json::filled(json::pick(field.get(), ["reason"])[0]),
            "usage" => response.usage = usage::read(field, notes),
            "prompt_cache_diagnostics" => response.cache_diagnosis = diagnosis(field),
            "moderation" => moderations::beside(field, notes),
            "tool_usage" => searches = web_searches(field, notes),
            "error" if json::is_truthy(field) => response.error = Some(error::from_value(field, status)),
            "output" => {
                parts.clear();
                tools = HostedTools::default();
                json::each_item(field, |item| {
                    tools.see(item);
                    item_part(item, notes, &mut parts);
                });
            }
            _ => {}
        }
    })
    .ok();
    // `tool_usage` is exact where it is sent; else each call of a hosted tool is one.
    if let Some(usage) = &mut response.usage {
        usage.web_searches =
            searches.or(usage.web_searches).or((tools.searches > 0).then_some(tools.searches));
        usage.count(Meter::Image, tools.images);
        usage.count(Meter::FileSearch, tools.file_searches);
        usage.count(Meter::CodeSession, tools.containers.len() as u64);
    } else if searches.is_some() {
        response.usage = Some(Usage { web_searches: searches, ..Usage::default() });
    }
    let answered = matches!(state.as_deref(), Some("completed" | "incomplete"));
    if answered || !parts.is_empty() {
        response.choices.push(choice(parts, reason.or(state)));
    }
    response
}

/// What the server did on the model's behalf and bills by the piece.
#[derive(Debug, Default)]
struct HostedTools {
    searches: u64,
    file_searches: u64,
    /// Pictures, which cost what a model of pictures asks: nothing here says which.
    images: u64,
    /// Ids: a container serves several calls.
    containers: BTreeSet<String>,
}

impl HostedTools {
    fn see(&mut self, item: &RawValue) {
        let [kind, action, container, id] = json::pick(item.get(), ["type", "action", "container_id", "id"]);
        match kind.and_then(json::text).as_deref() {
            // Opening a page and finding in it are no searches.
            Some("web_search_call") => {
                let [action] = action.map_or([None], |action| json::pick(action.get(), ["type"]));
                let action = action.and_then(json::text);
                self.searches += u64::from(action.is_none_or(|action| action == "search"));
            }
            Some("image_generation_call") => self.images += 1,
            Some("file_search_call") => self.file_searches += 1,
            Some("code_interpreter_call") => {
                self.containers.extend(json::filled(container.or(id)));
            }
            _ => {}
        }
    }
}

pub(super) fn choice(parts: Vec<MessagePart>, finish_reason: Option<String>) -> Choice {
    let message = Message { role: "assistant".to_owned(), name: None, parts };
    Choice { message, finish_reason, ..Choice::default() }
}

/// A response that may be fetched later: made in the background, or looked at now (`fetched`).
pub(in crate::wire) fn job(request: &Request, response: &Response, fetched: bool) -> Option<Job> {
    let background = request.parameters.get("background").is_some_and(|flag| flag == true);
    let id = response.id.clone().filter(|_| fetched || background)?;
    Some(Job { id, also: Vec::new(), asked: !fetched })
}

/// The reason of a miss, else the kind of outcome.
fn diagnosis(raw: &RawValue) -> Option<String> {
    let [kind, reason] = json::pick(raw.get(), ["type", "reason"]);
    let inner = reason.and_then(|reason| json::pick(reason.get(), ["type"])[0]);
    json::filled(inner.or(reason)).or_else(|| json::filled(kind))
}

fn web_searches(raw: &RawValue, notes: &mut Notes) -> Option<u64> {
    let [search] = json::pick(raw.get(), ["web_search"]);
    let [requests] = json::pick(search?.get(), ["num_requests"]);
    let mut count = None;
    usage::set(&mut count, "num_requests", requests?, notes);
    count
}

/// The parts of one output (or resent input) item.
pub(super) fn item_part(raw: &RawValue, notes: &mut Notes, parts: &mut Vec<MessagePart>) {
    if !notes.spend(1) {
        return;
    }
    let [kind, content, summary, call_id, id, name, arguments, input, result] = json::pick(
        raw.get(),
        ["type", "content", "summary", "call_id", "id", "name", "arguments", "input", "result"],
    );
    match kind.and_then(json::text).as_deref() {
        Some("message") => {
            if let Some(content) = content {
                parts::content(content, notes, parts);
            }
        }
        Some("reasoning") => {
            for texts in [summary, content].into_iter().flatten() {
                json::each_item(texts, |text| {
                    let [text] = json::pick(text.get(), ["text"]);
                    if let Some(content) = json::filled(text) {
                        parts.push(MessagePart::Reasoning { content });
                    }
                });
            }
        }
        Some("function_call" | "mcp_call") => parts.push(MessagePart::ToolCall {
            id: json::filled(call_id.or(id)),
            name: json::filled(name).unwrap_or_default(),
            arguments: arguments.map_or(Value::Null, |raw| match json::text(raw) {
                Some(text) => parts::arguments(&text, notes),
                None => json::value(raw, notes),
            }),
        }),
        Some("custom_tool_call") => parts.push(MessagePart::ToolCall {
            id: json::filled(call_id.or(id)),
            name: json::filled(name).unwrap_or_default(),
            arguments: Value::String(input.map(json::shown).unwrap_or_default()),
        }),
        Some("image_generation_call") => parts.push(MessagePart::blob(
            "image",
            None,
            result.and_then(json::text).map_or(0, |data| parts::base64_length(&data)),
        )),
        // What a hosted tool did, a compaction, an item of a later version.
        _ => parts.push(MessagePart::Other { value: parts::without_media(raw, notes) }),
    }
    // The output of a call that the server made itself.
    if kind.is_some_and(|kind| kind.get() == "\"mcp_call\"")
        && let [Some(output)] = json::pick(raw.get(), ["output"])
    {
        let response = parts::without_media(output, notes);
        parts.push(MessagePart::ToolCallResponse { id: json::filled(call_id.or(id)), response });
    }
}
