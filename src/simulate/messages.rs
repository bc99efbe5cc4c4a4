//! Anthropic's messages dialect: an answer as one message of content blocks, or as named events. Input that was
//! read from or written to the prompt cache is counted apart, as it is there.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    answer::{Answer, Finish, Output},
    ask::{Ask, ToolChoice, Turn},
    chat::Head,
    refusal::Refusal,
    responses::named_event,
    text::{self, Piece},
};

impl Ask {
    /// Reads the body of `/v1/messages` (or of counting its tokens, which needs no limit).
    pub(super) fn messages(body: &Value) -> Result<Self, Refusal> {
        let messages = match body.get("messages").and_then(Value::as_array) {
            Some(messages) if !messages.is_empty() => messages,
            _ => {
                return Err(Refusal::invalid(Some("messages"), "messages: at least one message is required"));
            }
        };
        let mut turns = Vec::with_capacity(messages.len() + 1);
        if let Some(system) = body.get("system") {
            turns.push(Turn::new("system", system, "", system));
        }
        for (index, message) in messages.iter().enumerate() {
            let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
            if !matches!(role, "user" | "assistant") {
                let message = format!("messages.{index}.role: Input should be 'user' or 'assistant'");
                return Err(Refusal::invalid(Some("messages"), message));
            }
            let content = message.get("content").unwrap_or(&Value::Null);
            let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
            let of = |kind: &str| blocks.iter().filter(|block| block["type"] == kind).collect::<Vec<_>>();
            let results = of("tool_result");
            turns.push(match results.first() {
                Some(result) => Turn::new("tool", &result["content"], "", message),
                None => {
                    let calls: String = of("tool_use").iter().map(ToString::to_string).collect();
                    Turn::new(role, content, &calls, message)
                }
            });
        }
        let choice = body.get("tool_choice");
        let kind = choice.and_then(|choice| choice["type"].as_str());
        let mut ask = Self::common(&without_choice(body), turns, None, None)?;
        ask.tool_choice = match kind {
            Some("any") => ToolChoice::Required,
            Some("none") => ToolChoice::Never,
            Some("tool") => {
                let name = choice.and_then(|choice| choice["name"].as_str()).unwrap_or_default();
                ToolChoice::Named(name.to_owned())
            }
            _ => ToolChoice::Auto,
        };
        ask.parallel = choice.is_none_or(|choice| choice["disable_parallel_tool_use"] != true);
        let stops = body.get("stop_sequences").and_then(Value::as_array);
        ask.stop = stops.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        ask.reasoning =
            body.pointer("/thinking/type").is_some_and(|kind| *kind == "enabled" || *kind == "adaptive");
        ask.limit = body.get("max_tokens").and_then(Value::as_u64).map(|limit| limit as usize);
        Ok(ask)
    }
}

/// The choice of a tool has a shape of its own, which is read here.
fn without_choice(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("tool_choice");
    }
    body
}

/// Input by class: what the cache had, what it has from now on, and the rest.
struct Input {
    read: usize,
    written: usize,
    rest: usize,
    long: bool,
}

impl Input {
    /// Nothing is cached that no `cache_control` asks for.
    fn of(body: &Value, ask: &Ask, cached: usize) -> Self {
        let text = body.to_string();
        let all = ask.prompt_tokens();
        let (read, written) = match text.contains("\"cache_control\"") {
            true => (cached, (all / 32 * 32).saturating_sub(cached)),
            false => (0, 0),
        };
        Self {
            read,
            written,
            rest: all.saturating_sub(read + written),
            long: text.contains("\"ttl\":\"1h\""),
        }
    }

    fn usage(&self, output: usize, thought: usize) -> Value {
        let (short, long) = if self.long { (0, self.written) } else { (self.written, 0) };
        json!({
            "input_tokens": self.rest, "cache_creation_input_tokens": self.written,
            "cache_read_input_tokens": self.read,
            "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
            "output_tokens": output, "output_tokens_details": {"thinking_tokens": thought},
            "service_tier": "standard",
        })
    }
}

/// The blocks of the answer with the pieces they stream in.
fn blocks(head: &Head, answer: &Answer) -> Vec<(Value, Vec<Piece>)> {
    let mut blocks = Vec::new();
    if !answer.reasoning.is_empty() {
        let signature = format!("sig{}", head.id.trim_start_matches("msg_"));
        let block =
            json!({"type": "thinking", "thinking": text::join(&answer.reasoning), "signature": signature});
        blocks.push((block, answer.reasoning.clone()));
    }
    match &answer.output {
        Output::Text(pieces) | Output::Refusal(pieces) => {
            blocks.push((json!({"type": "text", "text": text::join(pieces)}), pieces.clone()));
        }
        Output::Calls(calls) => blocks.extend(calls.iter().map(|call| {
            let input: Value = serde_json::from_str(&text::join(&call.arguments)).unwrap_or_default();
            let id = call.id.replace("call_", "toolu_");
            (json!({"type": "tool_use", "id": id, "name": call.name, "input": input}), call.arguments.clone())
        })),
    }
    blocks
}

fn stop_reason(answer: &Answer) -> &'static str {
    match (&answer.output, answer.finish) {
        (Output::Refusal(_), _) => "refusal",
        (_, Finish::Stop) => "end_turn",
        (_, Finish::Length) => "max_tokens",
        (_, Finish::ToolCalls) => "tool_use",
    }
}

fn message(head: &Head, content: Value, stop: Value, usage: Value) -> Value {
    let mut message = json!({"id": head.id, "type": "message", "role": "assistant", "model": head.model,
        "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage});
    if let Some(diagnosis) = &head.diagnosis {
        message["diagnostics"] = json!({"cache_miss_reason": {"type": diagnosis}});
    }
    message
}

pub(super) fn whole(head: &Head, body: &Value, ask: &Ask, answer: &Answer, cached: usize) -> Value {
    let content = blocks(head, answer).into_iter().map(|(block, _)| block).collect();
    let usage = Input::of(body, ask, cached).usage(answer.tokens(), answer.reasoning_tokens());
    message(head, content, stop_reason(answer).into(), usage)
}

pub(super) fn events(head: &Head, body: &Value, ask: &Ask, answer: &Answer, cached: usize) -> Vec<Bytes> {
    let mut events = Vec::new();
    let mut push = |kind: &str, mut fields: Value| {
        let mut event = json!({"type": kind});
        if let (Some(event), Some(fields)) = (event.as_object_mut(), fields.as_object_mut()) {
            event.append(fields);
        }
        events.push(named_event(kind, &event));
    };
    let input = Input::of(body, ask, cached);
    // The first count of the output is of what is there already: next to nothing.
    let opening = message(head, json!([]), Value::Null, input.usage(1, 0));
    push("message_start", json!({"message": opening}));
    push("ping", json!({}));
    for (index, (block, pieces)) in blocks(head, answer).iter().enumerate() {
        let (field, kind, empty) = match block["type"].as_str() {
            Some("thinking") => ("thinking", "thinking_delta", json!("")),
            Some("tool_use") => ("input", "input_json_delta", json!({})),
            _ => ("text", "text_delta", json!("")),
        };
        let mut opening = block.clone();
        opening[field] = empty;
        if kind == "thinking_delta" {
            opening["signature"] = "".into();
        }
        push("content_block_start", json!({"index": index, "content_block": opening}));
        let name = if kind == "input_json_delta" { "partial_json" } else { field };
        let delta = |name: &str, kind: &str, piece: &Value| {
            let mut delta = json!({"type": kind});
            delta[name] = piece.clone();
            json!({"index": index, "delta": delta})
        };
        for piece in pieces {
            push("content_block_delta", delta(name, kind, &piece.text.as_str().into()));
        }
        if kind == "thinking_delta" {
            push("content_block_delta", delta("signature", "signature_delta", &block["signature"]));
        }
        push("content_block_stop", json!({"index": index}));
    }
    push(
        "message_delta",
        json!({"delta": {"stop_reason": stop_reason(answer), "stop_sequence": null},
            "usage": input.usage(answer.tokens(), answer.reasoning_tokens())}),
    );
    push("message_stop", json!({}));
    events
}

/// The event that ends a stream in trouble.
pub(super) fn error_event() -> Bytes {
    let error = json!({"type": "overloaded_error", "message": "Overloaded"});
    named_event("error", &json!({"type": "error", "error": error}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{answer, dice::Dice, script::Script};

    fn run(body: &Value) -> (Value, String) {
        let ask = Ask::messages(body).unwrap();
        let answer = answer::answer(&ask, true, &Script::default(), &mut Dice::new(0, &[]));
        let head = Head { id: "msg_1".to_owned(), created: 1, model: "claude-x".to_owned(), diagnosis: None };
        let events = events(&head, body, &ask, &answer, 32).concat();
        (whole(&head, body, &ask, &answer, 32), String::from_utf8(events).unwrap())
    }

    #[test]
    fn thinking_and_tools_are_blocks_and_stream_in_pieces() {
        let (plain, events) =
            run(&json!({"max_tokens": 900, "thinking": {"type": "enabled", "budget_tokens": 500},
            "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
            "tools": [{"name": "get_weather", "input_schema":
                {"type": "object", "properties": {"city": {"type": "string"}}}}]}));
        assert_eq!(plain["content"][0]["type"], "thinking");
        assert_eq!(plain["content"][1]["input"], json!({"city": "Oslo"}));
        assert_eq!(plain["stop_reason"], "tool_use");
        assert!(events.starts_with("event: message_start\ndata: {\"type\":\"message_start\""));
        assert!(events.contains("signature_delta") && events.contains("input_json_delta"));
        assert!(events.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    }

    #[test]
    fn classes_of_input_add_up_and_nothing_is_cached_unasked() {
        let mut body = json!({"max_tokens": 90, "system": [{"type": "text", "text": "Be brief. ".repeat(30)}],
            "messages": [{"role": "user", "content": "Hi"}]});
        let (plain, _) = run(&body);
        let all = plain["usage"]["input_tokens"].as_u64().unwrap();
        assert_eq!(plain["usage"]["cache_read_input_tokens"], 0);
        body["system"][0]["cache_control"] = json!({"type": "ephemeral", "ttl": "1h"});
        let (plain, _) = run(&body);
        let usage = &plain["usage"];
        let count = |name: &str| usage[name].as_u64().unwrap();
        assert_eq!(count("cache_read_input_tokens"), 32);
        assert_eq!(
            usage["cache_creation"]["ephemeral_1h_input_tokens"],
            usage["cache_creation_input_tokens"]
        );
        let sum =
            count("input_tokens") + count("cache_read_input_tokens") + count("cache_creation_input_tokens");
        assert_eq!(sum, all);
    }

    #[test]
    fn results_of_tools_are_told() {
        let (plain, _) = run(&json!({"max_tokens": 90, "messages": [
            {"role": "user", "content": "Weather in Oslo?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "w", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "{\"celsius\":4}"}]},
        ]}));
        assert_eq!(plain["content"][0]["text"], "Here is what I found: the celsius is 4.");
        assert!(Ask::messages(&json!({"messages": []})).is_err());
    }
}
