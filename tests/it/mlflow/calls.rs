//! One store: runs of `mlflow.start_run()` are the runs that calls are grouped in.

use serde_json::{Value, json};

use super::{Tracking, metric};

#[tokio::test]
async fn calls_that_name_a_run_of_mlflow_are_in_it_and_are_its_metrics() {
    let tracking = Tracking::start();
    let experiment = tracking.experiment("prompt-dev").await;
    let run = tracking.run(&experiment, None).await;
    let other = tracking.run(&experiment, None).await;
    let by_path = tracking.call(&format!("/run/{run}"), &[]).await;
    let by_header = tracking.call("", &[("x-tapline-run", &run)]).await;
    for (call, rule) in [(by_path, "path:run"), (by_header, "header:x-tapline-run")] {
        assert_eq!(
            (call["run_id"].as_str(), call["rules"]["run"].as_str()),
            (Some(run.as_str()), Some(rule))
        );
        assert_eq!(call["experiment"], "prompt-dev");
    }
    tracking
        .post("runs/log-metric", json!({"run_id": run, "key": "acc", "value": 0.5, "timestamp": 1}))
        .await;
    // Reads are fresh: what the client has is in the very next answer.
    let whole = tracking.get_run(&run).await;
    assert_eq!(metric(&whole, "acc"), Some(0.5));
    assert_eq!(metric(&whole, "tapline/calls"), Some(2.0), "{whole}");
    assert_eq!(metric(&whole, "tapline/errors"), Some(0.0));
    assert!(metric(&whole, "tapline/input_tokens").is_some_and(|tokens| tokens > 0.0), "{whole}");
    assert!(metric(&whole, "tapline/cost_usd").is_some_and(|cost| cost > 0.0), "{whole}");
    assert!(metric(&whole, "tapline/latency_p95_ms").is_some(), "{whole}");
    assert_eq!(
        tracking.get_run(&other).await["data"].get("metrics"),
        None,
        "a run without calls says nothing of calls"
    );

    let grown = tracking
        .read(&format!("/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=tapline/calls"))
        .await;
    assert_eq!(grown["metrics"].as_array().unwrap().last().unwrap()["value"], 2.0, "{grown}");
    let tail = format!("/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=tapline/latency_p95_ms");
    assert_eq!(tracking.read(&tail).await["metrics"].as_array().unwrap().len(), 1);

    let row = tracking.read(&format!("/api/v1/runs/{run}")).await;
    assert_eq!(
        (row["metrics"]["acc"]["value"].as_f64(), row["metrics"].get("tapline/calls")),
        (Some(0.5), None)
    );
    assert_eq!((row["totals"]["calls"].as_u64(), row["id"].as_str()), (Some(2), Some(run.as_str())));

    // To the last bit: the fast way to read decimals is one off here.
    let exact = 0.090_909_090_909_090_91;
    tracking
        .post("runs/log-metric", json!({"run_id": run, "key": "exact", "value": exact, "timestamp": 1}))
        .await;
    assert_eq!(metric(&tracking.get_run(&run).await, "exact"), Some(exact));

    // What the server keeps nobody else writes.
    let body = json!({"run_id": run, "key": "tapline/calls", "value": 7, "timestamp": 1});
    let (status, refusal) = tracking.ask("POST", "/api/2.0/mlflow/runs/log-metric", Some(body)).await;
    assert_eq!((status, refusal["error_code"].as_str()), (400, Some("INVALID_PARAMETER_VALUE")));
    assert_eq!(metric(&tracking.get_run(&run).await, "tapline/calls"), Some(2.0));
}

#[tokio::test]
async fn a_run_that_a_call_named_is_a_run_of_mlflow() {
    let tracking = Tracking::start();
    let call = tracking.call("/exp/nightly/run/first", &[]).await;
    let id = call["run_id"].as_str().unwrap().to_owned();
    let found = tracking.read("/api/2.0/mlflow/experiments/get-by-name?experiment_name=nightly").await;
    let run = tracking.get_run(&id).await;
    assert_eq!(run["info"]["experiment_id"], found["experiment"]["experiment_id"]);
    assert_eq!(run["info"]["run_name"], "first");
    assert_eq!(run["data"]["tags"], json!([{"key": "mlflow.runName", "value": "first"}]));
    tracking.post("runs/log-parameter", json!({"run_id": id, "key": "lr", "value": "0.1"})).await;
    assert_eq!(tracking.get_run(&id).await["data"]["params"], json!([{"key": "lr", "value": "0.1"}]));
}

/// The run and the rule of a call.
fn place(call: &Value) -> (Option<&str>, Option<&str>) {
    (call["run_id"].as_str(), call["rules"]["run"].as_str())
}

#[tokio::test]
async fn calls_without_a_run_are_in_the_one_that_their_address_has_open() {
    let tracking = Tracking::start();
    let experiment = tracking.experiment("e").await;
    assert_eq!(place(&tracking.call("", &[]).await), (None, None));

    let run = tracking.run(&experiment, None).await;
    let call = tracking.call("", &[]).await;
    assert_eq!(place(&call), (Some(run.as_str()), Some("peer:active_run")));
    assert_eq!((call["experiment"].as_str(), call["rules"]["experiment"].as_str()), (Some("e"), None));
    // What a call says of its place itself comes first.
    assert_eq!(place(&tracking.call("/exp/elsewhere", &[]).await), (None, None));
    assert_eq!(place(&tracking.call("/run/own", &[]).await).1, Some("path:run"));
    // The run's own experiment, by name as by id, is no contradiction.
    for named in ["e", experiment.as_str()] {
        let call = tracking.call(&format!("/exp/{named}"), &[]).await;
        assert_eq!(place(&call), (Some(run.as_str()), Some("peer:active_run")), "{named}");
    }

    // The innermost of runs that are nested in each other.
    let child = tracking.run(&experiment, Some(&run)).await;
    assert_eq!(place(&tracking.call("", &[]).await), (Some(child.as_str()), Some("peer:active_run")));
    tracking.end(&child).await;
    assert_eq!(place(&tracking.call("", &[]).await), (Some(run.as_str()), Some("peer:active_run")));

    // Never where two could be meant.
    let beside = tracking.run(&experiment, None).await;
    assert_eq!(place(&tracking.call("", &[]).await), (None, None));
    tracking.post("runs/delete", json!({"run_id": beside})).await;
    assert_eq!(place(&tracking.call("", &[]).await), (Some(run.as_str()), Some("peer:active_run")));

    // Ended, and resumed.
    tracking.end(&run).await;
    assert_eq!(place(&tracking.call("", &[]).await), (None, None));
    tracking.post("runs/update", json!({"run_id": run, "status": "RUNNING"})).await;
    assert_eq!(place(&tracking.call("", &[]).await), (Some(run.as_str()), Some("peer:active_run")));
}

#[tokio::test]
async fn deleted_runs_and_experiments_are_hidden_from_lists_until_they_are_restored() {
    let tracking = Tracking::start();
    let experiment = tracking.experiment("e").await;
    let run = tracking.run(&experiment, None).await;
    let listed = async || {
        let runs = tracking.read("/api/v1/runs").await["runs"].as_array().unwrap().len();
        let experiments = tracking.read("/api/v1/experiments").await["experiments"].as_array().unwrap().len();
        (runs, experiments)
    };
    assert_eq!(listed().await, (1, 2));
    tracking.post("runs/delete", json!({"run_id": run})).await;
    assert_eq!(listed().await, (0, 2));
    tracking.post("runs/restore", json!({"run_id": run})).await;
    assert_eq!(listed().await, (1, 2));
    tracking.post("experiments/delete", json!({"experiment_id": experiment})).await;
    assert_eq!(listed().await, (0, 1));
    tracking.post("experiments/restore", json!({"experiment_id": experiment})).await;
    assert_eq!(listed().await, (1, 2));
}
