//! Reranking as Cohere, Jina, Voyage, vLLM and others offer it at `…/rerank`: a query and documents in,
//! an order out. Billed by tokens or by searches.

use serde_json::{Value, json, value::RawValue};

use crate::model::{
    exchange::{Choice, Message, MessagePart, Request, Response},
    usage::Usage,
};

use super::{
    error, json,
    notes::Notes,
    openai::{chat_request::top_level, usage},
};

/// Results shown; the others stay in the body.
const MAX_SHOWN: usize = 100;

pub(super) fn read_request(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    top_level(body, &mut request, notes, |key, field, request, notes| match key {
        "query" => {
            request.messages.insert(0, text("user", json::shown(field)));
            true
        }
        // Jina's are objects with a text, Cohere's old ones too.
        "documents" | "texts" if json::is_array(field) => {
            json::each_item(field, |document| {
                if notes.spend(2) {
                    let [inner] = json::pick(document.get(), ["text"]);
                    request.messages.push(text("document", json::shown(inner.unwrap_or(document))));
                }
            });
            true
        }
        _ => false,
    });
    request
}

fn text(role: &str, content: String) -> Message {
    Message { role: role.to_owned(), name: None, parts: vec![MessagePart::Text { content }] }
}

pub(super) fn read(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    let mut response = Response::default();
    let (mut shown, mut count) = (Vec::new(), 0u64);
    let mut meta = None;
    let read = json::fields(body, |key, field| match key {
        "id" => response.id = json::filled(Some(field)),
        "model" => response.model = json::filled(Some(field)),
        "usage" => response.usage = usage::read(field, notes),
        "meta" => meta = Some(field.to_owned()),
        // Voyage says `data`.
        "results" | "data" => json::each_item(field, |result| {
            count += 1;
            let [index, relevance, score] = json::pick(result.get(), ["index", "relevance_score", "score"]);
            if shown.len() < MAX_SHOWN && notes.spend(4) {
                let score = relevance.or(score).and_then(|score| score.get().parse::<f64>().ok());
                shown.push(json!({"index": json::index(index), "score": score}));
            }
        }),
        _ => {}
    });
    response.complete = read.is_ok();
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    }
    response.error = error::inside(body, status);
    if let Some(billed) = meta.as_deref().and_then(|meta| billed(meta, notes)) {
        response.usage = Some(billed);
    }
    if count > 0 {
        let value = json!({"type": "rerank", "count": count, "results": Value::Array(shown)});
        let message =
            Message { role: "output".into(), name: None, parts: vec![MessagePart::Other { value }] };
        response.choices.push(Choice { message, ..Choice::default() });
    }
    response
}

/// Cohere's `meta.billed_units`: what is billed, not what was counted.
fn billed(meta: &RawValue, notes: &mut Notes) -> Option<Usage> {
    let [units] = json::pick(meta.get(), ["billed_units"]);
    let [input, output, searches] =
        json::pick(units?.get(), ["input_tokens", "output_tokens", "search_units"]);
    let mut found = Usage::default();
    for (place, name, field) in [
        (&mut found.input, "input_tokens", input),
        (&mut found.output, "output_tokens", output),
        (&mut found.search_units, "search_units", searches),
    ] {
        if let Some(field) = field {
            usage::set(place, name, field, notes);
        }
    }
    (found != Usage::default()).then_some(found)
}
