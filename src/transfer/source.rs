//! Where experiments come from: one face over MLflow's server, its folder and its database.

use std::path::Path;

use super::{
    decode,
    files::{Buckets, Files},
    folder::Folder,
    server::Server,
    tracking::Tracking,
};
use crate::{
    model::{Error, logged_model::LoggedModel, metric::Metric, run::Experiment, run::RunWhole},
    store::MlflowDatabase,
};

/// A page of runs, and what to ask for the next one.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) runs: Vec<RunWhole>,
    pub(super) next: Option<String>,
}

#[derive(Debug)]
pub struct Source {
    kind: Kind,
    /// As it was named.
    pub(super) name: String,
    /// The folder or bucket where a server kept the artifacts that its database says it serves.
    artifacts: Option<String>,
    buckets: Buckets,
}

#[derive(Debug)]
enum Kind {
    Server(Server),
    Folder(Folder),
    Database(MlflowDatabase),
}

impl Source {
    /// An address, a folder or a file. `artifacts` is where a server kept the artifacts that it served: a folder, or
    /// `s3://bucket/prefix`.
    pub async fn open(name: &str, artifacts: Option<&str>) -> anyhow::Result<Self> {
        let path = name
            .strip_prefix("file://")
            .or_else(|| name.strip_prefix("sqlite:///"))
            .map_or_else(|| Path::new(name), Path::new);
        let mut artifacts = artifacts.map(str::to_owned);
        let kind = if name.starts_with("http://") || name.starts_with("https://") {
            Kind::Server(Server::new(Tracking::at(name)?))
        } else if path.is_dir() {
            Kind::Folder(Folder::open(path)?)
        } else if path.is_file() {
            // Where MLflow's server puts them when it is started beside its database.
            let beside = path.with_file_name("mlartifacts");
            artifacts = artifacts.or_else(|| beside.is_dir().then(|| beside.to_string_lossy().into_owned()));
            Kind::Database(MlflowDatabase::open(path)?)
        } else {
            return Err(Error::not_found(format!(
                "expected the address of an MLflow server such as http://127.0.0.1:5000, a folder such as ./mlruns or a \
                 SQLite file, found {name:?}"
            ))
            .into());
        };
        // The same place has one name, wherever it is named from.
        let name = match path.canonicalize() {
            Ok(path) => path.display().to_string(),
            Err(_) => name.trim_end_matches('/').to_owned(),
        };
        Ok(Self { kind, name, artifacts, buckets: Buckets::default() })
    }

    /// All, deleted ones included.
    pub(super) async fn experiments(&self) -> anyhow::Result<Vec<Experiment>> {
        match &self.kind {
            Kind::Server(server) => server.experiments().await,
            Kind::Folder(folder) => Ok(folder.experiments()?),
            Kind::Database(database) => Ok(database.experiments()?),
        }
    }

    /// A page of the experiment's runs, deleted ones included, parents before or after their children.
    pub(super) async fn runs(&self, experiment: &Experiment, after: Option<&str>) -> anyhow::Result<Runs> {
        match &self.kind {
            Kind::Server(server) => server.runs(&experiment.id, after).await,
            Kind::Folder(folder) => Ok(Runs { runs: folder.runs(&experiment.id)?, next: None }),
            Kind::Database(database) => {
                let runs = database.runs(&experiment.id, after)?;
                let next = runs.last().map(|run| run.run.id.clone());
                Ok(Runs { runs, next })
            }
        }
    }

    /// How many runs an experiment has, where that is easy to say.
    pub(super) fn count(&self, experiment: &Experiment) -> Option<u64> {
        match &self.kind {
            Kind::Server(_) => None,
            Kind::Folder(folder) => folder.count(&experiment.id).ok(),
            Kind::Database(database) => database.count(&experiment.id).ok(),
        }
    }

    /// Every point of a run's metric.
    pub(super) async fn history(&self, run: &RunWhole, key: &str) -> anyhow::Result<Vec<Metric>> {
        let mut points = match &self.kind {
            Kind::Server(server) => server.history(&run.run.id, key).await?,
            Kind::Folder(folder) => folder.history(&run.run.experiment_id, &run.run.id, key)?,
            Kind::Database(database) => database.history(&run.run.id, key)?,
        };
        decode::unique(&mut points);
        Ok(points)
    }

    pub(super) async fn models(&self, experiment: &Experiment) -> anyhow::Result<Vec<LoggedModel>> {
        match &self.kind {
            Kind::Server(server) => server.models(&experiment.id).await,
            Kind::Folder(folder) => Ok(folder.models(&experiment.id)?),
            Kind::Database(database) => Ok(database.models(&experiment.id)?),
        }
    }

    /// The artifacts below a URI. `parts` lead to them in a folder that has been moved since.
    pub(super) fn files(&self, uri: &str, parts: &[&str]) -> Result<Files, Error> {
        let served = match &self.kind {
            Kind::Server(server) => Some(&server.tracking),
            Kind::Folder(folder) => match folder.artifacts(parts) {
                Some(moved) => return Ok(Files::Folder(moved)),
                None => None,
            },
            Kind::Database(_) => None,
        };
        Files::of(uri, served, self.artifacts.as_deref(), &self.buckets)
    }
}
