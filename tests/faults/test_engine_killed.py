"""`kill -9` of an engine process with requests of every kind under way."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest

from penstock.core.record import Outcome
from tests.faults.upstream import Upstream
from tests.faults.world import CHAT, STREAM, gateway, until

pytestmark = pytest.mark.anyio


class Killable:
    """An engine that can be killed."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@pytest.fixture
async def engine() -> AsyncIterator[Killable]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.killable", cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    made = Killable(process, int(await process.stdout.readline()))
    yield made
    if process.returncode is None:
        await made.kill()


async def test_each_request_in_flight_ends_typed_and_once(engine: Killable) -> None:
    async with gateway(engine.url) as gate, gate.openai() as client, gate.http() as http:
        words: list[str | None] = []

        async def listen() -> None:
            async for part in await client.chat.completions.create(**STREAM):
                words.append(part.choices[0].delta.content)

        waiting = CHAT | {"user": "before"}
        running = [
            asyncio.ensure_future(listen()),
            asyncio.ensure_future(client.chat.completions.create(**waiting)),
            asyncio.ensure_future(http.post("/v1/chat/completions", json=CHAT)),
        ]
        await until(lambda: words and len(gate.app.running) == 3 and gate.app.fleet.in_flight == {"e0": 3})
        await until(lambda: sum(bool(relay.first_at) for relay in gate.app.running) == 2)
        await engine.kill()
        stream, unanswered, cut = await asyncio.gather(*running, return_exceptions=True)
        assert words == ["one"]
        assert isinstance(stream, openai.APIError)
        assert stream.code == "upstream_reset"
        assert isinstance(unanswered, openai.InternalServerError)
        assert (unanswered.status_code, unanswered.code) == (502, "upstream_reset")
        assert isinstance(cut, httpx.RemoteProtocolError)
        assert [r.outcome for r in await gate.records(3)] == [Outcome.UPSTREAM_FAILED] * 3


async def test_what_has_no_byte_yet_moves_to_another_engine(engine: Killable) -> None:
    async with Upstream() as other, gateway(engine.url, other) as gate, gate.http() as http:
        waiting = CHAT | {"user": "before"}
        running = [asyncio.ensure_future(http.post("/v1/chat/completions", json=waiting)) for _ in range(8)]
        await until(lambda: gate.app.fleet.in_flight.get("e0"))
        await until(lambda: other.calls)
        await engine.kill()
        assert [answer.status_code for answer in await asyncio.gather(*running)] == [200] * 8
        records = await gate.records(8)
        assert {r.outcome for r in records} == {Outcome.SUCCESS}
        assert any(len(r.attempts) > 1 for r in records)
