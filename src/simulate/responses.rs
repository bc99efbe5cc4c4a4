//! The responses dialect: an answer as one response object, or as typed events with sequence numbers.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    answer::{Answer, Finish, Output},
    ask::Ask,
    chat::{Head, citation},
    text::{self, Piece},
};

/// Items of the answer with the ids that their events repeat.
fn output(head: &Head, ask: &Ask, answer: &Answer) -> Vec<Value> {
    let suffix = head.id.trim_start_matches("resp_");
    let mut items = Vec::new();
    if !answer.reasoning.is_empty() {
        items.push(json!({
            "id": format!("rs_{suffix}"), "type": "reasoning",
            "summary": [{"type": "summary_text", "text": text::join(&answer.reasoning)}],
        }));
    }
    if ask.searches {
        items.push(json!({
            "id": format!("ws_{suffix}"), "type": "web_search_call", "status": "completed",
            "action": {"type": "search", "query": ask.last_user_text()},
        }));
    }
    match &answer.output {
        Output::Text(pieces) | Output::Refusal(pieces) => {
            let said = text::join(pieces);
            let found = citation(ask, &said).map(|mut found| {
                found["type"] = "url_citation".into();
                found
            });
            let found: Vec<Value> = found.into_iter().collect();
            let part = match &answer.output {
                Output::Refusal(_) => json!({"type": "refusal", "refusal": said}),
                _ => json!({"type": "output_text", "text": said, "annotations": found, "logprobs": []}),
            };
            let status = if answer.finish == Finish::Length { "incomplete" } else { "completed" };
            items.push(json!({
                "id": format!("msg_{suffix}"), "type": "message", "status": status, "role": "assistant",
                "content": [part],
            }));
        }
        Output::Calls(calls) => items.extend(calls.iter().enumerate().map(|(index, call)| {
            json!({
                "id": format!("fc_{suffix}{index}"), "type": "function_call", "status": "completed",
                "call_id": call.id, "name": call.name, "arguments": text::join(&call.arguments),
            })
        })),
    }
    items
}

/// The response object; without `answer` as it looks at the start.
fn object(head: &Head, body: &Value, ask: &Ask, answer: Option<&Answer>, cached: usize) -> Value {
    let cut = answer.is_some_and(|answer| answer.finish == Finish::Length);
    let status = match answer {
        None => "in_progress",
        Some(_) if cut => "incomplete",
        Some(_) => "completed",
    };
    let given = |name: &str, otherwise: Value| body.get(name).cloned().unwrap_or(otherwise);
    let usage = answer.map(|answer| {
        let (input, output) = (ask.prompt_tokens(), answer.tokens());
        json!({
            "input_tokens": input, "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens()},
            "total_tokens": input + output,
        })
    });
    let mut object = json!({
        "id": head.id, "object": "response", "created_at": head.created, "status": status,
        "background": given("background", json!(false)), "error": null,
        "incomplete_details": if cut { json!({"reason": "max_output_tokens"}) } else { Value::Null },
        "instructions": given("instructions", Value::Null),
        "max_output_tokens": given("max_output_tokens", Value::Null),
        "model": head.model,
        "output": answer.map(|answer| output(head, ask, answer)).unwrap_or_default(),
        "parallel_tool_calls": ask.parallel,
        "previous_response_id": given("previous_response_id", Value::Null),
        "reasoning": given("reasoning", json!({"effort": null, "summary": null})),
        "service_tier": "default", "store": given("store", json!(true)),
        "temperature": given("temperature", json!(1.0)),
        "text": given("text", json!({"format": {"type": "text"}})),
        "tool_choice": given("tool_choice", json!("auto")), "tools": given("tools", json!([])),
        "top_p": given("top_p", json!(1.0)), "truncation": "disabled",
        "usage": usage, "user": given("user", Value::Null), "metadata": given("metadata", json!({})),
    });
    if ask.searches && answer.is_some() {
        object["tool_usage"] = json!({"web_search": {"num_requests": 1}});
    }
    if let Some(diagnosis) = head.diagnosis.as_ref().filter(|_| answer.is_some()) {
        object["prompt_cache_diagnostics"] = json!({"type": diagnosis});
    }
    object
}

/// A conversation in short: what it stands for is for the model to know.
pub(super) fn compacted(head: &Head, body: &Value, ask: &Ask) -> Value {
    let suffix = head.id.trim_start_matches("resp_");
    let (input, output) = (ask.prompt_tokens(), ask.prompt_tokens() / 8 + 1);
    let said = super::ask::input_items(body).unwrap_or_default();
    let of_user = said.into_iter().filter(|item| item["role"] == "user");
    let mut items: Vec<Value> = of_user
        .enumerate()
        .map(|(index, mut item)| {
            item["id"] = format!("msg_{suffix}{index}").into();
            (item["type"], item["status"]) = ("message".into(), "completed".into());
            if let Some(text) = item["content"].as_str() {
                item["content"] = json!([{"type": "input_text", "text": text}]);
            }
            item
        })
        .collect();
    items.push(json!({"id": format!("cmp_{suffix}"), "type": "compaction", "encrypted_content": suffix}));
    json!({
        "id": head.id, "object": "response.compaction", "created_at": head.created, "output": items,
        "usage": {
            "input_tokens": input, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input + output,
        },
    })
}

pub(super) fn whole(head: &Head, body: &Value, ask: &Ask, answer: &Answer, cached: usize) -> Value {
    object(head, body, ask, Some(answer), cached)
}

/// What the answer adds to the conversation, for `previous_response_id`.
pub(super) fn items(head: &Head, ask: &Ask, answer: &Answer) -> Vec<Value> {
    output(head, ask, answer)
}

/// Events in order; each gets its sequence number here.
#[derive(Debug, Default)]
struct Sequence(Vec<Bytes>);

impl Sequence {
    fn push(&mut self, kind: &str, mut fields: Value) {
        let mut event = json!({"type": kind, "sequence_number": self.0.len()});
        if let (Some(event), Some(fields)) = (event.as_object_mut(), fields.as_object_mut()) {
            event.append(fields);
        }
        self.0.push(named_event(kind, &event));
    }
}

pub(super) fn named_event(kind: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}

/// The error event that ends a stream which had `after` events.
pub(super) fn error_event(after: usize, code: &str, message: &str) -> Bytes {
    let data = json!({
        "type": "error", "sequence_number": after, "code": code, "message": message, "param": null,
    });
    named_event("error", &data)
}

pub(super) fn events(head: &Head, body: &Value, ask: &Ask, answer: &Answer, cached: usize) -> Vec<Bytes> {
    let mut sequence = Sequence::default();
    let started = object(head, body, ask, None, cached);
    sequence.push("response.created", json!({"response": started}));
    sequence.push("response.in_progress", json!({"response": started}));
    for (index, item) in output(head, ask, answer).iter().enumerate() {
        match item["type"].as_str() {
            Some("reasoning") => reasoning_events(&mut sequence, index, item, &answer.reasoning),
            Some("web_search_call") => search_events(&mut sequence, index, item),
            Some("message") => message_events(&mut sequence, index, item, answer),
            _ => call_events(&mut sequence, index, item, answer),
        }
    }
    let ended = object(head, body, ask, Some(answer), cached);
    let kind = if answer.finish == Finish::Length { "response.incomplete" } else { "response.completed" };
    sequence.push(kind, json!({"response": ended}));
    sequence.0
}

/// The item as it is announced: no content yet.
fn announced(item: &Value, empty: &str, nothing: Value) -> Value {
    let mut item = item.clone();
    item["status"] = "in_progress".into();
    item[empty] = nothing;
    item
}

fn search_events(sequence: &mut Sequence, index: usize, item: &Value) {
    let place = json!({"item_id": item["id"], "output_index": index});
    let mut opening = item.clone();
    opening["status"] = "in_progress".into();
    sequence.push("response.output_item.added", json!({"output_index": index, "item": opening}));
    for state in ["in_progress", "searching", "completed"] {
        sequence.push(&format!("response.web_search_call.{state}"), place.clone());
    }
    sequence.push("response.output_item.done", json!({"output_index": index, "item": item}));
}

fn reasoning_events(sequence: &mut Sequence, index: usize, item: &Value, pieces: &[Piece]) {
    let place = json!({"item_id": item["id"], "output_index": index, "summary_index": 0});
    let at = |extra: Value| merge(&place, extra);
    let mut opening = item.clone();
    opening["summary"] = json!([]);
    sequence.push("response.output_item.added", json!({"output_index": index, "item": opening}));
    let part = |text: &str| json!({"part": {"type": "summary_text", "text": text}});
    sequence.push("response.reasoning_summary_part.added", at(part("")));
    for piece in pieces {
        sequence.push("response.reasoning_summary_text.delta", at(json!({"delta": piece.text})));
    }
    let said = text::join(pieces);
    sequence.push("response.reasoning_summary_text.done", at(json!({"text": said})));
    sequence.push("response.reasoning_summary_part.done", at(part(&said)));
    sequence.push("response.output_item.done", json!({"output_index": index, "item": item}));
}

fn message_events(sequence: &mut Sequence, index: usize, item: &Value, answer: &Answer) {
    let place = json!({"item_id": item["id"], "output_index": index, "content_index": 0});
    let at = |extra: Value| merge(&place, extra);
    sequence.push(
        "response.output_item.added",
        json!({"output_index": index, "item": announced(item, "content", json!([]))}),
    );
    let part = &item["content"][0];
    let (pieces, refused) = match &answer.output {
        Output::Text(pieces) => (pieces.as_slice(), false),
        Output::Refusal(pieces) => (pieces.as_slice(), true),
        Output::Calls(_) => (&[][..], false),
    };
    let mut opening = part.clone();
    if !refused {
        opening["annotations"] = json!([]);
    }
    opening[if refused { "refusal" } else { "text" }] = "".into();
    sequence.push("response.content_part.added", at(json!({"part": opening})));
    let said = text::join(pieces);
    if refused {
        for piece in pieces {
            sequence.push("response.refusal.delta", at(json!({"delta": piece.text})));
        }
        sequence.push("response.refusal.done", at(json!({"refusal": said})));
    } else {
        for piece in pieces {
            sequence.push("response.output_text.delta", at(json!({"delta": piece.text, "logprobs": []})));
        }
        for (number, found) in part["annotations"].as_array().into_iter().flatten().enumerate() {
            let found = json!({"annotation_index": number, "annotation": found});
            sequence.push("response.output_text.annotation.added", at(found));
        }
        sequence.push("response.output_text.done", at(json!({"text": said, "logprobs": []})));
    }
    sequence.push("response.content_part.done", at(json!({"part": part})));
    sequence.push("response.output_item.done", json!({"output_index": index, "item": item}));
}

fn call_events(sequence: &mut Sequence, index: usize, item: &Value, answer: &Answer) {
    let place = json!({"item_id": item["id"], "output_index": index});
    let at = |extra: Value| merge(&place, extra);
    sequence.push(
        "response.output_item.added",
        json!({"output_index": index, "item": announced(item, "arguments", json!(""))}),
    );
    if let Output::Calls(calls) = &answer.output
        && let Some(call) = calls.iter().find(|call| item["call_id"] == call.id.as_str())
    {
        for piece in &call.arguments {
            sequence.push("response.function_call_arguments.delta", at(json!({"delta": piece.text})));
        }
    }
    sequence.push(
        "response.function_call_arguments.done",
        at(json!({"name": item["name"], "arguments": item["arguments"]})),
    );
    sequence.push("response.output_item.done", json!({"output_index": index, "item": item}));
}

fn merge(place: &Value, mut extra: Value) -> Value {
    let mut merged = place.clone();
    if let (Some(merged), Some(extra)) = (merged.as_object_mut(), extra.as_object_mut()) {
        merged.append(extra);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{answer, dice::Dice, script::Script};

    fn run(body: &Value) -> (Value, Vec<Value>) {
        let ask = Ask::responses(body, &[]).unwrap();
        let answer = answer::answer(&ask, true, &Script::default(), &mut Dice::new(0, &[]));
        let head =
            Head { id: "resp_1".to_owned(), created: 1, model: "sim-large".to_owned(), diagnosis: None };
        let events = events(&head, body, &ask, &answer, 0)
            .iter()
            .map(|event| {
                let text = std::str::from_utf8(event).unwrap();
                let (name, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
                let data: Value = serde_json::from_str(data).unwrap();
                assert_eq!(data["type"], name);
                data
            })
            .collect();
        (whole(&head, body, &ask, &answer, 0), events)
    }

    fn deltas(events: &[Value], kind: &str) -> String {
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .filter_map(|event| event["delta"].as_str())
            .collect()
    }

    #[test]
    fn events_are_numbered_and_end_in_the_whole_response() {
        let (plain, events) = run(&json!({"model": "sim-large", "input": "What is an index?"}));
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], index);
        }
        assert_eq!(events[0]["type"], "response.created");
        assert_eq!(events.last().unwrap()["response"], plain);
        assert_eq!(plain["status"], "completed");
        assert_eq!(plain["output"][0]["type"], "reasoning");
        assert_eq!(plain["output"][1]["content"][0]["text"], deltas(&events, "response.output_text.delta"));
    }

    #[test]
    fn limits_make_a_response_incomplete() {
        let (plain, events) = run(&json!({"model": "x", "input": "hi", "max_output_tokens": 3}));
        assert_eq!(plain["status"], "incomplete");
        assert_eq!(plain["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(events.last().unwrap()["type"], "response.incomplete");
    }

    #[test]
    fn function_calls_stream_their_arguments() {
        let (plain, events) = run(&json!({"model": "x", "input": "What is the weather in Oslo?", "tools": [
            {"type": "function", "name": "get_weather", "parameters":
                {"type": "object", "properties": {"city": {"type": "string"}}}}]}));
        let call = plain["output"].as_array().unwrap().last().unwrap();
        assert_eq!(call["arguments"], r#"{"city":"Oslo"}"#);
        assert_eq!(call["arguments"], deltas(&events, "response.function_call_arguments.delta"));
    }
}
