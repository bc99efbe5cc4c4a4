"""tapline beside a genuine `mlflow server`, in one run: the same requests, the same client, medians.

    bench.py --mlflow .../mlflow --tapline target/release/tapline        everything, half an hour
    bench.py … --only calls,search --runs 10000                          some parts
    bench.py … --json figures.json                                       adds this run's figures to a file
    bench.py … --json figures.json --page docs/benchmarks-mlflow.md      and writes all of them into the page
    bench.py --json figures.json --page docs/benchmarks-mlflow.md --only ""   writes without measuring

Parts: start (start-up, memory, disk), calls (single calls over raw HTTP, one at a time and 16 at once), client (the
same through the Python client), writers (64 at once), search, history, artifacts.
"""

import argparse
import concurrent.futures
import itertools
import os
import pathlib
import signal
import sys
import time

from figures import Figures
from load import Connection, request, waves
from targets import API, CREATE_EXPERIMENT, Genuine, Tapline

# Milliseconds after which the same thing is not asked for again.
ENOUGH = 20_000
PARTS = ("start", "calls", "client", "writers", "search", "history", "artifacts")


def start(targets, figures, given) -> None:
    for target in targets:
        figures.add("start-up to the first answer", "ms", target.name, [1000 * again(target) for _ in range(given.rounds)])
        figures.add("memory, idle", "MB", target.name, [target.memory()])
        # Write-ahead logs are folded in when a server stops.
        target.stop()
        before = target.disk()
        target.start()
        experiment = target.client().ask("POST", CREATE_EXPERIMENT, {"name": "disk"})["experiment_id"]
        client = target.client()
        for number in range(given.disk_runs):
            run = new_run(client, experiment, number)
            client.ask("POST", f"{API}/runs/log-batch", batch(run, 20, number, params=10))
        target.stop()
        figures.add(
            f"disk of {given.disk_runs} runs with 20 metrics, 10 params", "MB", target.name, [target.disk() - before]
        )
        target.start()


def again(target) -> float:
    target.stop()
    return target.start()


def new_run(client, experiment: str, number: int) -> str:
    body = {"experiment_id": experiment, "run_name": f"r{number}", "start_time": 1_700_000_000_000 + number}
    return client.ask("POST", f"{API}/runs/create", body)["run"]["info"]["run_id"]


def batch(run: str, metrics: int, step: int, params: int = 0) -> dict:
    return {
        "run_id": run,
        "metrics": [{"key": f"m{n}", "value": n / 7, "timestamp": step, "step": step} for n in range(metrics)],
        "params": [{"key": f"p{n}", "value": f"value {n}"} for n in range(params)],
    }


def points(run: str, number: int) -> dict:
    """What a training loop sends: its curves, a hundred steps further."""
    steps = range(100 * number, 100 * number + 100)
    return {
        "run_id": run,
        "metrics": [
            {"key": f"curve{n}", "value": n / (step + 1), "timestamp": step, "step": step} for step in steps for n in range(10)
        ],
    }


def calls(targets, figures, given) -> None:
    for target in targets:
        client = target.client()
        experiment = client.ask("POST", CREATE_EXPERIMENT, {"name": "calls"})["experiment_id"]
        run, large = new_run(client, experiment, 0), new_run(client, experiment, 1)
        client.ask("POST", f"{API}/runs/log-batch", batch(run, 20, 0, params=10))
        metric = lambda n: request(  # noqa: E731
            "POST", f"{API}/runs/log-metric", {"run_id": run, "key": "loss", "value": n, "timestamp": n, "step": n}
        )
        create = lambda n: request(  # noqa: E731
            "POST", f"{API}/runs/create", {"experiment_id": experiment, "run_name": f"r{n}", "start_time": n}
        )
        get = request("GET", f"{API}/runs/get?run_id={run}")
        # Written beforehand: to write them takes the client longer than tapline takes to keep them.
        thousand = [request("POST", f"{API}/runs/log-batch", batch(large, 1000, n)) for n in range(1, given.batches)]
        curves = [request("POST", f"{API}/runs/log-batch", points(large, n)) for n in range(1, given.batches)]
        numbers, refusals = itertools.count(1), 0
        for connections in (1, 16):
            at_once = "one at a time" if connections == 1 else f"{connections} at once"
            for name, make in (
                ("log-metric", metric), ("create-run", create), ("get-run", lambda n: get),
                ("log-batch of 1,000 metrics", lambda n: thousand[n % len(thousand)]),
                ("log-batch of 10 metrics, 100 steps each", lambda n: curves[n % len(curves)]),
            ):  # fmt: skip
                if name.startswith("log-batch") and connections > 1:
                    continue
                rates, refused = [], 0
                for _ in range(given.rounds):
                    rate, failed = waves(target.address, connections, given.seconds, lambda _: make(next(numbers)))
                    rates.append(rate)
                    refused += failed
                figures.add(f"{name}, {at_once}", "calls/s", target.name, rates)
                if refused:
                    print(f"  {target.name:8} {refused} answers of {name}, {at_once}, were not 200", flush=True)
                refusals += refused
        figures.add("single calls: refused", "answers", target.name, [refusals])
        figures.add("single calls: memory", "MB", target.name, [target.memory()])


def client(targets, figures, given) -> None:
    """Through the Python client, which takes its time itself."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    for target in targets:
        one = MlflowClient(target.url)
        experiment = one.create_experiment("client")
        run = one.create_run(experiment).info.run_id
        numbers = itertools.count(1)
        for name, work, times in (
            ("create_run", lambda: one.create_run(experiment), 20),
            ("log_metric", lambda: one.log_metric(run, "loss", 0.5, step=next(numbers), synchronous=True), 50),
            ("get_run", lambda: one.get_run(run), 50),
            (
                "log_batch of 1,000",
                lambda: one.log_batch(run, [Metric(f"m{n}", n, next(numbers), 0) for n in range(1000)]),
                10,
            ),
        ):
            work()
            taken = []
            for _ in range(times):
                began = time.perf_counter()
                work()
                taken.append(1000 * (time.perf_counter() - began))
            figures.add(f"Python client: {name}", "ms", target.name, taken)


def writers(targets, figures, given) -> None:
    for target in targets:
        one = target.client()
        experiment = one.ask("POST", CREATE_EXPERIMENT, {"name": "writers"})["experiment_id"]
        runs = [new_run(one, experiment, number) for number in range(64)]

        def writer(run: str) -> tuple[int, int]:
            connection = Connection(target.address)
            done = failed = 0
            end = time.perf_counter() + given.seconds * 2
            while time.perf_counter() < end:
                body = {"run_id": run, "key": "loss", "value": done, "timestamp": done, "step": done}
                connection.send(request("POST", f"{API}/runs/log-metric", body))
                status, _ = connection.receive()
                done += 1
                failed += status != 200
            return done, failed

        began = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            counted = list(pool.map(writer, runs))
        taken = time.perf_counter() - began
        answered = sum(done - failed for done, failed in counted)
        figures.add("64 parallel writers: log-metric", "calls/s", target.name, [answered / taken])
        figures.add("64 parallel writers: refused", "answers", target.name, [sum(n for _, n in counted)])
        figures.add("64 parallel writers: memory", "MB", target.name, [target.memory()])


def search(targets, figures, given) -> None:
    for count in given.runs:
        for target in targets:
            experiment, _ = target.insert(count, 0)
            one = target.client()
            for name, wanted in (
                ("metric filter and order", {"filter": "metrics.accuracy > 0.5", "order_by": ["metrics.accuracy DESC"]}),
                (
                    "metric, param and tag filter and order",
                    {
                        "filter": "metrics.accuracy > 0.5 and params.model = 'model-3' and tags.team = 'red'",
                        "order_by": ["metrics.cost ASC"],
                    },
                ),
                ("newest first", {}),
            ):
                body = {"experiment_ids": [experiment], "max_results": 100, **wanted}
                taken = []
                for _ in range(given.rounds + 2):
                    began = time.perf_counter()
                    found = one.ask("POST", f"{API}/runs/search", body)["runs"]
                    taken.append(1000 * (time.perf_counter() - began))
                    if sum(taken) > ENOUGH:
                        break
                assert found and len(found) <= 100, len(found)
                # The first one warms up, unless it was the only one.
                figures.add(f"search {count:,} runs: {name}", "ms", target.name, taken[1:] or taken)
            figures.add(f"search {count:,} runs: memory", "MB", target.name, [target.memory()])


def history(targets, figures, given) -> None:
    points = given.points
    for target in targets:
        _, run = target.insert(1, points)
        one = target.client()
        whole, first = [], []
        for _ in range(3):
            token, seen = "", 0
            began = time.perf_counter()
            while True:
                page = one.ask(
                    "GET", f"{API}/metrics/get-history?run_id={run}&metric_key=loss&max_results=25000&page_token={token}"
                )
                if not seen:
                    first.append(1000 * (time.perf_counter() - began))
                seen += len(page["metrics"])
                token = page.get("next_page_token", "")
                if not token:
                    break
            whole.append(time.perf_counter() - began)
            assert seen == points, seen
            if 1000 * sum(whole) > ENOUGH:
                break
        figures.add(f"history of {points:,} points: first page of 25,000", "ms", target.name, first)
        figures.add(f"history of {points:,} points: all pages", "s", target.name, whole)
        figures.add(f"history of {points:,} points: memory", "MB", target.name, [target.memory()])


def artifacts(targets, figures, given) -> None:
    content = os.urandom(1 << 20) * given.megabytes
    for target in targets:
        one = target.client()
        experiment = one.ask("POST", CREATE_EXPERIMENT, {"name": "artifacts"})["experiment_id"]
        run = new_run(one, experiment, 0)
        path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/large.bin"
        up, down, memory = [], [], []
        for _ in range(given.rounds):
            began = time.perf_counter()
            one.ask("PUT", path, content, "application/octet-stream")
            up.append(given.megabytes / (time.perf_counter() - began))
            memory.append(target.memory())
            began = time.perf_counter()
            connection = Connection(target.address)
            connection.send(request("GET", path))
            size = drained(connection)
            down.append(given.megabytes / (time.perf_counter() - began))
            connection.close()
            memory.append(target.memory())
            assert size == len(content), size
        figures.add(f"artifact of {given.megabytes} MB: upload", "MB/s", target.name, up)
        figures.add(f"artifact of {given.megabytes} MB: download", "MB/s", target.name, down)
        figures.add(f"artifact of {given.megabytes} MB: memory", "MB", target.name, memory)


def drained(connection: Connection) -> int:
    """The size of an answer's body, thrown away as it comes."""
    buffer = b""
    while (end := buffer.find(b"\r\n\r\n")) < 0:
        buffer += connection.socket.recv(1 << 16)
    head = buffer[:end].lower()
    length = int(head[head.find(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
    size = len(buffer) - end - 4
    room = bytearray(1 << 20)
    while size < length:
        got = connection.socket.recv_into(room)
        if not got:
            break
        size += got
    return size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlflow", help="the genuine server's command; without it tapline is measured alone")
    parser.add_argument("--tapline", default="target/release/tapline")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round of calls")
    parser.add_argument("--runs", type=lambda text: [int(word) for word in text.split(",")], default=[10_000, 100_000])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--batches", type=int, default=500, help="how many different ones are sent")
    parser.add_argument("--disk-runs", type=int, default=500)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--page", type=pathlib.Path, help="a page to write the figures into, between its marks")
    given = parser.parse_args()

    # Without this a time-out from outside would leave servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    figures = Figures(given.json)
    print(figures.machine, flush=True)
    began = time.perf_counter()
    for part in filter(None, given.only.split(",")):
        if part not in PARTS:
            parser.error(f"--only: expected some of {', '.join(PARTS)}, found {part}")
        print(part, flush=True)
        targets = [Tapline(str(pathlib.Path(given.tapline).resolve()))]
        if given.mlflow:
            targets.insert(0, Genuine(given.mlflow))
        try:
            # One at a time: two servers on the same cores would measure each other.
            for target in targets:
                target.start()
                globals()[part]([target], figures, given)
                target.remove()
        finally:
            for target in targets:
                target.remove()
        if given.json:
            figures.save(given.json)
    if given.page:
        figures.write(given.page)
    print(f"\n{figures.table()}\n\n{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
