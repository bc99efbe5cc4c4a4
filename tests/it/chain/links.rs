//! Each kind of link over real sockets, with a provider whose every answer the test gives.

use serde_json::{Value, json};

use super::{document, said, user};
use crate::harness::{
    Upstream,
    running::{Running, client, get},
};

/// A tapline and its provider, whose answers are the test's.
struct Talk {
    upstream: Upstream,
    tapline: Running,
    _data: tempfile::TempDir,
}

impl Talk {
    async fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let upstream = Upstream::start().await;
        let tapline =
            Running::serving(data.path(), &["--upstream", &upstream.url(), "--sessions-except", "quiet"]);
        Self { upstream, tapline, _data: data }
    }

    /// Sends a request below `scope`, and has it answered.
    async fn ask(&self, scope: &str, body: &Value, status: u16, answer: &Value) -> Value {
        let path = if body.get("input").is_some() { "responses" } else { "chat/completions" };
        let asking = client()
            .post(format!("{}{scope}/v1/{path}", self.tapline.url))
            .header("authorization", "Bearer sk-agent")
            .json(body)
            .send();
        let asking = tokio::spawn(asking);
        let mut provider = self.upstream.accept().await;
        provider.read_message().await;
        let answer = answer.to_string();
        provider
            .write(format!(
                "HTTP/1.1 {status} Odd\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{answer}",
                answer.len()
            ))
            .await;
        let told = asking.await.unwrap().expect("an answer").bytes().await.expect("a body");
        serde_json::from_slice(&told).expect("JSON")
    }

    /// A chat completion that is answered with this message.
    async fn chat(&self, messages: &Value, message: &Value) -> String {
        let whole = json!({"id": "c", "object": "chat.completion", "model": "gpt-5", "choices": [
            {"index": 0, "message": message, "finish_reason": "stop"},
        ]});
        self.ask("", &json!({"model": "gpt-5", "messages": messages}), 200, &whole).await;
        self.newest().await
    }

    /// A response with an id of its own.
    async fn respond(&self, body: &Value, id: &str, text: &str) -> String {
        let whole = json!({"id": id, "object": "response", "status": "completed", "model": "gpt-5", "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]},
        ]});
        self.ask("", body, 200, &whole).await;
        self.newest().await
    }

    async fn newest(&self) -> String {
        let list = get(&client(), format!("{}/api/v1/calls?limit=1", self.tapline.url)).await;
        list["calls"][0]["id"].as_str().expect("an id").to_owned()
    }

    async fn call(&self, id: &str) -> Value {
        get(&client(), format!("{}/api/v1/calls/{id}", self.tapline.url)).await
    }

    /// A call's link: its kind, rule and parent.
    async fn link(&self, id: &str) -> (String, String, String) {
        let call = self.call(id).await;
        let text = |name: &str| call["link"][name].as_str().unwrap_or_default().to_owned();
        (text("kind"), text("rule"), text("parent"))
    }
}

fn system(text: &str) -> Value {
    json!({"role": "system", "content": text})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

fn linked(kind: &str, rule: &str, parent: &str) -> (String, String, String) {
    (kind.to_owned(), rule.to_owned(), parent.to_owned())
}

const FORESTER: &str = "You are a forester who knows each tree.";
const OAKS: &str = "The oldest oaks of this forest stand by the brook and are four hundred years old.";

#[tokio::test]
async fn a_retry_an_edit_and_a_clock_are_told_by_what_they_are() {
    let talk = Talk::start().await;
    let question = user("Which trees of this forest are the oldest?");
    let messages = json!([system(FORESTER), question]);
    let body = json!({"model": "gpt-5", "messages": messages});
    let refused = json!({"error": {"message": "overloaded", "type": "server_error"}});
    talk.ask("", &body, 503, &refused).await;
    let failed = talk.newest().await;
    let answered = talk.chat(&messages, &assistant(OAKS)).await;
    assert_eq!(talk.link(&answered).await, linked("retry", "same request", &failed));

    // The first question is put otherwise; what was answered stays.
    let edited =
        json!([system(FORESTER), user("Which are the oldest?"), assistant(OAKS), user("And the elms?")]);
    let edited = talk.chat(&edited, &assistant("There are none.")).await;
    assert_eq!(talk.link(&edited).await, linked("edited_history", "same answer", &answered));

    // The same conversation, but the system prompt tells the day.
    let dated = |day: &str| system(&format!("{FORESTER} Today is {day}."));
    let slope = assistant("Larches stand on the northern slope, where the snow stays longest of all.");
    let first = talk.chat(&json!([dated("2026-11-24"), user("Where do larches stand?")]), &slope).await;
    let second = talk
        .chat(
            &json!([dated("2026-11-25"), user("Where do larches stand?"), slope, user("How many?"),]),
            &assistant("Forty."),
        )
        .await;
    assert_eq!(talk.link(&second).await, linked("next_turn", "shared prefix", &first));
    let link = talk.call(&second).await["link"].clone();
    assert!(link["changed"].to_string().contains("date"), "{link}");
    let diff = said(&talk.tapline, &["diff", &first, &second]).await;
    assert!(
        diff.contains("[-2026-11-24.-]{+2026-11-25.+}") || diff.contains("24") && diff.contains("25"),
        "{diff}"
    );
    let log = document(&talk.tapline, &["log", "last"]).await;
    assert_eq!(log["entries"][1]["added"].as_array().map(Vec::len), Some(1), "a clock is no news: {log}");
}

#[tokio::test]
async fn a_sub_agent_has_a_session_of_its_own_and_a_summary_goes_on_in_the_same() {
    let talk = Talk::start().await;
    let task = "Count the woodpeckers of the northern slope and tell where each of them nests.";
    let first = user("How are the woodpeckers?");
    let handed = json!({"role": "assistant", "content": null, "tool_calls": [{
        "id": "call_7Hq2mVx81LpZ", "type": "function",
        "function": {"name": "delegate", "arguments": json!({"task": task}).to_string()},
    }]});
    let lead = talk.chat(&json!([system(FORESTER), first]), &handed).await;
    let counted =
        "There are nine of them. Three nest in dead birches near the brook, and six high in the old pines.";
    let worker = talk.chat(&json!([system("You count birds."), user(task)]), &assistant(counted)).await;
    assert_eq!(talk.link(&worker).await, linked("sub_agent", "quoted", &lead));
    let (of_lead, of_worker) = (talk.call(&lead).await, talk.call(&worker).await);
    assert_ne!(of_lead["session"], of_worker["session"]);

    let result = json!({"role": "tool", "tool_call_id": "call_7Hq2mVx81LpZ", "content": counted});
    let summary = "The woodpeckers are well this year. Nine of them were counted on the northern slope. Three nest in \
                   dead birches near the brook, which should be left standing. Six nest in the old pines.";
    let told = talk.chat(&json!([system(FORESTER), first, handed, result]), &assistant(summary)).await;
    assert_eq!(talk.link(&told).await, linked("next_turn", "shared prefix", &lead));
    let short =
        json!([system(FORESTER), user(&format!("What was said so far:\n{summary}\nNow plan the winter."))]);
    let compacted = talk.chat(&short, &assistant("We fell nothing near the brook.")).await;
    assert_eq!(talk.link(&compacted).await, linked("compaction", "quoted", &told));
    assert_eq!(talk.call(&compacted).await["session"], of_lead["session"]);

    let id = of_lead["session"].as_str().expect("a session");
    let whole = get(&client(), format!("{}/api/v1/sessions/{id}", talk.tapline.url)).await;
    assert_eq!(whole["sub_sessions"][0]["id"], of_worker["session"], "{whole}");
    let tree = said(&talk.tapline, &["show", "--tree", id]).await;
    assert!(tree.contains("compaction"), "{tree}");
}

#[tokio::test]
async fn responses_are_gone_on_from_by_their_id_and_say_only_what_is_new() {
    let talk = Talk::start().await;
    let body = |input: &str, before: Option<&str>| json!({"model": "gpt-5", "instructions": FORESTER, "input": input, "previous_response_id": before});
    let first = talk.respond(&body("Go on.", None), "resp_a", "The first tree is an oak.").await;
    let second = talk.respond(&body("Go on.", Some("resp_a")), "resp_b", "The second is an elm.").await;
    let fork = talk.respond(&body("Stop.", Some("resp_a")), "resp_c", "Well then.").await;
    assert_eq!(talk.link(&second).await, linked("next_turn", "previous_response_id", &first));
    assert_eq!(talk.link(&fork).await, linked("fork", "previous_response_id", &first));
    // A conversation that the provider keeps is a session that the caller names.
    let kept = json!({"model": "gpt-5", "input": "Hello.", "conversation": "conv_of_trees"});
    let named = talk.respond(&kept, "resp_d", "Hello.").await;
    assert_eq!(talk.call(&named).await["session"], "conv_of_trees");

    let session = talk.call(&first).await["session"].as_str().expect("a session").to_owned();
    let log = document(&talk.tapline, &["log", &session]).await;
    let added: Vec<Vec<&str>> = log["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| {
            entry["added"]
                .as_array()
                .expect("messages")
                .iter()
                .filter_map(|one| one["role"].as_str())
                .collect()
        })
        .collect();
    assert_eq!(added, [vec!["system", "user"], vec!["user"], vec!["user"]], "said again is said: {log}");
}

#[tokio::test]
async fn where_sessions_are_not_looked_for_calls_have_none() {
    let talk = Talk::start().await;
    let whole = |text: &str| {
        json!({"id": "c", "object": "chat.completion", "model": "gpt-5", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"},
        ]})
    };
    let first = json!([user("How tall is an oak of four hundred years?")]);
    talk.ask("/exp/quiet", &json!({"model": "gpt-5", "messages": first}), 200, &whole(OAKS)).await;
    let then = json!([first[0], assistant(OAKS), user("And a birch?")]);
    talk.ask("/exp/quiet", &json!({"model": "gpt-5", "messages": then}), 200, &whole("Less so.")).await;
    let call = talk.call(&talk.newest().await).await;
    assert!(call["session"].is_null() && call["link"].is_null(), "{call}");
    // A session that is named is a session there, too.
    talk.ask("/exp/quiet/s/named", &json!({"model": "gpt-5", "messages": then}), 200, &whole("Still less."))
        .await;
    assert_eq!(talk.call(&talk.newest().await).await["session"], "named");
    let elsewhere = talk.chat(&then, &assistant("Not tall.")).await;
    let link = talk.link(&elsewhere).await;
    assert_eq!(link.2, "", "nothing of another experiment is gone on from: {link:?}");
    assert!(talk.call(&elsewhere).await["session"].is_string());
}
