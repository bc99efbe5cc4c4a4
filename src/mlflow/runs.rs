//! Runs: made, read, updated, deleted and restored.

use axum::routing::{MethodFilter, MethodRouter};
use serde::Serialize;

use super::{
    State,
    encode::{Nothing, RunInfoJson, RunJson, nanos},
    endpoint,
    error::Failure,
    names,
    request::{Fields, wrong_type},
};
use crate::model::run::{NewRun, RUN_NAME_TAG, RunStatus, RunUpdate, Tag};

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<State>)> {
    vec![
        ("/runs/create", endpoint(MethodFilter::POST, create)),
        ("/runs/get", endpoint(MethodFilter::GET, get)),
        ("/runs/update", endpoint(MethodFilter::POST, update)),
        ("/runs/delete", endpoint(MethodFilter::POST, delete)),
        ("/runs/restore", endpoint(MethodFilter::POST, restore)),
    ]
}

#[derive(Serialize)]
struct OneRun {
    run: RunJson,
}

async fn create(state: State, fields: Fields) -> Result<OneRun, Failure> {
    let experiment_id = fields.text("experiment_id")?;
    let started_at = nanos(fields.integer("start_time")?.unwrap_or(0));
    let asked = fields.text("run_name")?;
    let user = fields.text("user_id")?;
    let mut tags = fields.tags("tags")?;
    let tagged = tags.iter().find(|tag| tag.key == RUN_NAME_TAG).map(|tag| tag.value.clone());
    let tagged = tagged.unwrap_or_default();
    if !asked.is_empty() && !tagged.is_empty() && asked != tagged {
        return Err(Failure::invalid(format!(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values \
             (run_name='{asked}', mlflow.runName='{tagged}')."
        )));
    }
    let name = [asked, tagged].into_iter().find(|name| !name.is_empty()).unwrap_or_else(names::random);
    tags.retain(|tag| tag.key != RUN_NAME_TAG);
    tags.push(Tag { key: RUN_NAME_TAG.to_owned(), value: name.clone() });
    let run = NewRun { experiment_id, name, user, started_at, tags };
    let made = state.store.create_run(run, fields.peer, (state.now)()).await?;
    Ok(OneRun { run: RunJson::new_run(made) })
}

async fn get(state: State, fields: Fields) -> Result<OneRun, Failure> {
    let id = fields.run_id()?;
    (state.fresh)().await;
    Ok(OneRun { run: state.store.run_whole(id).await?.into() })
}

#[derive(Serialize)]
struct Updated {
    run_info: RunInfoJson,
}

async fn update(state: State, fields: Fields) -> Result<Updated, Failure> {
    let id = fields.run_id()?;
    let update = RunUpdate {
        ended_at: fields.integer("end_time")?.map(nanos),
        status: fields.word("status")?.map(|word| status(&word)).transpose()?,
        name: fields.string("run_name")?.filter(|name| !name.is_empty()),
    };
    let run = state.store.update_run(id, update, fields.peer, (state.now)()).await?;
    Ok(Updated { run_info: run.into() })
}

/// A status by its name or its number.
fn status(word: &str) -> Result<RunStatus, Failure> {
    let by_number = match word {
        "1" => Some(RunStatus::Running),
        "2" => Some(RunStatus::Scheduled),
        "3" => Some(RunStatus::Finished),
        "4" => Some(RunStatus::Failed),
        "5" => Some(RunStatus::Killed),
        _ => None,
    };
    by_number.or_else(|| RunStatus::parse(word)).ok_or_else(|| wrong_type("status", &word.into()))
}

async fn delete(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    state.store.delete_run(id, (state.now)()).await?;
    Ok(Nothing {})
}

async fn restore(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.run_id()?;
    state.store.restore_run(id).await?;
    Ok(Nothing {})
}
