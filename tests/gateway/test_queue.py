"""Requests that wait for room: bounds, order, deadlines, and everybody who leaves the queue early."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from penstock.core.clock import monotonic
from penstock.core.record import Outcome
from tests.gateway.world import Answer, Client, Seen, Wire, World, post, response

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"


def body(user: int) -> bytes:
    return b'{"model":"m","user":"%d","messages":[{"role":"user","content":"hi"}]}' % user


class Floor:
    """What the engines do at the same time. Each answer waits for `go`, or takes `pause_s`."""

    def __init__(self, world: World, most: int, pause_s: float | None = None) -> None:
        self.order: list[int] = []
        """Users in the order in which engines saw them."""
        self.now: dict[str, int] = {engine.name: 0 for engine in world.engines}
        self.peak: dict[str, int] = dict(self.now)
        self.go = asyncio.Semaphore(0)
        self._pause_s = pause_s
        for engine in world.engines:
            engine.script = self._work
        bounded = [msgspec.structs.replace(each, max_in_flight=most) for each in world.app.fleet.endpoints]
        world.app.fleet.update(tuple(bounded), monotonic())

    async def _work(self, seen: Seen, wire: Wire) -> None:
        self.order.append(int(msgspec.json.decode(seen.body)["user"]))
        self.now[seen.engine] += 1
        self.peak[seen.engine] = max(self.peak[seen.engine], self.now[seen.engine])
        try:
            await (self.go.acquire() if self._pause_s is None else asyncio.sleep(self._pause_s))
        finally:
            self.now[seen.engine] -= 1
        await wire.send(response(b"{}", "Content-Type: application/json"))

    def seen(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.order) == count

    def let(self, count: int) -> None:
        """Lets so many answers go."""
        for _ in range(count):
            self.go.release()


def waiting(world: World) -> int:
    return sum(world.app.waiting.depths().values())


def waits(world: World, count: int) -> Callable[[], bool]:
    return lambda: waiting(world) == count


async def send(world: World, user: int, *headers: str) -> Client:
    """A request under way, on a connection of its own."""
    client = await world.client()
    await client.send(post(PATH, body(user), *headers))
    return client


async def fill(world: World, floor: Floor, count: int) -> list[Client]:
    """Takes `count` places in the engines."""
    clients = [await send(world, user) for user in range(count)]
    await world.until(lambda: len(floor.order) == count)
    return clients


async def answers(clients: list[Client]) -> list[Answer]:
    return [await client.answer() for client in clients]


@pytest.mark.parametrize("most", [1, 2])
async def test_never_more_than_the_bound_are_in_flight(most: int) -> None:
    async with World(engines=2) as world:
        floor = Floor(world, most)
        clients = [await send(world, user) for user in range(20)]
        await world.until(waits(world, 20 - 2 * most))
        await asyncio.sleep(0.01)
        floor.let(20)
        assert {answer.status for answer in await answers(clients)} == {200}
        assert floor.peak == {"engine1": most, "engine2": most}
        assert sorted(floor.order) == list(range(20))
        await world.quiet()
        assert waiting(world) == 0
        waited = [record for record in world.records if record.queue_s > 0]
        assert len(waited) == 20 - 2 * most
        assert all(record.queue_s <= record.duration_s for record in waited)
        assert min(record.queue_s for record in waited) >= 0.01


@pytest.mark.parametrize("engines", [1, 2])
async def test_higher_priority_goes_first_and_equals_in_turn(engines: int) -> None:
    async with World(engines=engines) as world:
        floor = Floor(world, 1)
        clients = await fill(world, floor, engines)
        for user, priority in enumerate((0, -5, 7, 0, 7, -5), 10):
            clients.append(await send(world, user, f"x-priority: {priority}"))
            await world.until(waits(world, user - 9))
        for done in range(1, 7):  # one at a time: two engines may not overtake each other
            floor.let(1)
            await world.until(floor.seen(engines + done))
        floor.let(engines)
        await answers(clients)
        assert floor.order[engines:] == [12, 14, 10, 13, 11, 15]


async def test_a_deadline_that_cannot_be_met_is_refused_at_once_with_the_estimate() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1, pause_s=0.2)
        clients = [await send(world, user) for user in range(14)]
        await world.until(lambda: len(floor.order) >= 8)  # three have ended while others waited: the speed is known
        begun = monotonic()
        refused = await world.ask(post(PATH, body(99), "x-stainless-read-timeout: 0.1"))
        assert monotonic() - begun < 0.15, "it waited for what could not be"
        assert refused.status == 429
        assert refused.error["code"] == "deadline_unmeetable"
        assert "may wait 0.1 s" in refused.error["message"]
        assert "would wait 0." in refused.error["message"]
        assert int(refused.header(b"retry-after")) >= 1
        assert refused.header(b"x-should-retry") == b"false"
        patient = await send(world, 98, "x-stainless-read-timeout: 60")
        assert {answer.status for answer in await answers([*clients, patient])} == {200}
        assert 99 not in floor.order


async def test_one_that_waits_longer_than_its_client_will_is_turned_away() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        clients = await fill(world, floor, 2)
        late = await world.ask(post(PATH, body(9), "x-stainless-read-timeout: 0.1"))
        assert (late.status, late.error["code"]) == (429, "queue_timeout")
        floor.let(2)
        await answers(clients)
        await world.quiet()
        record = next(record for record in world.records if record.error == "queue_timeout")
        assert record.outcome is Outcome.UNAVAILABLE
        assert record.attempts == []
        assert 0.1 <= record.queue_s <= record.duration_s


async def test_a_full_queue_refuses_and_a_higher_priority_displaces() -> None:
    async with World(engines=2, queue={"size": 1}) as world:
        floor = Floor(world, 1)
        clients = await fill(world, floor, 2)
        loser = await send(world, 10)
        await world.until(waits(world, 1))
        full = await world.ask(post(PATH, body(11)))
        assert (full.status, full.error["code"]) == (429, "queue_full")
        assert int(full.header(b"retry-after")) >= 1
        assert full.header(b"x-should-retry") == b"true"
        winner = await send(world, 12, "x-priority: 1")
        displaced = await loser.answer()
        assert (displaced.status, displaced.error["code"]) == (429, "displaced")
        floor.let(3)
        assert {answer.status for answer in await answers([*clients, winner])} == {200}
        assert floor.order[2:] == [12]


async def test_a_queue_of_none_refuses_at_once() -> None:
    async with World(engines=2, queue={"size": 0}) as world:
        floor = Floor(world, 1)
        clients = await fill(world, floor, 2)
        full = await world.ask(post(PATH, body(9)))
        assert (full.status, full.error["code"]) == (429, "queue_full")
        floor.let(2)
        await answers(clients)


async def test_a_client_that_leaves_frees_its_place() -> None:
    async with World(engines=2, queue={"size": 1}) as world:
        floor = Floor(world, 1)
        clients = await fill(world, floor, 2)
        leaver = await send(world, 10)
        await world.until(waits(world, 1))
        leaver.leave()
        await world.until(waits(world, 0))
        stayer = await send(world, 11)
        await world.until(waits(world, 1))
        floor.let(3)
        assert {answer.status for answer in await answers([*clients, stayer])} == {200}
        await world.quiet()
        assert floor.order[2:] == [11]
        left = [record for record in world.records if record.outcome is Outcome.CLIENT_LEFT]
        assert len(left) == 1
        assert left[0].attempts == []


async def test_a_drain_tells_those_who_wait_and_lets_the_others_end() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        clients = await fill(world, floor, 2)
        waiters = [await send(world, user) for user in (10, 11)]
        await world.until(waits(world, 2))
        world.app.drain()
        for answer in await answers(waiters):
            assert (answer.status, answer.error["code"]) == (429, "queue_full")
            assert answer.header(b"x-should-retry") == b"true"
        floor.let(2)
        assert {answer.status for answer in await answers(clients)} == {200}
        await world.until(world.app.drained)
        assert floor.order == [0, 1]


async def test_what_begins_to_wait_during_a_drain_ends_with_it() -> None:
    async with World(engines=2) as world:
        floor = Floor(world, 1)
        clients = await fill(world, floor, 2)
        late = await world.client()
        await late.send(post(PATH, body(10))[:-1])
        await world.until(lambda: len(world.app.connections) == 3)
        await asyncio.sleep(0.02)
        world.app.drain()
        await late.send(post(PATH, body(10))[-1:])
        await world.until(lambda: len(world.app.running) == 3 or late.ended)
        world.app.abandon()
        assert (await late.answer()).status in (429, 504)
        assert {answer.status for answer in await answers(clients)} == {504}
        await world.quiet()
        assert waiting(world) == 0


async def test_who_waits_goes_to_an_engine_that_comes_back() -> None:
    async with World(engines=2) as world:
        world.show_fleet("engine2")
        floor = Floor(world, 1)
        clients = await fill(world, floor, 1)
        clients.append(await send(world, 1))
        await world.until(waits(world, 1))
        world.show_fleet()
        await world.until(lambda: len(floor.order) == 2)
        floor.let(2)
        assert {answer.status for answer in await answers(clients)} == {200}
        assert floor.peak == {"engine1": 1, "engine2": 1}


async def test_an_engine_that_is_left_alone_makes_no_room() -> None:
    resilience = {"breaker_failures": 1, "breaker_open": 60, "slow_start": 0}
    async with World(engines=2, resilience=resilience) as world:
        floor = Floor(world, 1, pause_s=0.01)
        await world.engines[0].stop()
        clients = [await send(world, user) for user in range(8)]
        assert {answer.status for answer in await answers(clients)} == {200}
        assert floor.peak == {"engine1": 0, "engine2": 1}
