//! The conversation chain over real traffic without any header: what `sessions`, `show --tree`, `log`, `blame` and
//! `diff` say of it, at the command line and by HTTP.

mod cache;
mod links;

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{
    Upstream,
    running::{Running, client, get},
};

/// What a verb prints, of the tapline at this address.
async fn said(tapline: &Running, arguments: &[&str]) -> String {
    let mut verb = Command::new(env!("CARGO_BIN_EXE_tapline"));
    verb.args(arguments).args(["--url", &tapline.url]);
    let output = tokio::task::spawn_blocking(move || verb.output()).await.unwrap().expect("it runs");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    printed
}

async fn document(tapline: &Running, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    serde_json::from_str(&said(tapline, &arguments).await).expect("JSON")
}

async fn ask(tapline: &Running, messages: &[Value]) -> Value {
    let tool = json!({"type": "function", "function": {
        "name": "get_weather", "description": "The current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }});
    let response = client()
        .post(format!("{}/v1/chat/completions", tapline.url))
        .header("authorization", "Bearer sk-agent")
        .json(&json!({"model": "sim-small", "messages": messages, "tools": [tool]}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.expect("JSON");
    answer["choices"][0]["message"].clone()
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// Ids of the calls, oldest first: they are minted in order.
async fn ids(tapline: &Running) -> Vec<String> {
    let list = get(&client(), format!("{}/api/v1/calls?limit=100", tapline.url)).await;
    let calls = list["calls"].as_array().expect("a list");
    let mut ids: Vec<_> = calls.iter().map(|call| call["id"].as_str().expect("an id").to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn an_agents_turns_tools_and_edits_are_told_apart() {
    let data = tempfile::tempdir().expect("a folder");
    let provider = Running::simulator();
    let tapline = Running::server(&provider.url, data.path());
    let system = json!({"role": "system", "content": "You are a travel agent. Look the weather up."});
    let mut messages = vec![system, user("What is the weather in Oslo?")];
    let called = ask(&tapline, &messages).await;
    let tool_call = called["tool_calls"][0]["id"].clone();
    assert!(tool_call.is_string(), "{called}");
    messages.push(called);
    messages.push(
        json!({"role": "tool", "tool_call_id": tool_call, "content": "{\"city\":\"Oslo\",\"celsius\":4}"}),
    );
    messages.push(ask(&tapline, &messages).await);
    messages.push(user("Then what should I pack for three days there?"));
    ask(&tapline, &messages).await;
    // The same place in the conversation, asked otherwise.
    messages.pop();
    messages.push(user("Then what should I pack for nine days there?"));
    ask(&tapline, &messages).await;
    let calls = ids(&tapline).await;
    let [first, second, third, fourth] = calls.as_slice() else { panic!("four calls, found {calls:?}") };

    let sessions = document(&tapline, &["sessions"]).await;
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{sessions}");
    assert_eq!((&sessions[0]["inferred"], &sessions[0]["calls"]), (&json!(true), &json!(4)));
    let id = sessions[0]["id"].as_str().expect("an id");
    let whole = get(&client(), format!("{}/api/v1/sessions/{id}", tapline.url)).await;
    let links: Vec<_> = whole["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| (step["link"]["parent"].as_str(), step["link"]["kind"].as_str()))
        .collect();
    let expected = [
        (None, None),
        (Some(first.as_str()), Some("next_turn")),
        (Some(second.as_str()), Some("next_turn")),
        (Some(second.as_str()), Some("fork")),
    ];
    assert_eq!(links, expected);

    let tree = said(&tapline, &["show", "--tree", "last"]).await;
    // What branches off stands before what goes straight on.
    let places = [first, second, fourth, third]
        .map(|call| tree.find(&call[..16]).unwrap_or_else(|| panic!("{call} in {tree}")));
    assert!(places.is_sorted(), "{tree}");
    assert!(tree.contains("fork"), "{tree}");

    let log = document(&tapline, &["log", "last"]).await;
    let added: Vec<Vec<_>> = log["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["added"].as_array().expect("messages").iter().map(|one| &one["role"]).collect())
        .collect();
    assert_eq!(added[0], ["system", "user"], "{log}");
    assert_eq!(added[1], ["tool"], "the answer that came back is not news: {log}");
    assert_eq!(added[2], ["user"], "{log}");
    assert_eq!(added[3], ["user"], "{log}");
    let text = said(&tapline, &["log", id]).await;
    assert!(text.contains("get_weather(") && text.contains("nine days"), "{text}");

    let blame = document(&tapline, &["blame", third]).await;
    let lines: Vec<_> = blame["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| (line["kind"].as_str().unwrap_or_default(), line["introduced_by"].as_str()))
        .collect();
    let expected = [
        ("tool", Some(first.as_str())),
        ("system", Some(first.as_str())),
        ("message", Some(first.as_str())),
        ("message", Some(second.as_str())),
        ("message", Some(second.as_str())),
        ("message", Some(third.as_str())),
        ("message", Some(third.as_str())),
    ];
    assert_eq!(lines, expected, "{blame}");

    let diff = document(&tapline, &["diff", third, fourth]).await;
    let prompt = diff["prompt"].as_array().expect("pieces");
    assert_eq!(diff["shared_prefix"], 6, "{diff}");
    let changed: Vec<_> = prompt.iter().filter(|piece| piece["change"] != "same").collect();
    let [changed] = changed.as_slice() else { panic!("one change, found {diff}") };
    let words = |change: &str| -> Vec<&str> {
        let words = changed["words"].as_array().expect("words").iter();
        words.filter(|word| word["change"] == change).filter_map(|word| word["text"].as_str()).collect()
    };
    assert_eq!((words("removed"), words("added")), (vec!["three"], vec!["nine"]), "{diff}");
    let text = said(&tapline, &["diff", third, fourth]).await;
    assert!(text.contains("[-three-]{+nine+}"), "{text}");
}

#[tokio::test]
async fn a_parent_that_ends_after_its_child_is_found_when_it_ends() {
    let data = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let tapline = Running::server(upstream.url().trim_end_matches("/v1"), data.path());
    let post = |messages: Value, stream: bool| {
        client()
            .post(format!("{}/v1/chat/completions", tapline.url))
            .json(&json!({"model": "gpt-5", "stream": stream, "messages": messages}))
            .send()
    };
    let answer = "The oak and the birch are two trees that grow in the north.";
    let question = user("Name two trees of the north, in one sentence.");
    let asking = tokio::spawn(post(json!([question]), true));
    let mut parent = upstream.accept().await;
    parent.read_message().await;
    parent
        .write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let event = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        let event =
            json!({"id": "c1", "object": "chat.completion.chunk", "model": "gpt-5", "choices": [choice]});
        format!("data: {event}\n\n")
    };
    parent.write_chunk(event(json!({"role": "assistant", "content": answer}), Value::Null)).await;
    let mut streaming = asking.await.unwrap().expect("a head");
    let first = streaming.chunk().await.expect("streams").expect("not over");
    assert!(first.windows(9).any(|window| window == b"the birch"));

    // The client has read all of the answer and does not wait for the stream's end.
    let resent = json!({"role": "assistant", "content": answer});
    let going_on = tokio::spawn(post(json!([question, resent, user("And a third one?")]), false));
    let mut child = upstream.accept().await;
    child.read_message().await;
    let whole = json!({"id": "c2", "object": "chat.completion", "model": "gpt-5", "choices": [{
        "index": 0, "message": {"role": "assistant", "content": "The pine."}, "finish_reason": "stop",
    }]})
    .to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
    child.write(format!("{head} {}\r\n\r\n{whole}", whole.len())).await;
    let told = going_on.await.unwrap().expect("an answer").bytes().await.expect("a body");
    assert_eq!(told, whole);
    let calls = ids(&tapline).await;
    let [early] = calls.as_slice() else { panic!("one call that has ended, found {calls:?}") };
    let alone = get(&client(), format!("{}/api/v1/calls/{early}", tapline.url)).await;
    assert!(alone["link"].is_null(), "{alone}");

    parent.write_chunk(event(json!({}), json!("stop"))).await;
    parent.write_chunk("data: [DONE]\n\n").await;
    parent.write("0\r\n\r\n").await;
    while streaming.chunk().await.expect("streams").is_some() {}
    let calls = ids(&tapline).await;
    let [late, adopted] = calls.as_slice() else { panic!("two calls, found {calls:?}") };
    let found = get(&client(), format!("{}/api/v1/calls/{adopted}", tapline.url)).await;
    assert_eq!(found["link"]["parent"], json!(late), "{found}");
    assert_eq!(found["link"]["kind"], "next_turn");
    let sessions = document(&tapline, &["sessions"]).await;
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{sessions}");
    assert_eq!(sessions[0]["calls"], 2);
    let tree = said(&tapline, &["show", "--tree", "last"]).await;
    assert!(tree.find(&late[..16]) < tree.find(&adopted[..16]), "{tree}");
}
