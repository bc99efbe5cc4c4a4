"""The two servers side by side: a genuine `mlflow server` with SQLite, and tapline, each fresh, as they are by default."""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time

from load import Client, request


def kilobytes(file: pathlib.Path, name: str) -> int:
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(name))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Target:
    """A server of one kind, in a folder of its own; it may be started again on what it holds."""

    def __init__(self, name: str, command: list[str]):
        self.name = name
        self.command = command
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        self.process = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> float:
        """Seconds from the command to the first answer."""
        self.port = free_port()
        words = {"{port}": str(self.port), "{folder}": str(self.folder)}
        command = []
        for word in self.command:
            for name, value in words.items():
                word = word.replace(name, value)
            command.append(word)
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=self.folder
        )
        while time.perf_counter() - began < 120:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection(*self.address, timeout=10)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return time.perf_counter() - began
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode} before it answered")
            time.sleep(0.002)
        raise RuntimeError(f"{self.name} did not answer within two minutes")

    def stop(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self) -> Client:
        return Client(self.address)

    def memory(self) -> float:
        """MB: the most that a single process ever held; of several what they hold now, shared pages counted once
        (their highest marks would count those often)."""
        held, most = 0, []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                if os.getsid(int(entry.name)) == self.process.pid:
                    most.append(kilobytes(entry / "status", "VmHWM:"))
                    held += kilobytes(entry / "smaps_rollup", "Pss:")
        return (most[0] if len(most) == 1 else held) / 1024

    def disk(self) -> float:
        """MB on disk of what it keeps."""
        return sum(file.stat().st_blocks * 512 for file in self.folder.rglob("*") if file.is_file()) / 1e6


class Genuine(Target):
    def __init__(self, mlflow: str):
        super().__init__(
            "mlflow",
            [
                mlflow, "server", "--port", "{port}", "--backend-store-uri", "sqlite:///{folder}/mlflow.db",
                "--artifacts-destination", "{folder}/artifacts",
            ],
        )  # fmt: skip

    def insert(self, runs: int, points: int) -> tuple[str, str]:
        """Rows straight into its tables, in the way that it writes them itself: at its speed over HTTP a hundred
        thousand runs would take half an hour. The server is down meanwhile. Gives experiment and run of the points."""
        self.stop()
        database = sqlite3.connect(self.folder / "mlflow.db")
        cursor = database.cursor()
        cursor.execute(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
            " VALUES (?, 'mlflow-artifacts:/x', 'active', 1, 1)",
            (f"filled-{runs}-{points}",),
        )
        experiment = str(cursor.lastrowid)
        for row in filled_runs(runs):
            run = filled_id(experiment, row["number"])
            cursor.execute(
                "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,"
                " start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
                " VALUES (?, ?, 'UNKNOWN', '', '', 'ada', 'FINISHED', ?, ?, '', 'active', ?, ?)",
                (run, row["name"], row["start"], row["start"] + 10, f"mlflow-artifacts:/{experiment}/{run}/artifacts",
                 experiment),
            )  # fmt: skip
            cursor.executemany("INSERT INTO params VALUES (?, ?, ?)", [(*one, run) for one in row["params"].items()])
            cursor.executemany("INSERT INTO tags VALUES (?, ?, ?)", [(*one, run) for one in row["tags"].items()])
            for key, value in row["metrics"].items():
                cursor.execute("INSERT INTO metrics VALUES (?, ?, 1, ?, 0, 0)", (key, value, run))
                cursor.execute("INSERT INTO latest_metrics VALUES (?, ?, 1, 0, 0, ?)", (key, value, run))
        run = filled_id(experiment, 0)
        cursor.executemany(
            "INSERT INTO metrics VALUES ('loss', ?, ?, ?, ?, 0)", ((1 / (n + 1), n, run, n) for n in range(points))
        )
        if points:
            cursor.execute("INSERT INTO latest_metrics VALUES ('loss', ?, ?, ?, 0, ?)", (1 / points, points - 1, points - 1, run))
        database.commit()
        database.close()
        self.start()
        return experiment, run


class Tapline(Target):
    def __init__(self, binary: str):
        super().__init__(
            "tapline",
            [
                binary, "serve", "--listen", "127.0.0.1:{port}", "--data", "{folder}/data",
                "--upstream", "http://127.0.0.1:9/v1", "--log-level", "error",
            ],
        )  # fmt: skip

    def insert(self, runs: int, points: int) -> tuple[str, str]:
        """The same rows, over HTTP."""
        client = self.client()
        experiment = client.ask("POST", CREATE_EXPERIMENT, {"name": f"filled-{runs}-{points}"})["experiment_id"]
        first = None
        pool = [self.client().connection for _ in range(16)]

        def together(path: str, bodies: list[dict]) -> list[dict]:
            for connection, body in zip(pool, bodies):
                connection.send(request("POST", f"{API}/{path}", body))
            answers = [connection.receive() for connection, _ in zip(pool, bodies)]
            assert all(status == 200 for status, _ in answers), answers[0]
            return [json.loads(answer) for _, answer in answers]

        rows = filled_runs(runs)
        while some := list(itertools.islice(rows, len(pool))):
            heads = [
                {"experiment_id": experiment, "user_id": "ada", "run_name": row["name"], "start_time": row["start"]}
                for row in some
            ]
            ids = [made["run"]["info"]["run_id"] for made in together("runs/create", heads)]
            first = first or ids[0]
            together("runs/log-batch", [{"run_id": run, **logged(row)} for run, row in zip(ids, some)])
            ends = [{"run_id": run, "status": "FINISHED", "end_time": row["start"] + 10} for run, row in zip(ids, some)]
            together("runs/update", ends)
        for begin in range(0, points, 1000):
            metrics = [
                {"key": "loss", "value": 1 / (n + 1), "timestamp": n, "step": n} for n in range(begin, begin + 1000)
            ]
            client.ask("POST", f"{API}/runs/log-batch", {"run_id": first, "metrics": metrics})
        return experiment, first


def logged(row: dict) -> dict:
    return {
        "metrics": [{"key": key, "value": value, "timestamp": 1, "step": 0} for key, value in row["metrics"].items()],
        "params": [{"key": key, "value": value} for key, value in row["params"].items()],
        "tags": [{"key": key, "value": value} for key, value in row["tags"].items()],
    }


API = "/api/2.0/mlflow"
CREATE_EXPERIMENT = f"{API}/experiments/create"


def filled_id(experiment: str, number: int) -> str:
    return f"{int(experiment):08x}{number:024x}"


def filled_runs(count: int):
    """Runs of a sweep: what people search in."""
    for number in range(count):
        yield {
            "number": number,
            "name": f"run-{number}",
            "start": 1_700_000_000_000 + number,
            "params": {"model": f"model-{number % 7}", "rate": str(number % 100 / 100), "seed": str(number)},
            "tags": {"team": "red" if number % 3 else "blue", "stage": "dev", "mlflow.user": "ada",
                     "mlflow.runName": f"run-{number}"},
            "metrics": {"accuracy": (number * 7919 % 100_003) / 100_003, "cost": number % 1000 / 10, "f1": number % 97},
        }  # fmt: skip
