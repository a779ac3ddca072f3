"""A fleet behind the platform as its users run it: an engine dies under load, and the admin routes tell of it."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from penstock.core.clock import monotonic
from tests.faults.fleet import Engine, fleet, reached, started
from tests.worlds.platform import Platform, up

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

REQUESTS = 200
AT_ONCE = 6
BACK_S = 15.0
"""Bound on: the engine listens again -> its breaker has closed in the worker."""


def config(engines: list[Engine]) -> dict[str, Any]:
    # Probes are rare here, so that the breaker finds out what happened, not the supervisor.
    rows = [
        {"kind": "http", "name": each.name, "url": each.url, "probe_interval": 30, "metrics": "off"} for each in engines
    ]
    resilience = {"breaker_failures": 3, "breaker_open": 0.5, "slow_start": 0}
    routing = {"explain_headers": True}
    return {"engines": rows, "workers": 1, "resilience": resilience, "routing": routing}


async def health_of(platform: Platform, engine: str) -> dict[str, Any]:
    """The engine's row of /admin/health in the only worker."""
    (worker,) = (await platform.ask_admin("/admin/health")).json()["workers"]
    row: dict[str, Any] = worker[engine]
    return row


async def breaker_is(platform: Platform, engine: str, state: str, within: float) -> float:
    """Seconds until /admin/health says so."""
    begun = monotonic()
    async with asyncio.timeout(within):
        while (await health_of(platform, engine))["breaker"] != state:  # noqa: ASYNC110 - another process's news
            await asyncio.sleep(0.02)
    return monotonic() - begun


async def test_an_engine_dies_under_load_and_nobody_notices(tmp_path: Path) -> None:
    log = tmp_path / "reached"
    async with fleet(3, log) as engines, up(tmp_path, config(engines)) as platform, AsyncExitStack() as stack:
        for index in range(3):
            await platform.engine_is("ready", index)
        victim, stop, statuses = engines[1], asyncio.Event(), list[int]()

        async def ask(first: int) -> None:
            number = first
            async with platform.http() as client:
                while not stop.is_set() or len(statuses) < REQUESTS:
                    body = {"model": "m", "messages": [{"role": "user", "content": f"{number} is a number. " * 40}]}
                    statuses.append((await client.post("/v1/chat/completions", json=body)).status_code)
                    number += AT_ONCE

        asking = [asyncio.ensure_future(ask(first)) for first in range(AT_ONCE)]
        try:
            async with asyncio.timeout(20):
                while len(statuses) < 40:  # noqa: ASYNC110 - progress of other tasks
                    await asyncio.sleep(0.01)
            await victim.kill()
            out_s = await breaker_is(platform, victim.name, "open", within=5.0)
            told = await health_of(platform, victim.name)
            assert told["weight"] <= 0.1  # or half-open by now
            assert told["last_resort"] is False
            assert "fail" in told["reasons"][0]
            await stack.enter_async_context(started(victim.name, log, victim.port))
            back_s = await breaker_is(platform, victim.name, "closed", within=BACK_S)
        finally:
            stop.set()
            await asyncio.gather(*asking)
        assert set(statuses) == {200}
        records = await platform.ended(len(statuses))
        tries = sum(len(record["attempts"]) for record in records)
        print({"requests": len(records), "attempts": tries, "out_s": round(out_s, 3), "back_s": round(back_s, 3)})
        assert tries / len(records) <= 1.1
        assert sum(reached(log).values()) <= tries
        await _the_last_is_explained(platform, records)


async def _the_last_is_explained(platform: Platform, records: list[dict[str, Any]]) -> None:
    """/admin/why tells of the last request; of one that nobody remembers it is a 404."""
    last = records[-1]["id"]
    told = await platform.why(last)
    assert told["id"] == last
    assert told["outcome"] == "success"
    assert [attempt["engine"] for attempt in told["attempts"]] == [a["engine"] for a in records[-1]["attempts"]]
    assert {each["engine"] for each in told["decisions"][0]["candidates"]} == {"e0", "e1", "e2"}
    unknown = await platform.ask_admin("/admin/why/nobodys")
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "not_found"


async def test_a_worker_that_stands_still_is_not_one_that_knows_nothing(tmp_path: Path) -> None:
    async with fleet(1, tmp_path / "reached") as engines, up(tmp_path, config(engines)) as platform:
        (worker,) = platform.workers()
        os.kill(worker, signal.SIGSTOP)
        try:
            answer = await platform.ask_admin("/admin/why/somebodys")
        finally:
            os.kill(worker, signal.SIGCONT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "worker_unavailable")
        assert (await platform.ask_admin("/admin/why/somebodys")).status_code == 404


async def test_a_worker_knows_what_another_has_sent(tmp_path: Path) -> None:
    log = tmp_path / "reached"
    async with fleet(3, log) as engines, up(tmp_path, config(engines) | {"workers": 2}) as platform:
        for index in range(3):
            await platform.engine_is("ready", index)
        body = {"model": "m", "messages": [{"role": "user", "content": "All of them begin like this. " * 60}]}

        async def ask() -> int:
            async with platform.http() as client:  # a connection of its own: either worker may take it
                answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            return int(answer.headers["x-penstock-prefix-tokens"])

        assert await ask() == 0
        await asyncio.sleep(0.5)
        for worker in platform.workers():
            os.kill(worker, signal.SIGSTOP)  # the other one answers: one of the two never sent this prompt itself
            try:
                assert await ask() > 200
            finally:
                os.kill(worker, signal.SIGCONT)
