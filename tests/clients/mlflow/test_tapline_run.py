"""`tapline run`: an unmodified program becomes a run with its calls, its end and where it was made."""

import json
import signal
import subprocess
import sys

import pytest
from servers import BINARY, PROXIED_KEY

CALL = """
import openai
client = openai.OpenAI()
answer = client.chat.completions.create(model="sim-small", messages=[{"role": "user", "content": "What is a run?"}])
print(answer.choices[0].message.content)
"""

CONTINUES = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_param("inside", 1)
    mlflow.log_metric("score", 0.75)
print(run.info.run_id)
"""

WAITS = """
import signal, sys, time
def stop(number, frame):
    print("got", number, flush=True)
    sys.exit(7)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, stop)
print("ready", flush=True)
time.sleep(60)
"""


def command(*arguments: str) -> list[str]:
    return [str(BINARY), "run", *arguments]


@pytest.fixture
def environment(programs) -> dict[str, str]:
    kept = {name: value for name, value in programs.environment.items() if name != "OPENAI_BASE_URL"}
    kept.pop("MLFLOW_TRACKING_URI")
    return {**kept, "TAPLINE_URL": programs.tapline.url}


def run(environment, folder, *arguments, code=0, **more):
    done = subprocess.run(
        command("--json", *arguments), env=environment, cwd=folder, capture_output=True, text=True, timeout=120, **more
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout, json.loads(done.stderr.splitlines()[-1])


def test_a_program_becomes_a_run_with_cost(programs, client, environment, tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "call.py").write_text(CALL)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *author, "commit", "-qm", "call"], cwd=tmp_path, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout.strip()
    (tmp_path / "call.py").write_text(CALL + "# more\n")

    arguments = ["--experiment", "prompt-dev", "--name", "v3", "-P", "temperature=0.7", "-t", "dataset=v2"]
    printed, told = run(environment, tmp_path, *arguments, "--", sys.executable, "call.py")
    assert printed.strip(), "the program's own output is untouched"
    assert (told["exit_code"], told["run"]["status"], told["run"]["totals"]["calls"]) == (0, "FINISHED", 1)

    import mlflow

    found = mlflow.search_runs(
        experiment_names=["prompt-dev"],
        filter_string="params.temperature = '0.7' AND tags.dataset = 'v2' AND metrics.`tapline/calls` = 1",
        order_by=["metrics.`tapline/cost_usd` DESC"],
        output_format="list",
    )
    assert [one.info.run_id for one in found] == [told["run"]["id"]]
    one = found[0]
    assert (one.info.run_name, one.info.status) == ("v3", "FINISHED")
    assert one.data.metrics["tapline/cost_usd"] > 0
    tags = one.data.tags
    assert tags["mlflow.source.git.commit"] == commit
    assert tags["mlflow.source.git.dirty"] == "True"
    assert tags["mlflow.source.name"] == "call.py"
    assert tags["tapline.exit_code"] == "0"
    assert float(tags["tapline.duration_s"]) > 0
    assert tags["tapline.command"].endswith("call.py")


def test_start_run_inside_continues_the_run(client, environment, tmp_path):
    (tmp_path / "inside.py").write_text(CONTINUES)
    printed, told = run(environment, tmp_path, "-e", "inside", "--", sys.executable, "inside.py")
    assert printed.split()[-1] == told["run"]["id"]
    one = client.get_run(told["run"]["id"])
    assert (one.data.params["inside"], one.data.metrics["score"], one.info.status) == ("1", 0.75, "FINISHED")


def test_the_end_of_the_program_is_the_end_of_the_run(client, environment, tmp_path):
    for code, status in ((0, "FINISHED"), (3, "FAILED")):
        _, told = run(environment, tmp_path, "--", sys.executable, "-c", f"raise SystemExit({code})", code=code)
        assert client.get_run(told["run"]["id"]).info.status == status
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    _, told = run(environment, tmp_path, "--", sys.executable, "-c", kill, code=128 + signal.SIGKILL)
    assert client.get_run(told["run"]["id"]).info.status == "KILLED"
    done = subprocess.run(command("--", "no-such-program"), env=environment, capture_output=True, text=True)
    assert done.returncode == 127
    assert "no-such-program cannot be started" in done.stderr


def test_streams_pass_untouched(environment, tmp_path):
    program = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data); sys.stderr.write('to stderr')"
    data = bytes(range(256)) * 4096
    done = subprocess.run(
        command("-q", "--", sys.executable, "-c", program), env=environment, input=data, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"to stderr")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_reach_the_program(environment, tmp_path, number):
    process = subprocess.Popen(
        command("--", sys.executable, "-u", "-c", WAITS),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == (f"got {int(number)}\n", 7), err


def test_the_program_outlives_us(environment, tmp_path):
    program = "import time, pathlib; print('ready', flush=True); time.sleep(1); pathlib.Path('done').touch()"
    process = subprocess.Popen(
        command("--", sys.executable, "-u", "-c", program),
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    # The program holds the other end; that it is closed means that the program is over.
    assert process.stdout.read() == ""
    assert (tmp_path / "done").exists()


def test_a_run_inside_a_run_is_its_child(client, environment, tmp_path):
    inner = [*command("-q", "--name", "inner"), "--", sys.executable, "-c", "pass"]
    outer = f"import subprocess, sys; sys.exit(subprocess.call({inner!r}))"
    _, told = run(environment, tmp_path, "-e", "nested", "--", sys.executable, "-c", outer)
    parent = told["run"]["id"]
    experiment = client.get_experiment_by_name("nested").experiment_id
    children = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'")
    assert [child.info.run_name for child in children] == ["inner"]


def test_without_a_server_one_is_started_for_the_program(environment, servers, tmp_path):
    direct, _ = servers
    alone = {name: value for name, value in environment.items() if name != "TAPLINE_URL"}
    (tmp_path / "call.py").write_text(CALL)
    data = tmp_path / "data"
    arguments = ["--data", str(data), "--upstream", direct, "-e", "alone", "--", sys.executable, "call.py"]
    _, told = run({**alone, "OPENAI_API_KEY": PROXIED_KEY}, tmp_path, *arguments)
    assert (told["run"]["status"], told["run"]["totals"]["calls"]) == ("FINISHED", 1)
    listed = subprocess.run(
        [str(BINARY), "runs", "--data", str(data), "--json", "--filter", "attributes.status = 'FINISHED'"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [one["id"] for one in json.loads(listed.stdout)] == [told["run"]["id"]]


def test_the_environment_leads_to_the_run(environment, tmp_path):
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    printed, told = run(environment, tmp_path, "--", sys.executable, "-c", program)
    seen, id = json.loads(printed), told["run"]["id"]
    base = environment["TAPLINE_URL"]
    assert seen["OPENAI_BASE_URL"] == seen["OPENAI_API_BASE"] == f"{base}/run/{id}/v1"
    # The server has an upstream for Anthropic, so its calls go there.
    assert seen["ANTHROPIC_BASE_URL"] == f"{base}/to/anthropic/run/{id}"
    assert (seen["MLFLOW_TRACKING_URI"], seen["MLFLOW_RUN_ID"]) == (base, id)
    assert seen["TRACEPARENT"].startswith(f"00-{id}-")
