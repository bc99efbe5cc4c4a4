"""The best run by tag and parameter, as a data frame and as runs."""

import mlflow

found = mlflow.search_runs(
    experiment_names=["prompt-dev"],
    filter_string="tags.stage = 'dev' and params.model = 'sim-small' and metrics.output_tokens > 0",
    order_by=["metrics.temperature_used DESC"],
    max_results=1,
)
assert len(found) == 1, found
runs = mlflow.search_runs(
    search_all_experiments=True,
    filter_string="attributes.status = 'FINISHED' and params.prompt_version LIKE 'v%'",
    output_format="list",
)
assert {run.data.params["prompt_version"] for run in runs} >= {"v1", "v2"}
print(found.iloc[0]["params.prompt_version"])
