//! MLflow's tracking: experiments, runs and what is logged to them, in the same tables that calls are placed
//! in. What fails is said in MLflow's words, because its clients show and compare them.

mod batch;
mod datasets;
mod evaluation_datasets;
mod experiments;
mod history;
mod import;
mod keys;
mod logged_models;
mod metrics;
mod peers;
mod read;
mod runs;
mod search;
mod system;

use std::collections::BTreeMap;

use rusqlite::Connection;

pub(super) use self::{
    experiments::{EXPERIMENT_COLUMNS, experiment_columns, read_experiment, tags_of_experiment},
    peers::active_run,
    read::{RUN_COLUMNS, from_runs, read_run, run_columns, tags_of_run},
    search::run_numbers,
};
use super::Store;
use crate::model::{
    Error, UnixNanos,
    dataset::{DatasetInput, DatasetSummary},
    evaluation_dataset::{EvaluationDataset, EvaluationRecord, NewEvaluationRecord},
    filter::search::{EvaluationDatasetSearch, ExperimentSearch, Found, LoggedModelSearch, RunSearch},
    id::ExperimentId,
    logged_model::{LoggedModel, LoggedModelStatus, NewLoggedModel},
    metric::{HistoryPage, LoggedMetric, Metric, MetricOfRun, SampleQuery},
    run::{
        Batch, Experiment, ModelOutput, NewRun, Param, RUN_NAME_TAG, Run, RunCounts, RunUpdate, RunWhole, Tag,
    },
};

/// Writes a run's name as the tag that repeats it, which MLflow's searches look at.
pub(super) fn name_run(connection: &Connection, run: i64, name: &str) -> Result<(), Error> {
    batch::set_tag(connection, run, RUN_NAME_TAG, name)
}

/// Experiments.
impl Store {
    /// A name that is taken, also by a deleted experiment, is a conflict.
    pub async fn create_experiment(
        &self,
        name: String,
        artifact_location: Option<String>,
        tags: Vec<Tag>,
        at: UnixNanos,
    ) -> Result<ExperimentId, Error> {
        self.writer()?
            .write(move |write| {
                experiments::create(write.connection, &name, artifact_location.as_deref(), &tags, at)
            })
            .await
    }

    /// By id, deleted or not.
    pub async fn tracked_experiment(&self, id: String) -> Result<Experiment, Error> {
        self.readers.read(move |connection| experiments::get(connection, &id)).await
    }

    /// By name, deleted or not.
    pub async fn experiment_named(&self, name: String) -> Result<Experiment, Error> {
        self.readers.read(move |connection| experiments::named(connection, &name)).await
    }

    /// With all of its runs.
    pub async fn delete_experiment(&self, id: String, at: UnixNanos) -> Result<(), Error> {
        self.writer()?.write(move |write| experiments::delete(write.connection, &id, at)).await
    }

    /// With all of its runs.
    pub async fn restore_experiment(&self, id: String, at: UnixNanos) -> Result<(), Error> {
        self.writer()?.write(move |write| experiments::restore(write.connection, &id, at)).await
    }

    pub async fn rename_experiment(&self, id: String, name: String, at: UnixNanos) -> Result<(), Error> {
        self.writer()?.write(move |write| experiments::rename(write.connection, &id, &name, at)).await
    }

    pub async fn set_experiment_tag(&self, id: String, tag: Tag) -> Result<(), Error> {
        self.writer()?.write(move |write| experiments::set_tag(write.connection, &id, &tag)).await
    }

    pub async fn delete_experiment_tag(&self, id: String, key: String) -> Result<(), Error> {
        self.writer()?.write(move |write| experiments::delete_tag(write.connection, &id, &key)).await
    }
}

/// Runs.
impl Store {
    /// A running run. `peer` is the address that it was made from, where calls may be attached by it.
    pub async fn create_run(
        &self,
        run: NewRun,
        peer: Option<String>,
        at: UnixNanos,
    ) -> Result<RunWhole, Error> {
        self.writer()?.write(move |write| runs::create(write.connection, run, peer.as_deref(), at)).await
    }

    /// Changes a run's head. A run that is set to running is open at `peer` again, any other state closes it.
    pub async fn update_run(
        &self,
        id: String,
        update: RunUpdate,
        peer: Option<String>,
        at: UnixNanos,
    ) -> Result<Run, Error> {
        self.writer()?
            .write(move |write| runs::update(write.connection, &id, &update, peer.as_deref(), at))
            .await
    }

    pub async fn delete_run(&self, id: String, at: UnixNanos) -> Result<(), Error> {
        self.writer()?.write(move |write| runs::delete(write.connection, &id, at)).await
    }

    pub async fn restore_run(&self, id: String) -> Result<(), Error> {
        self.writer()?.write(move |write| runs::restore(write.connection, &id)).await
    }

    /// By id, deleted or not.
    pub async fn run_whole(&self, id: String) -> Result<RunWhole, Error> {
        self.readers.read(move |connection| read::whole(connection, &id)).await
    }

    pub async fn log_batch(&self, id: String, batch: Batch) -> Result<(), Error> {
        self.writer()?.write(move |write| batch::log(write.connection, &id, &batch)).await
    }

    pub async fn log_metric(&self, id: String, metric: LoggedMetric) -> Result<(), Error> {
        self.writer()?.write(move |write| batch::log_metric(write.connection, &id, metric)).await
    }

    pub async fn log_param(&self, id: String, param: Param) -> Result<(), Error> {
        self.writer()?.write(move |write| batch::log_param(write.connection, &id, &param)).await
    }

    pub async fn set_run_tag(&self, id: String, tag: Tag) -> Result<(), Error> {
        self.writer()?.write(move |write| batch::log_tag(write.connection, &id, &tag)).await
    }

    pub async fn delete_run_tag(&self, id: String, key: String) -> Result<(), Error> {
        self.writer()?.write(move |write| batch::delete_tag(write.connection, &id, &key)).await
    }

    pub async fn log_inputs(
        &self,
        id: String,
        datasets: Vec<DatasetInput>,
        models: Vec<String>,
    ) -> Result<(), Error> {
        self.writer()?
            .write(move |write| datasets::log_inputs(write.connection, &id, &datasets, &models))
            .await
    }

    pub async fn log_outputs(&self, id: String, models: Vec<ModelOutput>) -> Result<(), Error> {
        self.writer()?.write(move |write| datasets::log_outputs(write.connection, &id, &models)).await
    }

    /// Of these experiments, at most 1,000.
    pub async fn dataset_summaries(
        &self,
        experiments: Vec<ExperimentId>,
    ) -> Result<Vec<DatasetSummary>, Error> {
        self.readers.read(move |connection| datasets::summaries(connection, &experiments)).await
    }
}

/// Histories of metrics.
impl Store {
    /// In the order of time, and whether there are more.
    pub async fn metric_history(
        &self,
        run: String,
        key: String,
        page: HistoryPage,
    ) -> Result<(Vec<Metric>, bool), Error> {
        self.readers.read(move |connection| history::page(connection, &run, &key, &page)).await
    }

    /// Of several runs, by run id and then in the order of time.
    pub async fn metric_histories(
        &self,
        runs: Vec<String>,
        key: String,
        limit: u64,
    ) -> Result<Vec<MetricOfRun>, Error> {
        self.readers.read(move |connection| history::bulk(connection, runs, &key, limit)).await
    }

    /// Evenly spread points of several runs, by step.
    pub async fn sampled_metrics(&self, query: SampleQuery) -> Result<Vec<MetricOfRun>, Error> {
        self.readers.read(move |connection| history::sample(connection, &query)).await
    }
}

/// Logged models.
impl Store {
    pub async fn create_logged_model(
        &self,
        model: NewLoggedModel,
        at: UnixNanos,
    ) -> Result<LoggedModel, Error> {
        self.writer()?.write(move |write| logged_models::create(write.connection, model, at)).await
    }

    pub async fn logged_model(&self, id: String, deleted_too: bool) -> Result<LoggedModel, Error> {
        self.readers.read(move |connection| logged_models::get(connection, &id, deleted_too)).await
    }

    pub async fn finalize_logged_model(
        &self,
        id: String,
        status: LoggedModelStatus,
        at: UnixNanos,
    ) -> Result<LoggedModel, Error> {
        self.writer()?.write(move |write| logged_models::finalize(write.connection, &id, status, at)).await
    }

    pub async fn delete_logged_model(&self, id: String, at: UnixNanos) -> Result<(), Error> {
        self.writer()?.write(move |write| logged_models::delete(write.connection, &id, at)).await
    }

    pub async fn log_logged_model_params(&self, id: String, params: Vec<Param>) -> Result<(), Error> {
        self.writer()?.write(move |write| logged_models::log_params(write.connection, &id, &params)).await
    }

    pub async fn set_logged_model_tags(&self, id: String, tags: Vec<Tag>) -> Result<(), Error> {
        self.writer()?.write(move |write| logged_models::set_tags(write.connection, &id, &tags)).await
    }

    pub async fn delete_logged_model_tag(&self, id: String, key: String) -> Result<(), Error> {
        self.writer()?.write(move |write| logged_models::delete_tag(write.connection, &id, &key)).await
    }
}

/// Evaluation datasets.
impl Store {
    pub async fn create_evaluation_dataset(
        &self,
        name: String,
        tags: BTreeMap<String, String>,
        experiments: Vec<ExperimentId>,
        at: UnixNanos,
    ) -> Result<EvaluationDataset, Error> {
        self.writer()?
            .write(move |write| evaluation_datasets::create(write.connection, &name, &tags, &experiments, at))
            .await
    }

    pub async fn evaluation_dataset(&self, id: String) -> Result<EvaluationDataset, Error> {
        self.readers.read(move |connection| evaluation_datasets::get(connection, &id)).await
    }

    /// With its records. One that is not there is gone already.
    pub async fn delete_evaluation_dataset(&self, id: String) -> Result<(), Error> {
        self.writer()?.write(move |write| evaluation_datasets::delete(write.connection, &id)).await
    }

    pub async fn set_evaluation_dataset_tags(
        &self,
        id: String,
        tags: BTreeMap<String, String>,
    ) -> Result<(), Error> {
        self.writer()?.write(move |write| evaluation_datasets::set_tags(write.connection, &id, &tags)).await
    }

    pub async fn delete_evaluation_dataset_tag(&self, id: String, key: String) -> Result<(), Error> {
        self.writer()?.write(move |write| evaluation_datasets::delete_tag(write.connection, &id, &key)).await
    }

    /// Adds the dataset to experiments, which must exist.
    pub async fn add_evaluation_dataset(
        &self,
        id: String,
        experiments: Vec<ExperimentId>,
        at: UnixNanos,
    ) -> Result<EvaluationDataset, Error> {
        self.writer()?
            .write(move |write| evaluation_datasets::add(write.connection, &id, &experiments, at))
            .await
    }

    /// Takes the dataset from experiments.
    pub async fn remove_evaluation_dataset(
        &self,
        id: String,
        experiments: Vec<ExperimentId>,
        at: UnixNanos,
    ) -> Result<EvaluationDataset, Error> {
        self.writer()?
            .write(move |write| evaluation_datasets::remove(write.connection, &id, &experiments, at))
            .await
    }

    /// Makes records, or merges them into those with the same inputs: how many of each.
    pub async fn upsert_evaluation_records(
        &self,
        id: String,
        records: Vec<NewEvaluationRecord>,
        at: UnixNanos,
    ) -> Result<(u64, u64), Error> {
        self.writer()?
            .write(move |write| evaluation_datasets::upsert_records(write.connection, &id, records, at))
            .await
    }

    /// In the order of their making, after a place in it; and the place to go on from, if there are more.
    pub async fn evaluation_records(
        &self,
        id: String,
        after: i64,
        limit: u64,
    ) -> Result<(Vec<EvaluationRecord>, Option<i64>), Error> {
        self.readers.read(move |connection| evaluation_datasets::records(connection, &id, after, limit)).await
    }

    /// How many there were.
    pub async fn delete_evaluation_records(&self, id: String, records: Vec<String>) -> Result<u64, Error> {
        self.writer()?
            .write(move |write| evaluation_datasets::delete_records(write.connection, &id, &records))
            .await
    }
}

/// Searches.
impl Store {
    pub async fn search_runs(&self, search: RunSearch) -> Result<Found<RunWhole>, Error> {
        self.readers.read(move |connection| search::runs(connection, &search)).await
    }

    pub async fn search_experiments(&self, search: ExperimentSearch) -> Result<Found<Experiment>, Error> {
        self.readers.read(move |connection| search::experiments(connection, &search)).await
    }

    pub async fn search_logged_models(&self, search: LoggedModelSearch) -> Result<Found<LoggedModel>, Error> {
        self.readers.read(move |connection| search::logged_models(connection, &search)).await
    }

    pub async fn search_evaluation_datasets(
        &self,
        search: EvaluationDatasetSearch,
    ) -> Result<Found<EvaluationDataset>, Error> {
        self.readers.read(move |connection| search::evaluation_datasets(connection, &search)).await
    }
}

/// What another tracking server made, under the ids that it has there. Each can be done again.
impl Store {
    /// The id here: of the experiment of the same name, made when there is none.
    pub async fn import_experiment(&self, experiment: Experiment) -> Result<ExperimentId, Error> {
        self.writer()?.write(move |write| import::experiment(write.connection, &experiment)).await
    }

    /// A run without the points of its metrics, into an experiment of ours.
    pub async fn import_run(&self, experiment: ExperimentId, run: RunWhole) -> Result<(), Error> {
        self.writer()?.write(move |write| import::run(write.connection, &experiment, &run)).await
    }

    pub async fn import_points(&self, run: String, points: Vec<Metric>) -> Result<(), Error> {
        self.writer()?.write(move |write| import::points(write.connection, &run, &points)).await
    }

    pub async fn import_model(&self, experiment: ExperimentId, model: LoggedModel) -> Result<(), Error> {
        self.writer()?.write(move |write| import::model(write.connection, &experiment, &model)).await
    }

    /// A tag of a run, be it deleted.
    pub async fn import_run_tag(&self, run: String, tag: Tag) -> Result<(), Error> {
        self.writer()?.write(move |write| import::tag(write.connection, &run, &tag)).await
    }

    /// `None` where there is no such run.
    pub async fn run_counts(&self, run: String) -> Result<Option<RunCounts>, Error> {
        self.readers.read(move |connection| import::counts(connection, &run)).await
    }
}
