"""Datasets as inputs of a run, and an evaluation dataset with records."""

import mlflow
import pandas as pd
from mlflow.genai.datasets import create_dataset, delete_dataset, get_dataset, search_datasets

experiment = mlflow.set_experiment("datasets")
frame = pd.DataFrame({"question": ["q1", "q2"], "answer": ["a1", "a2"]})
with mlflow.start_run() as run:
    mlflow.log_input(mlflow.data.from_pandas(frame, name="questions", targets="answer"), context="evaluation")
inputs = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
assert [(one.dataset.name, one.tags[0].value) for one in inputs] == [("questions", "evaluation")], inputs
found = mlflow.search_runs([experiment.experiment_id], "datasets.name = 'questions'")
assert list(found.run_id) == [run.info.run_id]

dataset = create_dataset(name="golden", experiment_id=experiment.experiment_id, tags={"lang": "en"})
dataset.merge_records(
    [
        {"inputs": {"question": "What is an index?"}, "expectations": {"answer": "a lookup structure"}},
        {"inputs": {"question": "What is a row?"}},
    ]
)
dataset.merge_records([{"inputs": {"question": "What is a row?"}, "expectations": {"answer": "a tuple"}}])
again = get_dataset(dataset_id=dataset.dataset_id)
rows = again.to_df()
assert sorted(rows["expectations"].map(lambda one: one["answer"])) == ["a lookup structure", "a tuple"], rows
assert [one.name for one in search_datasets(filter_string="name = 'golden'")] == ["golden"]
delete_dataset(dataset_id=dataset.dataset_id)
assert not search_datasets(filter_string="name = 'golden'")
print(run.info.run_id)
