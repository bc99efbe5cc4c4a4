"""A model of one's own: logged, found, loaded, asked."""

import mlflow

mlflow.set_experiment("models")


class Shout(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[str], params=None) -> list[str]:
        return [text.upper() for text in model_input]


with mlflow.start_run() as run:
    logged = mlflow.pyfunc.log_model(
        name="shout", python_model=Shout(), pip_requirements=[], params={"loud": "very"}, tags={"team": "red"}
    )
    mlflow.log_metric("accuracy", 0.75, step=1, model_id=logged.model_id)
assert mlflow.pyfunc.load_model(logged.model_uri).predict(["ada"]) == ["ADA"]
model = mlflow.get_logged_model(logged.model_id)
assert str(model.status) == "LoggedModelStatus.READY" or model.status.name == "READY", model.status
assert model.params == {"loud": "very"} and model.tags["team"] == "red", model
assert [metric.value for metric in model.metrics] == [0.75]
found = mlflow.search_logged_models(
    filter_string="name = 'shout' AND metrics.accuracy > 0.5", output_format="list"
)
assert [one.model_id for one in found] == [logged.model_id]
assert mlflow.get_run(run.info.run_id).outputs.model_outputs[0].model_id == logged.model_id
print(run.info.run_id)
