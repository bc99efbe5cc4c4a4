//! OpenInference's attribute names (Phoenix, Arize), written beside OpenTelemetry's: lists flattened with a
//! zero-based index.

use serde_json::{Map, Value};

use super::{attributes::Attributes, content};
use crate::model::{
    call::{Call, Dialect},
    exchange::{Exchange, Message, MessagePart},
};

/// Most messages flattened into attributes; of more, the first and the last stay.
const MAX_MESSAGES: usize = 128;
/// Most tool definitions flattened.
const MAX_TOOLS: usize = 64;

pub(super) fn write(to: &mut Attributes, call: &Call, exchange: Option<&Exchange>, with_content: bool) {
    let kind = match call.dialect {
        Dialect::Embeddings => "EMBEDDING",
        Dialect::Http => "UNKNOWN",
        _ => "LLM",
    };
    to.text("openinference.span.kind", kind);
    if !call.metadata.is_empty() {
        to.text("metadata", Value::Object(call.metadata.clone()).to_string());
    }
    to.texts("tag.tags", &call.tags);
    if call.dialect == Dialect::Http {
        return;
    }
    let embedding = call.dialect == Dialect::Embeddings;
    to.maybe_text(if embedding { "embedding.model_name" } else { "llm.model_name" }, call.model());
    to.maybe_text("llm.request.model_name", call.request_model.as_deref());
    to.maybe_text("llm.response.model_name", call.response_model.as_deref());
    to.text("llm.provider", provider(&call.provider));
    to.text("llm.system", provider(&call.provider));
    to.maybe_text("llm.finish_reason", call.finish_reasons.first().map(String::as_str));
    let usage = &call.usage;
    to.count("llm.token_count.prompt", usage.input);
    to.count("llm.token_count.completion", usage.output);
    to.count("llm.token_count.total", usage.total());
    to.count("llm.token_count.prompt_details.cache_read", usage.cache_read);
    to.count("llm.token_count.prompt_details.cache_write", usage.cache_write);
    to.count("llm.token_count.prompt_details.audio", usage.input_audio);
    to.count("llm.token_count.completion_details.reasoning", usage.reasoning);
    to.count("llm.token_count.completion_details.audio", usage.output_audio);
    if let Some(cost) = call.cost {
        to.double("llm.cost.total", cost.as_usd());
    }
    let Some(exchange) = exchange else { return };
    invocation_parameters(to, embedding, &exchange.request.parameters, with_content);
    if with_content {
        input(to, embedding, exchange);
        output(to, exchange);
    }
}

/// OpenInference's spelling of a provider, where it differs from OpenTelemetry's.
fn provider(name: &str) -> &str {
    match name {
        "azure.ai.openai" | "azure.ai.inference" => "azure",
        "aws.bedrock" => "aws",
        "gcp.gemini" | "gcp.gen_ai" | "gcp.vertex_ai" => "google",
        "mistral_ai" => "mistralai",
        "x_ai" => "xai",
        other => other,
    }
}

/// Without content only numbers and flags leave: a prediction, a suffix or a schema is somebody's text.
fn invocation_parameters(
    to: &mut Attributes,
    embedding: bool,
    given: &Map<String, Value>,
    with_content: bool,
) {
    let mut kept = given.clone();
    if !with_content {
        kept.retain(|_, value| value.is_number() || value.is_boolean());
    }
    if !kept.is_empty() {
        let name = if embedding { "embedding.invocation_parameters" } else { "llm.invocation_parameters" };
        to.text(name, Value::Object(kept).to_string());
    }
}

fn input(to: &mut Attributes, embedding: bool, exchange: &Exchange) {
    let request = &exchange.request;
    if request.messages.is_empty() {
        return;
    }
    if embedding {
        for (index, message) in request.messages.iter().take(MAX_MESSAGES).enumerate() {
            to.maybe_text(
                &format!("embedding.embeddings.{index}.embedding.text"),
                Some(&plain_text(&message.parts)),
            );
        }
    }
    to.fitted("input.value", content::input_messages(&request.messages, to.limit()));
    to.text("input.mime_type", "application/json");
    if embedding {
        return;
    }
    let system = (!request.system_instructions.is_empty()).then(|| Message {
        role: "system".to_owned(),
        name: None,
        parts: request.system_instructions.clone(),
    });
    let all: Vec<&Message> = system.iter().chain(&request.messages).collect();
    let skipped = all.len().saturating_sub(MAX_MESSAGES);
    if skipped > 0 {
        to.mark_truncated("llm.input_messages");
    }
    let kept = all.iter().take(1).chain(all.iter().skip(1 + skipped));
    for (index, message) in kept.enumerate() {
        flattened(to, &format!("llm.input_messages.{index}.message"), message);
    }
    for (index, tool) in request.tools.iter().take(MAX_TOOLS).enumerate() {
        to.text(format!("llm.tools.{index}.tool.json_schema"), tool.to_string());
    }
}

fn output(to: &mut Attributes, exchange: &Exchange) {
    let choices = &exchange.response.choices;
    if let [only] = choices.as_slice()
        && !only.message.parts.is_empty()
        && only.message.parts.iter().all(|part| matches!(part, MessagePart::Text { .. }))
    {
        to.text("output.value", plain_text(&only.message.parts));
        to.text("output.mime_type", "text/plain");
    } else if !choices.is_empty() {
        to.fitted("output.value", content::output_messages(choices, to.limit()));
        to.text("output.mime_type", "application/json");
    }
    for (index, choice) in choices.iter().enumerate().take(MAX_MESSAGES) {
        flattened(to, &format!("llm.output_messages.{index}.message"), &choice.message);
    }
}

/// One message under `prefix`. A single text is `content`; anything richer is `contents.M`.
fn flattened(to: &mut Attributes, prefix: &str, message: &Message) {
    to.text(format!("{prefix}.role"), message.role.as_str());
    to.maybe_text(&format!("{prefix}.name"), message.name.as_deref());
    let shown: Vec<(&str, &str)> = message.parts.iter().filter_map(shown).collect();
    match shown.as_slice() {
        [] => {}
        [("text", content)] => to.text(format!("{prefix}.content"), *content),
        several => {
            for (index, (kind, content)) in several.iter().enumerate() {
                let at = format!("{prefix}.contents.{index}.message_content");
                to.text(format!("{at}.type"), *kind);
                let name = if *kind == "image" { "image.image.url" } else { "text" };
                to.text(format!("{at}.{name}"), *content);
            }
        }
    }
    let mut calls = 0;
    for part in &message.parts {
        match part {
            MessagePart::ToolCall { id, name, arguments } => {
                let at = format!("{prefix}.tool_calls.{calls}.tool_call");
                to.maybe_text(&format!("{at}.id"), id.as_deref());
                to.text(format!("{at}.function.name"), name.as_str());
                to.text(format!("{at}.function.arguments"), as_text(arguments));
                calls += 1;
            }
            MessagePart::ToolCallResponse { id, response } => {
                to.maybe_text(&format!("{prefix}.tool_call_id"), id.as_deref());
                to.text(format!("{prefix}.content"), as_text(response));
            }
            _ => {}
        }
    }
}

fn shown(part: &MessagePart) -> Option<(&'static str, &str)> {
    match part {
        MessagePart::Text { content } | MessagePart::Refusal { content } => Some(("text", content)),
        MessagePart::Reasoning { content } => Some(("reasoning", content)),
        MessagePart::Uri { modality, uri, .. } if modality == "image" => Some(("image", uri)),
        _ => None,
    }
}

/// A JSON string as its content, anything else as JSON.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn plain_text(parts: &[MessagePart]) -> String {
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| match part {
            MessagePart::Text { content } => Some(content.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n")
}
