//! What is counted, and what is not.

use serde_json::json;

use super::*;
use crate::model::{
    exchange::MessagePart::Text,
    exchange::{Choice, Message, Request, Timing, UpstreamError},
};

/// The counts alone.
fn counts(exchange: &Exchange) -> Option<Usage> {
    estimate(exchange).map(|estimate| estimate.usage)
}

fn message(role: &str, text: &str) -> Message {
    Message { role: role.into(), name: None, parts: vec![Text { content: text.into() }] }
}

fn exchange(dialect: Dialect, model: &str, messages: Vec<Message>, answer: Option<&str>) -> Exchange {
    let choices = answer.map(|text| Choice { message: message("assistant", text), ..Choice::default() });
    Exchange {
        dialect,
        operation: "chat".into(),
        request: Request { model: Some(model.into()), messages, ..Request::default() },
        response: Response { choices: choices.into_iter().collect(), ..Response::default() },
        streamed: false,
        timing: Timing::default(),
        notes: Vec::new(),
    }
}

#[test]
fn a_chat_is_counted_as_openai_counts_it() {
    // The cookbook's example: each message 3 + role 1 + content, and 3 for the reply.
    let messages = vec![message("system", "hello world"), message("user", "hello world")];
    let usage = counts(&exchange(Dialect::ChatCompletions, "gpt-4", messages, Some("hello world"))).unwrap();
    assert_eq!((usage.input, usage.output), (Some(2 * (3 + 1 + 2) + 3), Some(2)));
}

#[test]
fn special_tokens_in_text_are_text() {
    let messages = vec![message("user", "<|endoftext|>")];
    let usage = counts(&exchange(Dialect::ChatCompletions, "gpt-4o", messages, Some("x"))).unwrap();
    assert!(usage.input.unwrap() > 3 + 1 + 1 + 3);
}

#[test]
fn embeddings_count_texts_and_given_tokens_without_framing() {
    let mut tokens = message("input", "hello world");
    tokens.parts.push(MessagePart::Other { value: json!({"type": "tokens", "count": 40}) });
    let mut exchange = exchange(Dialect::Embeddings, "text-embedding-3-small", vec![tokens], None);
    exchange.response.complete = true;
    let usage = counts(&exchange).unwrap();
    assert_eq!((usage.input, usage.output), (Some(42), None));
}

#[test]
fn tools_and_arguments_count() {
    let bare = exchange(Dialect::ChatCompletions, "gpt-4o", vec![message("user", "hi")], Some("hi"));
    let mut full = bare.clone();
    full.request.tools.push(json!({"type": "function", "function": {"name": "weather", "parameters": {}}}));
    full.response.choices[0].message.parts.push(MessagePart::ToolCall {
        id: None,
        name: "weather".into(),
        arguments: json!({"city": "Oslo"}),
    });
    let (bare, full) = (counts(&bare).unwrap(), counts(&full).unwrap());
    assert!(full.input > bare.input && full.output > bare.output);
}

#[test]
fn inv6_without_an_answer_there_is_no_figure() {
    let asked = || vec![message("user", "hi")];
    assert_eq!(counts(&exchange(Dialect::Http, "gpt-4o", asked(), Some("hi"))), None);
    assert_eq!(counts(&exchange(Dialect::ChatCompletions, "gpt-4o", asked(), None)), None);
    let mut failed = exchange(Dialect::ChatCompletions, "gpt-4o", asked(), None);
    failed.response.error = Some(UpstreamError { kind: "500".into(), message: String::new() });
    failed.response.complete = true;
    assert_eq!(counts(&failed), None);
    let mut nameless = exchange(Dialect::ChatCompletions, "gpt-4o", asked(), Some("hi"));
    nameless.request.model = None;
    assert_eq!(counts(&nameless), None);
}

#[test]
fn an_error_after_output_still_counts() {
    let mut broken =
        exchange(Dialect::ChatCompletions, "gpt-4o", vec![message("user", "hi")], Some("hello world"));
    broken.response.error = Some(UpstreamError { kind: "502".into(), message: String::new() });
    assert_eq!(counts(&broken).unwrap().output, Some(2));
}

#[test]
fn other_makers_models_are_scaled() {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(20);
    let count = |model| {
        counts(&exchange(Dialect::Messages, model, vec![message("user", "hi")], Some(&text))).unwrap().output
    };
    let (own, claude) = (count("gpt-4o").unwrap(), count("claude-sonnet-4-5").unwrap());
    assert_eq!(claude, (own * 120).div_ceil(100));
}
