//! From the store to an MLflow server. It gives runs and models ids of its own: a tag on each says which one it
//! is here, by which a second export finds it.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{EXPORTED_TAG, Report, WHOLE_TAG, Watch, tracking::Tracking};
use crate::{
    artifacts::{ArtifactPath, Artifacts},
    model::{
        UnixNanos,
        dataset::DatasetInput,
        filter::search::{
            ExperimentSearch, Field, LoggedModelSearch, Order, RunAttribute, RunSearch, Slice, Start,
        },
        logged_model::{LoggedModel, LoggedModelStatus},
        metric::{HistoryPage, Metric, SYSTEM_PREFIX},
        run::{Experiment, PARENT_RUN_TAG, RUN_NAME_TAG, RunStatus, RunWhole},
    },
    store::Store,
};

/// MLflow's limits of one batch.
const METRICS: usize = 1000;
const TEXTS: usize = 100;
/// Rows of a page that is read here.
const PAGE: usize = 200;

#[derive(Debug)]
pub struct Export<'e> {
    pub store: &'e Store,
    pub artifacts: &'e Artifacts,
    pub target: &'e Tracking,
    /// Experiments by name; all where there are none.
    pub only: &'e [String],
    /// Whether the target counts calls itself, as another tapline does.
    pub without_system_metrics: bool,
}

/// Ids here and there.
type Known = HashMap<String, String>;

/// The experiments of these names; all where there are none.
pub(super) async fn chosen(store: &Store, only: &[String]) -> anyhow::Result<Vec<Experiment>> {
    let page = Slice::first(usize::MAX >> 1);
    let search = ExperimentSearch { page, ..ExperimentSearch::default() };
    let mut experiments = store.search_experiments(search).await?.items;
    if let Some(missing) = only.iter().find(|name| !experiments.iter().any(|one| one.name == **name)) {
        anyhow::bail!("expected an experiment {missing:?}, found none of that name");
    }
    experiments.retain(|one| only.is_empty() || only.contains(&one.name));
    Ok(experiments)
}

impl Export<'_> {
    /// Sends everything that is not there yet; what is deleted here stays here.
    pub async fn run(&self, watch: &dyn Watch) -> anyhow::Result<Report> {
        let mut report = Report::default();
        let experiments = chosen(self.store, self.only).await?;
        for experiment in experiments {
            watch.experiment(&experiment.name, None);
            self.experiment(&experiment, watch, &mut report).await?;
        }
        Ok(report)
    }

    async fn experiment(
        &self,
        experiment: &Experiment,
        watch: &dyn Watch,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let target = self.target.experiment(&experiment.name).await?;
        report.experiments += 1;
        for (key, value) in &experiment.tags {
            let body = json!({ "experiment_id": target, "key": key, "value": value });
            self.target.post("experiments/set-experiment-tag", &body).await?;
        }
        let (mut runs, whole) = self.exported_runs(&target).await?;
        // Oldest first: a parent is there before its children.
        let mut search = RunSearch {
            experiments: Some(vec![experiment.id.clone()]),
            order: vec![Order { field: Field::Attribute(RunAttribute::StartTime), descending: false }],
            page: Slice::first(PAGE),
            ..RunSearch::default()
        };
        let mut sent = Vec::new();
        loop {
            let page = self.store.search_runs(search.clone()).await?;
            for run in page.items {
                watch.run(&run.run.name);
                let id = run.run.id.clone();
                if runs.get(&id).is_some_and(|there| whole.contains(there)) {
                    report.skipped_runs += 1;
                    continue;
                }
                let there = self.one(&run, &target, &runs, report).await?;
                runs.insert(id, there.clone());
                sent.push((run, there));
            }
            let Some(next) = page.next else { break };
            search.page.start = Start::Behind(next);
        }
        let models = self.models(experiment, &target, &runs, report).await?;
        for (run, there) in sent {
            self.finish(&run, &there, &models).await?;
        }
        Ok(())
    }

    /// The runs that an export made there: by their ids here, and those that are whole.
    async fn exported_runs(&self, experiment: &str) -> anyhow::Result<(Known, Vec<String>)> {
        let (mut known, mut whole) = (Known::new(), Vec::new());
        let mut body = json!({
            "experiment_ids": [experiment], "filter": format!("tags.`{EXPORTED_TAG}` LIKE '%'"), "max_results": 1000,
        });
        loop {
            let page = self.target.post("runs/search", &body).await?;
            for run in page["runs"].as_array().into_iter().flatten() {
                let run = super::decode::run(run);
                if let Some(here) = run.run.tags.get(EXPORTED_TAG) {
                    known.insert(here.clone(), run.run.id.clone());
                }
                if run.run.tags.contains_key(WHOLE_TAG) {
                    whole.push(run.run.id);
                }
            }
            match page["next_page_token"].as_str() {
                Some(token) if !token.is_empty() => body["page_token"] = token.into(),
                _ => return Ok((known, whole)),
            }
        }
    }

    async fn one(
        &self,
        run: &RunWhole,
        experiment: &str,
        known: &Known,
        report: &mut Report,
    ) -> anyhow::Result<String> {
        let head = &run.run;
        let mut tags = head.tags.clone();
        tags.insert(EXPORTED_TAG.to_owned(), head.id.clone());
        tags.remove(WHOLE_TAG);
        if let Some(parent) = tags.get_mut(PARENT_RUN_TAG)
            && let Some(there) = known.get(parent)
        {
            there.clone_into(parent);
        }
        let there = match known.get(&head.id) {
            Some(there) => there.clone(),
            None => {
                let body = json!({
                    "experiment_id": experiment, "user_id": head.user, "start_time": millis(head.started_at),
                    "run_name": head.name, "tags": [{ "key": EXPORTED_TAG, "value": head.id }],
                });
                let made = self.target.post("runs/create", &body).await?;
                text(&made["run"]["info"], "run_id")?
            }
        };
        tags.remove(RUN_NAME_TAG);
        for some in chunks(&tags, TEXTS) {
            self.batch(&there, "tags", some).await?;
        }
        for some in run.params.chunks(TEXTS) {
            let params = some.iter().map(|param| json!({ "key": param.key, "value": param.value })).collect();
            self.batch(&there, "params", params).await?;
        }
        report.params += run.params.len() as u64;
        for metric in &run.metrics {
            report.metric_points += self.metric(&head.id, &there, metric).await?;
        }
        if !run.datasets.is_empty() {
            let datasets: Vec<_> = run.datasets.iter().map(dataset).collect();
            self.target.post("runs/log-inputs", &json!({ "run_id": there, "datasets": datasets })).await?;
        }
        let root = format!("{}/{}/artifacts", head.experiment_id, head.id);
        self.copy(&root, &format!("{experiment}/{there}/artifacts"), report).await?;
        report.runs += 1;
        Ok(there)
    }

    /// Sends the points of one metric; gives how many.
    async fn metric(&self, run: &str, there: &str, metric: &Metric) -> anyhow::Result<u64> {
        if metric.key.starts_with(SYSTEM_PREFIX) {
            // It has no history: it is what the calls come to now.
            if self.without_system_metrics {
                return Ok(0);
            }
            self.batch(there, "metrics", vec![point(metric)]).await?;
            return Ok(1);
        }
        let (mut sent, mut after) = (0, None);
        loop {
            let page = HistoryPage { offset: sent, after, limit: Some(METRICS as u64) };
            let (points, more) = self.store.metric_history(run.to_owned(), metric.key.clone(), page).await?;
            sent += points.len() as u64;
            after = points.last().map(Into::into);
            self.batch(there, "metrics", points.iter().map(point).collect()).await?;
            if !more || points.is_empty() {
                return Ok(sent);
            }
        }
    }

    async fn batch(&self, run: &str, what: &str, items: Vec<Value>) -> anyhow::Result<()> {
        if !items.is_empty() {
            self.target.post("runs/log-batch", &json!({ "run_id": run, what: items })).await?;
        }
        Ok(())
    }

    /// The models of an experiment; gives their ids here and there.
    async fn models(
        &self,
        experiment: &Experiment,
        target: &str,
        runs: &Known,
        report: &mut Report,
    ) -> anyhow::Result<Known> {
        let mut known = self.exported_models(target).await?;
        let mut search = LoggedModelSearch {
            experiments: vec![experiment.id.clone()],
            page: Slice::first(PAGE),
            ..LoggedModelSearch::default()
        };
        loop {
            let page = self.store.search_logged_models(search.clone()).await?;
            for model in page.items {
                if let Entry::Vacant(unknown) = known.entry(model.id.clone()) {
                    unknown.insert(self.model(&model, target, runs, report).await?);
                }
            }
            let Some(next) = page.next else { return Ok(known) };
            search.page.start = Start::Behind(next);
        }
    }

    async fn exported_models(&self, experiment: &str) -> anyhow::Result<Known> {
        let mut known = Known::new();
        let mut body = json!({
            "experiment_ids": [experiment], "filter": format!("tags.`{WHOLE_TAG}` = 'true'"), "max_results": 100,
        });
        loop {
            let page = self.target.post("logged-models/search", &body).await?;
            for model in page["models"].as_array().into_iter().flatten() {
                let model = super::decode::model(model);
                if let Some(here) = model.tags.get(EXPORTED_TAG) {
                    known.insert(here.clone(), model.id);
                }
            }
            match page["next_page_token"].as_str() {
                Some(token) if !token.is_empty() => body["page_token"] = token.into(),
                _ => return Ok(known),
            }
        }
    }

    async fn model(
        &self,
        model: &LoggedModel,
        experiment: &str,
        runs: &Known,
        report: &mut Report,
    ) -> anyhow::Result<String> {
        let mut tags = model.tags.clone();
        tags.insert(EXPORTED_TAG.to_owned(), model.id.clone());
        let params: Vec<_> =
            model.params.iter().map(|param| json!({ "key": param.key, "value": param.value })).collect();
        let made = self
            .target
            .post(
                "logged-models",
                &json!({
                    "experiment_id": experiment, "name": model.name, "model_type": model.model_type,
                    "source_run_id": runs.get(&model.source_run_id).unwrap_or(&model.source_run_id),
                    "params": params, "tags": chunks(&tags, usize::MAX).concat(),
                }),
            )
            .await?;
        let there = text(&made["model"]["info"], "model_id")?;
        let root = format!("{}/models/{}/artifacts", model.experiment_id, model.id);
        self.copy(&root, &format!("{experiment}/models/{there}/artifacts"), report).await?;
        for of_run in &model.metrics {
            let Some(run) = runs.get(&of_run.run_id) else { continue };
            let mut metric = point(&of_run.metric.metric);
            metric["model_id"] = there.as_str().into();
            if let (Some(name), Some(digest)) = (&of_run.metric.dataset_name, &of_run.metric.dataset_digest) {
                metric["dataset_name"] = name.as_str().into();
                metric["dataset_digest"] = digest.as_str().into();
            }
            self.batch(run, "metrics", vec![metric]).await?;
        }
        let status = match model.status {
            LoggedModelStatus::Ready => "LOGGED_MODEL_READY",
            LoggedModelStatus::Failed => "LOGGED_MODEL_UPLOAD_FAILED",
            LoggedModelStatus::Pending | LoggedModelStatus::Unspecified => "LOGGED_MODEL_PENDING",
        };
        let path = format!("logged-models/{there}");
        self.target.patch(&path, &json!({ "model_id": there, "status": status })).await?;
        let whole = json!({ "tags": [{ "key": WHOLE_TAG, "value": "true" }] });
        self.target.patch(&format!("{path}/tags"), &whole).await?;
        report.models += 1;
        Ok(there)
    }

    /// What refers to models, the run's end, and the mark that it is whole.
    async fn finish(&self, run: &RunWhole, there: &str, models: &Known) -> anyhow::Result<()> {
        let outputs: Vec<_> = run
            .model_outputs
            .iter()
            .filter_map(|output| {
                Some(json!({ "model_id": models.get(&output.model_id)?, "step": output.step }))
            })
            .collect();
        if !outputs.is_empty() {
            self.target.post("runs/outputs", &json!({ "run_id": there, "models": outputs })).await?;
        }
        let inputs: Vec<_> = run
            .model_inputs
            .iter()
            .filter_map(|model| Some(json!({ "model_id": models.get(model)? })))
            .collect();
        if !inputs.is_empty() {
            self.target.post("runs/log-inputs", &json!({ "run_id": there, "models": inputs })).await?;
        }
        let head = &run.run;
        let mut end = json!({ "run_id": there, "status": head.status.as_str() });
        if let Some(ended_at) = head.ended_at {
            end["end_time"] = millis(ended_at).into();
        }
        self.target.post("runs/update", &end).await?;
        if head.status != RunStatus::Running {
            let tag = json!({ "run_id": there, "key": WHOLE_TAG, "value": "true" });
            self.target.post("runs/set-tag", &tag).await?;
        }
        Ok(())
    }

    async fn copy(&self, from: &str, to: &str, report: &mut Report) -> anyhow::Result<()> {
        let mut folders = vec![(from.to_owned(), to.to_owned())];
        while let Some((from, to)) = folders.pop() {
            let directory = ArtifactPath::parse(&from)?;
            for entry in self.artifacts.list(Some(&directory)).await? {
                let (from, to) = (format!("{from}/{}", entry.name), format!("{to}/{}", entry.name));
                if entry.size.is_none() {
                    folders.push((from, to));
                    continue;
                }
                let artifact = self.artifacts.find(&ArtifactPath::parse(&from)?).await?;
                let size = artifact.size;
                self.target.upload(&to, size, artifact.read(0..size)).await?;
                report.files += 1;
                report.bytes += size;
            }
        }
        Ok(())
    }
}

fn millis(at: UnixNanos) -> i64 {
    at.0.div_euclid(1_000_000)
}

fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    value[name].as_str().map(str::to_owned).with_context(|| format!("expected {name} from the server"))
}

fn point(metric: &Metric) -> Value {
    // JSON has no word for them; MLflow reads these.
    let value = if metric.value.is_nan() { json!("NaN") } else { json!(metric.value) };
    json!({ "key": metric.key, "value": value, "timestamp": metric.timestamp, "step": metric.step })
}

fn chunks(pairs: &BTreeMap<String, String>, size: usize) -> Vec<Vec<Value>> {
    let all: Vec<_> = pairs.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    all.chunks(size).map(<[Value]>::to_vec).collect()
}

fn dataset(input: &DatasetInput) -> Value {
    let tags: Vec<_> = input.tags.iter().map(|tag| json!({ "key": tag.key, "value": tag.value })).collect();
    let dataset = &input.dataset;
    let mut body = json!({
        "name": dataset.name, "digest": dataset.digest, "source_type": dataset.source_type, "source": dataset.source,
    });
    for (name, value) in [("schema", &dataset.schema), ("profile", &dataset.profile)] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    json!({ "dataset": body, "tags": tags })
}
