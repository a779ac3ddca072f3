"""How fuzzed examples are played: one loop and one world for all of them, so that thousands take seconds."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from hypothesis import HealthCheck, settings

from tests.gateway.world import World

QUICK = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same examples on every run: a failure here is a failure everywhere."""


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """`data` in segments, cut where `at` says (per mille of its length)."""
    places = sorted({len(data) * mille // 1000 for mille in at} - {0, len(data)})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def in_one_world(
    make: Callable[[], World], body: Callable[[Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]], None]
) -> None:
    """Opens a world on a loop of its own, and gives `body` a function that runs one example in it."""
    loop = uvloop.new_event_loop()
    try:
        world = loop.run_until_complete(make().__aenter__())
        faults: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: faults.append(context))

        def play(example: Callable[[World], Coroutine[Any, Any, None]]) -> None:
            loop.run_until_complete(example(world))
            assert not faults, faults

        try:
            body(play)
        finally:
            loop.run_until_complete(world.__aexit__(None, None, None))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
