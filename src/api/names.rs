//! Names of experiments and runs for rows that carry ids: looked up once per answer and remembered for as
//! long as it is being written. What has no name keeps its id.

use std::collections::HashMap;

use crate::{
    model::{Error, ErrorCode, call::Call},
    report::CallRow,
    store::Store,
};

#[derive(Debug)]
pub(super) struct Names {
    store: Store,
    experiments: HashMap<String, Option<String>>,
    runs: HashMap<String, Option<String>>,
}

impl Names {
    pub(super) fn new(store: Store) -> Self {
        Self { store, experiments: HashMap::new(), runs: HashMap::new() }
    }

    pub(super) async fn experiment(&mut self, id: &str) -> Result<Option<String>, Error> {
        if let Some(known) = self.experiments.get(id) {
            return Ok(known.clone());
        }
        let name = found(self.store.experiment(id).await.map(|summary| summary.experiment.name))?;
        self.experiments.insert(id.to_owned(), name.clone());
        Ok(name)
    }

    pub(super) async fn run(&mut self, id: &str) -> Result<Option<String>, Error> {
        if let Some(known) = self.runs.get(id) {
            return Ok(known.clone());
        }
        let name = found(self.store.run(id).await.map(|summary| summary.run.name))?;
        self.runs.insert(id.to_owned(), name.clone());
        Ok(name)
    }

    pub(super) async fn row(&mut self, call: &Call) -> Result<CallRow, Error> {
        let experiment = self.experiment(&call.experiment_id).await?;
        let run = match &call.run_id {
            Some(id) => self.run(id).await?,
            None => None,
        };
        Ok(CallRow::new(call, experiment, run))
    }
}

/// A missing row is an answer here, any other failure is one.
fn found(name: Result<String, Error>) -> Result<Option<String>, Error> {
    match name {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.code == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
