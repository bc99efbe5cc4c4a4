//! Responses that are asked for again: kept ones, and those that are made in the background. Who asks how far
//! such a one is finds it under way the first time and done the second.

use serde_json::{Value, json};

use super::{
    ask::{self, Ask},
    call::{Call, MID_STREAM_ERROR, Reply, ok},
    refusal::Refusal,
    responses,
    script::Break,
    simulator::{Simulator, lock},
};

#[derive(Debug)]
pub(super) struct Kept {
    /// What the conversation is after it, oldest first: for `previous_response_id`.
    items: Vec<Value>,
    whole: Value,
    events: Vec<bytes::Bytes>,
    background: bool,
    asked: u32,
    cancelled: bool,
}

impl Kept {
    fn shown(&self) -> Value {
        let status = match self.asked {
            _ if self.cancelled => "cancelled",
            _ if !self.background => return self.whole.clone(),
            0 => "queued",
            1 => "in_progress",
            _ => return self.whole.clone(),
        };
        let mut shown = self.whole.clone();
        shown["status"] = status.into();
        shown["output"] = json!([]);
        shown["usage"] = Value::Null;
        shown
    }
}

/// A response with its events, before anybody has it.
pub(super) struct Made {
    pub(super) whole: Value,
    pub(super) events: Vec<bytes::Bytes>,
    pub(super) stream: bool,
}

impl Simulator {
    pub(super) fn respond(&self, call: &Call) -> Result<Made, Refusal> {
        let history = match call.text("previous_response_id") {
            None => Vec::new(),
            Some(id) => {
                let mut kept = lock(&self.responses);
                kept.get_mut(&call.key, id).ok_or_else(|| Refusal::unknown_response(id))?.items.clone()
            }
        };
        let ask = Ask::responses(&call.body, &history)?;
        let (answers, cached) = self.answers(call, &ask);
        let head = self.head("resp_", call);
        let Some(answer) = answers.first() else {
            return Err(Refusal::invalid(None, "expected one answer, found none"));
        };
        let mut items = history;
        items.extend(ask::input_items(&call.body)?);
        items.extend(responses::items(&head, &ask, answer));
        let whole = responses::whole(&head, &call.body, &ask, answer, cached);
        let events = responses::events(&head, &call.body, &ask, answer, cached);
        let kept = Kept {
            items,
            whole: whole.clone(),
            events: events.clone(),
            background: call.flag("background"),
            asked: 0,
            cancelled: false,
        };
        lock(&self.responses).put(&call.key, &head.id, kept);
        Ok(Made { whole, events, stream: ask.stream })
    }

    pub(super) fn responses(&self, call: &Call) -> Result<Reply, Refusal> {
        let made = self.respond(call)?;
        if made.stream {
            return Ok(streamed(call, made.events));
        }
        if call.flag("background") {
            let id = made.whole["id"].as_str().unwrap_or_default();
            return self.response(call, id, |_| {});
        }
        Ok(ok(made.whole))
    }

    pub(super) fn fetch_response(&self, call: &Call, id: &str) -> Result<Reply, Refusal> {
        if call.flag("stream") {
            let mut kept = lock(&self.responses);
            let kept = kept.get_mut(&call.key, id).ok_or_else(|| Refusal::unknown_response(id))?;
            let after = call.text("starting_after").and_then(|after| after.parse::<usize>().ok());
            let events = kept.events.iter().skip(after.map_or(0, |after| after + 1)).cloned();
            return Ok(streamed(call, events.collect()));
        }
        self.response(call, id, |kept| kept.asked += 1)
    }

    pub(super) fn cancel_response(&self, call: &Call, id: &str) -> Result<Reply, Refusal> {
        self.response(call, id, |kept| kept.cancelled |= kept.background && kept.asked < 2)
    }

    fn response(&self, call: &Call, id: &str, change: impl Fn(&mut Kept)) -> Result<Reply, Refusal> {
        let mut kept = lock(&self.responses);
        let kept = kept.get_mut(&call.key, id).ok_or_else(|| Refusal::unknown_response(id))?;
        change(kept);
        Ok(ok(kept.shown()))
    }
}

fn streamed(call: &Call, events: Vec<bytes::Bytes>) -> Reply {
    let after = match call.script.breaks {
        Some(Break::Error(after)) => after.min(events.len()),
        _ => events.len(),
    };
    Reply::Stream { error: responses::error_event(after, "server_error", MID_STREAM_ERROR), events }
}
