//! Searches of runs, experiments and logged models: text in MLflow's grammar in, a page and a token out.

use axum::routing::{MethodFilter, MethodRouter};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    State,
    encode::{ExperimentJson, RunJson},
    endpoint,
    error::Failure,
    evaluation_datasets::EvaluationDatasetJson,
    logged_models::LoggedModelJson,
    request::{Fields, missing, wrong_type},
};
use crate::{
    model::{
        filter::search::{
            EvaluationDatasetSearch, ExperimentSearch, LoggedModelSearch, MetricDataset, RunSearch, Slice,
        },
        run::ViewType,
    },
    search::{self, PageToken},
};

/// Results of a page where nobody says how many, and at most.
const RUNS: i64 = 1000;
const LOGGED_MODELS: i64 = 100;
const MOST: i64 = 50_000;

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<State>)> {
    vec![
        ("/runs/search", endpoint(MethodFilter::POST, runs)),
        (
            "/experiments/search",
            endpoint(MethodFilter::POST, experiments).merge(endpoint(MethodFilter::GET, experiments)),
        ),
        ("/logged-models/search", endpoint(MethodFilter::POST, logged_models)),
        (
            "/datasets/search",
            endpoint(MethodFilter::POST, datasets).merge(endpoint(MethodFilter::GET, datasets)),
        ),
    ]
}

#[derive(Serialize)]
struct Runs {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runs: Vec<RunJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn runs(state: State, fields: Fields) -> Result<Runs, Failure> {
    let limit = match fields.integer("max_results")?.unwrap_or(RUNS) {
        most if most > MOST => return Err(wrong_type("max_results", &most.into())),
        limit => results(limit)?,
    };
    let clauses = search::run_filter(&fields.text("filter")?)?;
    let order_by = fields.strings("order_by")?;
    let order = search::run_order(&order_by)?;
    let token = PageToken { order_by: &order_by };
    let search = RunSearch {
        experiments: Some(fields.words("experiment_ids")?),
        clauses,
        order,
        view: view(&fields, "run_view_type")?,
        page: Slice { start: token.decode(&fields.text("page_token")?)?, limit },
    };
    (state.fresh)().await;
    let found = state.store.search_runs(search).await?;
    let next_page_token = found.next.map(|next| token.encode(&next));
    Ok(Runs { runs: found.items.into_iter().map(Into::into).collect(), next_page_token })
}

#[derive(Serialize)]
struct Experiments {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    experiments: Vec<ExperimentJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn experiments(state: State, fields: Fields) -> Result<Experiments, Failure> {
    let limit = results(fields.integer("max_results")?.unwrap_or(0))?;
    let order_by = fields.strings("order_by")?;
    let token = PageToken { order_by: &order_by };
    let search = ExperimentSearch {
        clauses: search::experiment_filter(&fields.text("filter")?)?,
        order: search::experiment_order(&order_by)?,
        view: view(&fields, "view_type")?,
        page: Slice { start: token.decode(&fields.text("page_token")?)?, limit },
    };
    let found = state.store.search_experiments(search).await?;
    let next_page_token = found.next.map(|next| token.encode(&next));
    Ok(Experiments { experiments: found.items.into_iter().map(Into::into).collect(), next_page_token })
}

#[derive(Serialize)]
struct LoggedModels {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<LoggedModelJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn logged_models(state: State, fields: Fields) -> Result<LoggedModels, Failure> {
    let experiments = fields.strings("experiment_ids")?;
    if experiments.is_empty() && !fields.has("experiment_ids")? {
        return Err(missing("experiment_ids"));
    }
    let limit = match fields.integer("max_results")?.unwrap_or(0) {
        0 => results(LOGGED_MODELS)?,
        limit => results(limit)?,
    };
    let filter = fields.text("filter")?;
    let mut datasets = Vec::new();
    for dataset in fields.objects("datasets")? {
        let named = named_dataset(&dataset)?
            .ok_or_else(|| Failure::invalid("`dataset_name` in the `datasets` clause must be specified."))?;
        datasets.push(named);
    }
    let mut order = Vec::new();
    for by in fields.objects("order_by")? {
        let field = by
            .string("field_name")?
            .ok_or_else(|| Failure::invalid("`field_name` in the `order_by` clause must be specified."))?;
        let ascending = by.flag("ascending")?.unwrap_or(true);
        let dataset = named_dataset(&by)?;
        let (name, digest) = match &dataset {
            Some(dataset) => (Some(dataset.name.as_str()), dataset.digest.as_deref()),
            None => (None, None),
        };
        order.push(search::logged_model_order(&field, ascending, name, digest)?);
    }
    let order_by = if order.is_empty() { Value::Null } else { json!(fields.list("order_by")?) };
    let asked = search::LoggedModelSearch {
        experiments: &experiments,
        filter: (!filter.is_empty()).then_some(filter.as_str()),
        order_by: &order_by,
    };
    let start = asked.decode(&fields.text("page_token")?)?;
    let search = LoggedModelSearch {
        experiments: experiments.clone(),
        clauses: search::logged_model_filter(&filter)?,
        datasets,
        order,
        page: Slice { start, limit },
    };
    let found = state.store.search_logged_models(search).await?;
    let next_page_token = found.next.map(|next| asked.encode(&next));
    Ok(LoggedModels { models: found.items.into_iter().map(Into::into).collect(), next_page_token })
}

#[derive(Serialize)]
struct Datasets {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    datasets: Vec<EvaluationDatasetJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn datasets(state: State, fields: Fields) -> Result<Datasets, Failure> {
    let limit = match fields.integer("max_results")?.unwrap_or(RUNS) {
        0 => {
            return Err(Failure::invalid(
                "Invalid value None for parameter 'max_results' supplied. It must be a positive integer",
            ));
        }
        limit => results(limit)?,
    };
    let order_by = fields.strings("order_by")?;
    let token = PageToken { order_by: &order_by };
    let search = EvaluationDatasetSearch {
        experiments: fields.strings("experiment_ids")?,
        clauses: search::evaluation_dataset_filter(&fields.text("filter_string")?)?,
        order: search::evaluation_dataset_order(&order_by)?,
        page: Slice { start: token.decode(&fields.text("page_token")?)?, limit },
    };
    let found = state.store.search_evaluation_datasets(search).await?;
    let next_page_token = found.next.map(|next| token.encode(&next));
    let datasets = found.items.into_iter().map(EvaluationDatasetJson::without_experiments).collect();
    Ok(Datasets { datasets, next_page_token })
}

fn named_dataset(fields: &Fields) -> Result<Option<MetricDataset>, Failure> {
    let digest = fields.string("dataset_digest")?.filter(|digest| !digest.is_empty());
    let name = fields.string("dataset_name")?.filter(|name| !name.is_empty());
    Ok(name.map(|name| MetricDataset { name, digest }))
}

/// How many results a page may have.
fn results(asked: i64) -> Result<usize, Failure> {
    match usize::try_from(asked) {
        Ok(results) if results > 0 && asked <= MOST => Ok(results),
        Ok(results) if results > 0 => Err(Failure::invalid(format!(
            "Invalid value {asked} for parameter 'max_results' supplied. It must be at most {MOST}"
        ))),
        _ => Err(Failure::invalid(format!(
            "Invalid value {asked} for parameter 'max_results' supplied. It must be a positive integer"
        ))),
    }
}

/// A view type by its name or its number.
fn view(fields: &Fields, name: &str) -> Result<ViewType, Failure> {
    Ok(match fields.word(name)?.as_deref() {
        Some("DELETED_ONLY" | "2") => ViewType::DeletedOnly,
        Some("ALL" | "3") => ViewType::All,
        // What MLflow's server does not know it does not look at.
        _ => ViewType::ActiveOnly,
    })
}
