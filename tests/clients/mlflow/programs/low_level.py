"""The plain client, with the values and the errors that are odd."""

import math

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

client = MlflowClient()
experiment = client.create_experiment("low-level", tags={"team": "red"})
run = client.create_run(experiment, run_name="odd").info.run_id

client.log_metric(run, "nan", math.nan)
client.log_metric(run, "up", math.inf)
client.log_metric(run, "down", -math.inf)
metrics = client.get_run(run).data.metrics
assert math.isnan(metrics["nan"]) and metrics["up"] > 1e308 and metrics["down"] < -1e308, metrics

client.log_batch(run, [Metric("m", step, step, step) for step in range(1000)], [Param("p", "1")], [RunTag("t", "1")])
assert [point.value for point in client.get_metric_history(run, "m")] == list(range(1000))
for wrong, code in (
    (lambda: client.log_param(run, "p", "2"), "INVALID_PARAMETER_VALUE"),
    (lambda: client.create_experiment("low-level"), "RESOURCE_ALREADY_EXISTS"),
    (lambda: client.get_run("0" * 32), "RESOURCE_DOES_NOT_EXIST"),
    (lambda: client.search_runs([experiment], "metrics.m >"), "INVALID_PARAMETER_VALUE"),
):
    try:
        wrong()
    except MlflowException as error:
        assert error.error_code == code, error
    else:
        raise AssertionError(f"expected {code}")

client.set_terminated(run, "FAILED")
client.delete_run(run)
assert not client.search_runs([experiment])
assert [one.info.run_id for one in client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)] == [run]
client.restore_run(run)
client.delete_tag(run, "t")
client.rename_experiment(experiment, "low-level-2")
client.delete_experiment(experiment)
assert client.get_experiment(experiment).lifecycle_stage == "deleted"
client.restore_experiment(experiment)
assert [one.name for one in client.search_experiments(filter_string="tags.team = 'red'")] == ["low-level-2"]
print(run)
