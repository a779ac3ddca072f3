"""Runs the command line inside the test process, and a gateway that answers what a test tells it to."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import main


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line on stderr of a command that refused its input."""
        assert self.code == 2, (self.code, self.err)
        assert self.out == ""
        assert self.err.startswith("penstock: ")
        assert self.err.count("\n") == 1
        return self.err


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("explain", "--json")` in an empty folder, with an empty cache and no variables that matter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_CACHE", str(tmp_path / "cache"))
    for name in ("HOST", "PORT", "ADMIN_PORT", "PENSTOCK_URL", "PENSTOCK_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        shown = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, shown.out, shown.err)

    return call


@dataclass
class Gateway:
    """A gateway made of plain answers."""

    url: str
    events: list[bytes] = field(default_factory=list)
    """The body of the next chat completions, event by event."""
    status: int = 200
    body: bytes = b""
    """The answer when `status` is an error."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    reads: dict[str, bytes] = field(default_factory=dict)
    """Path -> what a GET of it answers, besides models and health."""

    def say(self, *pieces: str, usage: int | None = None) -> None:
        """Streams these pieces of text, then the usage."""
        deltas = [{"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
        last: list[dict[str, Any]] = [{"choices": [{"delta": {}, "finish_reason": "stop"}]}]
        if usage is not None:
            last.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": usage}})
        self.events = [f"data: {json.dumps(event)}\n\n".encode() for event in (*deltas, *last)] + [b"data: [DONE]\n\n"]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    answers = Gateway("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known: dict[str, Any] = {"/v1/models": {"data": [{"id": "tiny"}]}, "/healthz": {"status": "ok"}}
            if self.path in answers.reads:
                self._end(200, answers.reads[self.path])
                return
            self._end(200 if self.path in known else 404, json.dumps(known.get(self.path, {})).encode())

        def do_POST(self) -> None:
            answers.seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            answers.keys.append(self.headers.get("authorization"))
            if answers.status != 200:
                self._end(answers.status, answers.body)
                return
            self._end(200, b"".join(answers.events))

        def _end(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield answers
    server.shutdown()
    thread.join()
    server.server_close()
