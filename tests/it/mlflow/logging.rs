//! What is logged, and what comes back: batches, histories, and paths that are not served.

use serde_json::{Value, json};

use super::Tracking;

#[tokio::test]
async fn nothing_of_a_refused_batch_is_kept() {
    let tracking = Tracking::start();
    let run = tracking.run("0", None).await;
    tracking.post("runs/log-parameter", json!({"run_id": run, "key": "lr", "value": "0.1"})).await;
    let before = tracking.get_run(&run).await;
    let good = json!({"key": "m", "value": 1.0, "timestamp": 1, "step": 1});
    let batches = [
        // The params are written first, and the refusal comes from the store.
        json!({"metrics": [good], "params": [{"key": "new", "value": "1"}, {"key": "lr", "value": "0.2"}]}),
        json!({"metrics": [good, {"key": "m", "value": "x", "timestamp": 1}], "tags": [{"key": "t", "value": "v"}]}),
        json!({"metrics": [good], "tags": [{"key": "", "value": "v"}]}),
        json!({"metrics": [good, {"key": "m", "value": 1, "timestamp": 1, "model_id": "m-none"}]}),
        json!({"metrics": vec![good.clone(); 1001]}),
    ];
    for mut batch in batches {
        batch["run_id"] = json!(run);
        let (status, refusal) = tracking.ask("POST", "/api/2.0/mlflow/runs/log-batch", Some(batch)).await;
        assert!((400..500).contains(&status), "{refusal}");
        assert_eq!(tracking.get_run(&run).await, before, "{refusal}");
    }
}

async fn history(tracking: &Tracking, query: &str) -> Value {
    tracking.read(&format!("/ajax-api/2.0/mlflow/metrics/get-history{query}")).await
}

#[tokio::test]
async fn histories_come_in_pages_in_bulk_and_as_an_even_sample() {
    let tracking = Tracking::start();
    let (one, two) = (tracking.run("0", None).await, tracking.run("0", None).await);
    for (run, count) in [(&one, 1000), (&two, 10)] {
        let points: Vec<Value> = (0..count)
            .map(|step| json!({"key": "loss", "value": f64::from(step), "timestamp": 5000 - step, "step": step}))
            .collect();
        // Twice: a point that is logged again is one point.
        for _ in 0..2 {
            tracking.post("runs/log-batch", json!({"run_id": run, "metrics": points})).await;
        }
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page =
            history(&tracking, &format!("?run_id={one}&metric_key=loss&max_results=333&page_token={token}"))
                .await;
        seen.extend(
            page["metrics"].as_array().unwrap().iter().map(|point| point["timestamp"].as_i64().unwrap()),
        );
        match page["next_page_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (4001..=5000).collect::<Vec<_>>(), "every point once, in the order of time");

    // As many values at one time and step as there are kinds of number.
    let odd = ["NaN", "Infinity", "-Infinity", "0.1", "-0.0", "5e-324"]
        .map(|value| json!({"key": "odd", "value": value, "timestamp": 1, "step": 1}));
    tracking.post("runs/log-batch", json!({"run_id": one, "metrics": odd})).await;
    let whole = history(&tracking, &format!("?run_id={one}&metric_key=odd")).await["metrics"].clone();
    assert_eq!(whole.as_array().unwrap().len(), odd.len());
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let query = format!("?run_id={one}&metric_key=odd&max_results=1&page_token={token}");
        let page = history(&tracking, &query).await;
        found.extend(page["metrics"].as_array().unwrap().clone());
        match page["next_page_token"].as_str() {
            Some(next) => token = next.replace('+', "%2B"),
            None => break,
        }
    }
    assert_eq!(json!(found), whole, "a page begins right behind the one before");
    // A token of MLflow's own server.
    let query = format!("?run_id={one}&metric_key=odd&max_results=1&page_token=eyJvZmZzZXQiOiAyfQ==");
    assert_eq!(history(&tracking, &query).await["metrics"][0], whole[2]);

    let bulk =
        history(&tracking, &format!("-bulk?run_id={two}&run_id={one}&metric_key=loss&max_results=1005"))
            .await;
    assert_eq!(bulk["metrics"].as_array().unwrap().len(), 1005);
    let sample = history(
        &tracking,
        &format!("-bulk-interval?run_ids={one}&run_ids={two}&metric_key=loss&max_results=100"),
    )
    .await;
    let steps = |run: &str| -> Vec<i64> {
        let points = sample["metrics"].as_array().unwrap().iter();
        points.filter(|point| point["run_id"] == run).map(|point| point["step"].as_i64().unwrap()).collect()
    };
    let sampled = steps(&one);
    assert_eq!((sampled.len(), sampled.first(), sampled.last()), (100, Some(&0), Some(&999)));
    assert_eq!(steps(&two), (0..10).collect::<Vec<_>>(), "all, where there are few");
    let latest = &tracking.get_run(&one).await["data"]["metrics"][0];
    assert_eq!((latest["step"].as_i64(), latest["timestamp"].as_i64()), (Some(999), Some(4001)));
}

#[tokio::test]
async fn values_that_are_no_numbers_survive() {
    let tracking = Tracking::start();
    let run = tracking.run("0", None).await;
    for (key, value) in [("nan", "NaN"), ("up", "Infinity"), ("down", "-Infinity")] {
        tracking
            .post("runs/log-metric", json!({"run_id": run, "key": key, "value": value, "timestamp": 1}))
            .await;
    }
    let body = format!(
        "{{\"run_id\": \"{run}\", \"metrics\": [{{\"key\": \"bare\", \"value\": NaN, \"timestamp\": 1}}]}}"
    );
    let url = format!("{}/api/2.0/mlflow/runs/log-batch", tracking.tapline.url);
    let sent =
        tracking.client.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    let whole = tracking.get_run(&run).await;
    let value = |key: &str| {
        let metrics = whole["data"]["metrics"].as_array().unwrap();
        metrics.iter().find(|metric| metric["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!((value("nan"), value("bare")), (json!("NaN"), json!("NaN")));
    assert_eq!((value("up"), value("down")), (json!(f64::MAX), json!(f64::MIN)));
}

#[tokio::test]
async fn both_prefixes_serve_and_what_is_not_served_says_so_in_json() {
    let tracking = Tracking::start();
    for prefix in ["/api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/2.0/mlflow", "/ajax-api/3.0/mlflow"] {
        let found = tracking.read(&format!("{prefix}/experiments/get?experiment_id=0")).await;
        assert_eq!(found["experiment"]["name"], "Default");
        for path in ["/webhooks", "/gateway/secrets/list", "/x"] {
            let (status, answer) = tracking.ask("GET", &format!("{prefix}{path}"), None).await;
            assert_eq!((status, answer["error_code"].as_str()), (404, Some("ENDPOINT_NOT_FOUND")), "{path}");
        }
        let (status, answer) = tracking.ask("GET", &format!("{prefix}/runs/create"), None).await;
        assert_eq!((status, answer["error_code"].as_str()), (405, Some("ENDPOINT_NOT_FOUND")));
    }
    let text = async |path: &str| {
        tracking
            .client
            .get(format!("{}{path}", tracking.tapline.url))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    assert_eq!((text("/version").await.as_str(), text("/health").await.as_str()), ("3.18.0", "OK"));
    assert_eq!(tracking.read("/api/3.0/mlflow/server-info").await["store_type"], "SqlStore");
}
