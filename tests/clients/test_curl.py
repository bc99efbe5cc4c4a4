"""curl: the bytes and header lines as they come."""

import json
import subprocess

import pytest
from conftest import Way, stable_headers


def curl(way: Way, path: str, body, *extra: str, code: int = 0):
    """Status line, header lines and body bytes of one request."""
    arguments = ["-X", "GET"] if body is None else ["--data-binary", "@-", "-H", "content-type: application/json"]
    done = subprocess.run(
        [
            "curl", "--silent", "--include", "--no-buffer", "--noproxy", "*", "--max-time", "30", *arguments,
            "-H", f"authorization: Bearer {way.key}", "-H", f"x-tapline-session: {way.session}", *extra,
            f"{way.base_url}/{path}",
        ],
        input=body,
        capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return status, stable_headers(tuple(line.split(": ", 1)) for line in lines), content


def ask(**extra) -> bytes:
    # Odd white space, a doubled key and an escape: what goes up must be these very bytes.
    body = json.dumps({"model": "sim-small", "messages": [{"role": "user", "content": "What is an index? \u00e9"}]} | extra)
    return body.replace('"model"', ' "model" ', 1).encode()


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_bytes_both_ways(ways, streamed):
    sent = ask(stream=streamed)
    status, headers, received = ways.same(lambda way: curl(way, "chat/completions", sent))
    assert status == "HTTP/1.1 200 OK"
    assert not [name for name, _ in headers if name.startswith("x-tapline")]
    (call,) = ways.recorded({"status": "ok", "sent_bytes": len(sent), "received_bytes": len(received)})
    for side, expected in (("request", sent), ("response", received)):
        kept = ways.tapline.url + f"/api/v1/calls/{call['id']}/{side}"
        assert subprocess.run(["curl", "--silent", "--noproxy", "*", kept], capture_output=True).stdout == expected


def test_a_body_without_a_length(ways):
    status, _, content = ways.same(lambda way: curl(way, "chat/completions", ask(), "-H", "transfer-encoding: chunked"))
    assert status == "HTTP/1.1 200 OK" and content
    ways.recorded({"status": "ok", "sent_bytes": len(ask())})


def test_what_is_not_json_is_the_upstreams_to_refuse(ways):
    status, _, content = ways.same(lambda way: curl(way, "chat/completions", b"{not json"))
    assert status == "HTTP/1.1 400 Bad Request" and b"could not parse the JSON" in content
    ways.recorded({"status": "error", "http_status": 400, "sent_bytes": 9})


def test_a_path_that_nobody_knows_is_forwarded(ways):
    status, _, content = ways.same(lambda way: curl(way, "no/such/path?x=1", None))
    assert status == "HTTP/1.1 404 Not Found" and b"/v1/no/such/path" in content
    ways.recorded({"status": "error", "http_status": 404, "operation": "http"})


def test_a_plain_body_that_is_cut(ways):
    # 18: the transfer ended with less than was promised.
    script = ("-H", "x-simulate: cut_after=1")
    status, _, content = ways.same(lambda way: curl(way, "chat/completions", ask(), *script, code=18))
    assert status == "HTTP/1.1 200 OK" and content.startswith(b"{")
    ways.recorded({"status": "error", "outcome": "upstream_failed", "error_source": "upstream"})


def test_groups_by_path(ways):
    prefix = ways.proxied.base_url.removesuffix("/v1")
    scoped = Way("scoped", f"{prefix}/exp/by-path/run/first%20try/v1", ways.proxied.key, ways.session)
    status, _, _ = curl(scoped, "chat/completions", ask())
    assert status == "HTTP/1.1 200 OK"
    ways.recorded({"status": "ok", "experiment": "by-path", "run": "first try", "session": ways.session})
