//! From the store to a folder of MLflow's file store (`mlruns`), as `folder` reads it. Runs and models keep their ids,
//! and so do experiments where the folder has no other one of that id. What is written is moved to its place when it is whole, so what is there needs no second look,
//! apart from runs that were not over.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::{fs, io::AsyncWriteExt as _};

use super::{Report, Watch, export::chosen, folder::Folder};
use crate::{
    artifacts::{ArtifactPath, Artifacts},
    model::{
        Error, UnixNanos,
        filter::search::{LoggedModelSearch, RunSearch, Slice, Start},
        logged_model::{LoggedModel, LoggedModelStatus},
        metric::{HistoryPage, Metric, SYSTEM_PREFIX},
        run::{Experiment, RunStatus, RunWhole},
    },
    store::Store,
};

const META: &str = "meta.yaml";
/// Where a run or model is until it is whole. Its head comes last, and without one it is no run to MLflow.
const PART: &str = ".part";
/// Where a run is that is written anew, for the moment in which the new one takes its place.
const OLD: &str = ".old";
/// Rows of a page that is read here, and points of a history.
const PAGE: usize = 200;
const POINTS: u64 = 10_000;

#[derive(Debug)]
pub struct ExportFolder<'e> {
    pub store: &'e Store,
    pub artifacts: &'e Artifacts,
    pub root: &'e Path,
    /// Experiments by name; all where there are none.
    pub only: &'e [String],
}

impl ExportFolder<'_> {
    /// Writes everything that is not there yet; what is deleted here stays here.
    pub async fn run(&self, watch: &dyn Watch) -> anyhow::Result<Report> {
        let mut report = Report::default();
        let experiments = chosen(self.store, self.only).await?;
        fs::create_dir_all(self.root).await.with_context(|| place(self.root))?;
        let root = fs::canonicalize(self.root).await.with_context(|| place(self.root))?;
        let there = Folder::at(&root);
        let mut taken = tokio::task::spawn_blocking(move || there.experiments()).await??;
        for experiment in experiments {
            watch.experiment(&experiment.name, None);
            let id = id_there(&experiment, &taken)?;
            self.experiment(&root.join(&id), &id, &experiment, watch, &mut report).await?;
            taken.push(Experiment { id, ..experiment });
        }
        Ok(report)
    }

    async fn experiment(
        &self,
        folder: &Path,
        id: &str,
        experiment: &Experiment,
        watch: &dyn Watch,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        if !fs::try_exists(folder.join(META)).await? {
            let meta = json!({
                "artifact_location": uri(folder), "creation_time": millis(experiment.created_at),
                "experiment_id": id, "last_update_time": millis(experiment.updated_at),
                "lifecycle_stage": "active", "name": experiment.name,
            });
            write_meta(folder, &meta).await?;
        }
        write_all(&folder.join("tags"), experiment.tags.iter(), report).await?;
        report.experiments += 1;
        let mut search = RunSearch {
            experiments: Some(vec![experiment.id.clone()]),
            page: Slice::first(PAGE),
            ..RunSearch::default()
        };
        loop {
            let page = self.store.search_runs(search.clone()).await?;
            for run in page.items {
                watch.run(&run.run.name);
                self.one(folder, id, &run, report).await?;
            }
            let Some(next) = page.next else { break };
            search.page.start = Start::Behind(next);
        }
        let mut search = LoggedModelSearch {
            experiments: vec![experiment.id.clone()],
            page: Slice::first(PAGE),
            ..LoggedModelSearch::default()
        };
        loop {
            let page = self.store.search_logged_models(search.clone()).await?;
            for model in page.items {
                self.model(folder, id, &model, report).await?;
            }
            let Some(next) = page.next else { return Ok(()) };
            search.page.start = Start::Behind(next);
        }
    }

    async fn one(
        &self,
        experiment: &Path,
        id: &str,
        run: &RunWhole,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let head = &run.run;
        let folder = experiment.join(&head.id);
        if let Ok(meta) = fs::read_to_string(folder.join(META)).await
            && !serde_json::from_str::<Value>(&meta).is_ok_and(|meta| meta["status"] == 1)
        {
            report.skipped_runs += 1;
            return Ok(());
        }
        let part = fresh(experiment).await?;
        for name in ["params", "metrics", "tags", "artifacts"] {
            fs::create_dir_all(part.join(name)).await.with_context(|| place(&part))?;
        }
        write_all(&part.join("tags"), head.tags.iter(), report).await?;
        let params = run.params.iter().map(|param| (&param.key, &param.value));
        let written = write_all(&part.join("params"), params, report).await?;
        report.params += written;
        for metric in &run.metrics {
            self.metric(&part, &head.id, metric, report).await?;
        }
        for input in &run.datasets {
            let dataset = &input.dataset;
            let id = format!("{:032x}", fnv(&[&dataset.name, &dataset.digest]));
            let meta = json!({
                "name": dataset.name, "digest": dataset.digest, "source_type": dataset.source_type,
                "source": dataset.source, "schema": dataset.schema, "profile": dataset.profile,
            });
            write_meta(&experiment.join("datasets").join(&id), &meta).await?;
            let tags: serde_json::Map<_, _> =
                input.tags.iter().map(|tag| (tag.key.clone(), json!(tag.value))).collect();
            let edge = edge(("DATASET", &id), ("RUN", &head.id), &Value::Object(tags), 0);
            write_meta(&part.join("inputs").join(&id), &edge).await?;
        }
        for model in &run.model_inputs {
            let edge = edge(("MODEL", model), ("RUN", &head.id), &json!({}), 0);
            write_meta(&part.join("inputs").join(model), &edge).await?;
        }
        for output in &run.model_outputs {
            let model = &output.model_id;
            let edge = edge(("RUN_OUTPUT", &head.id), ("MODEL_OUTPUT", model), &json!({}), output.step);
            write_meta(&part.join("outputs").join(model), &edge).await?;
        }
        let root = format!("{}/{}/artifacts", head.experiment_id, head.id);
        self.copy(&root, &part.join("artifacts"), report).await?;
        let status = match head.status {
            RunStatus::Running => 1,
            RunStatus::Scheduled => 2,
            RunStatus::Finished => 3,
            RunStatus::Failed => 4,
            RunStatus::Killed => 5,
        };
        let meta = json!({
            "artifact_uri": format!("{}/artifacts", uri(&folder)), "deleted_time": null,
            "end_time": head.ended_at.map(millis), "entry_point_name": "", "experiment_id": id,
            "lifecycle_stage": "active", "run_id": head.id, "run_name": head.name, "run_uuid": head.id,
            "source_name": "", "source_type": 4, "source_version": "", "start_time": millis(head.started_at),
            "status": status, "tags": [], "user_id": head.user,
        });
        write_meta(&part, &meta).await?;
        replace(experiment, &part, &folder).await?;
        report.runs += 1;
        Ok(())
    }

    /// `<timestamp> <value> <step>` per point.
    async fn metric(
        &self,
        part: &Path,
        run: &str,
        metric: &Metric,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let Some(path) = below(&part.join("metrics"), &metric.key, report) else { return Ok(()) };
        let mut file = create(&path).await?;
        if metric.key.starts_with(SYSTEM_PREFIX) {
            // It has no history of its own: it is what the calls come to now.
            file.write_all(line(metric).as_bytes()).await?;
            report.metric_points += 1;
        } else {
            let (mut offset, mut after) = (0, None);
            loop {
                let page = HistoryPage { offset, after, limit: Some(POINTS) };
                let (points, more) =
                    self.store.metric_history(run.to_owned(), metric.key.clone(), page).await?;
                let lines: String = points.iter().map(line).collect();
                file.write_all(lines.as_bytes()).await.with_context(|| place(&path))?;
                offset += points.len() as u64;
                after = points.last().map(Into::into);
                if !more || points.is_empty() {
                    break;
                }
            }
            report.metric_points += offset;
        }
        file.flush().await.with_context(|| place(&path))
    }

    async fn model(
        &self,
        experiment: &Path,
        id: &str,
        model: &LoggedModel,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let folder = experiment.join("models").join(&model.id);
        if fs::try_exists(folder.join(META)).await? {
            return Ok(());
        }
        let part = fresh(experiment).await?;
        write_all(&part.join("tags"), model.tags.iter(), report).await?;
        write_all(&part.join("params"), model.params.iter().map(|param| (&param.key, &param.value)), report)
            .await?;
        for of_run in &model.metrics {
            let Metric { key, value, timestamp, step } = &of_run.metric.metric;
            let Some(path) = below(&part.join("metrics"), key, report) else { continue };
            let dataset = match (&of_run.metric.dataset_name, &of_run.metric.dataset_digest) {
                (Some(name), Some(digest)) => format!(" {name} {digest}"),
                _ => String::new(),
            };
            let line = format!("{timestamp} {} {step} {}{dataset}\n", number(*value), of_run.run_id);
            let known = fs::read_to_string(&path).await.unwrap_or_default();
            write(&path, &(known + &line)).await?;
        }
        fs::create_dir_all(part.join("artifacts")).await.with_context(|| place(&part))?;
        let root = format!("{}/models/{}/artifacts", model.experiment_id, model.id);
        self.copy(&root, &part.join("artifacts"), report).await?;
        let status = match model.status {
            LoggedModelStatus::Unspecified => 0,
            LoggedModelStatus::Pending => 1,
            LoggedModelStatus::Ready => 2,
            LoggedModelStatus::Failed => 3,
        };
        let meta = json!({
            "artifact_location": format!("{}/artifacts", uri(&folder)),
            "creation_timestamp": millis(model.created_at), "experiment_id": id,
            "last_updated_timestamp": millis(model.updated_at), "lifecycle_stage": "active",
            "model_id": model.id, "model_type": model.model_type, "name": model.name,
            "source_run_id": model.source_run_id, "status": status, "status_message": model.status_message,
        });
        write_meta(&part, &meta).await?;
        fs::create_dir_all(experiment.join("models")).await.with_context(|| place(experiment))?;
        fs::rename(&part, &folder).await.with_context(|| place(&folder))?;
        report.models += 1;
        Ok(())
    }

    async fn copy(&self, from: &str, to: &Path, report: &mut Report) -> anyhow::Result<()> {
        let mut folders = vec![(from.to_owned(), to.to_owned())];
        while let Some((from, to)) = folders.pop() {
            for entry in self.artifacts.list(Some(&ArtifactPath::parse(&from)?)).await? {
                let (from, to) = (format!("{from}/{}", entry.name), to.join(&entry.name));
                if entry.size.is_none() {
                    fs::create_dir_all(&to).await.with_context(|| place(&to))?;
                    folders.push((from, to));
                    continue;
                }
                let artifact = self.artifacts.find(&ArtifactPath::parse(&from)?).await?;
                let size = artifact.size;
                let mut file = create(&to).await?;
                let mut content = artifact.read(0..size);
                while let Some(piece) = content.try_next().await? {
                    file.write_all(&piece).await.with_context(|| place(&to))?;
                }
                file.flush().await.with_context(|| place(&to))?;
                report.files += 1;
                report.bytes += size;
            }
        }
        Ok(())
    }
}

/// The id that an experiment has in the folder: of the one of its name; else its own, unless another one has that.
fn id_there(experiment: &Experiment, taken: &[Experiment]) -> Result<String, Error> {
    match taken.iter().find(|there| there.name == experiment.name) {
        Some(there) if there.deleted_at.is_some() => Err(Error::conflict(format!(
            "expected an active experiment {:?} in the folder, found it deleted: restore it there or take another folder",
            experiment.name
        ))),
        Some(there) => Ok(there.id.clone()),
        None => {
            // As long as those that MLflow makes up.
            let made = (0..).map(|number: u32| {
                let hash = fnv(&[&experiment.name, &number.to_string()]);
                (100_000_000_000_000_000 + hash % 900_000_000_000_000_000).to_string()
            });
            let is_free = |id: &String| taken.iter().all(|there| there.id != *id);
            Ok(std::iter::once(experiment.id.clone()).chain(made).find(is_free).unwrap_or_default())
        }
    }
}

/// The empty folder in which the next run or model is put together.
async fn fresh(experiment: &Path) -> anyhow::Result<PathBuf> {
    let part = experiment.join(PART);
    for left in [&part, &experiment.join(OLD)] {
        if fs::try_exists(left).await? {
            fs::remove_dir_all(left).await.with_context(|| place(left))?;
        }
    }
    fs::create_dir_all(&part).await.with_context(|| place(&part))?;
    Ok(part)
}

/// Puts a run that is whole in its place; what was there before goes only then.
async fn replace(experiment: &Path, part: &Path, folder: &Path) -> anyhow::Result<()> {
    let old = experiment.join(OLD);
    let was_there = fs::try_exists(folder).await?;
    if was_there {
        fs::rename(folder, &old).await.with_context(|| place(folder))?;
    }
    fs::rename(part, folder).await.with_context(|| place(folder))?;
    if was_there {
        fs::remove_dir_all(&old).await.with_context(|| place(&old))?;
    }
    Ok(())
}

/// JSON is YAML.
async fn write_meta(folder: &Path, meta: &Value) -> anyhow::Result<()> {
    write(&folder.join(META), &format!("{meta:#}\n")).await
}

/// A file for each, by its name; gives how many.
async fn write_all<'p>(
    folder: &Path,
    pairs: impl Iterator<Item = (&'p String, &'p String)>,
    report: &mut Report,
) -> anyhow::Result<u64> {
    let mut written = 0;
    for (key, value) in pairs {
        let Some(path) = below(folder, key, report) else { continue };
        write(&path, value).await?;
        written += 1;
    }
    Ok(written)
}

/// Where a param, tag or metric is: its name is a path, which may not lead out of the folder, nor through another file.
fn below(folder: &Path, key: &str, report: &mut Report) -> Option<PathBuf> {
    let why = match ArtifactPath::parse(key) {
        Err(error) => error.message,
        Ok(_) => {
            let path = key.split('/').fold(folder.to_owned(), |path, part| path.join(part));
            let mut above = path.ancestors().skip(1).take_while(|above| *above != folder);
            if !path.is_dir() && !above.any(Path::is_file) {
                return Some(path);
            }
            "another name goes on behind a slash".to_owned()
        }
    };
    report.problems.push(format!("{key:?} cannot be the name of a file: {why}"));
    None
}

async fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = create(path).await?;
    file.write_all(text.as_bytes()).await.with_context(|| place(path))?;
    file.flush().await.with_context(|| place(path))
}

async fn create(path: &Path) -> anyhow::Result<fs::File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await.with_context(|| place(folder))?;
    }
    fs::File::create(path).await.with_context(|| place(path))
}

fn place(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

fn uri(folder: &Path) -> String {
    reqwest::Url::from_file_path(folder).map_or_else(|()| folder.display().to_string(), String::from)
}

/// What leads from one thing to another, in MLflow's terms.
fn edge(from: (&str, &str), to: (&str, &str), tags: &Value, step: i64) -> Value {
    json!({
        "source_type": from.0, "source_id": from.1, "destination_type": to.0, "destination_id": to.1,
        "tags": tags, "step": step,
    })
}

/// FNV-1a of 128 bits: a dataset's folder has a name of its own.
fn fnv(parts: &[&str]) -> u128 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
    })
}

fn line(point: &Metric) -> String {
    format!("{} {} {}\n", point.timestamp, number(point.value), point.step)
}

/// As Python reads it.
fn number(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { format!("{value:?}") }
}

fn millis(at: UnixNanos) -> i64 {
    at.0.div_euclid(1_000_000)
}
