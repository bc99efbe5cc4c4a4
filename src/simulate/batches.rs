//! Files and batches, OpenAI's and Anthropic's. A batch's requests are answered at once; who asks how far it is
//! finds it under way the first time and done the second.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    call::{Call, Reply, ok},
    dice::Dice,
    endpoint::Endpoint,
    refusal::Refusal,
    simulator::{Simulator, lock},
};

/// Bytes of one upload that are kept.
const MAX_FILE: usize = 1 << 20;
const DAY: u64 = 86_400;

#[derive(Debug, Clone)]
pub(super) struct Stored {
    object: Value,
    bytes: Bytes,
}

/// A batch: its object without state, the lines of its results, and how often it was asked for.
#[derive(Debug)]
pub(super) struct Batch {
    object: Value,
    results: Bytes,
    asked: u32,
    cancelled: bool,
}

fn not_found(what: &str, id: &str) -> Refusal {
    let mut refusal = Refusal::invalid(Some("id"), format!("No such {what}: {id}"));
    refusal.status = StatusCode::NOT_FOUND;
    refusal
}

impl Simulator {
    pub(super) fn upload(&self, call: &Call) -> Result<Reply, Refusal> {
        let file = call.files.first().ok_or_else(|| Refusal::missing("file"))?;
        let purpose = call.text("purpose").ok_or_else(|| Refusal::missing("purpose"))?;
        if file.bytes.len() > MAX_FILE {
            return Err(Refusal::invalid(Some("file"), "expected a file of at most 1 MiB"));
        }
        let object = self.store_file(call, &file.name, purpose, file.bytes.clone());
        Ok(ok(object))
    }

    fn store_file(&self, call: &Call, name: &str, purpose: &str, bytes: Bytes) -> Value {
        let head = self.head("file-", call);
        let object = json!({"id": head.id, "object": "file", "bytes": bytes.len(), "created_at": head.created,
            "filename": name, "purpose": purpose, "status": "processed"});
        lock(&self.files).put(&call.key, &head.id, Stored { object: object.clone(), bytes });
        object
    }

    pub(super) fn file(&self, call: &Call, id: &str, content: bool) -> Result<Reply, Refusal> {
        let mut files = lock(&self.files);
        let stored = files.get_mut(&call.key, id).ok_or_else(|| not_found("File object", id))?;
        Ok(match content {
            true => Reply::Raw("application/octet-stream", stored.bytes.clone()),
            false => ok(stored.object.clone()),
        })
    }

    pub(super) fn create_batch(&self, call: &Call) -> Result<Reply, Refusal> {
        let input = call.text("input_file_id").ok_or_else(|| Refusal::missing("input_file_id"))?;
        let endpoint = call.text("endpoint").ok_or_else(|| Refusal::missing("endpoint"))?;
        let segments: Vec<&str> = endpoint.split('/').filter(|segment| !segment.is_empty()).collect();
        let served = Endpoint::of("POST", &segments).filter(Endpoint::in_batches);
        let served = served.ok_or_else(|| Refusal::invalid(Some("endpoint"), "Invalid 'endpoint'."))?;
        let lines = {
            let mut files = lock(&self.files);
            files.get_mut(&call.key, input).ok_or_else(|| not_found("File object", input))?.bytes.clone()
        };
        let (mut results, mut counts) = (String::new(), [0usize; 2]);
        let (mut sums, mut model) = ([0u64; 4], Value::Null);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let line: Value = serde_json::from_slice(line).map_err(|error| {
                Refusal::invalid(Some("input_file_id"), format!("a line is no JSON: {error}"))
            })?;
            let (status, body) = self.one_of_batch(call, &served, &line["body"]);
            counts[usize::from(!status.is_success())] += 1;
            let usage = &body["usage"];
            for (sum, names) in sums.iter_mut().zip([
                ["/prompt_tokens", "/input_tokens"],
                ["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"],
                ["/completion_tokens", "/output_tokens"],
                ["/completion_tokens_details/reasoning_tokens", "/output_tokens_details/reasoning_tokens"],
            ]) {
                let counted = names.iter().find_map(|name| usage.pointer(name)).and_then(Value::as_u64);
                *sum += counted.unwrap_or(0);
            }
            if !body["model"].is_null() {
                model = body["model"].clone();
            }
            let id = Dice::new(0, &[line.to_string().as_bytes()]).token(20);
            results += &json!({"id": format!("batch_req_{id}"), "custom_id": line["custom_id"],
                "response": {"status_code": status.as_u16(), "request_id": format!("req_{id}"), "body": body},
                "error": null})
            .to_string();
            results.push('\n');
        }
        let head = self.head("batch_", call);
        let named = Call { raw: format!("output of {}", head.id).into(), ..call.clone() };
        let output = self.store_file(&named, "output.jsonl", "batch_output", results.into());
        let [input_tokens, cached, output_tokens, reasoning] = sums;
        let object = json!({
            "id": head.id, "object": "batch", "endpoint": endpoint, "errors": null, "input_file_id": input,
            "completion_window": call.text("completion_window").unwrap_or("24h"),
            "created_at": head.created, "expires_at": head.created + DAY, "model": model,
            "output_file_id": output["id"], "error_file_id": null,
            "request_counts": {"total": counts[0] + counts[1], "completed": counts[0], "failed": counts[1]},
            "metadata": call.body.get("metadata"),
            "usage": {"input_tokens": input_tokens, "input_tokens_details": {"cached_tokens": cached},
                "output_tokens": output_tokens, "output_tokens_details": {"reasoning_tokens": reasoning},
                "total_tokens": input_tokens + output_tokens},
        });
        let batch = Batch { object, results: Bytes::new(), asked: 0, cancelled: false };
        let shown = openai_batch(&batch);
        lock(&self.batches).put(&call.key, &head.id, batch);
        Ok(ok(shown))
    }

    /// One request of a batch, answered like any other; a refusal is an answer here.
    fn one_of_batch(&self, call: &Call, served: &Endpoint<'_>, body: &Value) -> (StatusCode, Value) {
        let model = body["model"].as_str().unwrap_or_default().to_owned();
        let one = Call { model, body: body.clone(), raw: body.to_string().into(), ..call.clone() };
        match self.serve(&one, served) {
            Ok(Reply::Plain(status, value, _)) => (status, value),
            Ok(_) => (StatusCode::BAD_REQUEST, Refusal::invalid(None, "no streams in batches").body(false)),
            Err(refusal) => (refusal.status, refusal.body(served.is_anthropic())),
        }
    }

    pub(super) fn batch(&self, call: &Call, id: &str, cancel: bool) -> Result<Reply, Refusal> {
        let mut batches = lock(&self.batches);
        let batch = batches.get_mut(&call.key, id).ok_or_else(|| not_found("batch", id))?;
        batch.cancelled |= cancel && batch.asked < 2;
        batch.asked += u32::from(!cancel);
        let anthropic = id.starts_with("msgbatch_");
        Ok(ok(if anthropic { message_batch(batch, &call.host) } else { openai_batch(batch) }))
    }

    pub(super) fn create_message_batch(&self, call: &Call) -> Result<Reply, Refusal> {
        let requests = call.body.get("requests").and_then(Value::as_array);
        let requests = requests.ok_or_else(|| Refusal::missing("requests"))?;
        let (mut results, mut failed) = (String::new(), 0);
        for request in requests {
            let (status, body) = self.one_of_batch(call, &Endpoint::Messages, &request["params"]);
            let result = match status.is_success() {
                true => json!({"type": "succeeded", "message": body}),
                false => json!({"type": "errored", "error": body}),
            };
            failed += usize::from(!status.is_success());
            results += &json!({"custom_id": request["custom_id"], "result": result}).to_string();
            results.push('\n');
        }
        let head = self.head("msgbatch_", call);
        let object = json!({"id": head.id, "type": "message_batch",
            "created_at": "2025-10-09T08:53:20Z", "expires_at": "2025-10-10T08:53:20Z",
            "archived_at": null, "cancel_initiated_at": null, "total": requests.len(), "failed": failed});
        let batch = Batch { object, results: results.into(), asked: 0, cancelled: false };
        let shown = message_batch(&batch, &call.host);
        lock(&self.batches).put(&call.key, &head.id, batch);
        Ok(ok(shown))
    }

    pub(super) fn message_batch_results(&self, call: &Call, id: &str) -> Result<Reply, Refusal> {
        let mut batches = lock(&self.batches);
        let batch = batches.get_mut(&call.key, id).ok_or_else(|| not_found("batch", id))?;
        Ok(Reply::Raw("application/x-jsonl", batch.results.clone()))
    }
}

fn openai_batch(batch: &Batch) -> Value {
    let status = match batch.asked {
        _ if batch.cancelled => "cancelled",
        0 => "validating",
        1 => "in_progress",
        _ => "completed",
    };
    let mut shown = batch.object.clone();
    shown["status"] = status.into();
    if status != "completed" {
        shown["output_file_id"] = Value::Null;
        shown["usage"] = json!({"input_tokens": 0, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 0});
        shown["request_counts"]["completed"] = 0.into();
        shown["request_counts"]["failed"] = 0.into();
    }
    shown
}

fn message_batch(batch: &Batch, host: &str) -> Value {
    let mut shown = batch.object.clone();
    let count = |name: &str| shown[name].as_u64().unwrap_or(0);
    let (total, failed) = (count("total"), count("failed"));
    let (state, ended, ok, bad, open) = match batch.asked {
        _ if batch.cancelled => ("canceling", false, 0, 0, total),
        0 | 1 => ("in_progress", false, 0, 0, total),
        _ => ("ended", true, total - failed, failed, 0),
    };
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("total");
        fields.remove("failed");
    }
    shown["processing_status"] = state.into();
    shown["ended_at"] = if ended { json!("2025-10-09T08:54:20Z") } else { Value::Null };
    shown["request_counts"] =
        json!({"processing": open, "succeeded": ok, "errored": bad, "canceled": 0, "expired": 0});
    let id = shown["id"].as_str().unwrap_or_default();
    // An absolute address, as Anthropic's is.
    let results = format!("http://{host}/v1/messages/batches/{id}/results");
    shown["results_url"] = if ended { json!(results) } else { Value::Null };
    shown
}
