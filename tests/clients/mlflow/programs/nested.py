"""A sweep: one parent, three children with a history each, and the best of them found again."""

import mlflow

mlflow.set_experiment("sweep")
with mlflow.start_run(run_name="sweep") as parent:
    for rate in (0.1, 0.2, 0.3):
        with mlflow.start_run(run_name=f"rate-{rate}", nested=True):
            mlflow.log_param("rate", rate)
            for step in range(5):
                mlflow.log_metric("loss", 1 / (step + 1) + abs(rate - 0.2), step=step)

children = mlflow.search_runs(
    experiment_names=["sweep"],
    filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'",
    order_by=["metrics.loss ASC"],
)
assert len(children) == 3, children
best = children.iloc[0]
history = mlflow.MlflowClient().get_metric_history(best.run_id, "loss")
assert [point.step for point in history] == [0, 1, 2, 3, 4]
print(best["params.rate"])
