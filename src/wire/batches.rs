//! Many requests answered later: OpenAI's batches (requests and results are files) and Anthropic's (results
//! are lines). A batch is priced at batch rates when its usage passes, in its object or in its results.

use serde_json::{Value, json, value::RawValue};

use crate::model::{
    exchange::{Choice, Job, Message, MessagePart, Request, Response},
    usage::Usage,
};

use super::{
    anthropic::messages::Counts,
    error, json,
    multipart::{self, Part},
    notes::Notes,
    openai::{chat_request::top_level, usage},
};

/// The tier that batches are priced at.
const TIER: &str = "batch";

pub(super) fn read_request(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    let (mut count, mut model) = (None, None);
    // Cancelling and fetching have no body.
    if body.trim().is_empty() {
        return request;
    }
    top_level(body, &mut request, notes, |key, field, _, _| match key {
        "requests" if json::is_array(field) => {
            let mut requests = 0u64;
            json::each_item(field, |one| {
                requests += 1;
                if model.is_none() {
                    let [params] = json::pick(one.get(), ["params"]);
                    model = params.and_then(|params| json::filled(json::pick(params.get(), ["model"])[0]));
                }
            });
            count = Some(requests);
            true
        }
        _ => false,
    });
    if let Some(count) = count {
        request.parameters.insert("requests".to_owned(), Value::from(count));
    }
    request.model = request.model.take().or(model);
    request
}

/// A batch's object, or the lines of its results.
pub(super) fn read(target: &str, body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    if is_results(target, "results") {
        let mut response = read_results(body, notes);
        response.job = segment_before(target, "results").map(|id| Job { id, ..Job::default() });
        return response;
    }
    let mut response = Response::default();
    let (mut state, mut counts) = (None, Value::Null);
    let mut job = Job::default();
    let read = json::fields(body, |key, field| match key {
        "id" => response.id = json::filled(Some(field)),
        "model" => response.model = json::filled(Some(field)),
        "status" | "processing_status" => state = json::filled(Some(field)),
        "request_counts" => counts = json::value(field, notes),
        "output_file_id" => job.also.extend(json::filled(Some(field))),
        "usage" => response.usage = usage::read(field, notes).filter(|usage| usage.total() > Some(0)),
        _ => {}
    });
    response.complete = read.is_ok();
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    }
    response.error = error::inside(body, status);
    if let Some(id) = response.id.clone() {
        response.job = Some(Job { id, ..job });
        let value = json!({"type": "batch", "status": state, "request_counts": counts});
        response.choices.push(output(value));
    }
    response.service_tier = response.usage.is_some().then(|| TIER.to_owned());
    response
}

fn output(value: Value) -> Choice {
    let message = Message { role: "output".into(), name: None, parts: vec![MessagePart::Other { value }] };
    Choice { message, ..Choice::default() }
}

fn path(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/')
}

fn is_results(target: &str, last: &str) -> bool {
    path(target).rsplit('/').next() == Some(last)
}

/// The segment before the last one, when that is `last`.
fn segment_before(target: &str, last: &str) -> Option<String> {
    let mut segments = path(target).rsplit('/');
    (segments.next() == Some(last)).then(|| segments.next().map(str::to_owned))?
}

/// One line an answer. Their usage is added up; a line that cannot be read is noted and passed over.
fn read_results(body: &str, notes: &mut Notes) -> Response {
    let mut response = Response { complete: true, ..Response::default() };
    let (mut answered, mut failed, mut unreadable) = (0u64, 0u64, 0u64);
    let mut models: Vec<String> = Vec::new();
    let mut sum: Option<Usage> = None;
    for line in body.lines().filter(|line| !line.trim().is_empty()) {
        if !line.trim_start().starts_with('{') || serde_json::from_str::<&RawValue>(line).is_err() {
            unreadable += 1;
            continue;
        }
        let [openai, anthropic] = json::pick(line, ["response", "result"]);
        let (answer, counts_anthropic) = match (openai, anthropic) {
            (Some(openai), _) => (json::pick(openai.get(), ["body"])[0], false),
            (None, Some(anthropic)) => (json::pick(anthropic.get(), ["message"])[0], true),
            _ => (None, false),
        };
        let Some(answer) = answer else {
            failed += 1;
            continue;
        };
        let [model, counts, failure] = json::pick(answer.get(), ["model", "usage", "error"]);
        if failure.is_some_and(json::is_truthy) {
            failed += 1;
        } else {
            answered += 1;
        }
        let counted = counts.and_then(|raw| {
            if counts_anthropic {
                let mut counts = Counts::default();
                counts.merge(raw, notes);
                counts.into_usage()
            } else {
                usage::read(raw, notes)
            }
        });
        if let Some(counted) = counted {
            sum.get_or_insert_default().add(&counted);
        }
        if let Some(model) = json::filled(model)
            && !models.contains(&model)
            && models.len() < 16
        {
            models.push(model);
        }
    }
    if unreadable > 0 {
        notes.add(format!("{unreadable} lines of the results could not be read"));
    }
    if models.len() > 1 {
        notes.add(format!(
            "the results are of several models ({}); their usage has no one price",
            models.join(", ")
        ));
    } else {
        response.model = models.pop();
    }
    response.service_tier = sum.is_some().then(|| TIER.to_owned());
    response.usage = sum;
    response.choices.push(output(json!({"type": "batch_results", "answered": answered, "failed": failed})));
    response
}

/// An upload: what the file is for, and how large. A batch's requests are counted.
pub(super) fn read_upload(form: &[Part<'_>]) -> Request {
    let mut request = Request { parameters: multipart::parameters(form), ..Request::default() };
    let file = form.iter().find(|part| part.filename.is_some());
    if let Some(file) = file
        && request.parameters.get("purpose").and_then(Value::as_str) == Some("batch")
    {
        let lines = file.bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        request.parameters.insert("requests".to_owned(), Value::from(lines.count()));
    }
    request
}

/// A file's object, or its content: results of a batch where it has them.
pub(super) fn read_file(target: &str, body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    if !is_results(target, "content") {
        let mut response = Response { complete: true, ..Response::default() };
        response.id = json::filled(json::pick(body, ["id"])[0]);
        response.error = error::inside(body, status);
        return response;
    }
    let first = body.lines().next().unwrap_or_default();
    if json::pick(first, ["custom_id"])[0].is_some() && json::pick(first, ["response"])[0].is_some() {
        let mut response = read_results(body, notes);
        response.job = segment_before(target, "content").map(|id| Job { id, ..Job::default() });
        return response;
    }
    let value = json!({"type": "file", "bytes": body.len()});
    Response { choices: vec![output(value)], complete: true, ..Response::default() }
}
