"""The same program, direct and through tapline: it must see the same, and tapline must have recorded it.

Each test gets a `ways` fixture: it runs a program once per way, compares what the program saw, and then what
tapline recorded of it.
"""

import dataclasses
import itertools
import os

import pytest
from servers import DIRECT_KEY, PROXIED_KEY, Tapline, running

for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(variable, None)

# What differs from one answer to the next, proxy or not.
VOLATILE = {"date", "x-request-id", "request-id", "openai-processing-ms"}
_serial = itertools.count()


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to the model."""

    name: str
    base_url: str
    key: str
    session: str

    @property
    def headers(self) -> dict[str, str]:
        return {"x-tapline-session": self.session}


def stable_headers(pairs) -> list[tuple[str, str]]:
    """Header lines in order, without what is new in every answer."""
    return [(name.lower(), value) for name, value in pairs if name.lower() not in VOLATILE]


def describe(error: BaseException) -> dict:
    """Everything that a program can tell about an exception."""
    seen = {"class": f"{type(error).__module__}.{type(error).__qualname__}", "message": str(error)}
    for name in ("status_code", "code", "param", "type", "body"):
        if hasattr(error, name):
            seen[name] = getattr(error, name)
    response = getattr(error, "response", None)
    if response is not None:
        seen["headers"] = stable_headers(response.headers.multi_items())
        seen["has_request_id"] = bool(getattr(error, "request_id", None))
    if error.__cause__ is not None:
        seen["cause"] = describe(error.__cause__)
    return seen


class Ways:
    def __init__(self, direct: str, tapline: Tapline, name: str):
        session = f"{name} {os.getpid()}.{next(_serial)}"
        self.tapline = tapline
        self.direct = Way("direct", direct, DIRECT_KEY, session)
        self.proxied = Way("proxied", f"{tapline.url}/v1", PROXIED_KEY, session)
        self.session = session

    def through(self, upstream: str) -> "Ways":
        """The proxied way goes to another upstream of tapline's, which is the same server."""
        self.proxied = dataclasses.replace(self.proxied, base_url=f"{self.tapline.url}/to/{upstream}/v1")
        return self

    def same(self, program):
        """Runs `program(way)` both ways; it sees the same, or fails the same. Returns what it saw."""
        direct, proxied = self._run(program, self.direct), self._run(program, self.proxied)
        assert proxied == direct
        return direct[1]

    @staticmethod
    def _run(program, way: Way):
        try:
            return "saw", program(way)
        except Exception as error:  # what a program meets is what is compared
            if type(error).__module__.startswith(("openai", "anthropic", "httpx", "httpcore")):
                return "raised", describe(error)
            raise

    def recorded(self, *expected: dict) -> list[dict]:
        """Exactly these calls were recorded, in this order; each has (at least) these fields."""
        calls = self.tapline.wait_for_calls(self.session, len(expected))
        assert len(calls) == len(expected), [(call["name"], call["status"]) for call in calls]
        for call, wanted in zip(calls, expected):
            wanted = dict(wanted)
            usage = wanted.pop("usage", None)
            found = {name: call[name] for name in wanted}
            assert found == wanted
            if usage is not None:
                assert {name: call["usage"].get(name) for name in usage} == usage
            if call["status"] == "ok" and call["operation"] != "http" and "cost_nano_usd" not in wanted:
                assert call["cost_nano_usd"] is not None, "an answered call of a priced model has a cost"
                assert call["price_id"] and call["price_id"] != "reported", call
        return calls


@pytest.fixture(scope="session")
def servers():
    with running() as both:
        yield both


@pytest.fixture
def ways(servers, request) -> Ways:
    direct, tapline = servers
    return Ways(direct, tapline, request.node.name)
