//! The demo's traffic: a small realistic day of a program that uses a model. Speaks plain HTTP to any
//! tapline and never fails because of what a model says.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use reqwest::{RequestBuilder, Response};
use serde::Serialize;
use serde_json::{Value, json};

pub const EXPERIMENT: &str = "prompt-dev";
pub const RUNS: [&str; 2] = ["v1-terse", "v2-guided"];
pub const SESSION: &str = "support-agent-1";

const TERSE: &str = "Answer in one sentence.";
const GUIDED: &str =
    "You are a senior engineer. Explain step by step, in detail, and say what to check at the end.";

const QUESTIONS: [&str; 4] = [
    "What is a write-ahead log and why do databases have one?",
    "How do I find a slow query in production?",
    "When should a cache entry expire?",
    "Which retry policy suits a payment service?",
];

const AGENT: &str = "You are the support agent of a small shop for bicycle parts. Be kind and brief. Orders leave the \
    warehouse on weekdays before noon and take two days inside the country and five abroad. Returns are free for \
    thirty days when the part is unused and in its box; used parts can be exchanged when they are faulty. Refunds go \
    to the card that paid and take three working days. Never promise a date that the carrier has not confirmed, \
    never ask for a card number, and hand over to a person when the customer asks for one. Prices include tax. \
    Gift cards cannot be paid out. If an order number is given, look at it first and repeat it in the answer, so \
    that the customer sees that the right order was read. Close every answer with one sentence on what happens next.";

const TURNS: [&str; 6] = [
    "Hello, my order 4711 has not arrived yet.",
    "It was sent to Bergen, is that abroad for you?",
    "One of the brake pads may be the wrong size. Can I return it?",
    "I have already opened the box, but not used the pads.",
    "How long does the refund take?",
    "Thank you. Please sum up what we agreed on.",
];

/// A paragraph that takes a while to write: the client that hangs up does so in its middle.
const LONG: &str = "Write a long report on the history of the bicycle.";

/// Which names to ask for.
#[derive(Debug, Clone)]
pub struct Models {
    pub chat: String,
    pub agent: String,
    pub embedding: String,
}

#[derive(Debug, Clone)]
pub struct Workload {
    /// tapline's own address, `http://127.0.0.1:4000`.
    pub base_url: String,
    pub models: Models,
    /// The upstream's key, if it wants one.
    pub key: Option<String>,
}

/// What was done, as the client saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub calls: u64,
    pub answered: u64,
    pub tool_calls: u64,
    /// Errors that belong to the demo, and the client that hung up.
    pub provoked_errors: u64,
    pub hung_up: u64,
    /// What went otherwise than meant, in words; a model that is small or odd may cause some.
    pub surprises: Vec<String>,
}

/// Requests of the workload on any upstream: 2 runs × 4 questions × 2, a tool round trip, the agent's
/// turns, an embedding, an error and a hang-up.
pub const STEPS: u64 = 16 + 2 + TURNS.len() as u64 + 1 + 1 + 1;

/// How a request is placed: by the path, or by headers.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Path(&'a str),
    Headers(&'a [(&'static str, &'a str)]),
}

struct Drive<'a> {
    workload: &'a Workload,
    client: reqwest::Client,
    progress: &'a ProgressBar,
    summary: Summary,
}

impl Workload {
    /// Sends everything, one after the other. Fails only when tapline itself cannot be reached.
    pub async fn drive(&self, progress: &ProgressBar) -> anyhow::Result<Summary> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(300)).build()?;
        let mut drive = Drive { workload: self, client, progress, summary: Summary::default() };
        drive.prompt_versions().await?;
        drive.tool_round_trip().await?;
        drive.agent().await?;
        drive.embedding().await?;
        drive.upstream_error().await?;
        drive.hang_up().await?;
        progress.finish_and_clear();
        Ok(drive.summary)
    }
}

fn asked(system: &str, question: &str) -> Value {
    json!([{"role": "system", "content": system}, {"role": "user", "content": question}])
}

fn content(body: &Value) -> &str {
    body.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap_or_default()
}

impl Drive<'_> {
    /// Two versions of a prompt answer the same questions: one run each of one experiment. The first is placed
    /// by its path, as a program that only knows a base URL would be; the second by headers.
    async fn prompt_versions(&mut self) -> anyhow::Result<()> {
        let scope = format!("/exp/{EXPERIMENT}/run/{}", RUNS[0]);
        let headers = [("x-tapline-experiment", EXPERIMENT), ("x-tapline-run", RUNS[1])];
        for (system, place) in [(TERSE, Place::Path(&scope)), (GUIDED, Place::Headers(&headers))] {
            for question in QUESTIONS {
                let model = self.workload.models.chat.clone();
                let mut body =
                    json!({"model": model, "messages": asked(system, question), "max_tokens": 160});
                self.say(question);
                self.plain(place, "chat/completions", &body).await?;
                body["stream"] = true.into();
                body["stream_options"] = json!({"include_usage": true});
                self.streamed(place, &body).await?;
            }
        }
        Ok(())
    }

    /// The model asks for a tool, gets its result, and answers with it. A model that does not call the tool is
    /// told the result all the same.
    async fn tool_round_trip(&mut self) -> anyhow::Result<()> {
        self.say("a tool call and its result");
        let place = Place::Headers(&[("x-tapline-experiment", "tools"), ("x-tapline-tags", "demo,tools")]);
        let question = json!({"role": "user", "content": "What is the weather in Oslo?"});
        let mut body = json!({
            "model": self.workload.models.chat, "messages": [question], "max_tokens": 160,
            "tools": [{"type": "function", "function": {
                "name": "get_weather", "description": "The current weather of a city.",
                "parameters": {
                    "type": "object", "required": ["city"], "properties": {"city": {"type": "string"}},
                },
            }}],
        });
        let answer = self.plain(place, "chat/completions", &body).await?;
        let call = answer.pointer("/choices/0/message/tool_calls/0").cloned();
        let result = r#"{"city": "Oslo", "celsius": 4, "sky": "clear"}"#;
        let follow_up = match call {
            Some(call) => {
                self.summary.tool_calls += 1;
                let id = call["id"].clone();
                vec![
                    json!({"role": "assistant", "content": null, "tool_calls": [call]}),
                    json!({"role": "tool", "tool_call_id": id, "content": result}),
                ]
            }
            None => {
                self.summary.surprises.push("the model answered without calling the tool".to_owned());
                vec![
                    json!({"role": "assistant", "content": content(&answer)}),
                    json!({"role": "user", "content": format!("The weather service says {result}. Say it in words.")}),
                ]
            }
        };
        if let Some(messages) = body["messages"].as_array_mut() {
            messages.extend(follow_up);
        }
        self.plain(place, "chat/completions", &body).await?;
        Ok(())
    }

    /// Each turn sends the whole conversation again, as agents do: tapline keeps every message once.
    async fn agent(&mut self) -> anyhow::Result<()> {
        let place = Place::Headers(&[
            ("x-tapline-experiment", "support-agent"),
            ("x-tapline-session", SESSION),
            ("x-tapline-tags", "demo,agent"),
        ]);
        let mut messages = vec![json!({"role": "system", "content": AGENT})];
        for (index, turn) in TURNS.iter().enumerate() {
            self.say(&format!("agent, turn {}", index + 1));
            messages.push(json!({"role": "user", "content": turn}));
            let body = json!({
                "model": self.workload.models.agent, "messages": messages, "max_tokens": 120,
                "user": "customer-17",
            });
            let answer = self.plain(place, "chat/completions", &body).await?;
            messages.push(json!({"role": "assistant", "content": content(&answer)}));
        }
        Ok(())
    }

    async fn embedding(&mut self) -> anyhow::Result<()> {
        self.say("embeddings");
        let body = json!({"model": self.workload.models.embedding, "input": QUESTIONS});
        let place = Place::Headers(&[("x-tapline-experiment", "support-agent")]);
        self.plain(place, "embeddings", &body).await?;
        Ok(())
    }

    /// A model that nobody has. Servers that take any name get a request that nobody takes.
    async fn upstream_error(&mut self) -> anyhow::Result<()> {
        self.say("an upstream error");
        let place = Place::Headers(&[("x-tapline-experiment", EXPERIMENT)]);
        let mut body =
            json!({"model": "no-such-model", "messages": asked(TERSE, QUESTIONS[0]), "max_tokens": 8});
        let Some(mut response) = self.send(place, "chat/completions", &body).await? else { return Ok(()) };
        if response.status().is_success() {
            drop(response.bytes().await);
            self.summary.surprises.push("this upstream takes any model's name".to_owned());
            body["messages"] = "none".into();
            response = match self.send(place, "chat/completions", &body).await? {
                Some(response) => response,
                None => return Ok(()),
            };
        }
        if response.status().is_success() {
            self.summary.surprises.push("the upstream took a request without messages".to_owned());
        } else {
            self.summary.provoked_errors += 1;
        }
        drop(response.bytes().await);
        self.progress.inc(1);
        Ok(())
    }

    /// A client that leaves in the middle of a stream.
    async fn hang_up(&mut self) -> anyhow::Result<()> {
        self.say("a client that hangs up");
        let place =
            Place::Headers(&[("x-tapline-experiment", EXPERIMENT), ("x-simulate", "tokens=600;chunk_ms=20")]);
        let body = json!({
            "model": self.workload.models.chat, "messages": asked(GUIDED, LONG), "max_tokens": 600, "stream": true,
        });
        let Some(response) = self.send(place, "chat/completions", &body).await? else { return Ok(()) };
        let mut frames = response.bytes_stream();
        let mut seen = 0;
        while seen < 8 && matches!(frames.next().await, Some(Ok(_))) {
            seen += 1;
        }
        if seen == 8 {
            self.summary.hung_up += 1;
        } else {
            self.summary.surprises.push("the stream ended before the client could hang up".to_owned());
        }
        self.progress.inc(1);
        Ok(())
    }

    fn say(&self, what: &str) {
        self.progress.set_message(what.to_owned());
    }

    async fn plain(&mut self, place: Place<'_>, path: &str, body: &Value) -> anyhow::Result<Value> {
        let Some(response) = self.send(place, path, body).await? else { return Ok(Value::Null) };
        let status = response.status();
        let bytes = response.bytes().await.unwrap_or_default();
        self.progress.inc(1);
        if status.is_success() {
            self.summary.answered += 1;
        } else {
            self.surprise(path, status.as_u16(), &bytes);
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn streamed(&mut self, place: Place<'_>, body: &Value) -> anyhow::Result<()> {
        let Some(response) = self.send(place, "chat/completions", body).await? else { return Ok(()) };
        let status = response.status();
        let mut frames = response.bytes_stream();
        let mut last = Vec::new();
        while let Some(frame) = frames.next().await {
            match frame {
                Ok(frame) => last = frame.to_vec(),
                Err(error) => {
                    self.summary.surprises.push(format!("a stream broke off: {error}"));
                    break;
                }
            }
        }
        self.progress.inc(1);
        if status.is_success() {
            self.summary.answered += 1;
        } else {
            self.surprise("chat/completions", status.as_u16(), &last);
        }
        Ok(())
    }

    fn surprise(&mut self, path: &str, status: u16, body: &[u8]) {
        let said: String = String::from_utf8_lossy(body).chars().take(160).collect();
        self.summary.surprises.push(format!("{path} was answered with {status}: {said}"));
    }

    /// `None` when the connection broke before a response came: a surprise, not the end of the demo.
    async fn send(&mut self, place: Place<'_>, path: &str, body: &Value) -> anyhow::Result<Option<Response>> {
        self.summary.calls += 1;
        let (scope, headers) = match place {
            Place::Path(scope) => (scope, &[][..]),
            Place::Headers(headers) => ("", headers),
        };
        let url = format!("{}{scope}/v1/{path}", self.workload.base_url);
        let mut request: RequestBuilder = self.client.post(&url).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.workload.key {
            request = request.bearer_auth(key);
        }
        match request.send().await {
            Ok(response) => Ok(Some(response)),
            Err(error) if error.is_connect() => {
                Err(error).with_context(|| format!("could not reach tapline at {url}"))
            }
            Err(error) => {
                self.progress.inc(1);
                self.summary.surprises.push(format!("no response to {path}: {error}"));
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::net::TcpListener;

    use super::*;
    use crate::simulate;

    /// Stands for tapline: takes the scopes off the path, notes who was placed where, and passes on.
    async fn front(upstream: String, seen: Arc<Mutex<Vec<String>>>) -> String {
        let client = reqwest::Client::new();
        let pass = move |request: axum::extract::Request| {
            let (client, upstream, seen) = (client.clone(), upstream.clone(), Arc::clone(&seen));
            async move {
                let (head, body) = request.into_parts();
                let (scope, path) = head.uri.path().split_once("/v1/").unwrap();
                let named =
                    |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                let run =
                    named("x-tapline-run").or(scope.rsplit_once("/run/").map(|(_, run)| run.to_owned()));
                let session = named("x-tapline-session");
                seen.lock().unwrap().push(run.or(session).unwrap_or_else(|| "-".to_owned()));
                let mut request = client.post(format!("{upstream}/v1/{path}"));
                for (name, value) in &head.headers {
                    if name != "host" {
                        request = request.header(name, value);
                    }
                }
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let answer = request.body(body).send().await.unwrap();
                let status = answer.status();
                (status, axum::body::Body::from_stream(answer.bytes_stream()))
            }
        };
        serve_router(axum::Router::new().fallback(pass)).await
    }

    async fn serve_router(router: axum::Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn the_whole_workload_goes_through() {
        // The proxy's process sets this once at its start; a test is its own process.
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(simulate::serve(listener, simulate::Config::default(), std::future::pending()));
        let seen = Arc::default();
        let base_url = front(upstream, Arc::clone(&seen)).await;
        let models = Models {
            chat: simulate::SMALL.to_owned(),
            agent: simulate::LARGE.to_owned(),
            embedding: simulate::EMBED.to_owned(),
        };
        let workload = Workload { base_url, models, key: None };
        let summary = workload.drive(&ProgressBar::hidden()).await.unwrap();
        let expected = Summary {
            calls: STEPS,
            answered: STEPS - 2,
            tool_calls: 1,
            provoked_errors: 1,
            hung_up: 1,
            surprises: Vec::new(),
        };
        assert_eq!(summary, expected);
        let seen = seen.lock().unwrap();
        let count = |name: &str| seen.iter().filter(|placed| *placed == name).count();
        assert_eq!((count(RUNS[0]), count(RUNS[1]), count(SESSION)), (8, 8, TURNS.len()));
    }

    #[tokio::test]
    async fn a_tapline_that_is_not_there_is_an_error_and_an_odd_upstream_is_not() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let models = Models { chat: "m".to_owned(), agent: "m".to_owned(), embedding: "m".to_owned() };
        let base_url = "http://127.0.0.1:9".to_owned();
        let nobody = Workload { base_url, models: models.clone(), key: None };
        let error = nobody.drive(&ProgressBar::hidden()).await.unwrap_err();
        assert!(error.to_string().contains("could not reach tapline"), "{error}");
        let odd = serve_router(axum::Router::new().fallback(|| async { "not json" })).await;
        let summary =
            Workload { base_url: odd, models, key: None }.drive(&ProgressBar::hidden()).await.unwrap();
        assert_eq!(summary.calls, STEPS + 1);
        assert!(!summary.surprises.is_empty());
    }
}
