//! MLflow's face over real HTTP: what it shares with the calls, and what scenarios against a genuine server
//! (`tests/mlflow`) cannot ask.

mod calls;
mod commands;
mod logging;
mod writers;

use serde_json::{Value, json};

use crate::harness::running::{Running, client, get};

/// A provider, a server on it, and a client of both faces.
struct Tracking {
    client: reqwest::Client,
    tapline: Running,
    _provider: Running,
    data: tempfile::TempDir,
}

impl Tracking {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let provider = Running::simulator();
        let tapline = Running::server(&provider.url, data.path());
        Self { client: client(), tapline, _provider: provider, data }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.tapline.url);
        let mut request = self.client.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// POSTs to an endpoint, which must succeed.
    async fn post(&self, endpoint: &str, body: Value) -> Value {
        let (status, answer) = self.ask("POST", &format!("/api/2.0/mlflow/{endpoint}"), Some(body)).await;
        assert_eq!(status, 200, "{endpoint}: {answer}");
        answer
    }

    async fn read(&self, path: &str) -> Value {
        get(&self.client, format!("{}{path}", self.tapline.url)).await
    }

    async fn experiment(&self, name: &str) -> String {
        self.post("experiments/create", json!({ "name": name })).await["experiment_id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn run(&self, experiment: &str, parent: Option<&str>) -> String {
        let tags = parent.map(|parent| json!([{"key": "mlflow.parentRunId", "value": parent}]));
        let body = json!({"experiment_id": experiment, "start_time": 1_700_000_000_000i64, "tags": tags});
        self.post("runs/create", body).await["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }

    async fn end(&self, run: &str) {
        self.post(
            "runs/update",
            json!({"run_id": run, "status": "FINISHED", "end_time": 1_700_000_001_000i64}),
        )
        .await;
    }

    async fn get_run(&self, run: &str) -> Value {
        self.read(&format!("/api/2.0/mlflow/runs/get?run_id={run}&run_uuid={run}")).await["run"].clone()
    }

    /// One call through the proxy, under this path before `/v1`; the newest call as the query API has it.
    async fn call(&self, scope: &str, headers: &[(&str, &str)]) -> Value {
        let body = json!({"model": "sim-small", "messages": [{"role": "user", "content": "hello"}]});
        let mut request =
            self.client.post(format!("{}{scope}/v1/chat/completions", self.tapline.url)).json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.bytes().await.unwrap();
        self.read("/api/v1/calls?limit=1").await["calls"][0].clone()
    }
}

/// A run's metrics by name.
fn metric(run: &Value, key: &str) -> Option<f64> {
    run["data"]["metrics"].as_array()?.iter().find(|metric| metric["key"] == key)?["value"].as_f64()
}
