"""A raw HTTP load: requests that were written beforehand, on connections that stay open. Waves of one request per
connection go out together, so that as many are under way as there are connections; what is counted is answers."""

import json
import socket
import statistics
import time


class Connection:
    def __init__(self, address: tuple[str, int]):
        self.address = address
        self.socket = socket.create_connection(address, timeout=600)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def send(self, request: bytes) -> None:
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes]:
        """Status and body of one answer; bodies have a length or come in chunks."""
        buffer = self.rest
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            buffer += self._more()
        head = buffer[:end].lower()
        body = buffer[end + 4 :]
        found = head.find(b"content-length:")
        if found < 0 and b"transfer-encoding: chunked" in head:
            return int(head[9:12]), self._chunks(body)
        length = int(head[found + 15 :].split(b"\r\n", 1)[0]) if found >= 0 else 0
        while len(body) < length:
            body += self._more()
        self.rest = body[length:]
        return int(head[9:12]), body[:length]

    def _chunks(self, buffer: bytes) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in buffer:
                buffer += self._more()
            size, buffer = buffer.split(b"\r\n", 1)
            size = int(size, 16)
            while len(buffer) < size + 2:
                buffer += self._more()
            body += buffer[:size]
            buffer = buffer[size + 2 :]
            if size == 0:
                self.rest = buffer
                return body

    def _more(self) -> bytes:
        more = self.socket.recv(1 << 18)
        if not more:
            raise ConnectionError("the server closed the connection in the middle of an answer")
        return more

    def close(self) -> None:
        self.socket.close()


def request(method: str, path: str, body=None, kind: str = "application/json") -> bytes:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
    if body is not None:
        head += f"Content-Type: {kind}\r\n"
    return head.encode() + b"\r\n" + content


class Client:
    """One connection for what must be asked one by one."""

    def __init__(self, address: tuple[str, int]):
        self.connection = Connection(address)

    def ask(self, method: str, path: str, body=None, kind: str = "application/json"):
        try:
            self.connection.send(request(method, path, body, kind))
            status, answer = self.connection.receive()
        except ConnectionError:
            # It was idle for longer than the server keeps connections.
            self.connection = Connection(self.connection.address)
            self.connection.send(request(method, path, body, kind))
            status, answer = self.connection.receive()
        if status != 200:
            raise RuntimeError(f"{method} {path} answered {status}: {answer[:300]!r}")
        return json.loads(answer) if answer[:1] in (b"{", b"[") else answer


def waves(address, connections: int, seconds: float, make) -> tuple[float, int]:
    """Answers of 200 per second, and how many others there were. `make(n)` is the n-th request."""
    pool = [Connection(address) for _ in range(connections)]
    number, refused = 0, 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for connection in pool:
            connection.send(make(number))
            number += 1
        for connection in pool:
            status, _ = connection.receive()
            refused += status != 200
    taken = time.perf_counter() - began
    for connection in pool:
        connection.close()
    return (number - refused) / taken, refused


def spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)
