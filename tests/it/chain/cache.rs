//! What a broken prompt cache costs, with the simulator's cache: it serves what a provider of that name would.

use serde_json::{Value, json};

use super::{document, said, user};
use crate::harness::running::{Running, client, get};

struct Agent {
    _provider: Running,
    tapline: Running,
    _data: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let provider = Running::simulator();
        let upstream = |name: &str| format!("--upstreams={name}={}/v1", provider.url);
        let tapline = Running::serving(data.path(), &[&upstream("openai"), &upstream("anthropic")]);
        Self { _provider: provider, tapline, _data: data }
    }

    async fn ask(&self, upstream: &str, path: &str, body: &Value, simulate: &str) -> Value {
        let asking = client()
            .post(format!("{}/to/{upstream}/v1/{path}", self.tapline.url))
            .header("authorization", "Bearer sk-agent")
            .header("anthropic-version", "2023-06-01")
            .header("x-simulate", simulate)
            .json(body);
        let response = asking.send().await.expect("an answer");
        let status = response.status();
        let answer: Value = response.json().await.expect("JSON");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The newest call, whole.
    async fn newest(&self) -> Value {
        let list = get(&client(), format!("{}/api/v1/calls?limit=1", self.tapline.url)).await;
        let id = list["calls"][0]["id"].as_str().expect("an id").to_owned();
        get(&client(), format!("{}/api/v1/calls/{id}", self.tapline.url)).await
    }
}

/// Longer than the shortest prompt that is cached.
fn long(about: &str) -> String {
    format!("You are an expert of {about}. ")
        + &"Answer in a few plain words that everybody understands. ".repeat(160)
}

#[tokio::test]
async fn a_prefix_that_is_intact_is_the_providers_matter_and_one_that_is_not_has_a_culprit() {
    let agent = Agent::start();
    let mut messages = vec![json!({"role": "system", "content": long("trees")}), user("What is an oak?")];
    let mut cached = Vec::new();
    // Filled, served, and not served though it could be; then the first words change.
    for simulate in ["", "", "cache_miss", ""] {
        if cached.len() == 3 {
            messages[0]["content"] = json!(long("shrubs"));
        }
        let body = json!({"model": "gpt-5", "messages": messages});
        let answer = agent.ask("openai", "chat/completions", &body, simulate).await;
        cached.push(answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a count"));
        messages.push(answer["choices"][0]["message"].clone());
        messages.push(user("And another one?"));
        let call = agent.newest().await;
        let cause = call["cache"]["cause"].as_str().map(str::to_owned);
        let expected = [None, None, Some("provider"), Some("system")][cached.len() - 1];
        assert_eq!(cause.as_deref(), expected, "{}", call["cache"]);
        assert_eq!(
            call["cache"]["missed_tokens"].as_u64().is_some_and(|missed| missed >= 1_024),
            expected.is_some()
        );
        assert_eq!(call["cache"]["lost_nano_usd"].as_i64().is_some_and(|lost| lost > 0), expected.is_some());
    }
    assert!(cached[1] >= 1_024 && cached[1] % 128 == 0, "{cached:?}");
    assert_eq!((cached[0], cached[2], cached[3]), (0, 0, 0));

    let report = document(&agent.tapline, &["cost", "--cache-loss", "--by", "cause"]).await;
    let causes: Vec<_> =
        report["rows"].as_array().expect("rows").iter().map(|row| &row["key"]["cause"]).collect();
    assert!(causes.contains(&&json!("provider")) && causes.contains(&&json!("system")), "{report}");
    let by_session = document(&agent.tapline, &["cost", "--cache-loss", "--by", "session"]).await;
    assert_eq!(by_session["rows"].as_array().map(Vec::len), Some(1), "{by_session}");
    assert_eq!(by_session["totals"]["missed_tokens"], report["totals"]["missed_tokens"]);
    let sessions = document(&agent.tapline, &["sessions"]).await;
    assert_eq!(sessions[0]["missed_tokens"], report["totals"]["missed_tokens"], "{sessions}");
    let newest = agent.newest().await["id"].as_str().expect("an id").to_owned();
    let shown = said(&agent.tapline, &["show", &newest]).await;
    assert!(shown.contains("prompt cache") && shown.contains("system"), "{shown}");
}

#[tokio::test]
async fn what_a_provider_says_of_its_cache_is_kept_and_a_contradiction_is_flagged() {
    let agent = Agent::start();
    let instructions = long("birds");
    let tool = |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}});
    let ask = |tools: Value| json!({"model": "gpt-5", "instructions": instructions, "tools": tools, "input": "Hello."});
    agent.ask("openai", "responses", &ask(json!([tool("look")])), "").await;
    let blamed = "cache_miss;cache_diagnosis=tools_changed";
    agent.ask("openai", "responses", &ask(json!([tool("look")])), blamed).await;
    let cache = agent.newest().await["cache"].clone();
    assert_eq!(
        (&cache["cause"], &cache["provider_says"]),
        (&json!("provider"), &json!("tools_changed")),
        "{cache}"
    );
    assert_eq!(cache["disputed"], true);
    let newest = agent.newest().await["id"].as_str().expect("an id").to_owned();
    let shown = said(&agent.tapline, &["show", &newest]).await;
    assert!(shown.contains("tools_changed") && shown.contains("contradicts"), "{shown}");
    let report = document(&agent.tapline, &["cost", "--cache-loss"]).await;
    assert_eq!(report["totals"]["disputed_calls"], 1, "{report}");

    let system = json!([{"type": "text", "text": instructions, "cache_control": {"type": "ephemeral"}}]);
    let claude = |tool: &str| {
        json!({"model": "claude-sonnet-4-5", "max_tokens": 50, "system": system,
            "tools": [{"name": tool, "input_schema": {"type": "object"}}],
            "messages": [{"role": "user", "content": "Hello."}]})
    };
    agent.ask("anthropic", "messages", &claude("look"), "").await;
    agent.ask("anthropic", "messages", &claude("listen"), "cache_diagnosis=tools_changed").await;
    let cache = agent.newest().await["cache"].clone();
    assert_eq!(cache["provider_says"], "tools_changed", "{cache}");
    assert_eq!(cache["disputed"], cache["cause"] != "tool", "{cache}");
    agent.ask("anthropic", "messages", &claude("listen"), "cache_miss").await;
    let cache = agent.newest().await["cache"].clone();
    assert_eq!((&cache["cause"], &cache["disputed"]), (&json!("provider"), &json!(false)), "{cache}");
}
