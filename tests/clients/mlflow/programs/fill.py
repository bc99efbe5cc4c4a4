"""Fills an MLflow tracking server with one of everything; argument: its URI."""

import sys

import mlflow
import pandas

mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = mlflow.set_experiment("moved")
client.set_experiment_tag(experiment.experiment_id, "team", "a b: 'x'")
with mlflow.start_run(run_name="parent: one", description="long " * 60) as parent:
    mlflow.log_params({"lr": 0.1, "note": "two\nlines", "empty": ""})
    for step in range(1200):
        mlflow.log_metric("loss", 1 / (step + 1), step=step, synchronous=False)
    mlflow.flush_async_logging()
    mlflow.log_metric("nan", float("nan"))
    mlflow.log_metric("inf", float("inf"))
    mlflow.log_metric("dir/acc", 0.5)
    mlflow.set_tag("t/x y", "ü")
    mlflow.log_text("hello", "prompts/a.txt")
    mlflow.log_dict({"a": 1}, "d.json")
    mlflow.log_input(mlflow.data.from_pandas(pandas.DataFrame({"a": [1.0, 2.0]}), name="rows"), context="training")
    with mlflow.start_run(nested=True, run_name="child"):
        mlflow.log_metric("acc", 0.9)
    model = mlflow.create_external_model(
        name="m1", model_type="agent", params={"k": "v"}, tags={"x": "y"}, source_run_id=parent.info.run_id
    )
    mlflow.log_metric("macc", 0.7, model_id=model.model_id)
    client.log_outputs(parent.info.run_id, [mlflow.entities.LoggedModelOutput(model.model_id, 3)])
deleted = client.create_run(experiment.experiment_id, run_name="deleted")
client.delete_run(deleted.info.run_id)
failed = client.create_run(experiment.experiment_id, run_name="failed")
client.set_terminated(failed.info.run_id, "FAILED")
gone = client.create_experiment("gone")
client.create_run(gone)
client.delete_experiment(gone)
print(parent.info.run_id)
