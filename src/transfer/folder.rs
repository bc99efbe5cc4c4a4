//! A folder of MLflow's file store (`mlruns`) as a source: `<experiment>/<run>/…`, heads in `meta.yaml`, one
//! file per param, tag and metric. Names with slashes are paths.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::decode::nanos;
use crate::model::{
    Error, UnixNanos,
    dataset::{Dataset, DatasetInput},
    logged_model::{LoggedModel, LoggedModelStatus, ModelMetric},
    metric::{LoggedMetric, Metric},
    run::{Experiment, ModelOutput, Param, Run, RunStatus, RunWhole, Tag},
};

const TRASH: &str = ".trash";
const META: &str = "meta.yaml";

#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

#[derive(Deserialize)]
struct ExperimentMeta {
    #[serde(default)]
    artifact_location: Option<String>,
    #[serde(default)]
    creation_time: Option<i64>,
    #[serde(default)]
    last_update_time: Option<i64>,
    #[serde(default)]
    lifecycle_stage: Option<String>,
    name: String,
}

#[derive(Deserialize)]
struct RunMeta {
    /// Both are there in what MLflow 2 wrote, `run_uuid` alone in what was before.
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    run_uuid: Option<String>,
    #[serde(default)]
    run_name: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    status: Option<i64>,
    #[serde(default)]
    start_time: Option<i64>,
    #[serde(default)]
    end_time: Option<i64>,
    #[serde(default)]
    deleted_time: Option<i64>,
    #[serde(default)]
    lifecycle_stage: Option<String>,
    #[serde(default)]
    artifact_uri: Option<String>,
}

#[derive(Deserialize)]
struct DatasetMeta {
    name: String,
    digest: String,
    #[serde(default)]
    source_type: Option<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    schema: Option<String>,
    #[serde(default)]
    profile: Option<String>,
}

#[derive(Deserialize)]
struct InputMeta {
    source_type: String,
    source_id: String,
    #[serde(default)]
    destination_id: Option<String>,
    #[serde(default)]
    step: Option<i64>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ModelMeta {
    model_id: String,
    name: String,
    #[serde(default)]
    artifact_location: Option<String>,
    #[serde(default)]
    creation_timestamp: i64,
    #[serde(default)]
    last_updated_timestamp: i64,
    #[serde(default)]
    model_type: Option<String>,
    #[serde(default)]
    source_run_id: Option<String>,
    #[serde(default)]
    status: i64,
    #[serde(default)]
    status_message: Option<String>,
    #[serde(default)]
    lifecycle_stage: Option<String>,
}

impl Folder {
    /// A folder that may still be empty.
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let folder = Self::at(root);
        if folder.experiment_folders()?.is_empty() {
            return Err(Error::not_found(format!(
                "expected a folder of MLflow's file store (mlruns) with an experiment in it, found none in {}",
                root.display()
            )));
        }
        Ok(folder)
    }

    fn experiment_folders(&self) -> Result<Vec<PathBuf>, Error> {
        let mut found = folders(&self.root)?;
        found.extend(folders(&self.root.join(TRASH))?);
        found.retain(|folder| folder.join(META).is_file() && name(folder).parse::<i64>().is_ok());
        Ok(found)
    }

    fn experiment(&self, id: &str) -> PathBuf {
        let active = self.root.join(id);
        if active.is_dir() { active } else { self.root.join(TRASH).join(id) }
    }

    pub(super) fn experiments(&self) -> Result<Vec<Experiment>, Error> {
        let mut found = Vec::new();
        for folder in self.experiment_folders()? {
            let meta: ExperimentMeta = yaml(&folder.join(META))?;
            let created_at = nanos(meta.creation_time.unwrap_or(0));
            let updated_at = meta.last_update_time.map_or(created_at, nanos);
            let deleted = meta.lifecycle_stage.as_deref() == Some("deleted");
            found.push(Experiment {
                id: name(&folder),
                name: meta.name,
                artifact_location: meta.artifact_location.unwrap_or_default(),
                created_at,
                updated_at,
                deleted_at: deleted.then_some(updated_at),
                tags: pairs(&folder.join("tags"))?.into_iter().collect(),
            });
        }
        found.sort_by_key(|experiment| (experiment.created_at, experiment.id.clone()));
        Ok(found)
    }

    fn run_folders(&self, experiment: &str) -> Result<Vec<PathBuf>, Error> {
        let mut found = folders(&self.experiment(experiment))?;
        // Beside the runs are `models`, `datasets`, `tags`, `traces`.
        found.retain(|folder| folder.join("params").is_dir() && folder.join(META).is_file());
        Ok(found)
    }

    pub(super) fn count(&self, experiment: &str) -> Result<u64, Error> {
        Ok(self.run_folders(experiment)?.len() as u64)
    }

    pub(super) fn runs(&self, experiment: &str) -> Result<Vec<RunWhole>, Error> {
        let mut found = Vec::new();
        for folder in self.run_folders(experiment)? {
            found.push(self.run(experiment, &folder)?);
        }
        found.sort_by_key(|run| (run.run.started_at, run.run.id.clone()));
        Ok(found)
    }

    fn run(&self, experiment: &str, folder: &Path) -> Result<RunWhole, Error> {
        let meta: RunMeta = yaml(&folder.join(META))?;
        let tags: BTreeMap<String, String> = pairs(&folder.join("tags"))?.into_iter().collect();
        let named = meta.run_name.or(meta.name).filter(|name| !name.is_empty());
        let deleted = meta.lifecycle_stage.as_deref() == Some("deleted");
        let mut metrics = Vec::new();
        for (key, path) in files(&folder.join("metrics"))? {
            metrics.extend(points(&path, &key)?.into_iter().max_by(|one, other| {
                (one.step, one.timestamp)
                    .cmp(&(other.step, other.timestamp))
                    .then_with(|| one.value.total_cmp(&other.value))
            }));
        }
        let mut run = RunWhole {
            run: Run {
                id: meta.run_id.or(meta.run_uuid).unwrap_or_else(|| name(folder)),
                experiment_id: experiment.to_owned(),
                name: named.or_else(|| tags.get("mlflow.runName").cloned()).unwrap_or_default(),
                user: meta.user_id.unwrap_or_default(),
                status: status(meta.status.unwrap_or(3)),
                started_at: nanos(meta.start_time.unwrap_or(0)),
                ended_at: meta.end_time.map(nanos),
                deleted_at: deleted.then(|| meta.deleted_time.map_or(UnixNanos(0), nanos)),
                artifact_uri: meta.artifact_uri.unwrap_or_default(),
                tags,
            },
            metrics,
            params: pairs(&folder.join("params"))?
                .into_iter()
                .map(|(key, value)| Param { key, value })
                .collect(),
            datasets: Vec::new(),
            model_inputs: Vec::new(),
            model_outputs: Vec::new(),
        };
        for input in folders(&folder.join("inputs"))? {
            let input: InputMeta = yaml(&input.join(META))?;
            if input.source_type == "DATASET" {
                let path = self.experiment(experiment).join("datasets").join(&input.source_id).join(META);
                let meta: DatasetMeta = yaml(&path)?;
                run.datasets.push(DatasetInput {
                    dataset: Dataset {
                        name: meta.name,
                        digest: meta.digest,
                        source_type: meta.source_type.unwrap_or_default(),
                        source: meta.source.unwrap_or_default(),
                        schema: meta.schema,
                        profile: meta.profile,
                    },
                    tags: input.tags.into_iter().map(|(key, value)| Tag { key, value }).collect(),
                });
            } else {
                run.model_inputs.push(input.source_id);
            }
        }
        for output in folders(&folder.join("outputs"))? {
            let output: InputMeta = yaml(&output.join(META))?;
            run.model_outputs.push(ModelOutput {
                model_id: output.destination_id.unwrap_or(output.source_id),
                step: output.step.unwrap_or(0),
            });
        }
        Ok(run)
    }

    pub(super) fn history(&self, experiment: &str, run: &str, key: &str) -> Result<Vec<Metric>, Error> {
        points(&self.experiment(experiment).join(run).join("metrics").join(key), key)
    }

    pub(super) fn models(&self, experiment: &str) -> Result<Vec<LoggedModel>, Error> {
        let mut found = Vec::new();
        for folder in folders(&self.experiment(experiment).join("models"))? {
            let meta: ModelMeta = yaml(&folder.join(META))?;
            if meta.lifecycle_stage.as_deref() == Some("deleted") {
                continue;
            }
            let mut metrics = Vec::new();
            for (key, path) in files(&folder.join("metrics"))? {
                for line in lines(&path)? {
                    metrics.extend(model_point(&meta.model_id, &key, &line));
                }
            }
            found.push(LoggedModel {
                experiment_id: experiment.to_owned(),
                name: meta.name,
                artifact_uri: meta.artifact_location.unwrap_or_default(),
                model_type: meta.model_type.unwrap_or_default(),
                source_run_id: meta.source_run_id.unwrap_or_default(),
                status: match meta.status {
                    1 => LoggedModelStatus::Pending,
                    2 => LoggedModelStatus::Ready,
                    3 => LoggedModelStatus::Failed,
                    _ => LoggedModelStatus::Unspecified,
                },
                status_message: meta.status_message,
                created_at: nanos(meta.creation_timestamp),
                updated_at: nanos(meta.last_updated_timestamp),
                deleted_at: None,
                params: pairs(&folder.join("params"))?
                    .into_iter()
                    .map(|(key, value)| Param { key, value })
                    .collect(),
                tags: pairs(&folder.join("tags"))?.into_iter().collect(),
                metrics,
                id: meta.model_id,
            });
        }
        Ok(found)
    }

    /// Where the artifacts are that the heads place elsewhere, if the folder has been moved.
    pub(super) fn artifacts(&self, parts: &[&str]) -> Option<PathBuf> {
        let (experiment, rest) = parts.split_first()?;
        let folder = rest.iter().fold(self.experiment(experiment), |path, part| path.join(part));
        folder.is_dir().then_some(folder)
    }
}

fn status(number: i64) -> RunStatus {
    match number {
        1 => RunStatus::Running,
        2 => RunStatus::Scheduled,
        4 => RunStatus::Failed,
        5 => RunStatus::Killed,
        _ => RunStatus::Finished,
    }
}

/// `<timestamp> <value> [<step> [<dataset> <digest>]]` per line.
fn points(path: &Path, key: &str) -> Result<Vec<Metric>, Error> {
    lines(path)?
        .iter()
        .map(|line| {
            let mut parts = line.split(' ');
            let timestamp = parts.next().and_then(|part| part.parse().ok());
            let value = parts.next().and_then(|part| part.parse().ok());
            let step = parts.next().map_or(Ok(0), str::parse).ok();
            match (timestamp, value, step) {
                (Some(timestamp), Some(value), Some(step)) => {
                    Ok(Metric { key: key.to_owned(), value, timestamp, step })
                }
                _ => Err(Error::invalid(format!(
                    "{}: expected a time, a value and a step, found {line:?}",
                    path.display()
                ))),
            }
        })
        .collect()
}

/// `<timestamp> <value> <step> <run> [<dataset> <digest>]`; a line that is none is left out.
fn model_point(model: &str, key: &str, line: &str) -> Option<ModelMetric> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [timestamp, value, step, run, rest @ ..] = parts.as_slice() else { return None };
    Some(ModelMetric {
        run_id: (*run).to_owned(),
        metric: LoggedMetric {
            metric: Metric {
                key: key.to_owned(),
                value: value.parse().ok()?,
                timestamp: timestamp.parse().ok()?,
                step: step.parse().ok()?,
            },
            model_id: Some(model.to_owned()),
            dataset_name: rest.first().map(|name| (*name).to_owned()),
            dataset_digest: rest.get(1).map(|digest| (*digest).to_owned()),
        },
    })
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The folders in a folder, by name; none where it is missing.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = entries(folder)?;
    found.retain(|path| path.is_dir());
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(|error| unreadable(folder, &error))?.path());
    }
    found.sort();
    Ok(found)
}

/// Files below a folder by their path in it, which is the name of what they hold.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        let own = name(&path);
        if path.is_dir() {
            found.extend(files(&path)?.into_iter().map(|(key, path)| (format!("{own}/{key}"), path)));
        } else {
            found.push((own, path));
        }
    }
    Ok(found)
}

fn pairs(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    files(folder)?.into_iter().map(|(key, path)| Ok((key, read(&path)?))).collect()
}

fn lines(path: &Path) -> Result<Vec<String>, Error> {
    Ok(read(path)?.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn yaml<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    serde_saphyr::from_str(&read(path)?).map_err(|error| {
        Error::invalid(format!(
            "{}: expected what MLflow's file store writes, found: {error}",
            path.display()
        ))
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::internal(format!("{} cannot be read: {error}", path.display()))
}
