"""Requests that wait at a full engine which has the prefix of their prompt, and everybody who leaves it early."""

import asyncio
import json
from collections.abc import Callable

import msgspec
import pytest

from penstock.core.clock import monotonic
from penstock.core.record import Outcome
from tests.gateway.world import Answer, Client, Seen, Wire, World, post, response, then_resets

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
PROMPT = "What everybody asks begins like this, and goes on for long. " * 120


class Floor:
    """Engines that take `most` requests each. An answer waits for its engine's `go`."""

    def __init__(self, world: World, most: int) -> None:
        self.world = world
        self.most = most
        self.order: list[tuple[str, int]] = []
        """(engine, user) as the engines saw them."""
        self.now = {engine.name: 0 for engine in world.engines}
        self.peak = dict(self.now)
        self.go = {engine.name: asyncio.Semaphore(0) for engine in world.engines}
        for engine in world.engines:
            engine.script = self._work
        self.show()

    def show(self, *away: str, most: int | None = None) -> None:
        self.world.show_fleet(*away)
        bound = self.most if most is None else most
        shown = [msgspec.structs.replace(each, max_in_flight=bound) for each in self.world.app.fleet.endpoints]
        self.world.app.fleet.update(tuple(shown), monotonic())

    async def _work(self, seen: Seen, wire: Wire) -> None:
        name = seen.engine
        self.order.append((name, int(json.loads(seen.body)["user"])))
        self.now[name] += 1
        self.peak[name] = max(self.peak[name], self.now[name])
        try:
            await self.go[name].acquire()
        finally:
            self.now[name] -= 1
        await wire.send(response(b"{}", "Content-Type: application/json"))

    def let(self, engine: str, count: int = 1) -> None:
        for _ in range(count):
            self.go[engine].release()

    def seen(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.order) == count


def parked(world: World) -> int:
    return sum(world.app.lanes.depths().values())


def parks(world: World, count: int) -> Callable[[], bool]:
    return lambda: parked(world) == count


def asks(user: int, *headers: str, prompt: str = PROMPT) -> bytes:
    body = {"model": "m", "user": str(user), "messages": [{"role": "user", "content": prompt}], "max_tokens": 8}
    return post(PATH, json.dumps(body).encode(), *headers)


async def send(world: World, user: int, *headers: str, prompt: str = PROMPT) -> Client:
    client = await world.client()
    await client.send(asks(user, *headers, prompt=prompt))
    return client


async def begun(world: World, floor: Floor, waiting: int) -> tuple[str, list[Client], list[Client]]:
    """The engine that has the prompt and is full; the clients whose requests run there, and those of `waiting` more."""
    running = [await send(world, 0)]
    await world.until(floor.seen(1))
    home = floor.order[0][0]
    for user in range(1, floor.most):
        running.append(await send(world, user))
        await world.until(floor.seen(user + 1))
    assert {engine for engine, _ in floor.order} == {home}
    parked_ones = []
    for number in range(waiting):
        parked_ones.append(await send(world, 10 + number))
        await world.until(parks(world, number + 1))
    return home, running, parked_ones


async def answers(clients: list[Client]) -> list[Answer]:
    return [await client.answer() for client in clients]


def other(world: World, home: str) -> str:
    return next(engine.name for engine in world.engines if engine.name != home)


@pytest.mark.parametrize("most", [1, 2])
async def test_a_prefix_is_waited_for_where_it_is_and_the_bound_holds(most: int) -> None:
    async with World(engines=4) as world:
        floor = Floor(world, most)
        home, running, parked_ones = await begun(world, floor, 2)
        await asyncio.sleep(0.05)
        assert len(floor.order) == most, "the other engines had room, and nobody went there"
        floor.let(home, most + 2)
        assert {answer.status for answer in await answers([*running, *parked_ones])} == {200}
        assert [user for _, user in floor.order[most:]] == [10, 11], "first come, first served"
        assert {engine for engine, _ in floor.order} == {home}
        assert floor.peak[home] == most
        await world.quiet()
        waited = [record for record in world.records if record.queue_s >= 0.05]
        assert len(waited) == 2
        assert all(record.outcome is Outcome.SUCCESS for record in waited)


async def test_others_pass_who_wait_for_a_prefix() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, parked_ones = await begun(world, floor, 1)
        passes = await send(world, 20, prompt="Something else. " * 300)
        await world.until(floor.seen(2))
        assert floor.order[1] == (other(world, home), 20)
        floor.let(home, 2)
        floor.let(other(world, home))
        assert {answer.status for answer in await answers([*running, *parked_ones, passes])} == {200}


async def test_who_waits_counts_as_queued() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, parked_ones = await begun(world, floor, 2)
        await asyncio.sleep(0.05)
        depths = [list(block) for sheet, _, block in world.series.rows() if sheet.name == "queue"]
        assert [2.0] in depths
        floor.let(home, 3)
        await answers([*running, *parked_ones])


async def test_a_client_that_leaves_frees_its_place() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, (leaver, stayer) = await begun(world, floor, 2)
        leaver.leave()
        await world.until(parks(world, 1))
        assert world.app.fleet.router.in_flight(home) == 2
        floor.let(home, 2)
        assert {answer.status for answer in await answers([*running, stayer])} == {200}
        await world.quiet()
        assert [user for _, user in floor.order] == [0, 11]
        assert world.app.fleet.router.in_flight(home) == 0
        left = [record for record in world.records if record.outcome is Outcome.CLIENT_LEFT]
        assert [record.attempts for record in left] == [[]]


async def test_an_engine_that_goes_away_is_not_waited_for() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, parked_ones = await begun(world, floor, 1)
        floor.show(home)
        await world.until(floor.seen(2))
        assert floor.order[1] == (other(world, home), 10)
        floor.let(home)
        floor.let(other(world, home))
        assert {answer.status for answer in await answers([*running, *parked_ones])} == {200}
        assert parked(world) == 0


async def test_an_engine_whose_bound_is_gone_takes_all() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, parked_ones = await begun(world, floor, 2)
        floor.show(most=0)
        await world.until(floor.seen(3))
        floor.let(home, 3)
        floor.let(other(world, home), 3)
        assert {answer.status for answer in await answers([*running, *parked_ones])} == {200}


async def test_who_may_wait_no_longer_goes_where_there_is_room() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, _ = await begun(world, floor, 0)
        hurried = await send(world, 10, "x-stainless-read-timeout: 0.2")
        await world.until(floor.seen(2))
        assert floor.order[1] == (other(world, home), 10)
        floor.let(other(world, home))
        assert (await hurried.answer()).status == 200
        floor.let(home)
        await answers(running)
        await world.quiet()
        record = next(record for record in world.records if record.queue_s)
        assert 0.2 <= record.queue_s <= record.duration_s
        decisions = world.app.choices(record.id).decisions
        assert [decision.full for decision in decisions] == [True, False]


async def test_where_there_is_none_it_is_told_so() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, _ = await begun(world, floor, 0)
        hurried = await send(world, 10, "x-stainless-read-timeout: 0.3")
        await world.until(parks(world, 1))
        passes = await send(world, 20, prompt="Something else. " * 300)
        await world.until(floor.seen(2))
        late = await hurried.answer()
        assert (late.status, late.error["code"]) == (429, "queue_timeout")
        floor.let(home)
        floor.let(other(world, home))
        assert {answer.status for answer in await answers([*running, passes])} == {200}
        await world.quiet()
        assert world.app.fleet.router.in_flight(home) == 0


async def test_a_drain_tells_those_who_wait_and_lets_the_others_end() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, parked_ones = await begun(world, floor, 2)
        world.app.drain()
        for told in await answers(parked_ones):
            assert (told.status, told.error["code"]) == (429, "queue_full")
        floor.let(home)
        assert [answer.status for answer in await answers(running)] == [200]
        assert world.app.fleet.router.in_flight(home) == 0


async def test_what_begins_to_wait_during_a_drain_ends_with_it() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, _ = await begun(world, floor, 0)
        late = await world.client()
        await late.send(asks(10)[:-1])
        await world.until(lambda: len(world.app.connections) == 2)
        await asyncio.sleep(0.02)
        world.app.drain()
        await late.send(asks(10)[-1:])
        await world.until(parks(world, 1))
        world.app.abandon()
        assert [answer.status for answer in await answers([late, *running])] == [504, 504]
        await world.quiet()
        assert world.app.fleet.router.in_flight(home) == 0
        assert [user for _, user in floor.order] == [0]


async def test_an_engine_that_was_waited_for_and_fails_is_no_timeout_of_the_queue() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        home, running, parked_ones = await begun(world, floor, 1)
        passes = await send(world, 20, prompt="Something else. " * 300)
        await world.until(floor.seen(2))
        next(engine for engine in world.engines if engine.name == home).script = then_resets()
        floor.let(home)
        await answers(running)
        failed = await parked_ones[0].answer()
        assert failed.error["code"] != "queue_timeout", failed.error
        assert failed.status in (502, 503)
        floor.let(other(world, home))
        assert (await passes.answer()).status == 200
        assert world.app.fleet.router.in_flight(home) == 0
