//! An MLflow server (or a tapline) as a source, over its REST API.

use serde_json::{Value, json};

use super::{
    decode,
    source::Runs,
    tracking::{Refused, Tracking},
};
use crate::model::{
    logged_model::LoggedModel,
    metric::{Metric, SYSTEM_PREFIX},
    run::Experiment,
};

/// Runs of a page: each comes with all its params, tags and latest metrics.
const RUNS: u32 = 200;
const POINTS: &str = "25000";

#[derive(Debug)]
pub(super) struct Server {
    pub(super) tracking: Tracking,
}

impl Server {
    pub(super) fn new(tracking: Tracking) -> Self {
        Self { tracking }
    }

    pub(super) async fn experiments(&self) -> anyhow::Result<Vec<Experiment>> {
        let mut found = Vec::new();
        let mut body = json!({ "max_results": 1000, "view_type": "ALL" });
        loop {
            let page = self.tracking.post("experiments/search", &body).await?;
            found.extend(page["experiments"].as_array().into_iter().flatten().map(decode::experiment));
            let Some(token) = token(&page) else { return Ok(found) };
            body["page_token"] = token.into();
        }
    }

    pub(super) async fn runs(&self, experiment: &str, after: Option<&str>) -> anyhow::Result<Runs> {
        let mut body = json!({
            "experiment_ids": [experiment], "max_results": RUNS, "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
        });
        if let Some(token) = after {
            body["page_token"] = token.into();
        }
        let page = self.tracking.post("runs/search", &body).await?;
        let mut runs: Vec<_> = page["runs"].as_array().into_iter().flatten().map(decode::run).collect();
        for run in &mut runs {
            // What another tapline counts of a run's calls is nobody's to carry over.
            run.metrics.retain(|metric| !metric.key.starts_with(SYSTEM_PREFIX));
        }
        Ok(Runs { runs, next: token(&page) })
    }

    pub(super) async fn history(&self, run: &str, key: &str) -> anyhow::Result<Vec<Metric>> {
        let mut points = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut query = vec![("run_id", run), ("metric_key", key), ("max_results", POINTS)];
            if let Some(token) = &next {
                query.push(("page_token", token));
            }
            let page = self.tracking.get("metrics/get-history", &query).await?;
            points.extend(page["metrics"].as_array().into_iter().flatten().map(decode::metric));
            next = token(&page);
            if next.is_none() {
                return Ok(points);
            }
        }
    }

    /// None of a server that is older than logged models.
    pub(super) async fn models(&self, experiment: &str) -> anyhow::Result<Vec<LoggedModel>> {
        let mut found = Vec::new();
        let mut body = json!({ "experiment_ids": [experiment], "max_results": 100 });
        loop {
            let page = match self.tracking.post("logged-models/search", &body).await {
                Ok(page) => page,
                Err(error) => match error.downcast_ref::<Refused>() {
                    Some(refused) if refused.status == http::StatusCode::NOT_FOUND => return Ok(found),
                    _ => return Err(error),
                },
            };
            found.extend(page["models"].as_array().into_iter().flatten().map(decode::model));
            let Some(token) = token(&page) else { return Ok(found) };
            body["page_token"] = token.into();
        }
    }
}

fn token(page: &Value) -> Option<String> {
    page["next_page_token"].as_str().filter(|token| !token.is_empty()).map(str::to_owned)
}
