//! One call as text: facts first, then the conversation as it was spoken.

use serde_json::Value;

use super::{line, output::Output, step};
use crate::{
    api::CallWhole,
    model::{
        NanoUsd,
        exchange::{Message, MessagePart},
    },
    report::{
        CallRow, Tone,
        call::blame,
        figures::{self, printable},
        text::{self, Look},
    },
};

/// The whole text, ending in a new line.
pub(super) fn call(whole: &CallWhole, headers: bool, output: &Output) -> String {
    let look = output.look;
    let mut page = Page { text: String::new(), look };
    facts(&mut page, whole, output);
    usage(&mut page, &whole.call);
    cache(&mut page, whole);
    failure(&mut page, &whole.call);
    if headers {
        for (title, head) in
            [("request headers", &whole.request_headers), ("response headers", &whole.response_headers)]
        {
            page.title(title);
            for (name, value) in head {
                page.fact(name, value);
            }
        }
    }
    conversation(&mut page, whole);
    let notes: Vec<_> = whole.call.notes.iter().chain(&whole.decode_notes).collect();
    if !notes.is_empty() {
        page.title("notes");
        for note in notes {
            page.line(note);
        }
    }
    page.text
}

struct Page {
    text: String,
    look: Look,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(&printable(line));
        self.text.push('\n');
    }

    fn title(&mut self, title: &str) {
        self.text.push('\n');
        self.text.push_str(&text::bold(&printable(title), self.look));
        self.text.push('\n');
    }

    fn fact(&mut self, name: &str, value: &str) {
        let name = format!("{:<14}", printable(name));
        self.text.push_str(&text::paint(Tone::Faint, &name, self.look));
        self.text.push(' ');
        self.line(value);
    }

    fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.fact(name, value);
        }
    }

    /// A block of somebody's text, set in so that it cannot pass for one of our lines.
    fn block(&mut self, block: &str) {
        for line in block.lines() {
            self.text.push_str("  ");
            self.line(line);
        }
    }
}

fn ms(ms: f64) -> String {
    figures::duration(figures::ns_of_ms(ms))
}

fn facts(page: &mut Page, whole: &CallWhole, output: &Output) {
    let row = &whole.call;
    let (tone, mark) = line::mark(row.status);
    let look = page.look;
    let head = format!(
        "{} {}\n",
        text::paint(tone, &format!("{mark} {}", row.status.as_str()), look),
        text::bold(&figures::one_line(&row.name, 120), look)
    );
    page.text.push_str(&head);
    page.fact("id", &row.id);
    page.fact("trace", &format!("{} span {}", row.trace_id, row.span_id));
    page.fact("started", &output.when(&row.started_at));
    let mut timing = ms(row.duration_ms);
    for (name, at) in [("head", row.first_byte_ms), ("first token", row.first_token_ms)] {
        if let Some(at) = at {
            timing.push_str(&format!(", {name} after {}", ms(at)));
        }
    }
    if let Some(speed) = row.tokens_per_second() {
        timing.push_str(&format!(", {speed:.0} tokens/s"));
    }
    page.fact("took", &timing);
    page.fact(
        "upstream",
        &format!("{} ({}, {}:{})", row.upstream, row.provider, row.server_address, row.server_port),
    );
    let status = row.http_status.map_or_else(|| "no response".to_owned(), |status| status.to_string());
    let form = if row.streamed { format!("stream of {} events", row.chunks) } else { "whole".to_owned() };
    page.fact("http", &format!("{} {} → {status}, {form}", row.method, row.target));
    let asked = row.request_model.as_deref().filter(|asked| Some(*asked) != row.model.as_deref());
    let asked = asked.map_or_else(String::new, |asked| format!(" (asked for {asked})"));
    page.maybe("model", row.model.as_deref().map(|model| format!("{model}{asked}")).as_deref());
    let rule = |rule: &Option<String>| rule.as_ref().map_or_else(String::new, |rule| format!(" (by {rule})"));
    let experiment = row.experiment.as_deref().unwrap_or(&row.experiment_id);
    page.fact("experiment", &format!("{experiment}{}", rule(&row.rules.experiment)));
    let run = row.run.as_deref().or(row.run_id.as_deref());
    page.maybe("run", run.map(|run| format!("{run}{}", rule(&row.rules.run))).as_deref());
    let session = row.session.as_deref().map(|session| format!("{session}{}", rule(&row.rules.session)));
    page.maybe("session", session.as_deref());
    if let Some(link) = &whole.link {
        let parent: String = link.parent.chars().take(16).collect();
        let sure = link.confidence * 100.0;
        page.fact(
            "goes on from",
            &format!("{parent}: {}, {sure:.0} % sure ({})", step::kind(link.kind), link.why),
        );
    }
    page.maybe("user", row.user.as_deref());
    page.maybe("tags", (!row.tags.is_empty()).then(|| row.tags.join(", ")).as_deref());
    page.maybe("finish", (!row.finish_reasons.is_empty()).then(|| row.finish_reasons.join(", ")).as_deref());
    page.maybe("request id", row.request_id.as_deref());
    page.maybe("retry", row.retry_count.map(|count| count.to_string()).as_deref());
    let kept = |whole: bool| if whole { "" } else { " (not all kept)" };
    page.fact(
        "bytes",
        &format!(
            "{} sent{}, {} received{}",
            figures::count(row.sent_bytes),
            kept(row.request_whole),
            figures::count(row.received_bytes),
            kept(row.response_whole)
        ),
    );
}

fn usage(page: &mut Page, row: &CallRow) {
    let usage = &row.usage;
    let classes = [
        ("input", usage.input),
        ("cache read", usage.cache_read),
        ("cache write", usage.cache_write),
        ("audio in", usage.input_audio),
        ("image in", usage.input_image),
        ("output", usage.output),
        ("reasoning", usage.reasoning),
        ("audio out", usage.output_audio),
        ("image out", usage.output_image),
        ("web searches", usage.web_searches),
    ];
    let source = row.usage_source.map_or("no usage is known", |source| source.as_str());
    page.title(&format!("tokens ({source})"));
    for (name, count) in classes {
        page.maybe(name, count.map(figures::count).as_deref());
    }
    for (meter, count) in &usage.meters {
        page.fact(&meter.as_str().replace('_', " "), &figures::count(*count));
    }
    match (row.cost(), &row.price_id) {
        (Some(cost), price) => {
            let price = price.as_deref().unwrap_or("an unnamed price");
            page.fact("cost", &format!("{cost} by {price}"));
            if let Some(billed) = row.billed_nano_usd.map(NanoUsd).filter(|billed| *billed != cost) {
                page.fact("billed", &billed.to_string());
            }
        }
        (None, _) => page.fact("cost", "unknown: no price is known for this call"),
    }
}

/// What a prompt cache could have read, where that is more than it did or the provider says otherwise.
fn cache(page: &mut Page, whole: &CallWhole) {
    let Some(cache) = whole.cache.as_ref().filter(|cache| cache.missed_tokens > 0 || cache.disputed) else {
        return;
    };
    page.title("prompt cache");
    let lost =
        cache.lost_nano_usd.map_or_else(|| "an unknown amount".to_owned(), |lost| NanoUsd(lost).to_string());
    page.fact(
        "missed",
        &format!(
            "{} of {} tokens that could have been read, for {lost}",
            figures::count(cache.missed_tokens),
            figures::count(cache.cacheable_tokens)
        ),
    );
    page.maybe("because", cache.why.as_deref());
    page.maybe("compared with", cache.compared_with.as_deref());
    if let Some(word) = &cache.provider_says {
        let against = if cache.disputed { ", which contradicts" } else { "" };
        page.fact("provider says", &format!("{word}{against}"));
    }
}

fn failure(page: &mut Page, row: &CallRow) {
    if row.error_type.is_none() && row.error_message.is_none() {
        return;
    }
    page.title("error");
    page.maybe("type", row.error_type.as_deref());
    page.maybe("to blame", row.error_source.map(blame));
    page.maybe("message", row.error_message.as_deref());
    page.fact("ended as", row.outcome.as_str());
}

fn conversation(page: &mut Page, whole: &CallWhole) {
    let request = &whole.request;
    if !request.system_instructions.is_empty() {
        page.title("→ instructions");
        parts(page, &request.system_instructions);
    }
    for message in &request.messages {
        said(page, "→", message, "");
    }
    if !request.tools.is_empty() {
        page.title(&format!("→ {} tools offered", request.tools.len()));
        for tool in &request.tools {
            let name =
                tool.pointer("/function/name").or_else(|| tool.get("name")).or_else(|| tool.get("type"));
            page.block(name.and_then(Value::as_str).unwrap_or("(unnamed)"));
        }
    }
    for choice in &whole.response.choices {
        let which =
            if whole.response.choices.len() > 1 { format!(" #{}", choice.index) } else { String::new() };
        // Pictures and sounds end without saying why.
        let reason = match &choice.finish_reason {
            Some(reason) => format!(" ({reason})"),
            None if whole.response.complete => String::new(),
            None => " (cut before its end)".to_owned(),
        };
        said(page, "←", &choice.message, &format!("{which}{reason}"));
    }
    if let Some(error) = &whole.response.error {
        page.title(&format!("← error {}", error.kind));
        page.block(&error.message);
    }
}

fn said(page: &mut Page, arrow: &str, message: &Message, after: &str) {
    let name = message.name.as_deref().map_or_else(String::new, |name| format!(" {name}"));
    let role = if message.role.is_empty() { "(no role)" } else { &message.role };
    page.title(&figures::one_line(&format!("{arrow} {role}{name}{after}"), 120));
    parts(page, &message.parts);
}

fn parts(page: &mut Page, parts: &[MessagePart]) {
    for part in parts {
        match part {
            MessagePart::Text { content } => page.block(content),
            MessagePart::Reasoning { content } => {
                page.block("[reasoning]");
                page.block(content);
            }
            MessagePart::Refusal { content } => {
                page.block("[refusal]");
                page.block(content);
            }
            MessagePart::ToolCall { id, name, arguments } => {
                page.block(&format!("[calls {name}{}]", named(id)));
                page.block(&value(arguments));
            }
            MessagePart::ToolCallResponse { id, response } => {
                page.block(&format!("[tool answers{}]", named(id)));
                page.block(&value(response));
            }
            MessagePart::Blob { modality, mime_type, bytes, extent, .. } => {
                let kind = mime_type.as_deref().unwrap_or(modality);
                let extent = extent.map(|extent| format!("{extent}, ")).unwrap_or_default();
                page.block(&format!("[{kind}, {extent}{} bytes]", figures::count(*bytes)));
            }
            MessagePart::Uri { modality, uri, .. } => page.block(&format!("[{modality} {uri}]")),
            MessagePart::File { file_id } => page.block(&format!("[file {file_id}]")),
            MessagePart::Other { value: other } => page.block(&value(other)),
        }
    }
}

fn named(id: &Option<String>) -> String {
    id.as_ref().map_or_else(String::new, |id| format!(" {id}"))
}

fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_else(|_| other.to_string()),
    }
}
