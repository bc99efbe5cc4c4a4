//! An answer as it came and as clients resend it are one unit; what differs for a reader differs here.

use serde_json::{Value, json};

use super::*;
use crate::{
    chain::{answered_prefixes, prefixes},
    model::UnixNanos,
    wire::{CallReader, Limits},
};

/// A call as its reader understands it.
fn read(target: &str, request: &Value, response: &str) -> Outline {
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    let streamed = response.starts_with("data:") || response.starts_with("event:");
    let kind = if streamed { "text/event-stream" } else { "application/json" };
    let mut reader = CallReader::new("POST", target, &headers, Limits::default());
    reader.request(request.to_string().as_bytes());
    reader.answered(200, &[("content-type".to_owned(), kind.to_owned())]);
    reader.response(response.as_bytes(), UnixNanos(1));
    outline(&reader.finish(true), false).expect("a conversation")
}

/// True when `next` goes on from where `first` was answered.
fn goes_on(first: &Outline, next: &Outline) -> bool {
    let answered = answered_prefixes(first, &prefixes(&first.units));
    let prefixes = prefixes(&next.units);
    !answered.is_empty() && answered.iter().all(|prefix| prefixes.contains(prefix))
}

const CHAT: &str = "/chat/completions";

#[test]
fn a_streamed_answer_is_the_message_that_is_resent() {
    let stream = [
        json!({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Let me "}}]}),
        json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "look.\n"}}]}),
        json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "call_9fK2", "type":
            "function", "function": {"name": "find", "arguments": "{\"b\": 1,"}}]}}]}),
        json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function":
            {"arguments": " \"a\": \"x\"}"}}]}, "finish_reason": "tool_calls"}]}),
    ];
    let stream: String = stream.iter().map(|event| format!("data: {event}\n\n")).collect();
    let user = json!({"role": "user", "content": "find it"});
    let first = read(
        CHAT,
        &json!({"model": "m", "messages": [user], "stream": true}),
        &format!("{stream}data: [DONE]\n\n"),
    );
    let resent = json!({"role": "assistant", "content": "Let me look.", "refusal": null, "annotations": [],
        "tool_calls": [{"id": "call_9fK2", "type": "function", "function":
            {"name": "find", "arguments": "{\"a\":\"x\",\"b\":1}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "call_9fK2", "content": "found"});
    let next = read(CHAT, &json!({"model": "m", "messages": [user, resent, result]}), "{}");
    assert!(goes_on(&first, &next));
    assert!(first.replies[0].unit.unique);

    let mut other = resent;
    other["tool_calls"][0]["id"] = json!("call_other1");
    let stranger = read(CHAT, &json!({"model": "m", "messages": [user, other]}), "{}");
    assert!(!goes_on(&first, &stranger));
}

#[test]
fn thinking_is_no_part_of_what_was_said() {
    let user = json!({"role": "user", "content": [{"type": "text", "text": "why?"}]});
    let answer = json!({"choices": [{"index": 0, "message": {"role": "assistant",
        "reasoning_content": "hm", "content": "<think>well\nwell</think>\n\nBecause."}}]});
    let first = read(CHAT, &json!({"model": "m", "messages": [user]}), &answer.to_string());
    for content in ["Because.", "<think>well\nwell</think>\n\nBecause.", "Because. "] {
        let messages = json!([{"role": "system", "content": "new"}, {"role": "user", "content": "why?"},
            {"role": "assistant", "content": content}, {"role": "user", "content": "really?"}]);
        assert!(
            goes_on(&first, &read(CHAT, &json!({"model": "m", "messages": messages}), "{}")),
            "{content:?}"
        );
    }
}

#[test]
fn output_items_are_one_turn_when_they_are_resent_one_by_one() {
    let items = json!([
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Looking.", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_77aa88", "name": "f", "arguments": "{\"q\":1}",
            "status": "completed"},
    ]);
    let response = json!({"id": "resp_1", "status": "completed", "output": items}).to_string();
    let user = json!({"role": "user", "content": "look"});
    let first = read("/responses", &json!({"model": "m", "input": [user]}), &response);
    let output = json!({"type": "function_call_output", "call_id": "call_77aa88", "output": "1"});
    let mut input = vec![user];
    input.extend(items.as_array().unwrap().iter().skip(1).cloned());
    input.push(output);
    assert!(goes_on(&first, &read("/responses", &json!({"model": "m", "input": input}), "{}")));
    // Text alone is a message of the user.
    let plain = read("/responses", &json!({"model": "m", "input": "look"}), &response);
    assert!(goes_on(&plain, &read("/responses", &json!({"model": "m", "input": input}), "{}")));
}

#[test]
fn messages_with_blocks_go_on_whether_streamed_or_whole() {
    let whole = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "stop_reason": "tool_use",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "toolu_0199", "name": "grep", "input": {"p": "x"}}],
        "usage": {"input_tokens": 3, "output_tokens": 4}});
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "model": "c", "usage": {}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I look."}}),
        json!({"type": "content_block_start", "index": 1, "content_block":
            {"type": "tool_use", "id": "toolu_0199", "name": "grep", "input": {}}}),
        json!({"type": "content_block_delta", "index": 1, "delta":
            {"type": "input_json_delta", "partial_json": "{\"p\": \"x\"}"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ];
    let stream: String = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect();
    let user = json!({"role": "user", "content": "look"});
    let next = json!({"model": "c", "system": "s", "messages": [user, {"role": "assistant", "content": whole["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0199", "content": "x:1"}]}]});
    let next = read("/v1/messages", &next, "{}");
    for response in [whole.to_string(), stream] {
        let first =
            read("/v1/messages", &json!({"model": "c", "system": "s", "messages": [user]}), &response);
        assert!(goes_on(&first, &next));
    }
}

#[test]
fn a_clock_in_the_system_prompt_is_a_marker_and_no_other_prompt() {
    let outlined = |system: &str| {
        let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": "hi"}]);
        read(CHAT, &json!({"model": "m", "messages": messages}), "{}")
    };
    let (first, second) = (outlined("You help. It is 10:31:07."), outlined("You help. It is 10:32:44."));
    assert_eq!(first.system, second.system);
    assert_ne!(first.markers, second.markers);
    assert_ne!(first.elements[0], second.elements[0]);
    assert_eq!(first.units, second.units);
    assert_ne!(first.system, outlined("You joke. It is 10:31:07.").system);
}

#[test]
fn what_is_no_conversation_has_no_outline() {
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    let mut reader = CallReader::new("POST", "/embeddings", &headers, Limits::default());
    reader.request(br#"{"model":"m","input":"x"}"#);
    assert_eq!(outline(&reader.finish(true), false), None);
}

proptest::proptest! {
    #[test]
    fn white_space_of_every_kind_is_left_out(text in "[a-c\\x00-\\x20\\x7f é\u{a0}\u{2003}\u{85}]{0,40}", ascii in "[a-c\\x00-\\x20\\x7f]{0,40}") {
        for text in [text, ascii] {
            let expected: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            proptest::prop_assert_eq!(without_space(&text), expected);
        }
    }
}
