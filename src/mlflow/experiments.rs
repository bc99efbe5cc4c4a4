//! Experiments: made, read, renamed, deleted and restored.

use axum::routing::{MethodFilter, MethodRouter};
use serde::Serialize;

use super::{
    State, artifact_uri,
    encode::{ExperimentJson, Nothing},
    endpoint,
    error::{Code, Failure},
    limits,
    request::Fields,
};
use crate::model::{ErrorCode, run::Tag};

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<State>)> {
    vec![
        ("/experiments/create", endpoint(MethodFilter::POST, create)),
        ("/experiments/get", endpoint(MethodFilter::GET, get)),
        ("/experiments/get-by-name", endpoint(MethodFilter::GET, get_by_name)),
        ("/experiments/delete", endpoint(MethodFilter::POST, delete)),
        ("/experiments/restore", endpoint(MethodFilter::POST, restore)),
        ("/experiments/update", endpoint(MethodFilter::POST, update)),
        ("/experiments/set-experiment-tag", endpoint(MethodFilter::POST, set_tag)),
        ("/experiments/delete-experiment-tag", endpoint(MethodFilter::POST, delete_tag)),
        ("/experiments/search-datasets", endpoint(MethodFilter::POST, search_datasets)),
    ]
}

#[derive(Serialize)]
struct Created {
    experiment_id: String,
}

async fn create(state: State, fields: Fields) -> Result<Created, Failure> {
    let name = fields.required("name")?;
    let location = fields.string("artifact_location")?.filter(|location| !location.is_empty());
    let tags = fields.tags("tags")?;
    if let Some(location) = &location {
        artifact_uri::check(location)?;
    }
    limits::experiment_name(&name)?;
    for tag in &tags {
        limits::experiment_tag(tag)?;
    }
    let experiment_id = state.store.create_experiment(name, location, tags, (state.now)()).await?;
    Ok(Created { experiment_id })
}

#[derive(Serialize)]
struct Found {
    experiment: ExperimentJson,
}

async fn get(state: State, fields: Fields) -> Result<Found, Failure> {
    let id = fields.required("experiment_id")?;
    Ok(Found { experiment: state.store.tracked_experiment(id).await?.into() })
}

async fn get_by_name(state: State, fields: Fields) -> Result<Found, Failure> {
    let name = fields.required("experiment_name")?;
    Ok(Found { experiment: state.store.experiment_named(name).await?.into() })
}

async fn delete(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.required("experiment_id")?;
    state.store.delete_experiment(id, (state.now)()).await?;
    Ok(Nothing {})
}

async fn restore(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.required("experiment_id")?;
    state.store.restore_experiment(id, (state.now)()).await?;
    Ok(Nothing {})
}

async fn update(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.required("experiment_id")?;
    let name = fields.required("new_name")?;
    limits::experiment_name(&name)?;
    match state.store.rename_experiment(id, name, (state.now)()).await {
        // MLflow has another code here than for a new experiment of a name that is taken.
        Err(error) if error.code == ErrorCode::Conflict => Err(Failure::new(Code::BadRequest, error.message)),
        renamed => Ok(renamed.map(|()| Nothing {})?),
    }
}

async fn set_tag(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.required("experiment_id")?;
    let tag = Tag { key: fields.required("key")?, value: fields.text("value")? };
    limits::experiment_tag(&tag)?;
    state.store.set_experiment_tag(id, tag).await?;
    Ok(Nothing {})
}

async fn delete_tag(state: State, fields: Fields) -> Result<Nothing, Failure> {
    let id = fields.required("experiment_id")?;
    let key = fields.required("key")?;
    state.store.delete_experiment_tag(id, key).await?;
    Ok(Nothing {})
}

const MAX_EXPERIMENTS_OF_DATASETS: usize = 20;

#[derive(Serialize)]
struct Summaries {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dataset_summaries: Vec<Summary>,
}

#[derive(Serialize)]
struct Summary {
    experiment_id: String,
    name: String,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
}

async fn search_datasets(state: State, fields: Fields) -> Result<Summaries, Failure> {
    let ids = fields.strings("experiment_ids")?;
    if ids.is_empty() {
        return Err(Failure::invalid("SearchDatasets request must specify at least one experiment_id."));
    }
    if ids.len() > MAX_EXPERIMENTS_OF_DATASETS {
        return Err(Failure::invalid(format!(
            "SearchDatasets request cannot specify more than {MAX_EXPERIMENTS_OF_DATASETS} experiment_ids. Received \
             {} experiment_ids.",
            ids.len()
        )));
    }
    let summaries = state.store.dataset_summaries(ids).await?;
    let dataset_summaries = summaries
        .into_iter()
        .map(|summary| Summary {
            experiment_id: summary.experiment_id,
            name: summary.name,
            digest: summary.digest,
            context: summary.context,
        })
        .collect();
    Ok(Summaries { dataset_summaries })
}
