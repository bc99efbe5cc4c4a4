//! The chat completions dialect: an answer as one JSON body, or as the events of a stream.

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, Finish, Output, ToolCall},
    ask::Ask,
    dice::Dice,
    text::{self, Piece},
};

/// What every body and event of one completion repeats.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    /// What the answer says of the prompt cache.
    pub(super) diagnosis: Option<String>,
}

const FINGERPRINT: &str = "fp_51a7e5eed0";

pub(super) fn usage(ask: &Ask, answers: &[Answer], cached: usize) -> Value {
    let prompt = ask.prompt_tokens();
    let said: usize = answers.iter().map(Answer::tokens).sum();
    let reasoning: usize = answers.iter().map(Answer::reasoning_tokens).sum();
    let spoken: usize = answers.iter().map(|answer| voice(ask, answer).map_or(0, |voice| voice.tokens)).sum();
    // Half of what was predicted came true; the rest is paid all the same.
    let accepted = (ask.predicted / 2).min(said - reasoning);
    let rejected = ask.predicted - accepted;
    let completion = said + spoken + rejected;
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning, "audio_tokens": spoken,
            "accepted_prediction_tokens": accepted, "rejected_prediction_tokens": rejected,
        },
    })
}

/// An answer that is spoken: as much sound as its words take.
struct Voice {
    id: String,
    transcript: String,
    sound: String,
    tokens: usize,
}

/// `None` where nothing is to be spoken, or there are no words.
fn voice(ask: &Ask, answer: &Answer) -> Option<Voice> {
    let Output::Text(pieces) = &answer.output else { return None };
    ask.spoken.then(|| {
        let transcript = text::join(pieces);
        let mut dice = Dice::new(0, &[b"voice", transcript.as_bytes()]);
        let sound = super::audio::sound(text::tokens(pieces), &mut dice);
        let id = format!("audio_{}", dice.token(12));
        let sound = base64::engine::general_purpose::STANDARD.encode(sound);
        Voice { id, transcript, sound, tokens: 2 * text::tokens(pieces) + 1 }
    })
}

/// Where the words were found: one page for all of them.
pub(super) fn citation(ask: &Ask, said: &str) -> Option<Value> {
    let length = said.chars().count();
    ask.searches.then(|| {
        json!({"start_index": 0, "end_index": length, "title": "An example", "url": "https://example.org/found"})
    })
}

/// What Azure's filters find: nothing.
pub(super) fn filtered() -> Value {
    let none = json!({"filtered": false, "severity": "safe"});
    json!([{"prompt_index": 0, "content_filter_results": {
        "hate": none, "self_harm": none, "sexual": none, "violence": none,
    }}])
}

/// The event that Azure's streams begin with.
pub(super) fn filter_event() -> Bytes {
    event(&json!({
        "id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": filtered(),
    }))
}

/// Why an answer ended, in the words of the form that it has.
fn finish(ask: &Ask, answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::ToolCalls if ask.functions => "function_call",
        finish => finish.as_str(),
    }
}

/// Probabilities for pieces: likely mostly, the same for the same text.
fn logprobs(pieces: &[Piece], top: usize) -> Vec<Value> {
    let entry =
        |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    pieces
        .iter()
        .map(|piece| {
            let mut dice = Dice::new(0, &[piece.text.as_bytes()]);
            let logprob = -(dice.fraction().powi(3) * 1e4).round() / 1e4;
            let mut item = entry(&piece.text, logprob);
            let others = [" the", " a", " it", " so", " and"];
            let alternatives: Vec<Value> = (0..top)
                .map(|rank| match rank {
                    0 => entry(&piece.text, logprob),
                    _ => entry(others[rank % others.len()], logprob - 1.5 * rank as f64),
                })
                .collect();
            item["top_logprobs"] = Value::Array(alternatives);
            item
        })
        .collect()
}

fn call_body(call: &ToolCall, arguments: &str) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

/// The body of a plain completion.
pub(super) fn whole(head: &Head, ask: &Ask, answers: &[Answer], cached: usize) -> Value {
    let choices: Vec<Value> = answers
        .iter()
        .enumerate()
        .map(|(index, answer)| {
            let mut message =
                json!({"role": "assistant", "content": null, "refusal": null, "annotations": []});
            let mut probabilities = Value::Null;
            match &answer.output {
                Output::Text(pieces) => {
                    let said = text::join(pieces);
                    if let Some(found) = citation(ask, &said) {
                        message["annotations"] = json!([{"type": "url_citation", "url_citation": found}]);
                    }
                    match voice(ask, answer) {
                        Some(voice) => {
                            message["audio"] = json!({
                                "id": voice.id, "transcript": voice.transcript, "data": voice.sound,
                                "expires_at": head.created + 3_600,
                            });
                        }
                        None => message["content"] = said.into(),
                    }
                    if let Some(top) = ask.logprobs {
                        probabilities = json!({"content": logprobs(pieces, top), "refusal": null});
                    }
                }
                Output::Refusal(pieces) => message["refusal"] = text::join(pieces).into(),
                Output::Calls(calls) if ask.functions => {
                    if let Some(call) = calls.first() {
                        message["function_call"] =
                            call_body(call, &text::join(&call.arguments))["function"].take();
                    }
                }
                Output::Calls(calls) => {
                    message["tool_calls"] =
                        calls.iter().map(|call| call_body(call, &text::join(&call.arguments))).collect();
                }
            }
            if !answer.reasoning.is_empty() {
                message["reasoning_content"] = text::join(&answer.reasoning).into();
            }
            json!({
                "index": index, "message": message, "logprobs": probabilities,
                "finish_reason": finish(ask, answer),
            })
        })
        .collect();
    json!({
        "id": head.id, "object": "chat.completion", "created": head.created, "model": head.model,
        "choices": choices, "usage": usage(ask, answers, cached),
        "service_tier": "default", "system_fingerprint": FINGERPRINT,
    })
}

/// The steps of one choice: its deltas with their log probabilities.
fn deltas(ask: &Ask, answer: &Answer) -> Vec<(Value, Value)> {
    let mut steps = Vec::new();
    for piece in &answer.reasoning {
        steps.push((json!({"reasoning_content": piece.text}), Value::Null));
    }
    match &answer.output {
        Output::Text(_) if ask.spoken => {
            let Some(voice) = voice(ask, answer) else { return steps };
            steps.push((json!({"audio": {"id": voice.id, "transcript": voice.transcript}}), Value::Null));
            // Base64 may be cut between any two groups of four.
            for piece in voice.sound.as_bytes().chunks(4_096) {
                let data = String::from_utf8_lossy(piece);
                steps.push((json!({"audio": {"id": voice.id, "data": data}}), Value::Null));
            }
        }
        Output::Text(pieces) => {
            for piece in pieces {
                let probabilities = match ask.logprobs {
                    Some(top) => {
                        json!({"content": logprobs(std::slice::from_ref(piece), top), "refusal": null})
                    }
                    None => Value::Null,
                };
                steps.push((json!({"content": piece.text}), probabilities));
            }
            if let Some(found) = citation(ask, &text::join(pieces)) {
                let found = json!([{"type": "url_citation", "url_citation": found}]);
                steps.push((json!({"annotations": found}), Value::Null));
            }
        }
        Output::Refusal(pieces) => {
            steps.extend(pieces.iter().map(|piece| (json!({"refusal": piece.text}), Value::Null)));
        }
        Output::Calls(calls) if ask.functions => {
            for call in calls.iter().take(1) {
                let opening = call_body(call, "")["function"].take();
                steps.push((json!({"function_call": opening}), Value::Null));
                for piece in &call.arguments {
                    steps.push((json!({"function_call": {"arguments": piece.text}}), Value::Null));
                }
            }
        }
        Output::Calls(calls) => {
            for (index, call) in calls.iter().enumerate() {
                let mut opening = call_body(call, "");
                opening["index"] = index.into();
                steps.push((json!({"tool_calls": [opening]}), Value::Null));
                for piece in &call.arguments {
                    let fragment = json!({"index": index, "function": {"arguments": piece.text}});
                    steps.push((json!({"tool_calls": [fragment]}), Value::Null));
                }
            }
        }
    }
    steps
}

/// The events of a streamed completion, `[DONE]` last. Choices take turns, as they do at providers.
pub(super) fn events(head: &Head, ask: &Ask, answers: &[Answer], cached: usize) -> Vec<Bytes> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = Map::new();
        chunk.insert("id".to_owned(), head.id.clone().into());
        chunk.insert("object".to_owned(), "chat.completion.chunk".into());
        chunk.insert("created".to_owned(), head.created.into());
        chunk.insert("model".to_owned(), head.model.clone().into());
        chunk.insert("service_tier".to_owned(), "default".into());
        chunk.insert("system_fingerprint".to_owned(), FINGERPRINT.into());
        chunk.insert("choices".to_owned(), choices);
        if ask.include_usage {
            chunk.insert("usage".to_owned(), usage);
        }
        event(&Value::Object(chunk))
    };
    let choice = |index: usize, delta: Value, logprobs: Value, finish: Value| {
        chunk(
            json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]),
            Value::Null,
        )
    };
    let mut events = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        let words = matches!(answer.output, Output::Text(_)) && !ask.spoken;
        let content = if words { json!("") } else { Value::Null };
        let opening = json!({"role": "assistant", "content": content, "refusal": null});
        events.push(choice(index, opening, Value::Null, Value::Null));
    }
    let mut steps: Vec<_> = answers.iter().map(|answer| deltas(ask, answer).into_iter()).collect();
    loop {
        let before = events.len();
        for (index, steps) in steps.iter_mut().enumerate() {
            if let Some((delta, logprobs)) = steps.next() {
                events.push(choice(index, delta, logprobs, Value::Null));
            }
        }
        if events.len() == before {
            break;
        }
    }
    for (index, answer) in answers.iter().enumerate() {
        events.push(choice(index, json!({}), Value::Null, finish(ask, answer).into()));
    }
    if ask.include_usage {
        events.push(chunk(json!([]), usage(ask, answers, cached)));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

/// One event without a name.
pub(super) fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{answer, script::Script};

    fn head() -> Head {
        Head { id: "chatcmpl-1".to_owned(), created: 1, model: "sim-large".to_owned(), diagnosis: None }
    }

    fn ask(body: &Value) -> (Ask, Vec<Answer>) {
        let ask = Ask::chat(body).unwrap();
        let answers = (0..ask.choices)
            .map(|n| answer::answer(&ask, true, &Script::default(), &mut Dice::new(n as u64, &[])))
            .collect();
        (ask, answers)
    }

    /// Puts a stream together the way a client does.
    fn assemble(events: &[Bytes]) -> (Vec<Value>, Vec<Value>) {
        let chunks: Vec<Value> = events[..events.len() - 1]
            .iter()
            .map(|event| serde_json::from_slice(event.strip_prefix(b"data: ").unwrap()).unwrap())
            .collect();
        let mut messages: Vec<Value> = Vec::new();
        for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
            let index = choice["index"].as_u64().unwrap() as usize;
            if messages.len() <= index {
                messages.resize(index + 1, json!({"content": "", "reasoning": "", "calls": {}}));
            }
            let message = &mut messages[index];
            for (from, to) in [("content", "content"), ("reasoning_content", "reasoning")] {
                if let Some(piece) = choice["delta"][from].as_str() {
                    message[to] = format!("{}{piece}", message[to].as_str().unwrap()).into();
                }
            }
            for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let key = call["index"].to_string();
                let piece = call["function"]["arguments"].as_str().unwrap();
                let so_far = message["calls"][&key].as_str().unwrap_or_default();
                message["calls"][&key] = format!("{so_far}{piece}").into();
            }
            if !choice["finish_reason"].is_null() {
                message["finish"] = choice["finish_reason"].clone();
            }
        }
        (chunks, messages)
    }

    #[test]
    fn a_stream_says_what_the_plain_body_says() {
        let body = json!({"messages": [{"role": "user", "content": "What is an index?"}], "n": 2,
            "logprobs": true, "top_logprobs": 2, "stream_options": {"include_usage": true}});
        let (ask, answers) = ask(&body);
        let plain = whole(&head(), &ask, &answers, 32);
        let events = events(&head(), &ask, &answers, 32);
        assert_eq!(events.last().unwrap(), &Bytes::from_static(b"data: [DONE]\n\n"));
        let (chunks, messages) = assemble(&events);
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        for (index, message) in messages.iter().enumerate() {
            assert_eq!(message["content"], plain["choices"][index]["message"]["content"]);
            assert_eq!(message["reasoning"], plain["choices"][index]["message"]["reasoning_content"]);
            assert_eq!(message["finish"], plain["choices"][index]["finish_reason"]);
        }
        let last = chunks.last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"], plain["usage"]);
        assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk["usage"].is_null()));
        assert!(plain["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
        let listed = plain["choices"][0]["logprobs"]["content"].as_array().unwrap();
        assert!(listed.iter().all(|item| item["top_logprobs"].as_array().unwrap().len() == 2));
    }

    #[test]
    fn tool_calls_come_in_fragments() {
        let body = json!({"messages": [{"role": "user", "content": "Look up the order of Ada and Grace."}],
            "tools": [{"type": "function", "function": {"name": "look_up_order", "parameters":
                {"type": "object", "properties": {"customer": {"type": "string"}}}}}]});
        let (ask, answers) = ask(&body);
        let (chunks, messages) = assemble(&events(&head(), &ask, &answers, 0));
        assert_eq!(
            messages[0]["calls"],
            json!({"0": "{\"customer\":\"Ada\"}", "1": "{\"customer\":\"Grace\"}"})
        );
        assert_eq!(messages[0]["finish"], "tool_calls");
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()), "usage was not asked for");
    }
}
