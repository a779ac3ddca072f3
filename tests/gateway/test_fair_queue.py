"""Tenants in the queue: turns by tokens, one order for all models of the same engines, and what each is charged."""

import asyncio
import hashlib

import pytest

from penstock.core.clock import monotonic
from penstock.core.load import Load
from penstock.policy.fair import Served
from tests.gateway.test_queue import Floor, answers, waiting
from tests.gateway.world import SSE_HEAD, Client, Seen, Wire, World, chunked, post, response

pytestmark = pytest.mark.anyio

KEYS = ["sk-tenant-a-0123456789", "sk-tenant-b-0123456789"]
A, B = (f"Authorization: Bearer {key}" for key in KEYS)
NAMES = [hashlib.sha256(key.encode()).hexdigest()[:8] for key in KEYS]
PATH = "/v1/chat/completions"


def body(user: int, model: str = "m", more: str = "") -> bytes:
    return f'{{"model":"{model}","user":"{user}"{more},"messages":[{{"role":"user","content":"hi"}}]}}'.encode()


async def send(world: World, user: int, *headers: str, model: str = "m") -> Client:
    """A request that waits."""
    client, before = await world.client(), waiting(world)
    await client.send(post(PATH, body(user, model), *headers))
    await world.until(lambda: waiting(world) == before + 1)
    return client


async def occupy(world: World, floor: Floor, user: int, *headers: str, model: str = "m") -> Client:
    """A request that is being answered."""
    client, before = await world.client(), len(floor.order)
    await client.send(post(PATH, body(user, model), *headers))
    await world.until(lambda: len(floor.order) == before + 1)
    return client


async def in_turn(world: World, floor: Floor, clients: list[Client]) -> list[int]:
    """Lets one answer go after the other; the order in which those that waited were seen."""
    before = len(floor.order)
    for done in range(1, len(clients)):
        floor.let(1)
        await world.until(floor.seen(before + done))
    floor.let(1)
    assert {answer.status for answer in await answers(clients)} == {200}
    return floor.order[before:]


async def test_a_flood_does_not_hold_up_another_key() -> None:
    async with World(auth={"keys": KEYS}) as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0, A)]
        for user in range(1, 7):
            clients.append(await send(world, user, A))
        for user in (11, 12):
            clients.append(await send(world, user, B))
        order = await in_turn(world, floor, clients)
        assert order.index(11) == 0, "the other has been charged for what it had"
        assert order.index(12) <= 2
        assert [user for user in order if user < 10] == [1, 2, 3, 4, 5, 6]


async def test_without_keys_it_is_first_come_first_served() -> None:
    async with World() as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0)]
        for user in range(1, 6):
            clients.append(await send(world, user))
        assert await in_turn(world, floor, clients) == [1, 2, 3, 4, 5]


async def test_models_of_the_same_engines_share_one_order() -> None:
    async with World(models={"engine1": ("m", "n")}, auth={"keys": KEYS}) as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0, A)]
        for user in (1, 2, 3):
            clients.append(await send(world, user, A))
        for user in (11, 12, 13):
            clients.append(await send(world, user, B, model="n"))
        order = await in_turn(world, floor, clients)
        assert order == [11, 1, 12, 2, 13, 3]


async def test_priorities_hold_across_models_of_the_same_engine() -> None:
    async with World(models={"engine1": ("m", "n")}) as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0)]
        clients.append(await send(world, 1))
        clients.append(await send(world, 2, "x-priority: 3", model="n"))
        clients.append(await send(world, 3, "x-priority: 1"))
        assert await in_turn(world, floor, clients) == [2, 3, 1]


async def test_models_of_other_engines_have_counters_of_their_own() -> None:
    models = {"engine1": ("m",), "engine2": ("n",)}
    async with World(engines=2, models=models, auth={"keys": KEYS}) as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0, A), await occupy(world, floor, 100, A, model="n")]
        for user in range(1, 5):  # used alone: takes nothing from anybody
            clients.append(await send(world, user, A))
        for line in world.app.waiting.explain():
            assert len(line["tenants"]) == (1 if line["model"] == "m" else 0)  # type: ignore[arg-type]
        clients.append(await send(world, 101, B, model="n"))
        clients.append(await send(world, 102, A, model="n"))
        rows = {line["model"]: line["tenants"] for line in world.app.waiting.explain()}
        assert {row["tenant"] for row in rows["n"]} == set(NAMES)  # type: ignore[attr-defined]
        floor.let(len(clients))
        assert {answer.status for answer in await answers(clients)} == {200}
        assert [user for user in floor.order if user > 100] == [101, 102]


async def test_a_full_queue_sends_the_flood_home_first() -> None:
    async with World(auth={"keys": KEYS}, queue={"size": 3}) as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0, A)]
        for user in (1, 2, 3):
            clients.append(await send(world, user, A))
        full = await world.ask(post(PATH, body(4), A))
        assert (full.status, full.error["code"]) == (429, "queue_full")
        newcomer = await world.client()
        await newcomer.send(post(PATH, body(11), B))
        displaced = await clients.pop().answer()
        assert (displaced.status, displaced.error["code"]) == (429, "displaced")
        assert displaced.header(b"x-should-retry") == b"true"
        clients.append(newcomer)
        assert await in_turn(world, floor, clients) == [11, 1, 2]


async def test_what_the_engine_reports_is_what_is_charged() -> None:
    usage = b'{"usage":{"prompt_tokens":1000,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":900}}}'

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.send(response(usage, "Content-Type: application/json"))

    async with World(auth={"keys": KEYS}) as world:
        Floor(world, 1)
        world.engine.script = script
        assert (await world.ask(post(PATH, body(1), A))).status == 200
        assert world.app.waiting.served["default", NAMES[0]].cost == pytest.approx(100 + 90 + 100)


async def test_a_stream_is_charged_as_it_goes_on_and_set_right_at_its_end() -> None:
    event = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    last = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":40}}\n\ndata: [DONE]\n\n'

    async with World(auth={"keys": KEYS}) as world:
        floor = Floor(world, 1)

        async def script(seen: Seen, wire: Wire) -> None:
            await wire.send(SSE_HEAD)
            await wire.trickle(*(chunked(event)[:-5] for _ in range(40)))
            await floor.go.acquire()
            await wire.send(chunked(last))

        world.engine.script = script
        client = await world.client()
        await client.send(post(PATH, body(1, more=',"stream":true'), A))
        await world.until(lambda: cost(world, NAMES[0]) >= 2 * 40)
        floor.let(1)
        assert (await client.answer()).status == 200
        await world.quiet()
        assert cost(world, NAMES[0]) == 3 + 2 * 40


def cost(world: World, tenant: str) -> float:
    return world.app.waiting.served.get(("default", tenant), Served()).cost


async def test_counters_are_empty_after_the_last_request_whatever_happened_to_it() -> None:
    async with World(auth={"keys": KEYS}) as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0, A)]
        clients.append(await send(world, 1, B))
        leaver, late = await send(world, 2, A), await send(world, 3, B, "x-stainless-read-timeout: 0.1")
        leaver.leave()
        assert (await late.answer()).status == 429
        await world.until(lambda: waiting(world) == 1)
        assert await in_turn(world, floor, clients) == [1]
        await world.quiet()
        for line in world.app.waiting.lines:
            for counters in line.order.shares.counters().values():
                assert (counters.running, counters.waiting, len(counters)) == (0, 0, 0)


async def test_backlog_is_counted_while_somebody_waits() -> None:
    async with World(auth={"keys": KEYS}) as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0, A), await send(world, 1, A)]
        await world.until(lambda: world.app.waiting.served["default", NAMES[0]].backlog_s > 0.05)
        await in_turn(world, floor, clients)
        assert ("default", NAMES[1]) not in world.app.waiting.served


async def test_an_engine_that_others_keep_busy_has_no_room_and_requests_wait_for_it() -> None:
    async with World() as world:
        floor = Floor(world, 2)
        world.app.fleet.take_loads({"engine1": Load(at=monotonic(), running=2.0)})
        client = await send(world, 1)
        await asyncio.sleep(0.05)
        assert floor.order == []
        world.app.fleet.take_loads({"engine1": Load(at=monotonic(), running=1.0)})
        await world.until(floor.seen(1))
        floor.let(1)
        assert (await client.answer()).status == 200


async def test_a_stale_connection_is_tried_anew_in_the_place_that_its_request_has() -> None:
    async with World() as world:
        floor = Floor(world, 1)
        answering, used = world.engine.script, set[int]()

        async def script(seen: Seen, wire: Wire) -> None:
            """Every connection is good for one request."""
            if wire.number in used:
                wire.reset()
            else:
                used.add(wire.number)
                await answering(seen, wire)

        world.engine.script = script
        clients = [await occupy(world, floor, 0)]
        for user in range(1, 6):
            clients.append(await send(world, user))
        assert await in_turn(world, floor, clients) == [1, 2, 3, 4, 5]
        assert floor.peak == {"engine1": 1}
        await world.quiet()
        assert sum(len(record.attempts) == 2 for record in world.records) == 5
