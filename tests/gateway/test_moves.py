"""Engines that are busy, and requests that move on unseen; prefixes, sessions and adapters that stay where they are."""

import asyncio
import json
from collections import Counter
from functools import partial

import msgspec
import pytest

from penstock.core.clock import monotonic
from penstock.core.record import Outcome
from tests.gateway.world import CHAT, Answer, Seen, Wire, World, echo, post, response, sends

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"


def busy(number: int, status: str = "503 Service Unavailable") -> bytes:
    """An engine's own refusal, which tells who wrote it."""
    return response(b'{"error":{"message":"KV cache is full","n":%d}}' % number, f"x-engine: {number}", status=status)


def chat(model: str = "m", system: str = "", user: str = "hi") -> bytes:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return json.dumps({"model": model, "messages": messages}).encode()


async def engine_of(world: World, body: bytes, *headers: str) -> str:
    """Which engine answers."""
    answer: Answer = await world.ask(post(PATH, body, *headers))
    assert answer.status == 200
    name: str = answer.json["engine"]
    return name


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests", "502 Bad Gateway"])
async def test_a_busy_engine_is_left_and_the_client_sees_one_200(status: str) -> None:
    async with World(engines=2) as world:
        first = await engine_of(world, CHAT)
        bad = next(engine for engine in world.engines if engine.name == first)
        bad.script = sends(busy(1, status))
        answer = await world.ask(post(PATH, CHAT))
        assert answer.status == 200
        assert answer.json["engine"] != first
        assert answer.header(b"x-engine") == b""
        await world.quiet()
        record = world.records[-1]
        assert [attempt.error for attempt in record.attempts] == ["upstream_busy", ""]
        assert (record.outcome, record.status) == (Outcome.SUCCESS, 200)
        assert len({engine.seen[-1].header(b"x-request-id") for engine in world.engines}) == 1


async def test_when_all_are_busy_the_last_answers_for_itself() -> None:
    async with World(engines=2) as world:
        for number, engine in enumerate(world.engines, 1):
            engine.script = sends(busy(number))
        answer = await world.ask(post(PATH, CHAT))
        await world.quiet()
        last = world.records[-1].attempts[-1].engine
        assert answer.status == 503
        assert answer.header(b"x-engine").decode() == last.removeprefix("engine")
        assert answer.json["error"]["message"] == "KV cache is full"
        assert [len(engine.seen) for engine in world.engines] == [1, 1]


async def test_an_error_of_the_request_itself_does_not_move() -> None:
    async with World(engines=2) as world:
        for engine in world.engines:
            engine.script = sends(response(b"{}", status="400 Bad Request"))
        assert (await world.ask(post(PATH, CHAT))).status == 400
        assert sum(len(engine.seen) for engine in world.engines) == 1


async def test_an_upload_does_not_move() -> None:
    async with World(engines=2) as world:
        for engine in world.engines:
            engine.script = sends(busy(1))
        assert (await world.ask(post("/v1/files", CHAT))).status == 503
        assert sum(len(engine.seen) for engine in world.engines) == 1


async def test_moves_end_with_the_budget() -> None:
    async with World(engines=2, resilience={"retry_ratio": 0.0, "breaker_failures": 1000}) as world:
        for engine in world.engines:
            engine.script = sends(busy(1))
        for _ in range(18):
            assert (await world.ask(post(PATH, CHAT))).status == 503
        assert sum(len(engine.seen) for engine in world.engines) == 18 + 12  # 0.2 a second over a window of 60 s


async def test_one_prefix_stays_and_many_spread() -> None:
    async with World(engines=3) as world:
        prefixes = [f"You are assistant number {number}. " + "Be brief and be kind. " * 60 for number in range(18)]
        homes = [await engine_of(world, chat(system=prefix)) for prefix in prefixes]
        spread = Counter(homes)
        assert len(spread) == 3
        assert max(spread.values()) <= 12, spread
        for prefix, home in zip(prefixes, homes, strict=True):
            for turn in ("And now?", "Why?"):
                assert await engine_of(world, chat(system=prefix, user=turn)) == home


async def test_a_prefix_follows_to_where_it_went_when_its_engine_was_busy() -> None:
    async with World(engines=3) as world:
        body = chat(system="You are a librarian. " * 100)
        home = await engine_of(world, body)
        named = {engine.name: engine for engine in world.engines}
        named[home].script = sends(busy(1))
        refuge = await engine_of(world, body)
        assert refuge != home
        world.show_fleet(home)
        assert await engine_of(world, body) == refuge


async def test_a_session_without_a_prefix_stays() -> None:
    async with World(engines=3) as world:
        homes = {
            name: {await engine_of(world, chat(user=f"{name} {turn}"), f"x-session-id: {name}") for turn in range(4)}
            for name in ("ann", "bob", "cid", "dan", "eva", "fay")
        }
        assert all(len(home) == 1 for home in homes.values()), homes
        assert len(set[str]().union(*homes.values())) > 1


async def test_an_adapter_stays_where_it_is_in_use() -> None:
    names = ("m", "red", "blue")
    served = {f"engine{number}": names for number in (1, 2, 3)}
    async with World(engines=3, models=served, resilience={"slow_start": 0}) as world:
        adapters = frozenset({"red", "blue"})
        known = [msgspec.structs.replace(each, adapters=adapters) for each in world.app.fleet.endpoints]
        world.app.fleet.update(tuple(known), monotonic())
        held: dict[str, str] = {}
        go = asyncio.Event()

        async def hold(seen: Seen, wire: Wire) -> None:
            if seen.header(b"x-hold"):
                held[json.loads(seen.body)["model"]] = seen.engine
                await go.wait()
            await echo(seen, wire)

        for engine in world.engines:
            engine.script = hold
        clients = [await world.client() for _ in range(2)]
        for number, model in enumerate(("red", "blue")):
            await clients[number].send(post(PATH, chat(model, user=model * 200), "x-hold: 1"))
            await world.until(partial(held.get, model))
        assert held["red"] != held["blue"]
        for model, home in held.items():
            for turn in range(4):
                assert await engine_of(world, chat(model, user=f"{turn} something else " * 50)) == home
        go.set()
        for client in clients:
            assert (await client.answer()).status == 200
