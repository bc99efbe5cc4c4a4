"""Scenarios of the MLflow protocol, against tapline or against a genuine `mlflow server`.

    run.py                         all scenarios against tapline (starts target/debug/tapline, or TAPLINE_BIN)
    run.py 03 search               those whose file name has one of the words
    run.py --url http://…:5000     against a server that runs
    run.py --record --mlflow mlflow    starts a genuine server and writes what it answers into the files

A scenario is one file: steps, each a request and what a genuine server answered. What differs from one run to
the next (ids, times, random names, page tokens) is masked on both sides. README.md tells the format.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid

import yaml

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "clients"))
from given import GIVEN  # noqa: E402
from servers import BINARY, free_port  # noqa: E402
from writing import written  # noqa: E402

PREFIX = "/api/2.0/mlflow/"
PATIENCE = 60.0
LONG_X = re.compile(r"x{40,}")
HEX32 = re.compile(r"[0-9a-f]{32}")
RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")
# Of evaluation datasets; it depends on their ids.
DIGEST = re.compile(r"[0-9a-f]{8}")
SQL = re.compile(r"\(sqlite3\.|\[SQL: ")
# tapline says where in a filter it is wrong, and how to put it right.
WHERE = re.compile(r"(; quote such a name: .*)? \(at character \d+\)$")
BRACES = re.compile(r"\{('[^{}]*')\}")
# Later than every time that a scenario names itself.
REAL_TIME = 1_600_000_000_000
class Server:
    """One connection to a server; paths go out as they are written, dots and all."""

    def __init__(self, url: str):
        self.address = urllib.parse.urlsplit(url)
        self.connection = None

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]):
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(
                    self.address.hostname, self.address.port, timeout=PATIENCE
                )
            try:
                self.connection.request(method, path, body, headers)
                response = self.connection.getresponse()
                return response.status, response.headers, response.read()
            except (http.client.HTTPException, ConnectionError):
                self.connection.close()
                self.connection = None
                if attempt == 2:
                    raise


def filled(value, names: dict[str, str]):
    """A value of a scenario with `${name}`, `$repeat` and `$long` written out."""
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda found: str(names[found[1]]), value)
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    if isinstance(value, dict):
        if "$long" in value:
            return "x" * value["$long"]
        if "$repeat" in value:
            return [filled(value["of"], {**names, "i": str(i)}) for i in range(value["$repeat"])]
        return {filled(key, names): filled(item, names) for key, item in value.items()}
    return value


def at(body, path: str):
    for part in path.split("."):
        body = body[int(part)] if isinstance(body, list) else body[part]
    return body


def picked(body, path: str):
    """The values at a path; through lists it leads to every item."""
    for at_, part in enumerate(path.split(".")):
        if isinstance(body, list):
            rest = ".".join(path.split(".")[at_:])
            return [picked(item, rest) for item in body]
        body = body.get(part) if isinstance(body, dict) else None
    return body


class Mask:
    """Replaces what is new each time by what it is."""

    def __init__(self, names: dict[str, str]):
        self.names = names

    def text(self, text: str) -> str:
        for name, value in self.names.items():
            if len(value) >= 8:
                text = text.replace(value, f"<{name}>")
                text = text.replace(urllib.parse.quote(value), f"<{name}>")
            elif value.isdigit():
                text = re.sub(rf"(?<==|/|'|\")(?:{value})(?=$|[/'\"\s.,])", f"<{name}>", text)
                text = re.sub(rf"(?i)\b(id|experiment) {value}\b", rf"\1 <{name}>", text)
        text = HEX32.sub("<hex>", text)
        text = BRACES.sub(lambda found: "{" + ", ".join(sorted(found[1].split(", "))) + "}", text)
        text = WHERE.sub("", text)
        return LONG_X.sub(lambda found: f"<{len(found[0])} x>", text)

    def body(self, value, key: str = "", parent: str = ""):
        if isinstance(value, dict):
            masked = {self.text(name): self.body(item, name, key) for name, item in value.items()}
            if "error_code" in masked:
                return {name: masked[name] for name in ("error_code", "message") if name in masked}
            return masked
        if isinstance(value, list):
            items = [self.body(item, key, parent) for item in value]
            # The order of these has no meaning, and the genuine server has none.
            if key in ("tags", "params") or (key == "metrics" and parent == "data"):
                items.sort(key=lambda item: json.dumps(item, sort_keys=True))
            return items
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int) and value >= REAL_TIME:
            return "<now>"
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        if isinstance(value, str):
            if key == "digest" and DIGEST.fullmatch(value):
                return "<digest>"
            if key == "message" and SQL.search(value):
                return "<SQL>"
            if key.endswith("page_token"):
                return "<token>"
            for name, known in self.names.items():
                # An experiment's id is a small number, as other values are.
                if value == known and (len(value) >= 8 or key in ("experiment_id", "experiment_ids", "path")):
                    return f"<{name}>"
            if key in ("run_name", "value", "name") and RANDOM_NAME.fullmatch(value):
                return "<random name>"
            if key in ("records", "schema", "profile", "tags") and value[:1] in "[{" and value[:1]:
                with contextlib.suppress(ValueError):
                    return {"$json": self.body(json.loads(value), key)}
            return self.text(value)
        return value


def asked(server: Server, step: dict, names: dict[str, str]):
    """Sends one request; gives what came, and what of it may be captured."""
    method, path = step["call"].split(" ", 1)
    if path.startswith("~"):
        path = "/api/2.0/mlflow-artifacts/artifacts/${exp}/${run}/artifacts" + path[1:]
    path = filled(path, names)
    if not path.startswith("/"):
        path = PREFIX + path
    headers = dict(filled(step.get("headers", {}), names))
    if "query" in step:
        path += "?" + urllib.parse.urlencode(filled(step["query"], names), doseq=True)
    body = None
    if "json" in step:
        body = json.dumps(filled(step["json"], names)).encode()
        headers.setdefault("Content-Type", "application/json")
    elif "body" in step:
        body = filled(step["body"], names).encode()
    # MLflow's times are milliseconds: what comes later must not share one with what came before.
    time.sleep(0.002)
    return server.ask(method, path, body, headers)


def play(server: Server, scenario: dict) -> list[dict]:
    """What the server answered to each step, masked."""
    names = {"u": f"u{uuid.uuid4().hex[:12]}"}
    for method, path, body, capture in GIVEN.get(scenario.get("given"), []):
        status, _, text = asked(server, {"call": f"{method} {path}", "json": body}, names)
        if status != 200:
            raise RuntimeError(f"given {scenario['given']}: {path} answered {status}: {text[:300]!r}")
        for name, where in capture.items():
            names[name] = str(at(json.loads(text), where))
    answers = []
    for step in scenario["steps"]:
        status, headers, text = asked(server, step, names)
        is_json = "json" in (headers.get("Content-Type") or "")
        body = None
        if is_json and text:
            body = json.loads(text)
        for name, where in step.get("capture", {}).items():
            try:
                names[name] = str(at(body, where))
            except (KeyError, IndexError, TypeError):
                names[name] = "missing"
        for name, header in step.get("take", {}).items():
            names[name] = headers.get(header, "missing")
        mask = Mask(names)
        answer = {"status": status}
        if "pick" in step and status == 200 and isinstance(body, dict):
            answer["picked"] = mask.body(picked(body, step["pick"]), step["pick"].rpartition(".")[2])
            if body.get("next_page_token"):
                answer["more"] = True
        elif body is not None:
            answer["json"] = mask.body(body)
        elif is_json:
            answer["text"] = ""
        elif text[:15].lower() == b"<!doctype html>":
            answer["text"] = "<html>"
        elif not step.get("any_body"):
            answer["text"] = mask.text(text.decode(errors="replace"))
        if step.get("unordered"):
            answer = in_order(answer)
        if "see" in step:
            answer["headers"] = {
                name: mask.text(headers[name]) if name in headers else None for name in step["see"]
            }
        answers.append(answer)
    return answers


def in_order(value):
    """Every list sorted, for answers whose order the genuine server leaves open."""
    if isinstance(value, dict):
        return {key: in_order(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted(map(in_order, value), key=lambda item: json.dumps(item, sort_keys=True))
    return value


def differences(expected, found, where="") -> list[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        wrong = []
        for key in expected.keys() | found.keys():
            path = f"{where}.{key}" if where else key
            if key not in found:
                wrong.append(f"{path}: expected {expected[key]!r}, found nothing")
            elif key not in expected:
                wrong.append(f"{path}: expected nothing, found {found[key]!r}")
            else:
                wrong += differences(expected[key], found[key], path)
        return wrong
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [
            line
            for at_, (one, other) in enumerate(zip(expected, found))
            for line in differences(one, other, f"{where}[{at_}]")
        ]
    if expected != found or isinstance(expected, bool) != isinstance(found, bool):
        return [f"{where}: expected {expected!r}, found {found!r}"]
    return []


def own(step: dict, expected: dict, answer: dict) -> tuple[dict, dict]:
    """What tapline is to answer, and what of its answer is compared with that."""
    expected, answer = dict(expected), dict(answer)
    speaks_for_itself = expected.get("text") == "<html>" or expected.get("json", {}).get("message") == "<SQL>"
    if speaks_for_itself and "json" not in step.get("tapline", {}):
        # The genuine server's framework or database speaks; tapline tells its own error in MLflow's shape.
        expected = {"status": expected["status"]}
        if "error_code" in answer.get("json", {}) and answer["json"].get("message"):
            answer = {"status": answer["status"]}
    for key, value in step.get("tapline", {}).items():
        if key == "because":
            continue
        expected[key] = value
        if value is None:
            expected.pop(key)
            answer.pop(key, None)
        elif key == "json":
            expected.pop("text", None)
    return expected, answer


def compared(scenario: dict, answers: list[dict], genuine: bool) -> list[str]:
    wrong = []
    for number, (step, answer) in enumerate(zip(scenario["steps"], answers), 1):
        expected = step["expect"]
        if not genuine:
            expected, answer = own(step, expected, answer)
        wrong += [f"step {number} ({step['call']}): {line}" for line in differences(expected, answer)]
    return wrong


def wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode} before it was ready")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if Server(url).ask("GET", "/health", None, {})[0] == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]} was not ready after {PATIENCE} s")


@contextlib.contextmanager
def started(mlflow: str | None):
    """A fresh server on a free port: a genuine one, or tapline."""
    folder = tempfile.mkdtemp(prefix="tapline-scenarios-")
    port = free_port()
    if mlflow:
        command = [
            mlflow, "server", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination", f"{folder}/artifacts",
        ]  # fmt: skip
    else:
        command = [
            str(BINARY), "serve", "--listen", f"127.0.0.1:{port}", "--data", folder,
            "--upstream", "http://127.0.0.1:9/v1", "--log-level", "error",
        ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if mlflow else None, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url, process)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run files whose name has one of these")
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--genuine", action="store_true", help="the server at --url is MLflow's own")
    parser.add_argument("--record", action="store_true", help="write the answers of a genuine server")
    parser.add_argument("--mlflow", default="mlflow", help="its command, for --record and --genuine")
    parser.add_argument("--threads", type=int, default=4)
    given = parser.parse_args()

    files = sorted(HERE.glob("[0-9]*.yaml"))
    if given.words:
        files = [file for file in files if any(word in file.name for word in given.words)]
    scenarios = [(file, yaml.load(file.read_text(), yaml.CSafeLoader)) for file in files]
    if not given.record:
        bare = [file.name for file, scenario in scenarios if any("expect" not in step for step in scenario["steps"])]
        if bare:
            print(f"never recorded, run with --record: {', '.join(bare)}")
            return 2
    genuine = given.genuine or given.record
    began = time.monotonic()
    failed = 0
    with contextlib.nullcontext(given.url) if given.url else started(given.mlflow if genuine else None) as url:
        with concurrent.futures.ThreadPoolExecutor(given.threads) as pool:
            played = pool.map(lambda one: attempt(url, one[1]), scenarios)
            for (file, scenario), answers in zip(scenarios, played):
                if isinstance(answers, Exception):
                    wrong = [str(answers)]
                elif given.record:
                    for step, answer in zip(scenario["steps"], answers):
                        step.pop("expect", None)
                        tapline = step.pop("tapline", None)
                        step["expect"] = answer
                        if tapline:
                            step["tapline"] = tapline
                    file.write_text(written(scenario))
                    wrong = []
                else:
                    wrong = compared(scenario, answers, genuine)
                if wrong:
                    failed += 1
                    print(f"FAILED {file.name}: {scenario['what']}")
                    for line in wrong[:12]:
                        print(f"    {line[:1200]}")
    word = "recorded" if given.record else "passed"
    print(f"{len(scenarios) - failed} {word}, {failed} failed in {time.monotonic() - began:.1f} s")
    return 1 if failed else 0


def attempt(url: str, scenario: dict):
    try:
        return play(Server(url), scenario)
    except Exception as error:  # one scenario's trouble is told with its name, and the others go on
        return error


if __name__ == "__main__":
    sys.exit(main())
