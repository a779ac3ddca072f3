"""A server on a thread of its own, for commands that run a loop themselves."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.bench.measure import health
from tests.bench.client import server as s


class Thread:
    """`script` may be changed while it runs."""

    def __init__(self) -> None:
        self.script: s.Script = s.three_words
        self.models = ["tiny"]
        self.server = s.Server(self._answer)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def sent(self) -> list[s.Asked]:
        """Chats, as they came."""
        return [each for each in self.server.asked if each.body.get("messages")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def _answer(self, asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        path = asked.head.split(b" ", 2)[1]
        if path == b"/v1/models":
            writer.write(s.whole({"data": [{"id": name} for name in self.models]}))
        elif path == b"/tokenize":
            writer.write(s.whole({"tokens": asked.body["prompt"].split()}))
        elif path == b"/version":
            writer.write(s.whole({"version": "1.2.3"}))
        else:
            await self.script(asked, writer)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.server.__aenter__())
        self._ready.set()
        self._loop.run_forever()

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        def end() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_soon(self._loop.stop)

        self._loop.call_soon_threadsafe(end)
        self._thread.join(10)
        self._loop.run_until_complete(self.server.__aexit__())
        self._loop.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that run tests are busy, and the client's processes wait for them. What makes a run invalid has tests of
    its own."""
    monkeypatch.setattr(health, "MOST_LAG_S", 5.0)
    monkeypatch.setattr(health, "LEAST_RATE", 0.0)
    monkeypatch.setattr(health, "MOST_CORE", 100.0)


@pytest.fixture
def contract(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file of a module's CONTRACT."""
    path = tmp_path / "contract.yaml"
    path.write_text(request.module.CONTRACT)
    return path


@pytest.fixture
def backend() -> Iterator[Thread]:
    made = Thread()
    made.start()
    yield made
    made.stop()
