//! The whole binary: a provider, a server, real sockets, a real store, and signals.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::running::{Running, client, get};

fn question(text: &str, stream: bool) -> Value {
    json!({
        "model": "sim-small", "stream": stream,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}],
    })
}

#[tokio::test]
async fn a_call_through_tapline_is_a_priced_span_in_its_run_at_once() {
    let data = tempfile::tempdir().expect("a folder");
    let provider = Running::simulator();
    let tapline = Running::server(&provider.url, data.path());
    let client = client();
    for turn in 0..20 {
        let stream = turn % 2 == 1;
        let path = format!("{}/exp/prompt-dev/run/v{}/v1/chat/completions", tapline.url, turn % 2);
        let response = client
            .post(path)
            .header("x-tapline-session", "s-1")
            .header("x-tapline-tags", "nightly,eu")
            .header("authorization", "Bearer sk-canary")
            .json(&question(&format!("What is {turn}?"), stream))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200);
        let answer = response.bytes().await.expect("a body");
        // Reads are fresh: what the client has is in the very next answer.
        let list = get(&client, format!("{}/api/v1/calls?session=s-1&limit=1", tapline.url)).await;
        let id = list["calls"][0]["id"].as_str().expect("a call").to_owned();
        let costs = get(&client, format!("{}/api/v1/costs", tapline.url)).await;
        assert_eq!(costs["totals"]["calls"], turn + 1, "{costs}");
        let stored =
            client.get(format!("{}/api/v1/calls/{id}/response", tapline.url)).send().await.expect("bytes");
        assert_eq!(stored.bytes().await.expect("bytes"), answer, "inv8: the exact bytes come back");
    }
    let list = get(&client, format!("{}/api/v1/calls?run=v1&tag=eu", tapline.url)).await;
    let calls = list["calls"].as_array().expect("a list");
    assert_eq!(calls.len(), 10);
    let call = &calls[0];
    assert_eq!(call["status"], "ok");
    assert_eq!(call["rules"]["run"], "path:run");
    assert_eq!(call["rules"]["experiment"], "path:exp");
    assert_eq!(call["rules"]["session"], "header:x-tapline-session");
    assert_eq!(call["streamed"], true);
    // The client did not ask for usage in the stream: counted, and it says so (inv6).
    assert_eq!(call["usage_source"], "estimated", "{call}");
    assert!(call["price_id"].as_str().is_some_and(|id| id.contains("sim-small")), "{call}");
    assert!(call["first_token_ms"].as_f64().is_some(), "{call}");
    let runs = get(&client, format!("{}/api/v1/runs?experiment=prompt-dev", tapline.url)).await;
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(2), "{runs}");
    for file in walk(data.path()) {
        let bytes = std::fs::read(&file).expect("readable");
        assert!(!bytes.windows(9).any(|window| window == b"sk-canary"), "inv7: a key in {}", file.display());
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn inv4_what_the_client_received_survives_a_kill_and_what_ran_is_interrupted() {
    let data = tempfile::tempdir().expect("a folder");
    let provider = Running::simulator();
    let mut tapline = Running::server(&provider.url, data.path());
    let client = client();
    for turn in 0..10 {
        let url = format!("{}/s/done/v1/chat/completions", tapline.url);
        let response =
            client.post(url).json(&question(&format!("{turn}"), turn % 2 == 0)).send().await.expect("sent");
        response.bytes().await.expect("whole");
    }
    let mut running = client
        .post(format!("{}/s/running/v1/chat/completions", tapline.url))
        .header("x-simulate", "tokens=400;chunk_ms=20")
        .json(&question("a long one", true))
        .send()
        .await
        .expect("a head");
    let mut seen = 0;
    while seen < 600 {
        seen += running.chunk().await.expect("streams").expect("not over").len();
    }
    // Longer than a tick, so that what streamed is journalled.
    tokio::time::sleep(Duration::from_millis(100)).await;
    tapline.kill();
    drop(running);
    let again = Instant::now();
    let tapline = Running::server(&provider.url, data.path());
    let done = get(&client, format!("{}/api/v1/calls?session=done", tapline.url)).await;
    assert!(again.elapsed() < Duration::from_secs(20), "the start hung");
    let done = done["calls"].as_array().expect("a list");
    assert_eq!(done.len(), 10, "every finished call, once");
    assert!(done.iter().all(|call| call["status"] == "ok"), "{done:?}");
    let cut = get(&client, format!("{}/api/v1/calls?session=running", tapline.url)).await;
    let cut = &cut["calls"][0];
    assert_eq!(cut["status"], "interrupted", "{cut}");
    assert!(cut["received_bytes"].as_u64().is_some_and(|bytes| bytes >= 600), "{cut}");
    assert_eq!(cut["usage_source"], "estimated", "{cut}");
}

#[tokio::test]
async fn sigterm_lets_a_stream_end_and_exits_cleanly() {
    let data = tempfile::tempdir().expect("a folder");
    let provider = Running::simulator();
    let mut tapline = Running::server(&provider.url, data.path());
    let client = client();
    let mut running = client
        .post(format!("{}/s/draining/v1/chat/completions", tapline.url))
        .header("x-simulate", "tokens=60;chunk_ms=10")
        .json(&question("a story", true))
        .send()
        .await
        .expect("a head");
    running.chunk().await.expect("streams").expect("a first piece");
    let ended = tokio::task::spawn_blocking(move || {
        let status = tapline.terminate();
        (tapline, status)
    });
    let mut last = Vec::new();
    while let Some(piece) = running.chunk().await.expect("the stream is not cut") {
        last.extend_from_slice(&piece);
    }
    assert!(String::from_utf8_lossy(&last).contains("[DONE]"));
    let (_, status) = ended.await.expect("joined");
    assert!(status.success(), "{status}");
    let tapline = Running::server(&provider.url, data.path());
    let calls = get(&client, format!("{}/api/v1/calls?session=draining", tapline.url)).await;
    assert_eq!(calls["calls"][0]["status"], "ok", "{calls}");
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused_with_the_holder_named() {
    let data = tempfile::tempdir().expect("a folder");
    let tapline = Running::server("http://127.0.0.1:9", data.path());
    let second = Command::new(env!("CARGO_BIN_EXE_tapline"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data", data.path().to_str().expect("plain")])
        .output()
        .expect("it runs");
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&tapline.child.id().to_string()), "{said}");
}

#[tokio::test]
async fn a_call_that_reached_nobody_still_tells_what_was_asked() {
    let data = tempfile::tempdir().expect("a folder");
    let tapline = Running::server("http://127.0.0.1:9", data.path());
    let client = client();
    let body = question("Is anybody there?", false);
    let sent = client
        .post(format!("{}/v1/chat/completions", tapline.url))
        .json(&body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(sent.status(), 502);
    let list = get(&client, format!("{}/api/v1/calls", tapline.url)).await;
    let call = &list["calls"][0];
    assert_eq!(
        (&call["request_model"], &call["error_source"]),
        (&json!("sim-small"), &json!("upstream")),
        "{call}"
    );
    let id = call["id"].as_str().expect("an id");
    assert_eq!(get(&client, format!("{}/api/v1/calls/{id}/request", tapline.url)).await, body);
}

#[tokio::test]
async fn operations_tell_how_it_goes() {
    let data = tempfile::tempdir().expect("a folder");
    let provider = Running::simulator();
    let tapline = Running::server(&provider.url, data.path());
    let client = client();
    let url = format!("{}/v1/embeddings", tapline.url);
    let sent =
        client.post(url).json(&json!({"model": "sim-embed", "input": "hello"})).send().await.expect("sent");
    assert_eq!(sent.status(), 200);
    get(&client, format!("{}/api/v1/calls", tapline.url)).await;
    let health = get(&client, format!("{}/healthz", tapline.url)).await;
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(health["settled_calls"], 1);
    assert_eq!(get(&client, format!("{}/readyz", tapline.url)).await["status"], "ok");
    let metrics = client.get(format!("{}/metrics", tapline.url)).send().await.expect("text");
    let metrics = metrics.text().await.expect("text");
    for family in
        ["tapline_calls_total", "tapline_tokens_total", "tapline_journal_bytes", "tapline_proxy_in_flight"]
    {
        assert!(metrics.contains(family), "{family} is not in\n{metrics}");
    }
}

#[test]
fn wrong_settings_are_refused_before_anything_is_opened() {
    let data = tempfile::tempdir().expect("a folder");
    let untouched = data.path().join("never");
    let untouched = untouched.to_str().expect("plain");
    for (arguments, expected) in [
        (vec!["--listen", "0.0.0.0:4000"], "allow_wide_bind"),
        (vec!["--upstream", "ftp://x"], "http or https"),
        (vec!["--journal-mode", "fast"], "one of strict, relaxed"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_tapline"))
            .args(["serve", "--data", untouched])
            .args(&arguments)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{arguments:?}: {said}");
        assert!(!Path::new(untouched).exists(), "{arguments:?} made a folder");
    }
}
