//! Budgets as they stand, and a run's own: the one thing here that can be set.

use axum::{
    Json,
    extract::{Path, State as Extract},
    response::Response,
};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};

use super::{
    State,
    error::{ErrorBody, Failure},
    format::{self, Format},
    params::Params,
};
use crate::{
    billing::Budgets,
    model::{
        Error,
        budget::{Action, RunBudget, parse_limit},
    },
    report::budget::{self, BudgetRow},
};

/// Budgets of the present windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BudgetList {
    pub budgets: Vec<BudgetRow>,
}

/// What a run may spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunBudgetBody {
    /// US dollars: `5usd`, `$0.50`, `5.00`.
    pub limit: String,
    /// `stop` (calls are then refused) or `warn`.
    #[serde(default = "stop")]
    pub action: Action,
}

fn stop() -> Action {
    Action::Stop
}

fn kept(state: &State) -> Result<&Budgets, Failure> {
    state.budgets.as_ref().ok_or_else(|| {
        Failure(Error::conflict(
            "expected a running tapline, which is what keeps budgets, found the store alone; start one with \
             `tapline serve`",
        ))
    })
}

/// What each budget has spent, and what is left of it.
#[utoipa::path(
    get,
    path = "/api/v1/budgets",
    tag = "costs",
    params(("format" = Option<Format>, Query, description = "Else as the `Accept` header says; JSON by default.")),
    responses(
        (
            status = 200,
            description = "Budgets of the present windows.",
            content((BudgetList = "application/json"), (BudgetRow = "application/jsonl"), (String = "text/csv")),
        ),
        (status = 409, description = "No server keeps budgets here.", body = ErrorBody),
    ),
)]
pub(super) async fn list(
    Extract(state): Extract<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let params = Params::read(&uri, &["format"])?;
    let format = Format::of(&params, &headers)?;
    let states = kept(&state)?.states((state.now)());
    let whole = BudgetList { budgets: states.iter().map(BudgetRow::from).collect() };
    format::list(format, &whole, &whole.budgets, budget::exact, None)
}

/// Gives a run a budget of its own, which stops it when it is used up.
#[utoipa::path(
    put,
    path = "/api/v1/runs/{id}/budget",
    tag = "costs",
    params(("id" = String, Path, description = "Run id, or name where exactly one run has it.")),
    request_body = RunBudgetBody,
    responses(
        (status = 200, description = "The budget as it stands.", body = BudgetRow),
        (status = 400, description = "The budget cannot be.", body = ErrorBody),
        (status = 404, description = "No such run.", body = ErrorBody),
        (status = 409, description = "No server keeps budgets here.", body = ErrorBody),
    ),
)]
pub(super) async fn set(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    body: Result<Json<RunBudgetBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<BudgetRow>, Failure> {
    let budgets = kept(&state)?;
    let Json(body) = body.map_err(|error| {
        Error::invalid(format!(
            "expected a budget such as {{\"limit\":\"5usd\",\"action\":\"stop\"}}: {error}"
        ))
    })?;
    let run = state.store.run(&id).await?.run.id;
    let budget = RunBudget { limit: parse_limit(&body.limit)?, action: body.action };
    let now = (state.now)();
    let spent = state.store.set_run_budget(run.clone(), budget, now).await?;
    budgets.set_run(&run, budget, Some(&spent));
    let states = budgets.states(now);
    let own = states.iter().find(|one| one.name == "run" && one.subject.as_ref() == Some(&run));
    let own = own.ok_or_else(|| Error::internal("expected the budget that was set, found none"))?;
    Ok(Json(BudgetRow::from(own)))
}

/// Takes a run's own budget away.
#[utoipa::path(
    delete,
    path = "/api/v1/runs/{id}/budget",
    tag = "costs",
    params(("id" = String, Path, description = "Run id, or name where exactly one run has it.")),
    responses(
        (status = 204, description = "It has none any more."),
        (status = 404, description = "No such run, or it had none.", body = ErrorBody),
        (status = 409, description = "No server keeps budgets here.", body = ErrorBody),
    ),
)]
pub(super) async fn clear(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
) -> Result<http::StatusCode, Failure> {
    let budgets = kept(&state)?;
    let run = state.store.run(&id).await?.run.id;
    let stored = state.store.clear_run_budget(run.clone()).await?;
    if !(budgets.clear_run(&run) || stored) {
        return Err(
            Error::not_found(format!("expected run {id:?} to have a budget of its own, found none")).into()
        );
    }
    Ok(http::StatusCode::NO_CONTENT)
}
