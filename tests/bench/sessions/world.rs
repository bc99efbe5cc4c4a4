//! Made-up traffic whose true sessions are known: clients that converse in the ways clients do, each call as it
//! would cross the wire. Deterministic by its seed; no clock, no socket.

use serde_json::{Value, json};

/// Nanoseconds.
pub const SECOND: i64 = 1_000_000_000;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// Seconds as nanoseconds, from `low` to `high`.
    pub fn seconds(&mut self, low: u64, high: u64) -> i64 {
        low as i64 * SECOND + self.below((high - low).max(1) * SECOND as u64) as i64
    }

    /// Words that nobody else says in this order.
    pub fn words(&mut self, count: u64) -> String {
        const WORDS: [&str; 32] = [
            "index", "query", "table", "parser", "token", "cache", "thread", "socket", "buffer", "stream",
            "record", "schema", "branch", "commit", "module", "kernel", "vector", "matrix", "bucket",
            "filter", "signal", "packet", "header", "footer", "column", "cursor", "router", "worker",
            "planner", "ledger", "journal", "harbour",
        ];
        let words: Vec<&str> = (0..count).map(|_| *self.pick(&WORDS)).collect();
        words.join(" ")
    }

    pub fn hex(&mut self, digits: usize) -> String {
        let text = format!("{:016x}{:016x}", self.next(), self.next());
        text.chars().take(digits).collect()
    }
}

/// The wire format that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Chat,
    Responses,
    Messages,
}

impl Wire {
    pub fn target(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
        }
    }
}

/// One call as it crosses the wire, and what is true of it.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: i64,
    pub until: i64,
    pub wire: Wire,
    pub headers: Vec<(String, String)>,
    pub peer: String,
    pub key: String,
    pub body: Value,
    /// 0: no answer came.
    pub status: u16,
    pub response: String,
    pub scenario: &'static str,
    /// Its true session, and the true session of the agent that it works for.
    pub session: usize,
    pub works_for: Option<usize>,
}

/// Everything that is sent, and a counter of true sessions.
#[derive(Debug)]
pub struct World {
    pub dice: Dice,
    pub calls: Vec<Call>,
    sessions: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), calls: Vec::new(), sessions: 0 }
    }

    pub fn session(&mut self) -> usize {
        self.sessions += 1;
        self.sessions
    }

    /// In the order in which the calls end.
    pub fn finish(mut self) -> Vec<Call> {
        self.calls.sort_by_key(|call| (call.until, call.at));
        self.calls
    }
}

/// Where a client calls from.
#[derive(Debug, Clone)]
pub struct Client {
    pub key: String,
    pub host: String,
    /// A program with a pool of so many connections, or one connection at a time.
    pub pool: u64,
}

/// A conversation from the client's side.
#[derive(Debug, Clone)]
pub struct Talk {
    pub scenario: &'static str,
    pub session: usize,
    pub works_for: Option<usize>,
    pub client: Client,
    pub wire: Wire,
    pub model: String,
    pub system: Option<String>,
    pub tools: Vec<Value>,
    /// As they are resent.
    pub history: Vec<Value>,
    pub now: i64,
    pub headers: Vec<(String, String)>,
    /// Responses: name the response instead of resending it.
    pub by_id: bool,
    last_response: Option<String>,
    /// Ids of tool calls whose results are due.
    pending: Vec<String>,
    port: u64,
    last_end: i64,
}

/// What a model answers.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub text: String,
    /// Name and arguments.
    pub calls: Vec<(String, Value)>,
}

impl Answer {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), calls: Vec::new() }
    }
}

impl Talk {
    pub fn new(world: &mut World, scenario: &'static str, client: Client, wire: Wire, start: i64) -> Self {
        let session = world.session();
        let port = 20_000 + world.dice.below(40_000);
        Self {
            scenario,
            session,
            works_for: None,
            client,
            wire,
            model: "gpt-6-sol".to_owned(),
            system: None,
            tools: Vec::new(),
            history: Vec::new(),
            now: start,
            headers: Vec::new(),
            by_id: false,
            last_response: None,
            pending: Vec::new(),
            port,
            last_end: start,
        }
    }

    pub fn user(&mut self, text: impl Into<String>) {
        self.history.push(json!({"role": "user", "content": text.into()}));
    }

    fn peer(&mut self, world: &mut World) -> String {
        if self.client.pool > 1 {
            return format!("{}:{}", self.client.host, 30_000 + world.dice.below(self.client.pool));
        }
        // An idle connection is closed.
        if self.now - self.last_end > 60 * SECOND {
            self.port = 20_000 + world.dice.below(40_000);
        }
        format!("{}:{}", self.client.host, self.port)
    }

    fn body(&self, streamed: bool) -> Value {
        let mut body = match self.wire {
            Wire::Chat => {
                let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
                let messages: Vec<Value> = system.chain(self.history.iter().cloned()).collect();
                json!({"model": self.model, "messages": messages})
            }
            Wire::Responses => {
                let mut body = json!({"model": self.model, "input": self.history});
                if let Some(system) = &self.system {
                    body["instructions"] = json!(system);
                }
                if let Some(id) = self.last_response.as_ref().filter(|_| self.by_id) {
                    body["previous_response_id"] = json!(id);
                }
                body
            }
            Wire::Messages => {
                let mut body = json!({"model": self.model, "max_tokens": 1024, "messages": self.history});
                if let Some(system) = &self.system {
                    body["system"] =
                        json!([{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]);
                }
                body
            }
        };
        if !self.tools.is_empty() {
            body["tools"] = json!(self.tools);
        }
        if streamed {
            body["stream"] = json!(true);
        }
        body
    }

    /// Sends the history; gives the answer's message as the client will resend it. Nothing is added to the
    /// history by it.
    pub fn send(&mut self, world: &mut World, answer: &Answer) -> Value {
        let streamed = world.dice.one_in(2) && self.wire != Wire::Responses;
        let body = self.body(streamed);
        let (response, resent) = self.respond(world, answer, streamed);
        let took = world.dice.seconds(1, 6);
        self.record(world, body, 200, response, took);
        resent
    }

    /// Sends the history and is refused, or hears nothing (status 0).
    pub fn fail(&mut self, world: &mut World, status: u16) {
        let body = self.body(false);
        let response = match status {
            0 => String::new(),
            status => {
                json!({"error": {"message": "try later", "type": "server_error", "code": status.to_string()}})
                    .to_string()
            }
        };
        let took = world.dice.seconds(0, 2);
        self.record(world, body, status, response, took);
    }

    fn record(&mut self, world: &mut World, body: Value, status: u16, response: String, took: i64) {
        let peer = self.peer(world);
        world.calls.push(Call {
            at: self.now,
            until: self.now + took,
            wire: self.wire,
            headers: self.headers.clone(),
            peer,
            key: self.client.key.clone(),
            body,
            status,
            response,
            scenario: self.scenario,
            session: self.session,
            works_for: self.works_for,
        });
        self.now += took;
        self.last_end = self.now;
    }

    /// A whole turn: asks, keeps the answer in the history, and waits a while.
    pub fn turn(&mut self, world: &mut World, user: impl Into<String>, answer: &Answer) {
        self.user(user);
        self.go_on(world, answer);
        self.now += world.dice.seconds(2, 40);
    }

    /// Sends what there is and keeps the answer.
    pub fn go_on(&mut self, world: &mut World, answer: &Answer) {
        let resent = self.send(world, answer);
        if self.by_id {
            self.history.clear();
            return;
        }
        match resent {
            Value::Array(items) => self.history.extend(items),
            message => self.history.push(message),
        }
    }

    /// Adds the results of the newest answer's tool calls, one by one.
    pub fn results(&mut self, world: &mut World) {
        let ids = std::mem::take(&mut self.pending);
        let mut blocks = Vec::new();
        for id in &ids {
            let count = 20 + world.dice.below(60);
            let text = world.dice.words(count);
            match self.wire {
                Wire::Chat => self.history.push(json!({"role": "tool", "tool_call_id": id, "content": text})),
                Wire::Responses => {
                    self.history.push(json!({"type": "function_call_output", "call_id": id, "output": text}));
                }
                Wire::Messages => {
                    blocks.push(json!({"type": "tool_result", "tool_use_id": id, "content": text}));
                }
            }
        }
        if !blocks.is_empty() {
            self.history.push(json!({"role": "user", "content": blocks}));
        }
    }

    /// The response's bytes, and the message as it is resent.
    fn respond(&mut self, world: &mut World, answer: &Answer, streamed: bool) -> (String, Value) {
        let ids: Vec<String> = answer.calls.iter().map(|_| world.dice.hex(24)).collect();
        let prefix = if self.wire == Wire::Messages { "toolu" } else { "call" };
        self.pending = ids.iter().map(|id| format!("{prefix}_{id}")).collect();
        match self.wire {
            Wire::Chat => chat(world, answer, &ids, streamed),
            Wire::Messages => messages(answer, &ids, streamed),
            Wire::Responses => {
                let id = format!("resp_{}", world.dice.hex(32));
                self.last_response = Some(id.clone());
                responses(&id, answer, &ids)
            }
        }
    }
}

fn chat(world: &mut World, answer: &Answer, ids: &[String], streamed: bool) -> (String, Value) {
    let calls: Vec<Value> = answer
        .calls
        .iter()
        .zip(ids)
        .map(|((name, arguments), id)| {
            json!({"id": format!("call_{id}"), "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()}})
        })
        .collect();
    let mut message = json!({"role": "assistant", "content": answer.text});
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
    let response = if streamed {
        let mut text = String::new();
        let mut event = |delta: Value, finish: Value| {
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "model": "gpt-6-sol",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            text.push_str(&format!("data: {chunk}\n\n"));
        };
        event(json!({"role": "assistant", "content": ""}), Value::Null);
        for word in answer.text.split_inclusive(' ') {
            event(json!({"content": word}), Value::Null);
        }
        for (index, call) in calls.iter().enumerate() {
            let mut call = call.clone();
            call["index"] = json!(index);
            event(json!({"tool_calls": [call]}), Value::Null);
        }
        event(json!({}), json!(finish));
        text.push_str("data: [DONE]\n\n");
        text
    } else {
        json!({"id": "c", "object": "chat.completion", "model": "gpt-6-sol",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20}})
        .to_string()
    };
    // Some clients resend the object with all its fields, some its text without the space around it.
    if world.dice.one_in(3) {
        message["refusal"] = Value::Null;
        message["annotations"] = json!([]);
    }
    if world.dice.one_in(3) {
        message["content"] = json!(answer.text.trim());
    }
    (response, message)
}

fn messages(answer: &Answer, ids: &[String], streamed: bool) -> (String, Value) {
    let mut content = Vec::new();
    if !answer.text.is_empty() {
        content.push(json!({"type": "text", "text": answer.text}));
    }
    for ((name, input), id) in answer.calls.iter().zip(ids) {
        content.push(json!({"type": "tool_use", "id": format!("toolu_{id}"), "name": name, "input": input}));
    }
    let reason = if answer.calls.is_empty() { "end_turn" } else { "tool_use" };
    let usage = json!({"input_tokens": 100, "output_tokens": 20});
    let response = if streamed {
        let mut text = String::new();
        let mut event = |event: Value| {
            text.push_str(&format!(
                "event: {}\ndata: {event}\n\n",
                event["type"].as_str().unwrap_or_default()
            ));
        };
        event(
            json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5", "content": [], "usage": usage}}),
        );
        for (index, block) in content.iter().enumerate() {
            let mut start = block.clone();
            let delta = if block["type"] == "text" {
                start["text"] = json!("");
                json!({"type": "text_delta", "text": block["text"]})
            } else {
                start["input"] = json!({});
                json!({"type": "input_json_delta", "partial_json": block["input"].to_string()})
            };
            event(json!({"type": "content_block_start", "index": index, "content_block": start}));
            event(json!({"type": "content_block_delta", "index": index, "delta": delta}));
            event(json!({"type": "content_block_stop", "index": index}));
        }
        event(
            json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 20}}),
        );
        event(json!({"type": "message_stop"}));
        text
    } else {
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
            "content": content, "stop_reason": reason, "usage": usage})
        .to_string()
    };
    (response, json!({"role": "assistant", "content": content}))
}

fn responses(id: &str, answer: &Answer, ids: &[String]) -> (String, Value) {
    let mut output = Vec::new();
    if !answer.text.is_empty() {
        output.push(json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": answer.text, "annotations": []}]}));
    }
    for ((name, arguments), call) in answer.calls.iter().zip(ids) {
        output.push(
            json!({"type": "function_call", "id": "fc_1", "call_id": format!("call_{call}"), "name": name,
            "arguments": arguments.to_string(), "status": "completed"}),
        );
    }
    let response = json!({"id": id, "object": "response", "model": "gpt-6-sol", "status": "completed",
        "output": output, "usage": {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}});
    (response.to_string(), Value::Array(output))
}
