"""The programs of the MLflow guide for LLMs, run as they are, and what is found of them afterwards."""

import json
import pathlib
import urllib.request

import pytest
from servers import OPENER

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def experiments(programs) -> list[str]:
    """Two versions of a prompt, one after the other."""
    return [
        programs.python("prompt_experiment.py", "v1", "0.2"),
        programs.python("prompt_experiment.py", "v2", "0.9"),
    ]


def test_a_prompt_experiment_is_recorded(experiments, client):
    run = client.get_run(experiments[0])
    assert run.info.status == "FINISHED" and run.info.run_name == "v1"
    assert run.data.params == {"model": "sim-small", "temperature": "0.2", "prompt_version": "v1"}
    assert run.data.metrics["total_tokens"] == run.data.metrics["input_tokens"] + run.data.metrics["output_tokens"]
    assert run.data.tags["stage"] == "dev" and run.data.tags["mlflow.source.type"] == "LOCAL"
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"system.txt", "prompt.txt", "response.txt"}


def test_its_call_is_in_the_run_without_being_told(experiments, client, programs):
    """The program names its run nowhere in the call: it is the one active run of the same peer."""
    for run in experiments:
        calls = programs.tapline.get("calls", run=run)["calls"]
        assert len(calls) == 1, calls
        metrics = client.get_run(run).data.metrics
        assert metrics["tapline/calls"] == 1
        assert metrics["tapline/input_tokens"] == metrics["input_tokens"]
        assert metrics["tapline/output_tokens"] == metrics["output_tokens"]
        assert metrics["tapline/cost_usd"] > 0


def test_a_run_is_resumed(experiments, client, programs):
    assert programs.python("resume.py", experiments[0]) == experiments[0]
    run = client.get_run(experiments[0])
    assert run.data.metrics["score_mean"] == 0.5 and run.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run.info.run_id, "evaluation")] == ["evaluation/results.json"]


def test_the_best_run_is_found(experiments, programs):
    assert programs.python("best_run.py") == "v2"


def test_runs_are_nested(programs):
    assert programs.python("nested.py") == "0.2"


def test_sklearn_logs_itself(programs, client):
    run = client.get_run(programs.python("autolog.py"))
    assert run.data.params["C"] == "0.5"
    assert run.data.metrics["training_accuracy_score"] > 0.9
    # Named after the variable that was scored on.
    assert "LogisticRegression_score_test" in run.data.metrics
    assert any(file.path.endswith(".png") for file in client.list_artifacts(run.info.run_id))


def test_a_project_runs(programs, client):
    programs.run(
        "mlflow", "run", str(HERE / "project"), "--env-manager", "local", "--experiment-name", "project",
        "-P", "alpha=0.25", "-P", "words=many words",
    )  # fmt: skip
    experiment = client.get_experiment_by_name("project")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["score"] == 0.5 and run.data.params == {"alpha": "0.25", "words": "'many words'"}, (
        "the client itself quotes for the shell what it logs"
    )
    tags = run.data.tags
    assert tags["mlflow.source.type"] == "PROJECT"
    assert tags["mlflow.project.entryPoint"] == "main" and tags["mlflow.project.backend"] == "local"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["words.txt"]


def test_the_command_lines_work(programs, experiments):
    def mlflow(*arguments: str) -> str:
        return programs.run("mlflow", *arguments)

    created = mlflow("experiments", "create", "--experiment-name", "by-hand")
    identity = created.split()[-1]
    assert "by-hand" in mlflow("experiments", "search")
    mlflow("experiments", "rename", "--experiment-id", identity, "--new-name", "by-hand-2")
    mlflow("experiments", "delete", "--experiment-id", identity)
    assert "by-hand-2" not in mlflow("experiments", "search")
    mlflow("experiments", "restore", "--experiment-id", identity)
    run = experiments[0]
    experiment = json.loads(mlflow("runs", "describe", "--run-id", run))["info"]["experiment_id"]
    assert run in mlflow("runs", "list", "--experiment-id", experiment)
    assert run in mlflow("experiments", "csv", "--experiment-id", experiment)
    (programs.folder / "note.md").write_text("a note")
    mlflow("artifacts", "log-artifact", "--local-file", "note.md", "--run-id", run, "--artifact-path", "notes")
    assert "notes/note.md" in mlflow("artifacts", "list", "--run-id", run, "--artifact-path", "notes")
    got = mlflow("artifacts", "download", "--run-id", run, "--artifact-path", "notes/note.md", "-d", "got")
    assert pathlib.Path(programs.folder, got.strip().splitlines()[-1]).read_text() == "a note"
    mlflow("runs", "delete", "--run-id", run)
    assert run not in mlflow("runs", "list", "--experiment-id", experiment)
    mlflow("runs", "restore", "--run-id", run)


def test_every_kind_of_file_is_logged(programs):
    run = programs.python("figures.py")
    # A page that a run wrote must not become a page of tapline's.
    url = f"{programs.tapline.url}/get-artifact?run_id={run}&path=page.html"
    with OPENER.open(urllib.request.Request(url), timeout=20) as response:
        assert response.read() == b"<script>alert(1)</script>"
        assert response.headers["Content-Disposition"].startswith("attachment")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response.headers["Content-Security-Policy"]


def test_datasets(programs):
    programs.python("datasets.py")


def test_a_model_is_logged_and_loaded(programs):
    programs.python("logged_model.py")


def test_the_plain_client(programs):
    programs.python("low_level.py")
