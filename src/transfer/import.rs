//! From a source into the store: experiments by name, runs and models under their own ids, artifacts as files.

use std::collections::BTreeMap;

use super::{
    IMPORTED_TAG, Report, Source, Watch,
    files::{File, Files, is_bucket},
};
use crate::{
    artifacts::{ArtifactPath, Artifacts},
    model::{
        Error, ErrorCode,
        metric::Metric,
        run::{Experiment, RunCounts, RunStatus, RunWhole, Tag},
    },
    store::Store,
};

/// Points of one transaction: few enough for others to write between two.
const POINTS: usize = 10_000;

const UNKNOWN_PLACE: &str = "artifacts: expected the place where the server kept them, found none: name it with --artifacts \
    (a folder, or s3://bucket/prefix) and import again";

/// What an import writes to and reads from.
#[derive(Debug)]
pub struct Import<'i> {
    pub source: &'i Source,
    pub store: &'i Store,
    pub artifacts: &'i Artifacts,
    /// Experiments by name; all where there are none.
    pub only: &'i [String],
}

impl Import<'_> {
    /// Brings everything over that is not here yet.
    pub async fn run(&self, watch: &dyn Watch) -> anyhow::Result<Report> {
        let mut report = Report::default();
        for experiment in self.experiments().await? {
            watch.experiment(&experiment.name, self.source.count(&experiment));
            let mut here = experiment.clone();
            if is_bucket(&here.artifact_location) {
                // What is there is copied, so new runs are to go where the copies are.
                here.artifact_location.clear();
            }
            let target = self.store.import_experiment(here).await?;
            report.experiments += 1;
            let mut next = None;
            loop {
                let page = self.source.runs(&experiment, next.as_deref()).await?;
                for run in page.runs {
                    watch.run(&run.run.name);
                    self.one(&experiment, &target, run, &mut report).await?;
                }
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            for mut model in self.source.models(&experiment).await? {
                let parts = [experiment.id.as_str(), "models", &model.id, "artifacts"];
                let listed = self.listed(&mut model.artifact_uri, &parts, &mut report).await?;
                let id = model.id.clone();
                self.store.import_model(target.clone(), model).await?;
                if let Some((files, list)) = listed {
                    self.copy(&files, list, &format!("{target}/models/{id}/artifacts"), &mut report).await?;
                }
                report.models += 1;
            }
        }
        Ok(report)
    }

    async fn experiments(&self) -> anyhow::Result<Vec<Experiment>> {
        let mut found = self.source.experiments().await?;
        for name in self.only {
            if !found.iter().any(|experiment| experiment.name == *name) {
                return Err(Error::not_found(format!(
                    "expected an experiment {name:?} in {}, found {}",
                    self.source.name,
                    found.iter().map(|one| format!("{:?}", one.name)).collect::<Vec<_>>().join(", ")
                ))
                .into());
            }
        }
        found.retain(|experiment| self.only.is_empty() || self.only.contains(&experiment.name));
        Ok(found)
    }

    /// One run: its head, the points of its metrics, its artifacts, and last the mark that it is whole.
    async fn one(
        &self,
        experiment: &Experiment,
        target: &str,
        mut run: RunWhole,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let id = run.run.id.clone();
        if self.is_whole(&run).await? {
            report.skipped_runs += 1;
            return Ok(());
        }
        let parts = [experiment.id.as_str(), &id, "artifacts"];
        let listed = self.listed(&mut run.run.artifact_uri, &parts, report).await?;
        // Brought here from elsewhere before, it says so itself; where it comes from now counts.
        run.run.tags.remove(IMPORTED_TAG);
        self.store.import_run(target.to_owned(), run.clone()).await?;
        let mut expected = RunCounts {
            params: run.params.len() as u64,
            metric_points: 0,
            datasets: distinct_datasets(&run),
        };
        for metric in &run.metrics {
            let points = self.source.history(&run, &metric.key).await?;
            expected.metric_points += points.len() as u64;
            for some in points.chunks(POINTS) {
                self.store.import_points(id.clone(), some.to_vec()).await?;
            }
        }
        let mut same = listed.is_some();
        if let Some((files, list)) = listed {
            self.copy(&files, list, &format!("{target}/{id}/artifacts"), report).await?;
        }
        let found = self.store.run_counts(id.clone()).await?.unwrap_or_default();
        report.runs += 1;
        report.params += found.params;
        report.metric_points += found.metric_points;
        let counts = [
            ("params", expected.params, found.params),
            ("metric points", expected.metric_points, found.metric_points),
            ("datasets", expected.datasets, found.datasets),
        ];
        for (what, expected, found) in counts {
            if found != expected {
                same = false;
                report.problems.push(format!("run {id}: expected {expected} {what}, found {found}"));
            }
        }
        // A run that still goes on is read again the next time.
        if same && run.run.status != RunStatus::Running {
            let tag = Tag { key: IMPORTED_TAG.to_owned(), value: self.source.name.clone() };
            self.store.import_run_tag(id, tag).await?;
        }
        Ok(())
    }

    /// Whether a run was brought over to its end, and has not changed at its source since.
    async fn is_whole(&self, run: &RunWhole) -> anyhow::Result<bool> {
        let there = match self.store.run_whole(run.run.id.clone()).await {
            Ok(there) => there.run,
            Err(error) if error.code == ErrorCode::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        Ok(there.tags.get(IMPORTED_TAG) == Some(&self.source.name)
            && there.status == run.run.status
            && there.ended_at == run.run.ended_at
            && there.deleted_at.is_some() == run.run.deleted_at.is_some())
    }

    /// The artifacts below a URI, which then means the place here if they are copied out of a bucket. `None` where
    /// there may be some that cannot be read: they stay there, and are tried again the next time.
    async fn listed(
        &self,
        uri: &mut String,
        parts: &[&str],
        report: &mut Report,
    ) -> anyhow::Result<Option<(Files, Vec<File>)>> {
        let listed = match self.source.files(uri, parts) {
            Ok(files) => files.list().await.map(|list| (files, list)),
            Err(error) => Err(error.into()),
        };
        match listed {
            Ok((Files::Unknown, _)) => {
                if !report.problems.iter().any(|known| known == UNKNOWN_PLACE) {
                    report.problems.push(UNKNOWN_PLACE.to_owned());
                }
                Ok(None)
            }
            Ok(listed) => {
                if is_bucket(uri) {
                    uri.clear();
                }
                Ok(Some(listed))
            }
            Err(error) if is_bucket(uri) => {
                report.problems.push(format!("{uri}: expected artifacts to copy, found: {error:#}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn copy(
        &self,
        files: &Files,
        list: Vec<File>,
        root: &str,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        for file in list {
            let path = match ArtifactPath::parse(&format!("{root}/{}", file.path)) {
                Ok(path) => path,
                Err(error) => {
                    report.problems.push(format!("{root}/{}: {error}", file.path));
                    continue;
                }
            };
            if self.size(&path).await? == Some(file.size) {
                continue;
            }
            report.bytes += self.artifacts.put(&path, files.open(&file).await?).await?;
            report.files += 1;
        }
        Ok(())
    }

    async fn size(&self, path: &ArtifactPath) -> Result<Option<u64>, Error> {
        match self.artifacts.find(path).await {
            Ok(artifact) => Ok(Some(artifact.size)),
            Err(error) if error.code == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads both sides whole and tells every difference.
    pub async fn verify(&self, watch: &dyn Watch) -> anyhow::Result<Report> {
        let mut report = Report::default();
        for experiment in self.experiments().await? {
            watch.experiment(&experiment.name, self.source.count(&experiment));
            report.experiments += 1;
            let target = self.store.import_experiment(experiment.clone()).await?;
            let mut next = None;
            loop {
                let page = self.source.runs(&experiment, next.as_deref()).await?;
                for run in page.runs {
                    watch.run(&run.run.name);
                    self.compare(&experiment, &target, &run, &mut report).await?;
                }
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        Ok(report)
    }

    async fn compare(
        &self,
        experiment: &Experiment,
        target: &str,
        run: &RunWhole,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let id = &run.run.id;
        let here = match self.store.run_whole(id.clone()).await {
            Ok(here) => here,
            Err(error) if error.code == ErrorCode::NotFound => {
                report.problems.push(format!("run {id}: expected it here, found none"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        report.runs += 1;
        report.params += run.params.len() as u64;
        let mut differs = |what: &str, same: bool| {
            if !same {
                report.problems.push(format!("run {id}: its {what} differ"));
            }
        };
        differs("state", here.run.status == run.run.status && here.run.ended_at == run.run.ended_at);
        let params = |run: &RunWhole| -> BTreeMap<String, String> {
            run.params.iter().map(|param| (param.key.clone(), param.value.clone())).collect()
        };
        differs("params", params(&here) == params(run));
        let own = |key: &str| key == IMPORTED_TAG;
        differs(
            "tags",
            run.run.tags.iter().all(|(key, value)| own(key) || here.run.tags.get(key) == Some(value)),
        );
        differs("datasets", distinct_datasets(&here) == distinct_datasets(run));
        for metric in &run.metrics {
            let theirs = self.source.history(run, &metric.key).await?;
            let (mut ours, _) =
                self.store.metric_history(id.clone(), metric.key.clone(), Default::default()).await?;
            super::decode::unique(&mut ours);
            report.metric_points += theirs.len() as u64;
            if !same_points(&theirs, &ours) {
                report.problems.push(format!("run {id}: the points of its metric {:?} differ", metric.key));
            }
        }
        let parts = [experiment.id.as_str(), id, "artifacts"];
        for file in self.source.files(&run.run.artifact_uri, &parts)?.list().await? {
            self.compare_file(&format!("{target}/{id}/artifacts"), &file, report).await?;
        }
        Ok(())
    }

    async fn compare_file(&self, root: &str, file: &File, report: &mut Report) -> anyhow::Result<()> {
        let path = format!("{root}/{}", file.path);
        let size = match ArtifactPath::parse(&path) {
            Ok(path) => self.size(&path).await?,
            Err(_) => None,
        };
        report.files += 1;
        report.bytes += file.size;
        match size {
            Some(size) if size == file.size => {}
            Some(size) => {
                report.problems.push(format!("{path}: expected {} bytes, found {size}", file.size));
            }
            None => report.problems.push(format!("{path}: expected a file, found none")),
        }
        Ok(())
    }
}

fn distinct_datasets(run: &RunWhole) -> u64 {
    let names: std::collections::BTreeSet<_> =
        run.datasets.iter().map(|input| (&input.dataset.name, &input.dataset.digest)).collect();
    names.len() as u64
}

fn same_points(one: &[Metric], other: &[Metric]) -> bool {
    let same = |(one, other): (&Metric, &Metric)| {
        let value = one.value == other.value || (one.value.is_nan() && other.value.is_nan());
        value && (one.timestamp, one.step) == (other.timestamp, other.step)
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}
