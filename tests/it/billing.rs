//! Budgets, prices applied anew and bills, through the whole binary.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::running::{Running, client, get};

const BUDGETS: &str = r#"
[[budgets]]
name = "small"
each = "user"
limit = "0.0001usd"
window = "total"
action = "stop"
"#;

fn tapline(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tapline")).args(arguments).output().expect("the binary starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn serve(upstream: &str, data: &std::path::Path, config: &std::path::Path) -> Running {
    let upstream = format!("{upstream}/v1");
    let (data, config) = (data.to_str().expect("plain"), config.to_str().expect("plain"));
    Running::start(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data,
        "--upstream",
        &upstream,
        "--config",
        config,
    ])
}

async fn ask(client: &reqwest::Client, url: &str, user: &str, path: &str) -> reqwest::Response {
    let body = json!({
        "model": "sim-large", "max_tokens": 64, "messages": [{"role": "user", "content": "What is a budget?"}],
    });
    let mut request = client.post(format!("{url}{path}")).header("x-tapline-user", user);
    if path.ends_with("/messages") {
        request = request.header("anthropic-version", "2023-06-01");
    }
    request.json(&body).send().await.expect("an answer")
}

#[tokio::test]
async fn a_budget_that_is_used_up_stops_calls_in_their_own_dialect_and_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, config) = (folder.path().join("data"), folder.path().join("tapline.toml"));
    std::fs::write(&config, BUDGETS).expect("written");
    let (provider, client) = (Running::simulator(), client());
    let mut server = serve(&provider.url, &data, &config);
    let mut passed = 0;
    let refused = loop {
        let response = ask(&client, &server.url, "ann", "/v1/chat/completions").await;
        if response.status() != 200 {
            break response;
        }
        response.bytes().await.expect("a body");
        passed += 1;
        assert!(passed < 50, "expected the budget to end");
    };
    assert!(passed > 0, "the first call is within any budget");
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["x-should-retry"], "false");
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "budget_exceeded", "{body}");

    // Another user has an account of his own.
    assert_eq!(ask(&client, &server.url, "ben", "/v1/chat/completions").await.status(), 200);
    let refused = ask(&client, &server.url, "ann", "/v1/messages").await;
    assert_eq!(refused.status(), 429);
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("rate_limit_error")));

    // inv3: what was refused is a span as well.
    let list = get(&client, format!("{}/api/v1/calls?user=ann&status=error", server.url)).await;
    assert_eq!(list["calls"].as_array().map(Vec::len), Some(2), "{list}");
    server.terminate();
    let server = serve(&provider.url, &data, &config);
    let response = ask(&client, &server.url, "ann", "/v1/chat/completions").await;
    assert_eq!(response.status(), 429, "what was spent is read from the store");
    let shown = tapline(&["budgets", "--json", "--url", &server.url]);
    let rows: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let rows = rows.as_array().or_else(|| rows["budgets"].as_array()).expect("rows");
    assert_eq!(rows.iter().filter(|row| row["name"] == "small").count(), 2, "{rows:?}");
}

#[tokio::test]
async fn prices_applied_anew_correct_every_sum_and_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (provider, client) = (Running::simulator(), client());
    let server = Running::server(&provider.url, folder.path());
    for run in ["a", "a", "b"] {
        let path = format!("/run/{run}/v1/chat/completions");
        ask(&client, &server.url, "ann", &path).await.bytes().await.expect("a body");
    }
    let costs = async || {
        let by_run = get(&client, format!("{}/api/v1/costs?by=run", server.url)).await;
        let by_hour = get(&client, format!("{}/api/v1/costs?by=hour,model", server.url)).await;
        let total = |report: &Value| report["totals"]["cost_nano_usd"].as_i64().expect("a cost");
        (total(&by_run), total(&by_hour))
    };
    let (before, _) = costs().await;
    let prices = folder.path().join("twice.toml");
    std::fs::write(
        &prices,
        "version = \"twice\"\nsource = \"a test\"\nchecked = 2026-11-25\n[[price]]\nprovider = \"simulated\"\n\
         model = \"sim-large\"\ninput = 5\noutput = 20\n",
    )
    .expect("written");
    let prices = prices.to_str().expect("plain");
    let url = ["--url", server.url.as_str()];
    let question = tapline(&[&["cost", "--reprice", "--prices", prices, "--json"][..], &url].concat());
    let answer: Value =
        serde_json::from_slice(&question.stdout).unwrap_or_else(|_| panic!("{}", text(&question)));
    assert_eq!(answer["applied"], false);
    assert_eq!(answer["totals"]["cost_before_nano_usd"], before);
    assert_eq!(answer["totals"]["cost_after_nano_usd"], 2 * before, "{answer}");
    assert_eq!(costs().await, (before, before), "a question changes nothing");

    let applied =
        tapline(&[&["cost", "--reprice", "--prices", prices, "--apply", "--json"][..], &url].concat());
    let answer: Value =
        serde_json::from_slice(&applied.stdout).unwrap_or_else(|_| panic!("{}", text(&applied)));
    assert!(answer["audit_id"].is_i64(), "{answer}");
    assert_eq!(costs().await, (2 * before, 2 * before));
    let calls = get(&client, format!("{}/api/v1/calls?run=a", server.url)).await;
    let id = calls["calls"][0]["price_id"].as_str().expect("inv6: the price that made it");
    assert!(id.starts_with("twice/"), "{id}");

    // A bill for half of what was recorded does not match, and says in which figures.
    let bill = folder.path().join("bill.csv");
    let day =
        get(&client, format!("{}/api/v1/costs?by=day", server.url)).await["rows"][0]["key"]["day"].clone();
    let day = day.as_str().expect("a day");
    std::fs::write(
        &bill,
        format!(
            "start_time,end_time,start_time_iso,end_time_iso,num_model_requests,model,input_tokens,output_tokens,\
             input_cached_tokens\n0,0,{day}T00:00:00+00:00,{day}T00:00:00+00:00,1,sim-large,1,1,0\n"
        ),
    )
    .expect("written");
    let compared = tapline(&[&["cost", "reconcile", bill.to_str().expect("plain")][..], &url].concat());
    assert_eq!(compared.status.code(), Some(1), "{}", text(&compared));
    assert!(text(&compared).contains("sim-large"), "{}", text(&compared));

    let missing = tapline(&[&["prices", "missing"][..], &url].concat());
    assert!(missing.status.success() && text(&missing).contains("has a price"), "{}", text(&missing));
    let call = calls["calls"][0]["id"].as_str().expect("an id");
    let explained = tapline(&[&["prices", "explain", call][..], &url].concat());
    assert!(
        explained.status.success() && text(&explained).contains("per million tokens"),
        "{}",
        text(&explained)
    );
}

#[tokio::test]
async fn calls_of_a_renamed_experiment_count_under_its_new_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, config) = (folder.path().join("data"), folder.path().join("tapline.toml"));
    let budget = BUDGETS.replace("each = \"user\"", "experiment = \"prod-*\"").replace("0.0001usd", "1usd");
    std::fs::write(&config, budget).expect("written");
    let (provider, client) = (Running::simulator(), client());
    let server = serve(&provider.url, &data, &config);
    let counted = async || {
        let shown = get(&client, format!("{}/api/v1/budgets", server.url)).await;
        shown["budgets"][0]["calls"].as_u64().expect("a count")
    };
    let asked = async |path: &str| {
        ask(&client, &server.url, "ann", path).await.bytes().await.expect("a body");
    };
    asked("/exp/draft/v1/chat/completions").await;
    assert_eq!(counted().await, 0);
    let found =
        get(&client, format!("{}/api/2.0/mlflow/experiments/get-by-name?experiment_name=draft", server.url))
            .await;
    let renamed = client
        .post(format!("{}/api/2.0/mlflow/experiments/update", server.url))
        .json(&json!({"experiment_id": found["experiment"]["experiment_id"], "new_name": "prod-1"}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(renamed.status(), 200);
    asked("/exp/prod-1/v1/chat/completions").await;
    assert_eq!(counted().await, 1);
}

/// A run is stopped by the name that its calls have for it, whoever gave it the budget, and after a restart as well.
#[tokio::test]
async fn a_run_that_was_given_a_budget_is_stopped_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, config) = (folder.path().join("data"), folder.path().join("tapline.toml"));
    std::fs::write(&config, "").expect("written");
    let (provider, client) = (Running::simulator(), client());
    let mut server = serve(&provider.url, &data, &config);
    let paths = ["/run/loop/v1/chat/completions", "/exp/trial/run/loop/v1/chat/completions"];
    for path in paths {
        assert_eq!(ask(&client, &server.url, "ann", path).await.status(), 200);
    }
    let runs = get(&client, format!("{}/api/v1/runs", server.url)).await;
    let of_default = runs["runs"]
        .as_array()
        .and_then(|runs| runs.iter().find(|run| run["experiment"] == "Default"))
        .and_then(|run| run["id"].as_str())
        .expect("the run in the default experiment")
        .to_owned();
    let set = tapline(&["budgets", "set", "run", &of_default, "0.000001usd", "--url", &server.url]);
    assert!(set.status.success(), "{}", text(&set));
    let status = async |server: &Running, path: &str| ask(&client, &server.url, "ann", path).await.status();
    assert_eq!(status(&server, paths[0]).await, 429);
    assert_eq!(status(&server, "/exp/Default/run/loop/v1/chat/completions").await, 429);
    assert_eq!(status(&server, &format!("/run/{of_default}/v1/chat/completions")).await, 429);
    assert_eq!(status(&server, paths[1]).await, 200, "a run of that name elsewhere is another");
    server.terminate();
    let server = serve(&provider.url, &data, &config);
    assert_eq!(status(&server, paths[0]).await, 429, "it is kept");
    let cleared = tapline(&["budgets", "clear", &of_default, "--url", &server.url]);
    assert!(cleared.status.success(), "{}", text(&cleared));
    assert_eq!(status(&server, paths[0]).await, 200);
}
