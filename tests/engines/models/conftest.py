"""A file server that can be told to misbehave, and a listener to progress."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class FileServer(ThreadingHTTPServer):
    """Serves `body` at every path. Each knob is a number of requests it is still good for, or a switch."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.etag = '"v1"'
        self.ranges = True
        self.drops = 0
        """Answers that end in the middle with a reset connection."""
        self.refusals: list[int] = []
        """Statuses that are answered first."""
        self.announce: int | None = None
        """A wrong Content-Length."""
        self.slowly_s = 0.0
        """Pause between pieces."""
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers of each request."""
        self.extra_headers: dict[str, str] = {}
        self.let_go = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is part of these tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_HEAD(self) -> None:
        self.server.seen.append(("HEAD", self.path, dict(self.headers)))
        self.send_response(302)
        for name, value in self.server.extra_headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        server = self.server
        server.seen.append(("GET", self.path, {k.lower(): v for k, v in self.headers.items()}))
        if server.refusals:
            self.send_response(server.refusals.pop(0))
            self.send_header("content-length", "0")
            self.end_headers()
            return
        body, start = server.body, self._start()
        if start >= len(body):
            self.send_response(416)
            self.send_header("content-range", f"bytes */{len(body)}")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("content-range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if server.etag:
            self.send_header("etag", server.etag)
        length = len(body) - start if server.announce is None else server.announce
        self.send_header("content-length", str(length))
        self.end_headers()
        rest = body[start:]
        if server.drops:
            server.drops -= 1
            self._send(rest[: max(1, len(rest) // 2)])
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self._send(rest)
        if server.announce is not None:
            self.close_connection = True

    def _start(self) -> int:
        """First byte asked for; 0 when the range is not honoured."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        condition = self.headers.get("if-range", self.server.etag)
        return int(match[1]) if match and self.server.ranges and condition == self.server.etag else 0

    def _send(self, data: bytes) -> None:
        for at in range(0, len(data), 16384):
            self.wfile.write(data[at : at + 16384])
            if self.server.slowly_s:
                self.server.let_go.wait(self.server.slowly_s)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Heard:
    """A Progress that notes what it is told."""

    def __init__(self) -> None:
        self.starts: list[tuple[int, int]] = []
        self.advanced = 0
        self.finished = 0
        self.messages: list[str] = []

    def start(self, total_bytes: int, resumed_bytes: int) -> None:
        self.starts.append((total_bytes, resumed_bytes))

    def advance(self, n: int) -> None:
        self.advanced += n

    def done(self) -> None:
        self.finished += 1

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def server() -> Iterator[FileServer]:
    body = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(32_768))  # 1 MiB
    server = FileServer(body)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.let_go.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def heard() -> Heard:
    return Heard()
