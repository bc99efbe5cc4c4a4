"""Everything that the fluent API can log as a file."""

import pathlib
import tempfile

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pandas as pd

mlflow.set_experiment("files")
with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    table = pd.DataFrame({"name": ["a", "b"], "score": [1, 2]})
    table.to_csv(folder / "scores.csv", index=False)
    mlflow.log_artifact(folder / "scores.csv", "tables")

    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    figure.savefig(folder / "plot.png")
    mlflow.log_artifact(folder / "plot.png")
    mlflow.log_figure(figure, "figures/plot.svg")
    mlflow.log_image(np.full((8, 8, 3), 200, dtype=np.uint8), "images/grey.png")
    mlflow.log_image(np.zeros((8, 8), dtype=np.uint8), key="black", step=3)
    mlflow.log_table({"question": ["q1", "q2"], "answer": ["a1", "a2"]}, artifact_file="answers.json")
    mlflow.log_table({"question": ["q3"], "answer": ["a3"]}, artifact_file="answers.json")
    mlflow.log_dict({"a": [1, 2]}, "config.yaml")
    mlflow.log_text("<script>alert(1)</script>", "page.html")

    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "größe & co.txt").write_text("x")
    (folder / "deep" / "empty").write_bytes(b"")
    mlflow.log_artifacts(folder / "deep", "tree")

    answers = mlflow.load_table("answers.json", run_ids=[run.info.run_id])
    assert list(answers["answer"]) == ["a1", "a2", "a3"], answers
    uri = mlflow.get_artifact_uri("tables/scores.csv")
    assert mlflow.artifacts.load_text(uri).splitlines()[0] == "name,score"
    assert mlflow.artifacts.load_dict(mlflow.get_artifact_uri("answers.json"))["data"][2] == ["q3", "a3"]
    assert mlflow.artifacts.load_image(mlflow.get_artifact_uri("images/grey.png")).size == (8, 8)

    copy = pathlib.Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(folder / "all")))
    there = {str(file.relative_to(copy)) for file in copy.rglob("*") if file.is_file()}
    assert {"tables/scores.csv", "plot.png", "figures/plot.svg", "tree/er/größe & co.txt", "tree/empty"} <= there
    assert (copy / "plot.png").read_bytes() == (folder / "plot.png").read_bytes()
print(run.info.run_id)
