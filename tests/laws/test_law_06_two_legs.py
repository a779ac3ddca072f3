"""Law 6 for requests in two legs: whatever becomes of either leg or of the client, both leases return."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.record import Outcome, PrefillOutcome
from tests.gateway.fuzzing import QUICK, in_one_world
from tests.gateway.two_legs import (
    PATH,
    answers,
    closes,
    hangs,
    long_chat,
    reads,
    resets,
    resets_midway,
    told,
    two_legged,
    writes,
)
from tests.gateway.world import Script, Seen, Wire, World, post

FIRST: dict[str, Script] = {
    "reads": reads, "no blocks": answers(told(None)), "hangs": hangs, "resets": resets, "closes": closes,
    "midway": resets_midway, "busy": answers({}, "503 Service Unavailable"), "wrong": answers({}, "400 Bad Request"),
}  # fmt: skip
SECOND: dict[str, Script] = {
    "writes": writes, "hangs": hangs, "resets": resets, "midway": resets_midway,
    "busy": answers({}, "503 Service Unavailable"), "fails": answers({}, "500 Internal Server Error"),
}  # fmt: skip
PLAYS = st.lists(
    st.tuples(
        st.sampled_from(sorted(FIRST)),
        st.sampled_from(sorted(SECOND)),
        st.booleans(),
        st.one_of(st.none(), st.integers(0, 30)),
    ),
    min_size=1,
    max_size=6,
)
"""Fate of the first leg, fate of the second, streamed, milliseconds after which the client leaves."""


def fated(header: bytes, fates: dict[str, Script]) -> Script:
    async def script(seen: Seen, wire: Wire) -> None:
        await fates[seen.header(header).decode()](seen, wire)

    return script


async def ask(world: World, number: int, play: tuple[str, str, bool, int | None]) -> None:
    first, second, stream, leaves_ms = play
    client = await world.client()
    body = long_chat(f"sea {number}", stream=stream)
    await client.send(post(PATH, body, f"x-first: {first}", f"x-second: {second}", "connection: close"))
    if leaves_ms is None:
        await client.rest()
    else:
        await asyncio.sleep(leaves_ms / 1000)
    client.leave()


@pytest.mark.timeout(180)
def test_both_leases_return_and_every_first_leg_is_counted() -> None:
    seen_outcomes: set[PrefillOutcome] = set()

    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=60)
        @given(plays=PLAYS)
        def example(plays: list[tuple[str, str, bool, int | None]]) -> None:
            async def run(world: World) -> None:
                for name in ("engine1", "engine2", "engine3"):
                    world.app.fleet.router.cleared(name, empty=True)
                before = len(world.records)
                await asyncio.gather(*(ask(world, number, each) for number, each in enumerate(plays)))
                await world.quiet()
                router = world.app.fleet.router
                assert [router.load(engine.name) for engine in world.engines] == [0.0] * 3
                records = world.records[before:]
                for record in records:
                    if record.prefill is not None:
                        assert record.prefill.outcome is not None
                        seen_outcomes.add(record.prefill.outcome)
                        if record.prefill.outcome is PrefillOutcome.CLIENT_LEFT:
                            assert record.outcome is Outcome.CLIENT_LEFT
                            assert record.attempts == []

            play(run)

        example()

    def make() -> World:
        resilience = {"slow_start": 0, "breaker_failures": 1000, "retry_ratio": 1.0}
        world = two_legged(2, timeouts={"first_byte": 0.1, "stall": 0.1}, resilience=resilience)
        for engine in world.engines[:2]:
            engine.script = fated(b"x-second", SECOND)
        world.engines[2].script = fated(b"x-first", FIRST)
        return world

    in_one_world(make, body)
    assert seen_outcomes >= {PrefillOutcome.TRANSFERRED, PrefillOutcome.NO_BLOCKS, PrefillOutcome.FAILED}
