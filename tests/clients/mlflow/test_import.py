"""What MLflow wrote is the same in tapline: from its folder, from its database, and back to an MLflow server."""

import contextlib
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error

import pytest
from servers import BINARY, OPENER, free_port, serving
from test_artifacts import bucket

HERE_PROGRAM = "fill.py"


def tapline(*arguments: str, code: int = 0) -> str:
    done = subprocess.run([str(BINARY), *arguments], capture_output=True, text=True, timeout=240)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout


def whole(client, run_id: str) -> dict:
    """Everything that a client can see of a run, without where it is."""
    run = client.get_run(run_id)
    history = {
        key: sorted(
            (point.timestamp, point.step, "nan" if math.isnan(point.value) else max(min(point.value, 1e308), -1e308))
            for point in client.get_metric_history(run_id, key)
        )
        for key in run.data.metrics
    }
    own = ("tapline.importedFrom", "tapline.exportedAs", "tapline.exportedWhole")
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "user": run.info.user_id,
        "stage": run.info.lifecycle_stage,
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if key not in own},
        "history": history,
        "datasets": [(dict(one.dataset), [(tag.key, tag.value) for tag in one.tags]) for one in inputs],
        "artifacts": artifacts(client, run_id),
    }


def artifacts(client, run_id: str, path: str | None = None) -> dict:
    found = {}
    for entry in client.list_artifacts(run_id, path):
        found.update(artifacts(client, run_id, entry.path) if entry.is_dir else {entry.path: entry.file_size})
    return found


@pytest.fixture(params=["folder", "database"])
def source(request, programs, tmp_path):
    """A genuine store: what tapline reads it as, and as what MLflow's client does."""
    if request.param == "folder":
        uri, name = f"file://{tmp_path}/mlruns", str(tmp_path / "mlruns")
    else:
        uri, name = f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "mlflow.db")
    programs.folder = tmp_path
    parent = programs.python(HERE_PROGRAM, uri, MLFLOW_TRACKING_URI=uri, MLFLOW_ALLOW_FILE_STORE="true")
    return uri, name, parent


def test_what_mlflow_wrote_is_here(source, programs, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    uri, name, parent = source
    data = str(tmp_path / "data")
    first = json.loads(tapline("import", "mlflow", name, "--data", data, "--verify", "--json"))
    assert (first["runs"], first["skipped_runs"], first["models"], first["problems"]) == (5, 0, 1, [])
    again = json.loads(tapline("import", "mlflow", name, "--data", data, "--json"))
    assert (again["files"], again["bytes"]) == (0, 0)
    # The run of the deleted experiment and the deleted run never ended: they are looked at again.
    assert (again["runs"], again["skipped_runs"]) == (2, 3)

    theirs = mlflow.MlflowClient(uri)
    with serving(data) as (server, _):
        ours = mlflow.MlflowClient(server.url)
        before = theirs.get_experiment_by_name("moved")
        after = ours.get_experiment_by_name("moved")
        assert (after.tags, after.creation_time) == (before.tags, before.creation_time)
        assert ours.get_experiment_by_name("gone").lifecycle_stage == "deleted"
        everything = mlflow.entities.ViewType.ALL
        runs = theirs.search_runs([before.experiment_id], run_view_type=everything)
        assert len(runs) == 4
        for run in runs:
            assert whole(ours, run.info.run_id) == whole(theirs, run.info.run_id)
        model = theirs.search_logged_models([before.experiment_id])[0]
        there = ours.get_logged_model(model.model_id)
        assert (there.name, there.params, there.tags) == (model.name, model.params, model.tags)
        assert [(m.key, m.value, m.run_id) for m in there.metrics] == [("macc", 0.7, parent)]
        outputs = ours.get_run(parent).outputs.model_outputs
        assert [(output.model_id, output.step) for output in outputs] == [(model.model_id, 3)]


def test_what_is_here_goes_to_an_mlflow_server(programs, tmp_path):
    """To a server of its own kind, and from there back by HTTP."""
    import mlflow

    programs.folder = tmp_path
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    programs.python(HERE_PROGRAM, uri, MLFLOW_TRACKING_URI=uri)
    data = str(tmp_path / "data")
    tapline("import", "mlflow", str(tmp_path / "mlflow.db"), "--data", data)
    with serving(str(tmp_path / "target")) as (server, _):
        url = server.url
        sent = json.loads(tapline("export", "mlflow", url, "--data", data, "-e", "moved", "--json"))
        assert (sent["runs"], sent["models"], sent["problems"]) == (3, 1, [])
        again = json.loads(tapline("export", "mlflow", url, "--data", data, "-e", "moved", "--json"))
        assert (again["runs"], again["skipped_runs"], again["models"]) == (0, 3, 0)
        there, here = mlflow.MlflowClient(url), mlflow.MlflowClient(uri)
        experiment = there.get_experiment_by_name("moved").experiment_id
        runs = there.search_runs([experiment])
        assert sorted(run.info.run_name for run in runs) == ["child", "failed", "parent: one"]
        by_name = {run.info.run_name: run for run in runs}
        parent = by_name["parent: one"]
        assert by_name["child"].data.tags["mlflow.parentRunId"] == parent.info.run_id
        source = parent.data.tags["tapline.exportedAs"]
        sent_run, kept = whole(there, parent.info.run_id), whole(here, source)
        for key, points in kept["history"].items():
            assert sent_run["history"].get(key) == points, key
        assert sent_run == kept
        back = str(tmp_path / "back")
        came = json.loads(tapline("import", "mlflow", url, "--data", back, "--verify", "--json"))
        assert (came["runs"], came["problems"]) == (3, [])


def test_artifacts_in_a_bucket_come_along(programs, tmp_path, monkeypatch):
    """What MLflow's client keeps in S3 itself, and what its server keeps there, named with --artifacts."""
    import mlflow

    programs.folder = tmp_path
    uri, data = f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "data")
    with bucket() as reached:
        reached["MLFLOW_S3_ENDPOINT_URL"] = reached["AWS_ENDPOINT_URL"]
        for name, value in reached.items():
            monkeypatch.setenv(name, value)
        run = programs.python("in_bucket.py", uri, "s3://bucket/kept", MLFLOW_TRACKING_URI=uri, **reached)
        command = ("import", "mlflow", str(tmp_path / "mlflow.db"), "--data", data, "--json")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"])
        out = json.loads(tapline(*command, code=1))
        assert out["files"] == 0 and any("s3://bucket/kept" in problem for problem in out["problems"]), out
        assert any("--artifacts" in problem for problem in out["problems"]), out
        monkeypatch.setenv("AWS_ENDPOINT_URL", reached["AWS_ENDPOINT_URL"])
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", reached["AWS_ENDPOINT_URL"])
        came = json.loads(tapline(*command, "--verify", "--artifacts", "s3://bucket/served"))
        assert (came["runs"], came["models"], came["problems"]) == (2, 1, []), came
        again = json.loads(tapline(*command, "--artifacts", "s3://bucket/served"))
        assert (again["skipped_runs"], again["files"]) == (2, 0), again
        kept = whole(mlflow.MlflowClient(uri), run)
    # The bucket is gone; everything is here.
    with serving(data) as (server, _):
        ours = mlflow.MlflowClient(server.url)
        assert ours.get_run(run).info.artifact_uri.startswith("mlflow-artifacts:/")
        assert whole(ours, run) == kept
        other = ours.search_runs([ours.get_experiment_by_name("served").experiment_id])[0].info.run_id
        for of, path, text in ((run, "a/b ü.txt", "in a bucket"), (other, "there.txt", "served")):
            assert pathlib.Path(ours.download_artifacts(of, path, str(tmp_path))).read_text() == text
        experiment = ours.get_experiment_by_name("kept")
        assert experiment.artifact_location.startswith("mlflow-artifacts:/")
        model = ours.search_logged_models([experiment.experiment_id])[0]
        assert [one.path for one in ours.list_logged_model_artifacts(model.model_id)] == ["m.txt"]


@contextlib.contextmanager
def genuine(folder: pathlib.Path):
    """MLflow's own server, with a database and artifacts of its own."""
    folder.mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files"),
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                with OPENER.open(f"{url}/health", timeout=2):
                    break
            time.sleep(0.2)
        yield url
    finally:
        # Its workers are its group's.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_there_and_back_with_a_genuine_server(programs, tmp_path):
    """From MLflow's server by HTTP, and to another of them; whatever a client sees there is what it saw here."""
    import mlflow

    programs.folder = tmp_path
    everything = mlflow.entities.ViewType.ALL
    data = str(tmp_path / "data")
    with genuine(tmp_path / "one") as url:
        programs.python(HERE_PROGRAM, url, MLFLOW_TRACKING_URI=url)
        came = json.loads(tapline("import", "mlflow", url, "--data", data, "--verify", "--json"))
        assert (came["runs"], came["skipped_runs"], came["models"], came["problems"]) == (5, 0, 1, [])
        again = json.loads(tapline("import", "mlflow", url, "--data", data, "--json"))
        assert (again["files"], again["bytes"], again["skipped_runs"]) == (0, 0, 3)
        theirs = mlflow.MlflowClient(url)
        experiment = theirs.get_experiment_by_name("moved").experiment_id
        runs = theirs.search_runs([experiment], run_view_type=everything)
        kept = {run.info.run_id: whole(theirs, run.info.run_id) for run in runs}
        with serving(data) as (server, _):
            ours = mlflow.MlflowClient(server.url)
            for run, seen in kept.items():
                assert whole(ours, run) == seen
            model = theirs.search_logged_models([experiment])[0]
            there = ours.get_logged_model(model.model_id)
            assert (there.name, there.params, there.tags) == (model.name, model.params, model.tags)
    with genuine(tmp_path / "two") as url:
        sent = json.loads(tapline("export", "mlflow", url, "--data", data, "-e", "moved", "--json"))
        assert (sent["runs"], sent["models"], sent["problems"]) == (3, 1, [])
        again = json.loads(tapline("export", "mlflow", url, "--data", data, "-e", "moved", "--json"))
        assert (again["runs"], again["skipped_runs"], again["models"]) == (0, 3, 0)
        there = mlflow.MlflowClient(url)
        experiment = there.get_experiment_by_name("moved")
        assert experiment.tags["team"] == "a b: 'x'"
        runs = there.search_runs([experiment.experiment_id])
        assert len(runs) == 3
        new_ids = {run.data.tags["tapline.exportedAs"]: run.info.run_id for run in runs}
        for before, after in new_ids.items():
            expected = kept[before]
            parent = expected["tags"].get("mlflow.parentRunId")
            if parent:
                expected["tags"]["mlflow.parentRunId"] = new_ids[parent]
            assert whole(there, after) == expected
        models = there.search_logged_models([experiment.experiment_id])
        assert [(model.name, model.params["k"], model.tags["x"]) for model in models] == [("m1", "v", "y")]
