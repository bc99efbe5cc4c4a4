"""Runs whose artifacts are in a bucket: of an experiment that says so, and of one whose server kept them there."""

import os
import sys

import boto3
import mlflow

uri, location = sys.argv[1:]
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient()
experiment = client.create_experiment("kept", artifact_location=location)
with mlflow.start_run(experiment_id=experiment) as run:
    mlflow.log_param("a", 1)
    mlflow.log_text("in a bucket", "a/b ü.txt")
    mlflow.log_text("beside it", "top.txt")
    model = mlflow.initialize_logged_model(name="m")
with open("m.txt", "w") as file:
    file.write("of a model")
client.log_model_artifact(model.model_id, "m.txt")
mlflow.finalize_logged_model(model.model_id, "READY")

served = client.create_experiment("served", artifact_location="mlflow-artifacts:/2")
other = client.create_run(served)
client.set_terminated(other.info.run_id)
store = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
path = other.info.artifact_uri.removeprefix("mlflow-artifacts:/")
store.put_object(Bucket="bucket", Key=f"served/{path}/there.txt", Body=b"served")
print(run.info.run_id)
