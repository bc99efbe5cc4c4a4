"""Starts `tapline simulate` and `tapline serve` on free ports, and reads what tapline recorded."""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Taken out of the environment: tapline refuses variables with its prefix that it does not know.
BINARY = pathlib.Path(os.environ.pop("TAPLINE_BIN", ROOT / "target" / "debug" / "tapline"))

# The simulator's prompt cache is apart per key, as a provider's is: with a key for each way, both ways see the
# same cached tokens.
DIRECT_KEY = "sk-direct-0123456789"
PROXIED_KEY = "sk-proxied-0123456789"

# Loopback must never go through a proxy that the environment names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PATIENCE = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve_command(port: int, data: str, upstream: str) -> list[str]:
    """tapline with one upstream; the simulator's models have prices whatever the upstream is called."""
    return [
        str(BINARY), "serve",
        "--listen", f"127.0.0.1:{port}",
        "--data", data,
        "--upstream", upstream,
    ]  # fmt: skip


class Tapline:
    """A running tapline, asked through its query API."""

    def __init__(self, url: str):
        self.url = url

    def get(self, path: str, **query):
        url = f"{self.url}/api/v1/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        with OPENER.open(url, timeout=PATIENCE) as response:
            return json.load(response)

    def calls(self, session: str) -> list[dict]:
        """Calls of a session, oldest first."""
        rows = self.get("calls", session=session, limit=1000)["calls"]
        return sorted(rows, key=lambda call: call["started_at"])

    def wait_for_calls(self, session: str, count: int) -> list[dict]:
        """Waits until that many calls have ended; more than that is returned as it is found."""
        deadline = time.monotonic() + PATIENCE
        while True:
            calls = self.calls(session)
            if len(calls) >= count or time.monotonic() > deadline:
                return calls
            time.sleep(0.05)


def _wait_until_ready(process: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"tapline serve ended with {process.returncode} before it was ready")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with OPENER.open(f"{url}/readyz", timeout=2):
                return
        time.sleep(0.05)
    raise RuntimeError(f"tapline serve was not ready after {PATIENCE} s")


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"{process.args} did not stop on SIGTERM") from None


@contextlib.contextmanager
def serving(data: str, *flags: str, upstream: str = "http://127.0.0.1:9/v1", **environment: str):
    """A tapline of its own, with flags: its Tapline and its process."""
    port = free_port()
    process = subprocess.Popen(
        [*serve_command(port, data, upstream), *flags], stdout=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url)
        yield Tapline(url), process
    finally:
        _stop(process)


@contextlib.contextmanager
def running():
    """Yields the simulator's base URL and a Tapline in front of it."""
    if not BINARY.exists():
        raise RuntimeError(f"expected the binary at {BINARY}; run `cargo build` or set TAPLINE_BIN")
    with contextlib.ExitStack() as cleanup:
        simulator = subprocess.Popen(
            [
                str(BINARY), "simulate", "--listen", "127.0.0.1:0", "--latency", "2ms", "--chunk-interval", "1ms",
                "--seed", "7", "--key", DIRECT_KEY, "--key", PROXIED_KEY,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        cleanup.callback(_stop, simulator)
        line = simulator.stdout.readline()
        found = re.search(r"http://\S+/v1", line)
        if not found:
            raise RuntimeError(f"expected an address in the simulator's first line, found {line!r}")
        direct = found.group()

        data = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="tapline-clients-"))
        # The same server under names that say whose API it is, and one that is asked for usage.
        named = [f"--upstreams={name}={direct}" for name in ("openai", "anthropic", "cohere", "asking")]
        # Azure's paths begin at the root.
        named.append(f"--upstreams=azure={direct.removesuffix('/v1')}")
        asking = {"TAPLINE_UPSTREAMS_ASKING_PROVIDER": "openai", "TAPLINE_UPSTREAMS_ASKING_USAGE": "ask"}
        tapline, _ = cleanup.enter_context(serving(data, *named, upstream=direct, **asking))
        yield direct, tapline
