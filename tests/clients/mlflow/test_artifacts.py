"""Artifacts in a folder and in a bucket: the same programs, connections that break, and memory."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from conftest import Programs
from servers import OPENER, free_port, serving

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
# MB at the most, while files of hundreds go through; what a development build needs idle is in it.
MEMORY = 120


@contextlib.contextmanager
def bucket():
    """An S3 of its own with one bucket; the variables by which tapline reaches it."""
    port = free_port()
    moto = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                made = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                made.request("PUT", "/bucket")
                assert made.getresponse().status == 200
                break
            assert time.monotonic() < deadline and moto.poll() is None, "moto did not start"
            time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
    finally:
        moto.kill()
        moto.wait()


@pytest.fixture(scope="module", params=["folder", "bucket"])
def kept(request, tmp_path_factory):
    """A tapline that keeps artifacts here or there."""
    data = tmp_path_factory.mktemp(request.param)
    with contextlib.ExitStack() as cleanup:
        flags, environment = [], {}
        if request.param == "bucket":
            environment = cleanup.enter_context(bucket())
            flags = ["--artifacts-location", "s3://bucket/some/prefix"]
        tapline, process = cleanup.enter_context(serving(str(data), *flags, **environment))
        programs = Programs(tapline, tmp_path_factory.mktemp("programs"))
        programs.data, programs.process, programs.where = data, process, request.param
        yield programs


def test_every_kind_of_file(kept):
    kept.python("figures.py")


def test_a_large_file_in_parts(kept):
    """Upload in parts and download by ranges, as the client does when it is told to."""
    kept.python(
        "large_file.py", "64",
        MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD="true", MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD="true",
        MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE="5242880",
    )  # fmt: skip


def test_memory_stays_flat(kept):
    kept.python("large_file.py", "200")
    status = pathlib.Path(f"/proc/{kept.process.pid}/status")
    if not status.exists():
        pytest.skip("there is no /proc to read the memory from")
    (peak,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    # 16 MB of pieces are on their way to a bucket at once.
    assert int(peak.split()[1]) < MEMORY * 1024, peak


def test_a_broken_upload_leaves_nothing(kept):
    address = kept.tapline.url.removeprefix("http://").split(":")
    path = f"{ARTIFACTS}/broken/a/b.bin"
    with socket.create_connection((address[0], int(address[1]))) as connection:
        head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 30000000\r\n\r\n"
        connection.sendall(head.encode() + os.urandom(20_000_000))
    # The server notices the end by itself; this is what there is to wait for.
    incoming = kept.data / "artifacts" / ".tapline-incoming"
    deadline = time.monotonic() + 20
    while kept.where == "folder" and any(incoming.iterdir()):
        assert time.monotonic() < deadline, list(incoming.iterdir())
        time.sleep(0.02)
    with OPENER.open(f"{kept.tapline.url}{ARTIFACTS}?path=broken", timeout=20) as response:
        assert json.load(response) == {}


def test_two_writers_of_one_file_leave_one_of_theirs(kept):
    """Whoever wins, no reader sees a mixture."""
    contents = [bytes([number]) * 3_000_000 for number in range(6)]

    def put(content: bytes) -> None:
        request = urllib.request.Request(f"{kept.tapline.url}{ARTIFACTS}/race/x", data=content, method="PUT")
        OPENER.open(request, timeout=60).close()

    def get() -> bytes:
        try:
            with OPENER.open(f"{kept.tapline.url}{ARTIFACTS}/race/x", timeout=60) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            assert error.code == 404
            return contents[0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(put, content) for content in contents]
        readers = [pool.submit(get) for _ in range(6)]
        for writer in writers:
            writer.result()
        assert all(reader.result() in contents for reader in readers)
    assert get() in contents
