"""Engines that are killed, paused, slowed down and filled while requests run, as a client sees it: not at all.

Bounds below are wall clock on a loaded machine; the figures themselves are printed (`pytest -s`).
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from penstock.config.routing import Resilience
from penstock.config.schema import Admin
from penstock.core.clock import monotonic
from penstock.core.record import Record
from penstock.gateway.lessons import Lessons
from penstock.policy.resilience.timeouts import Ceilings, Timeouts, TimeoutSettings
from tests.faults.fleet import Engine, fleet, reached, started
from tests.faults.world import Gateway, gateway, timeouts, until

pytestmark = pytest.mark.anyio

AT_ONCE = 8
ENGINES = 4
LEAST_LEARNED_S = 0.5
"""Floor of learned timeouts here: an engine that says nothing for so long is let go of."""
OUT_S = 4.0
"""Bound on: fault -> the engine gets no requests."""
BACK_S = 6.0
"""Bound on: fault over -> the engine answers requests again."""
AMPLIFICATION = 1.1


class Seen(msgspec.Struct):
    """One request, as its client saw it."""

    id: str
    status: int = 0
    said: str = ""
    """Content it got."""
    cut: bool = False
    """The answer broke off after its first byte."""

    @property
    def whole(self) -> bool:
        return self.status == 200 and not self.cut


class Load:
    """Clients that ask again and again, half of them for streams."""

    def __init__(self, gate: Gateway) -> None:
        self.gate = gate
        self.seen: list[Seen] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Asks while the body runs; leaves when every answer has come."""
        stop = asyncio.Event()
        async with self.gate.http(limits=httpx.Limits(max_connections=AT_ONCE)) as client:
            clients = [asyncio.ensure_future(self._ask_until(stop, client)) for _ in range(AT_ONCE)]
            try:
                yield
            finally:
                stop.set()
                await asyncio.gather(*clients)

    async def more(self, count: int, within: float = 20.0) -> None:
        """Waits for so many further answers."""
        goal = len(self.seen) + count
        await until(lambda: len(self.seen) >= goal, within)

    async def _ask_until(self, stop: asyncio.Event, client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            number = next(self._numbers)
            body = {"model": "m", "messages": [{"role": "user", "content": f"{number} is a number. " * 40}]}
            self.seen.append(await self._ask(client, f"load-{number}", body | {"stream": bool(number % 2)}))

    async def _ask(self, client: httpx.AsyncClient, name: str, body: dict[str, Any]) -> Seen:
        seen = Seen(name)
        headers = {"x-request-id": name}
        text = b""
        async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            seen.status = answer.status_code
            try:
                async for piece in answer.aiter_bytes():
                    text += piece
            except httpx.RemoteProtocolError:
                seen.cut = True
        seen.said = text.decode()
        seen.cut = seen.cut or (seen.status == 200 and '"error"' in seen.said)
        return seen


class Outage:
    """One run: a load, the fleet under it, and what must hold at its end whatever happened."""

    def __init__(self, load: Load, engines: list[Engine], log: Path) -> None:
        self.load = load
        self.engines = engines
        self.log = log
        self.figures: dict[str, float] = {}

    def breaker(self, engine: Engine) -> str:
        return str(self.load.gate.app.fleet.health.explain(monotonic())[engine.name]["breaker"])

    async def goes_out(self, engine: Engine, fault: Callable[[], Awaitable[None]]) -> None:
        """Brings the fault about and waits until the breaker has opened."""
        begun = monotonic()
        await fault()
        await until(lambda: self.breaker(engine) == "open", OUT_S)
        self.figures["out_s"] = monotonic() - begun

    async def comes_back(self, engine: Engine, repair: Callable[[], Awaitable[None]]) -> None:
        """Ends the fault and waits until the breaker has closed and the engine answers."""
        begun = monotonic()
        await repair()
        await until(lambda: self.breaker(engine) == "closed", BACK_S)
        self.figures["back_s"] = monotonic() - begun
        before = len(self.load.seen)
        await until(lambda: any(f'"{engine.name}"' in seen.said for seen in self.load.seen[before:]), BACK_S)

    async def check(self) -> list[Record]:
        """Every retriable request succeeded, none was made twice after its first byte, and few were sent twice."""
        seen = self.load.seen
        records = {record.id: record for record in await self.load.gate.records(len(seen))}
        assert len(records) == len(seen) >= 200
        unanswered = [each for each in seen if not each.whole and not each.cut]
        assert unanswered == [], [(each, records[each.id].attempts) for each in unanswered]
        there = reached(self.log)
        for each in seen:
            assert sum(f'"{engine.name}"' in each.said for engine in self.engines) <= 1, each
            _only_its_tries(records[each.id], there)
        tries = sum(len(record.attempts) for record in records.values())
        self.figures |= {"requests": len(seen), "attempts": tries, "cut": sum(each.cut for each in seen)}
        print({name: round(value, 3) for name, value in self.figures.items()})
        assert tries / len(seen) <= AMPLIFICATION
        return list(records.values())


def _only_its_tries(record: Record, there: Counter[tuple[str, str]]) -> None:
    """No engine saw the request more often than its Record tells, and no try began after the first byte."""
    made = [attempt.engine for attempt in record.attempts]
    assert all(there[record.id, engine] <= made.count(engine) for engine in set(made)), record
    assert sum(count for (name, _), count in there.items() if name == record.id) <= len(made), record
    if record.ttft_s is not None:
        assert all(attempt.started_s < record.ttft_s for attempt in record.attempts), record
    assert all(attempt.error for attempt in record.attempts[:-1]), record


@asynccontextmanager
async def under_load(log: Path) -> AsyncIterator[Outage]:
    """A fleet that has been at work for a while: what its requests take has been learned."""
    settings: dict[str, Any] = {
        "resilience": Resilience(breaker_failures=3, breaker_open=0.5, slow_start=0),
        "admin": Admin(records=20_000),
        **timeouts(first_byte=15),
    }
    async with fleet(ENGINES, log) as engines:
        urls = [engine.url for engine in engines]
        async with gateway(*urls, **settings) as gate:
            quick = TimeoutSettings(minimum=20, first_byte_floor=LEAST_LEARNED_S, stall_floor=LEAST_LEARNED_S)
            gate.app.learned = Timeouts(quick, Ceilings(15.0, 15.0, 60.0))
            gate.app.lessons = Lessons(gate.app.fleet, gate.app.learned)
            load = Load(gate)
            outage = Outage(load, engines, log)
            async with load.running():
                await load.more(100)
                assert {outage.breaker(engine) for engine in engines} == {"closed"}
                yield outage
                await load.more(60)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "reached"


async def test_an_engine_is_killed_and_comes_back(log: Path) -> None:
    async with under_load(log) as outage, AsyncExitStack() as stack:
        victim = outage.engines[1]

        async def restart() -> None:
            await stack.enter_async_context(started(victim.name, log, victim.port))

        await outage.goes_out(victim, victim.kill)
        await outage.load.more(60)
        await outage.comes_back(victim, restart)
        await outage.load.more(60)
    await outage.check()


async def test_an_engine_is_paused_and_goes_on(log: Path) -> None:
    async with under_load(log) as outage:
        victim = outage.engines[2]

        async def pause() -> None:
            victim.pause()

        async def go_on() -> None:
            victim.go_on()

        await outage.goes_out(victim, pause)
        await outage.load.more(60)
        await outage.comes_back(victim, go_on)
        await outage.load.more(60)
    records = await outage.check()
    assert any(attempt.error == "engine_slow" for record in records for attempt in record.attempts)


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
async def test_an_engine_whose_kv_is_full_is_left_alone_until_it_has_room(log: Path, status: str) -> None:
    async with under_load(log) as outage:
        victim = outage.engines[0]

        async def fill() -> None:
            await victim.mode(status=status)

        async def empty() -> None:
            await victim.mode()

        await outage.goes_out(victim, fill)
        await outage.load.more(60)
        await outage.comes_back(victim, empty)
        await outage.load.more(60)
    records = await outage.check()
    errors = {attempt.error for record in records for attempt in record.attempts}
    # On a machine that stands still for a moment, learned timeouts find engines slow as well.
    assert {"", "upstream_busy"} <= errors <= {"", "upstream_busy", "engine_slow", "stall_timeout"}


async def test_an_engine_that_slows_down_gets_less(log: Path) -> None:
    async with under_load(log) as outage:
        victim = outage.engines[3]
        await victim.mode(pause_s=0.08)
        await outage.load.more(40)
        before = len(outage.load.seen)
        await outage.load.more(120)
        slow = sum(f'"{victim.name}"' in seen.said for seen in outage.load.seen[before:])
        share = slow / (len(outage.load.seen) - before)
        outage.figures["share"] = share
        assert share < 0.5 / ENGINES
    records = await outage.check()
    assert all(len(record.attempts) == 1 for record in records)
