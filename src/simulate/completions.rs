//! The legacy completions dialect: text goes on, whole or as events of the same shape.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    answer::{Answer, Output},
    ask::Ask,
    chat::{self, Head},
    text,
};

fn said(answer: &Answer) -> String {
    match &answer.output {
        Output::Text(pieces) | Output::Refusal(pieces) => text::join(pieces),
        Output::Calls(_) => String::new(),
    }
}

fn body(head: &Head, choices: Value) -> Value {
    json!({"id": head.id, "object": "text_completion", "created": head.created, "model": head.model,
        "choices": choices})
}

pub(super) fn whole(head: &Head, ask: &Ask, answers: &[Answer], cached: usize) -> Value {
    let choices = answers.iter().enumerate().map(|(index, answer)| {
        json!({"index": index, "text": said(answer), "logprobs": null, "finish_reason": answer.finish.as_str()})
    });
    let mut whole = body(head, choices.collect());
    whole["usage"] = chat::usage(ask, answers, cached);
    whole
}

pub(super) fn events(head: &Head, ask: &Ask, answers: &[Answer], cached: usize) -> Vec<Bytes> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = body(head, choices);
        if ask.include_usage {
            chunk["usage"] = usage;
        }
        chat::event(&chunk)
    };
    let mut events = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        let mut choice = |text: &str, finish: Value| {
            let choice = json!([{"index": index, "text": text, "logprobs": null, "finish_reason": finish}]);
            events.push(chunk(choice, Value::Null));
        };
        if let Output::Text(pieces) | Output::Refusal(pieces) = &answer.output {
            pieces.iter().for_each(|piece| choice(&piece.text, Value::Null));
        }
        choice("", answer.finish.as_str().into());
    }
    if ask.include_usage {
        events.push(chunk(json!([]), chat::usage(ask, answers, cached)));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}
