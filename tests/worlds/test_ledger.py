"""The ledger of a platform whose workers are killed, and the metrics of what it keeps."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.state.ledger.charge import Charge
from penstock.state.ledger.store import Span
from penstock.state.ledger.stores import open_store
from tests.faults.upstream import Call, Upstream, delta
from tests.faults.world import CHAT, STREAM, until
from tests.worlds.platform import Platform, engine, up

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]
PATH = "/v1/chat/completions"
KEY = "key-one-0123456789abcdef"


async def two_tokens_and_silence(call: Call) -> None:
    """A stream stays under way after two events; anything else is answered."""
    if b'"stream"' in call.body:
        await call.sse(delta("one"), delta("two"))
        await call.left()
    else:
        await call.answer()


def charges(folder: Path) -> dict[str, Charge]:
    """Charges by request id. None has two."""
    store = open_store("", folder)
    found = list(store.charges(Span()))
    store.close()
    assert len({charge.request_id for charge in found}) == len(found)
    return {charge.request_id: charge for charge in found}


@asynccontextmanager
async def under_way(platform: Platform, name: str) -> AsyncIterator[None]:
    """A stream of which two events have come."""
    async with (
        platform.http() as client,
        client.stream("POST", PATH, json=STREAM, headers={"x-request-id": name}) as answer,
    ):
        lines = answer.aiter_lines()
        seen = 0
        while seen < 2:
            seen += (await anext(lines)).startswith("data: ")
        yield


async def ask(platform: Platform, name: str, **changes: Any) -> int:
    async with platform.http() as client:
        headers = {"x-request-id": name, "authorization": f"Bearer {KEY}"}
        return (await client.post(PATH, json=CHAT | changes, headers=headers)).status_code


async def test_workers_are_killed_and_each_request_is_charged_once_and_right(tmp_path: Path) -> None:
    config = {"workers": 2, "state": {"folder": str(tmp_path / "data")}, "ledger": {"enabled": True}}
    async with (
        Upstream(two_tokens_and_silence) as far,
        up(tmp_path, config | {"engines": [engine(far)]}) as platform,
    ):
        assert await ask(platform, "refused", model="nobody-serves-this") == 404
        async with under_way(platform, "left"):
            pass
        await until(lambda: far.calls[0].over)
        async with under_way(platform, "cut"):
            assert await ask(platform, "whole") == 200
            for worker in platform.workers():
                os.kill(worker, signal.SIGKILL)
            await platform.metric_becomes(1, "penstock_ledger_interrupted_total", within=10.0)
        await platform.metric_becomes(2, "penstock_workers", within=10.0)
        assert await ask(platform, "after") == 200
        await platform.metric_becomes(4, "penstock_ledger_shipped_total")
        await platform.metric_becomes(0, "penstock_ledger_lag_entries")
        assert await platform.metric("penstock_state_problem") == 0
    found = charges(tmp_path / "data")
    assert {
        name: (each.outcome, each.source, each.input, each.output, each.engine) for name, each in found.items()
    } == {
        "refused": ("rejected", "none", 0, 0, ""),
        "left": ("client_left", "counted", found["left"].input, 2, "far"),
        "cut": ("interrupted", "none", 0, 0, "far"),
        "whole": ("success", "usage", 3, 2, "far"),
        "after": ("success", "usage", 3, 2, "far"),
    }
    assert found["left"].input > 0, "an estimate, which the engine's log corrects"


async def test_stores_that_are_away_are_seen_and_the_ledger_catches_up(tmp_path: Path) -> None:
    data = tmp_path / "data"
    in_the_way = data / "ledger" / "ledger.sqlite"
    in_the_way.mkdir(parents=True)
    (data / "ledger" / "journal").mkdir()
    (data / "ledger" / "journal" / "1-1x1-00000001.jnl").write_bytes(b"no journal" * 20)
    config = {
        "workers": 1,
        "auth": {"keys": [KEY]},
        "state": {"folder": str(data)},
        "ledger": {"enabled": True},
        "rate_limits": {"store": "redis://127.0.0.1:1/0", "key": ["requests=1/hour,name=trusting,fail_open"]},
    }
    async with Upstream() as far, up(tmp_path, config | {"engines": [engine(far)]}) as platform:
        assert [await ask(platform, f"r{number}") for number in range(3)] == [200] * 3
        await platform.metric_becomes(3, "penstock_limit_opened_total", rule="trusting")
        assert await platform.metric("penstock_limit_store_up") == 0
        assert await platform.metric("penstock_limit_store_failures_total") >= 1
        assert await platform.metric("penstock_ledger_failures_total") >= 1
        assert await platform.metric("penstock_ledger_lag_entries") >= 6
        assert await platform.metric("penstock_ledger_lag_seconds") > 0
        assert await platform.metric("penstock_state_problem") == 1
        in_the_way.rmdir()
        await platform.metric_becomes(3, "penstock_ledger_shipped_total", within=20.0)
        await platform.metric_becomes(0, "penstock_ledger_lag_entries")
        assert await platform.metric("penstock_ledger_damaged_total") == 1
        assert await platform.metric("penstock_ledger_dropped_total") == 0
    assert set(charges(data)) == {"r0", "r1", "r2"}


async def test_what_limits_do_is_counted_by_rule(tmp_path: Path) -> None:
    limits = {"key": ["requests=2/hour,name=few", "requests=1/hour,name=watched,shadow"]}
    config = {"workers": 1, "auth": {"keys": [KEY]}, "state": {"folder": str(tmp_path / "data")}, "rate_limits": limits}
    async with Upstream() as far, up(tmp_path, config | {"engines": [engine(far)]}) as platform:
        assert [await ask(platform, f"r{number}") for number in range(5)] == [200, 200, 429, 429, 429]
        await platform.metric_becomes(3, "penstock_limit_refused_total", rule="few")
        assert await platform.metric("penstock_limit_refused_total") == 3
        assert await platform.metric("penstock_limit_shadowed_total", rule="watched") == 1
        assert await platform.metric("penstock_limit_opened_total") == 0
        assert await platform.metric("penstock_limit_store_up") == 1
        assert await platform.metric("penstock_limit_store_failures_total") == 0
