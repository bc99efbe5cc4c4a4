"""Shows tapline's spans in a real viewer: starts the viewer, a model and tapline on loopback, runs an
application with spans of its own through tapline, and asks the viewer what it has.

Checked: each span of tapline is the child of the application's span that was open around the call, with the
attributes that the viewer needs; and calls made while the viewer is down are in it once it is back.

    viewer.py jaeger  --viewer /path/to/jaeger  --tapline target/debug/tapline
    viewer.py phoenix --viewer /path/to/phoenix --tapline target/debug/tapline [--protocol grpc]

Run it by jaeger.sh or phoenix.sh, which see to the viewer.
"""

import argparse
import base64
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import model

HERE = pathlib.Path(__file__).parent
PATIENCE = 90.0
CALLS = 4


def free_ports(count):
    """So many different ports: all are held before the first is given back."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def get(url):
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def until(what, look):
    """Calls `look` until it returns something; `look` may fail meanwhile."""
    deadline, last = time.monotonic() + PATIENCE, None
    while time.monotonic() < deadline:
        try:
            found = look()
            if found:
                return found
        except (OSError, urllib.error.URLError, json.JSONDecodeError, KeyError) as error:
            last = error
        time.sleep(0.25)
    raise AssertionError(f"never: {what} ({last!r})")


class Process:
    """A program on loopback, its output in a file that is shown when something fails."""

    def __init__(self, name, command, environment, folder):
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=log, stderr=log, cwd=folder
            )

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Jaeger:
    """Jaeger 2, all in one, in memory."""

    conventions = "genai"

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.http, self.grpc, self.query, other = free_ports(4)
        self.started = time.time()
        self.config = folder / "jaeger.yaml"
        self.config.write_text(f"""
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], processors: [], exporters: [jaeger_storage_exporter]}}
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
extensions:
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "127.0.0.1:{self.query}"}}
    grpc: {{endpoint: "127.0.0.1:{other}"}}
  jaeger_storage:
    backends: {{memory: {{memory: {{max_traces: 1000}}}}}}
receivers:
  otlp:
    protocols:
      http: {{endpoint: "127.0.0.1:{self.http}"}}
      grpc: {{endpoint: "127.0.0.1:{self.grpc}"}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
""")

    def start(self):
        # Jaeger traces itself unless told otherwise.
        quiet = {"OTEL_TRACES_SAMPLER": "always_off"}
        self.process = Process("jaeger", [self.binary, "--config", str(self.config)], quiet, self.folder)
        until("Jaeger answers", lambda: get(f"http://127.0.0.1:{self.query}/api/v3/services") is not None)

    def spans(self, service=None, trace=None):
        """Spans as `{id, parent, name, kind, error, attributes}`."""
        base = f"http://127.0.0.1:{self.query}/api/v3/traces"
        if trace:
            answer = get(f"{base}/{trace}")
        else:
            stamp = lambda at: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
            answer = get(base + "?" + urllib.parse.urlencode({
                "query.service_name": service,
                "query.start_time_min": stamp(self.started - 60),
                "query.start_time_max": stamp(time.time() + 60),
                "query.num_traces": 100,
            }))
        found = []
        for resource in answer["result"]["resourceSpans"]:
            who = attributes(resource["resource"]["attributes"])
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    found.append({
                        "id": identifier(span["spanId"]),
                        "parent": identifier(span.get("parentSpanId", "")),
                        "name": span["name"],
                        "service": who["service.name"],
                        "error": span.get("status", {}).get("code") in (2, "STATUS_CODE_ERROR"),
                        "attributes": attributes(span.get("attributes", [])),
                    })
        return found


class Phoenix:
    """Arize Phoenix, its database in a folder of its own."""

    conventions = "openinference"

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.http, self.grpc = free_ports(2)

    def start(self):
        data = self.folder / "phoenix"
        data.mkdir(exist_ok=True)
        self.process = Process("phoenix", [self.binary, "serve"], {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self.http),
            "PHOENIX_GRPC_PORT": str(self.grpc),
            "PHOENIX_WORKING_DIR": str(data),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }, self.folder)
        until("Phoenix answers", lambda: get(f"http://127.0.0.1:{self.http}/v1/projects"))

    def spans(self, service=None, trace=None):
        query = urllib.parse.urlencode({"limit": 1000, **({"trace_id": trace} if trace else {})})
        answer = get(f"http://127.0.0.1:{self.http}/v1/projects/default/spans?{query}")
        found = []
        for span in answer["data"]:
            all = flat(span["attributes"])
            found.append({
                "id": span["context"]["span_id"],
                "parent": span["parent_id"] or "",
                "name": span["name"],
                "kind": span["span_kind"],
                # Phoenix keeps no resource: tapline's spans tell by their own attributes.
                "service": "tapline" if "tapline.call.id" in all else "weather-agent",
                "error": span["status_code"] == "ERROR",
                "attributes": all,
            })
        return [span for span in found if service in (None, span["service"])]


def identifier(text):
    """Hex, from hex or base64 (versions of Jaeger differ)."""
    if len(text) in (0, 16, 32):
        return text
    return base64.b64decode(text).hex()


def attributes(pairs):
    return {pair["key"]: value(pair["value"]) for pair in pairs}


def value(any_value):
    (kind, content), = any_value.items()
    if kind == "arrayValue":
        return [value(one) for one in content.get("values", [])]
    return int(content) if kind == "intValue" else content


def flat(tree, prefix=""):
    """Nested attributes by their dotted names."""
    if not isinstance(tree, dict):
        return {prefix[:-1]: tree}
    found = {}
    for key, branch in tree.items():
        found.update(flat(branch, f"{prefix}{key}."))
    return found


def check(viewer, told):
    """The tree is right and the attributes are there."""
    def whole():
        spans = viewer.spans(trace=told["trace"])
        ours = [span for span in spans if span["service"] == "tapline"]
        return spans if len(ours) >= CALLS and len(spans) >= CALLS + 3 else None

    spans = until(f"{CALLS} spans of tapline among the application's", whole)
    by_id = {span["id"]: span for span in spans}
    ours = [span for span in spans if span["service"] == "tapline"]
    assert len(ours) == CALLS, [span["name"] for span in ours]
    assert sorted(span["parent"] for span in ours) == sorted(told["around"]), (ours, told)
    for span in ours:
        parent = by_id[span["parent"]]
        assert parent["service"] == "weather-agent", parent
    roots = [span for span in spans if not span["parent"]]
    assert [span["name"] for span in roots] == ["agent"], roots
    for span in spans:
        assert not span["parent"] or span["parent"] in by_id, f"{span['name']} hangs in the air"

    good = [span for span in ours if not span["error"]]
    assert len(good) == CALLS - 1 and all(span["name"] == "chat gpt-4o-mini" for span in good), ours
    for span in good:
        has = span["attributes"]
        for name, expected in {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 120,
            "gen_ai.usage.output_tokens": 12,
            "gen_ai.usage.cache_read.input_tokens": 64,
            "gen_ai.conversation.id": "viewer-check",
            "tapline.usage.source": "reported",
        }.items():
            assert has.get(name) == expected, (name, has.get(name), expected)
        assert json.loads(has["gen_ai.output.messages"])[0]["role"] == "assistant"
        if viewer.conventions == "openinference":
            assert span["kind"] == "LLM", span["kind"]
            assert has["llm.token_count.prompt"] == 120 and has["llm.model_name"] == "gpt-4o-mini"
    (bad,) = [span for span in ours if span["error"]]
    assert bad["name"] == "chat broken", bad
    assert bad["attributes"]["error.type"] == "rate_limit_exceeded", bad["attributes"]
    assert bad["attributes"]["http.response.status_code"] == 429
    show(spans)


def show(spans, parent="", depth=0):
    for span in spans:
        if span["parent"] == parent:
            print(f"  {'   ' * depth}{span['name']}  [{span['service']}]{'  ERROR' if span['error'] else ''}")
            show(spans, span["id"], depth + 1)


def ask(tapline, number):
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"while down {number}"}]})
    request = urllib.request.Request(
        f"{tapline}/chat/completions", body.encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        response.read()


def outage(viewer, tapline):
    """What is called while the viewer is down arrives when it is back."""
    viewer.process.stop()
    began = time.monotonic()
    for number in range(5):
        ask(tapline, number)
    took = time.monotonic() - began
    viewer.start()

    def all_of_them():
        texts = [span["attributes"].get("gen_ai.input.messages", "") for span in viewer.spans(service="tapline")]
        missing = [n for n in range(5) if sum(f"while down {n}" in text for text in texts) != 1]
        return not missing

    until("the calls made during the outage", all_of_them)
    print(f"  5 calls made while it was down (in {took * 1000:.0f} ms) arrived after it came back, once each")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("which", choices=["jaeger", "phoenix"])
    arguments.add_argument("--viewer", required=True)
    arguments.add_argument("--tapline", required=True)
    arguments.add_argument("--protocol", choices=["http/protobuf", "grpc"], default="http/protobuf")
    arguments = arguments.parse_args()
    started = []
    with tempfile.TemporaryDirectory(prefix="tapline-viewer-") as folder:
        folder = pathlib.Path(folder)
        kind = {"jaeger": Jaeger, "phoenix": Phoenix}[arguments.which]
        viewer = kind(str(pathlib.Path(arguments.viewer).absolute()), folder)
        try:
            viewer.start()
            (port,) = free_ports(1)
            collector = viewer.grpc if arguments.protocol == "grpc" else viewer.http
            tapline = Process("tapline", [str(pathlib.Path(arguments.tapline).absolute()), "serve"], {
                "TAPLINE_LISTEN": f"127.0.0.1:{port}",
                "TAPLINE_DATA": str(folder / "data"),
                "TAPLINE_UPSTREAM": model.serve(),
                "TAPLINE_EXPORT_ENDPOINT": f"http://127.0.0.1:{collector}",
                "TAPLINE_EXPORT_PROTOCOL": arguments.protocol,
                "TAPLINE_EXPORT_CONVENTIONS": viewer.conventions,
            }, folder)
            started.append(tapline)
            until("tapline answers", lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5))
            base = f"http://127.0.0.1:{port}/v1"
            told = json.loads(subprocess.run(
                [sys.executable, str(HERE / "traced_app.py"),
                 "--tapline", base, "--otlp", f"http://127.0.0.1:{viewer.http}/v1/traces"],
                check=True, stdout=subprocess.PIPE, timeout=120,
            ).stdout)
            print(f"{arguments.which}, {arguments.protocol}: trace {told['trace']}")
            check(viewer, told)
            outage(viewer, base)
        except BaseException:
            for log in sorted(folder.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
            raise
        finally:
            for process in [*started, getattr(viewer, "process", None)]:
                if process:
                    process.stop()
    print("ok")


if __name__ == "__main__":
    main()
