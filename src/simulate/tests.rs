//! The simulator over a real socket: what only shows on the wire.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::{Config, serve};

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

async fn start(config: Config) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve(listener, config, async {
        drop(stopped.await);
    }));
    Running { address, stop: Some(stop) }
}

impl Running {
    /// One request on a connection of its own: the raw response, and how the connection ended.
    async fn raw(&self, request: &str) -> (String, std::io::Result<()>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes).await.map(|_| ());
        (String::from_utf8(bytes).unwrap(), ended)
    }

    async fn post(&self, path: &str, headers: &str, body: &Value) -> (String, std::io::Result<()>) {
        let body = body.to_string();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        ))
        .await
    }
}

fn ask(stream: bool) -> Value {
    json!({"model": "sim-small", "stream": stream, "messages": [{"role": "user", "content": "What is an index?"}]})
}

fn body_of(response: &str) -> Value {
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn events_in(response: &str) -> usize {
    response.matches("data: ").count()
}

#[tokio::test]
async fn a_seed_makes_bodies_equal_and_request_ids_differ() {
    let server = start(Config { seed: Some(7), ..Config::default() }).await;
    let (one, _) = server.post("/v1/chat/completions", "authorization: Bearer a\r\n", &ask(false)).await;
    let (other, _) = server.post("/v1/chat/completions", "authorization: Bearer b\r\n", &ask(false)).await;
    assert!(one.starts_with("HTTP/1.1 200 OK"), "{one}");
    assert_eq!(body_of(&one), body_of(&other));
    let id = |text: &str| text.split("x-request-id: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    assert_ne!(id(&one), id(&other));
    assert!(one.contains("openai-version: 2020-10-01") && one.contains("openai-processing-ms: "));
}

#[tokio::test]
async fn keys_models_urls_and_bodies_are_refused_in_the_api_shape() {
    let server = start(Config { keys: vec!["sk-right".to_owned()], ..Config::default() }).await;
    let right = "authorization: Bearer sk-right\r\n";
    let chat = "/v1/chat/completions";
    let unknown = json!({"model": "nope", "messages": [{"role": "user", "content": "x"}]});
    let embeds = json!({"model": "sim-embed", "messages": [{"role": "user", "content": "x"}]});
    for (path, headers, body, status, code) in [
        (chat, "", ask(false), 401, json!(null)),
        (chat, "authorization: Bearer sk-wrong-one-here\r\n", ask(false), 401, json!("invalid_api_key")),
        (chat, right, unknown, 404, json!("model_not_found")),
        ("/v1/nowhere", right, ask(false), 404, json!(null)),
        (chat, right, json!({"model": "sim-small"}), 400, json!("missing_required_parameter")),
        (chat, right, embeds, 400, json!(null)),
        (
            "/v1/responses",
            right,
            json!({"model": "sim-small", "input": "x", "previous_response_id": "resp_0"}),
            400,
            json!("previous_response_not_found"),
        ),
    ] {
        let (response, _) = server.post(path, headers, &body).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {headers} {response}");
        let error = &body_of(&response)["error"];
        assert_eq!(error["code"], code, "{response}");
        assert!(error["message"].is_string() && error["type"].is_string());
        assert!(!response.contains("sk-wrong-one-here"));
    }
}

#[tokio::test]
async fn streams_end_as_scripted() {
    let server = start(Config::default()).await;
    let run = async |script: &str| {
        server.post("/v1/chat/completions", &format!("x-simulate: {script}\r\n"), &ask(true)).await
    };
    let (whole, ended) = run("tokens=12").await;
    assert!(whole.contains("data: [DONE]") && whole.ends_with("0\r\n\r\n") && ended.is_ok());
    // A role, twelve tokens, a finish reason and the end mark.
    assert_eq!(events_in(&whole), 15);

    let (error, ended) = run("error_after=3").await;
    assert_eq!(events_in(&error), 4);
    assert!(error.contains("\"error\":{") && error.ends_with("0\r\n\r\n") && ended.is_ok());

    let (cut, ended) = run("cut_after=3").await;
    assert_eq!(events_in(&cut), 3);
    assert!(!cut.ends_with("0\r\n\r\n") && ended.is_ok());

    let (reset, ended) = run("reset_after=3").await;
    assert_eq!(events_in(&reset), 3);
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);

    let (nothing, _) = run("cut_after=0").await;
    assert_eq!(nothing, "");
}

#[tokio::test]
async fn a_fault_may_pass_after_some_times() {
    let server = start(Config::default()).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let script = "x-simulate: status=429;retry_after=0.5;times=2\r\n";
        let (response, _) = server.post("/v1/chat/completions", script, &ask(false)).await;
        assert_eq!(response.contains("retry-after: 0.5"), response.starts_with("HTTP/1.1 429"));
        statuses.push(response.split(' ').nth(1).unwrap().to_owned());
    }
    assert_eq!(statuses, ["429", "429", "200", "429"]);
}

#[tokio::test]
async fn a_conversation_that_grows_is_cached_and_responses_remember() {
    let server = start(Config::default()).await;
    let mut messages =
        vec![json!({"role": "system", "content": "You are a patient support agent. ".repeat(12)})];
    let mut cached = Vec::new();
    for turn in 0..3 {
        messages.push(json!({"role": "user", "content": format!("Question {turn} about the invoice?")}));
        let body = json!({"model": "sim-small", "messages": messages});
        let (response, _) = server.post("/v1/chat/completions", "", &body).await;
        let answer = body_of(&response);
        cached.push(answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap());
        messages.push(answer["choices"][0]["message"].clone());
    }
    assert!(cached[0] == 0 && cached[1] > 0 && cached[2] > cached[1], "{cached:?}");

    let first = json!({"model": "sim-small", "input": "What is an index?"});
    let (response, _) = server.post("/v1/responses", "", &first).await;
    let first = body_of(&response);
    let next = json!({"model": "sim-small", "input": "And a view?", "previous_response_id": first["id"]});
    let (response, _) = server.post("/v1/responses", "", &next).await;
    let next = body_of(&response);
    assert!(next["usage"]["input_tokens"].as_u64() > first["usage"]["total_tokens"].as_u64(), "{next}");
}

#[tokio::test]
async fn shutdown_lets_an_answer_in_flight_end() {
    let mut server = start(Config::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = ask(true).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-simulate: tokens=20;chunk_ms=5\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0u8; 16];
    stream.read_exact(&mut first).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("[DONE]"), "{rest}");
}

#[tokio::test]
async fn sessions_are_for_models_that_are_there_and_need_a_handshake() {
    let server = start(Config::default()).await;
    let shake = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let get = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    for (path, headers, status) in [
        ("/v1/realtime?model=nope", shake, 404),
        ("/v1/realtime?model=gpt-realtime", "connection: close\r\n", 400),
        ("/v1/realtime", shake, 400),
    ] {
        let closing = if headers == shake {
            shake.replace("upgrade\r\nup", "upgrade, close\r\nup")
        } else {
            headers.to_owned()
        };
        let (response, _) = server.raw(&get(path, &closing)).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {response}");
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(get("/v1/realtime?model=gpt-realtime", shake).as_bytes()).await.unwrap();
    let mut head = [0u8; 170];
    let length = stream.read(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    // The answer that RFC 6455 works out for this key.
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
}
