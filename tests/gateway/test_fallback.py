"""Models and pools that stand in for each other, and compartments that keep one model from filling the gateway."""

import asyncio
from collections.abc import Mapping
from typing import Any, Self

import msgspec
import pytest

from penstock.core.clock import monotonic
from penstock.core.record import Outcome
from penstock.gateway.why import why
from tests.gateway.world import (
    SSE_HEAD,
    Client,
    Seen,
    Truncated,
    Wire,
    World,
    echo,
    post,
    response,
    sends,
    then_resets,
)

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
BODY = (
    b'{ "messages": [{"role": "user",  "content": "caf\\u00e9 \xc3\xa9"}],\n "model": "a", "temperature": 1.50,'
    b' "seed": 123456789012345678901234567890, "x-unknown": {"b":1, "a": [ ]} }'
)
STAND_IN = {"a": {"fallbacks": ["b"]}}
Raws = dict[str, msgspec.Raw]


class Stood(World):
    """engine1 serves `a`, engine2 serves `b`; `section` is `models` of the config."""

    def __init__(self, section: Mapping[str, object], **options: Any) -> None:
        super().__init__(2, {"engine1": ("a",), "engine2": ("b",)}, **options)
        self._options["models"] = section

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    def bound(self, most: int) -> None:
        """So many requests at once per engine."""
        bounded = [msgspec.structs.replace(each, max_in_flight=most) for each in self.app.fleet.endpoints]
        self.app.fleet.update(tuple(bounded), monotonic())

    async def send(self, body: bytes) -> Client:
        """A request under way, on a connection of its own."""
        client = await self.client()
        await client.send(post(PATH, body))
        return client


def other_fields(body: bytes) -> dict[str, bytes]:
    """Every field but the model, as it is spelt."""
    fields = msgspec.json.decode(body, type=Raws)
    return {name: bytes(raw) for name, raw in fields.items() if name != "model"}


async def one_answer_by_b(world: World) -> None:
    """The client sees one 200 of b's engine, which got the client's own bytes in all other fields."""
    answer = await world.ask(post(PATH, BODY))
    assert answer.status == 200
    assert answer.json["engine"] == "engine2"
    (seen,) = world.engines[1].seen
    assert msgspec.json.decode(seen.body)["model"] == "b"
    assert other_fields(seen.body) == other_fields(BODY)
    assert list(other_fields(seen.body)) == ["messages", "temperature", "seed", "x-unknown"]
    await world.quiet()
    (record,) = world.records
    assert (record.outcome, record.model, record.engine) == (Outcome.SUCCESS, "b", "engine2")


async def test_an_engine_that_refuses_is_stood_in_for() -> None:
    async with Stood(STAND_IN) as world:
        await world.engines[0].stop()
        await one_answer_by_b(world)
        assert [attempt.error for attempt in world.records[0].attempts] == ["upstream_refused", ""]


async def test_an_engine_that_breaks_off_is_stood_in_for() -> None:
    async with Stood(STAND_IN) as world:
        world.engine.script = then_resets()
        await one_answer_by_b(world)


async def test_a_model_that_no_ready_engine_serves_is_stood_in_for() -> None:
    async with Stood(STAND_IN) as world:
        world.show_fleet("engine1")
        await one_answer_by_b(world)
        assert world.engine.seen == []


async def test_models_stand_in_in_their_order() -> None:
    async with Stood({"a": {"fallbacks": ["none-serves-it", "b"]}}) as world:
        await world.engines[0].stop()
        await one_answer_by_b(world)


async def test_what_has_begun_to_answer_is_not_stood_in_for() -> None:
    async with Stood(STAND_IN) as world:
        world.engine.script = then_resets(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
        with pytest.raises(Truncated):
            await world.ask(post(PATH, BODY))
        await world.quiet()
        assert world.engines[1].seen == []


async def test_without_a_stand_in_left_the_client_gets_the_last_ones_error() -> None:
    async with Stood(STAND_IN) as world:
        for engine in world.engines:
            await engine.stop()
        answer = await world.ask(post(PATH, BODY))
        assert (answer.status, answer.error["code"]) == (502, "upstream_refused")
        await world.quiet()
        assert [attempt.engine for attempt in world.records[0].attempts] == ["engine1", "engine2"]


async def test_an_error_of_the_request_is_not_stood_in_for() -> None:
    async with Stood(STAND_IN) as world:
        world.engine.script = sends(response(b"{}", status="422 Unprocessable Content"))
        assert (await world.ask(post(PATH, BODY))).status == 422
        assert world.engines[1].seen == []


class Hold:
    """A script whose answers wait for `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, seen: Seen, wire: Wire) -> None:
        await self.go.wait()
        await echo(seen, wire)


async def test_a_full_compartment_refuses_only_its_own_model() -> None:
    async with Stood({"a": {"max_in_flight": 2}}) as world:
        hold = world.engine.script = Hold()
        clients = [await world.send(BODY) for _ in range(2)]
        await world.until(lambda: len(world.engine.seen) == 2)
        full = await world.ask(post(PATH, BODY))
        assert (full.status, full.error["code"]) == (429, "bulkhead_full")
        assert "models.a.max_in_flight" in full.error["message"]
        assert int(full.header(b"retry-after")) >= 1
        assert (await world.ask(post(PATH, BODY.replace(b'"a", "t', b'"b", "t')))).status == 200
        hold.go.set()
        assert [(await client.answer()).status for client in clients] == [200, 200]
        assert (await world.ask(post(PATH, BODY))).status == 200, "a place was not given back"


async def test_a_full_compartment_is_stood_in_for() -> None:
    async with Stood({"a": {"max_in_flight": 1, "fallbacks": ["b"]}}) as world:
        hold = world.engine.script = Hold()
        client = await world.send(BODY)
        await world.until(lambda: world.engine.seen)
        answer = await world.ask(post(PATH, BODY))
        assert (answer.status, answer.json["engine"]) == (200, "engine2")
        hold.go.set()
        assert (await client.answer()).status == 200


async def test_a_client_that_leaves_frees_its_place_in_the_compartment() -> None:
    async with Stood({"a": {"max_in_flight": 1}}) as world:
        world.engine.script = Hold()
        client = await world.send(BODY)
        await world.until(lambda: world.engine.seen)
        client.leave()
        await world.quiet()
        world.engine.script = echo
        assert (await world.ask(post(PATH, BODY))).status == 200


async def test_who_waited_in_vain_joins_the_line_of_the_model_that_stands_in() -> None:
    async with Stood(STAND_IN, queue={"max_wait": 0.1}) as world:
        world.bound(1)
        holds = [Hold(), Hold()]
        for engine, hold in zip(world.engines, holds, strict=True):
            engine.script = hold
        clients = [await world.send(BODY), await world.send(BODY.replace(b'"a", "t', b'"b", "t'))]
        await world.until(lambda: all(engine.seen for engine in world.engines))
        clients.append(await world.send(BODY))
        await world.until(lambda: world.app.waiting.depths().get(("b", "default")))
        holds[1].go.set()
        holds[0].go.set()
        found = [await client.answer() for client in clients]
        assert [answer.status for answer in found] == [200] * 3
        assert [answer.json["engine"] for answer in found] == ["engine1", "engine2", "engine2"]
        await world.quiet()
        (last,) = [record for record in world.records if len(record.attempts) and record.queue_s]
        assert last.queue_s > 0.1, "it waited for both models"


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
async def test_a_busy_engine_is_stood_in_for(status: str) -> None:
    async with Stood(STAND_IN) as world:
        busy, other = world.engines
        busy.script, other.script = sends(response(b"{}", status=status)), sends(response(b'{"from":"b"}'))
        answer = await world.ask(post(PATH, BODY))
        assert (answer.status, answer.body) == (200, b'{"from":"b"}')
        await world.quiet()
        assert [attempt.error for attempt in world.records[-1].attempts] == ["upstream_busy", ""]


async def test_when_the_stand_in_is_busy_too_the_client_gets_its_answer() -> None:
    async with Stood(STAND_IN) as world:
        for number, engine in enumerate(world.engines, 1):
            engine.script = sends(response(b'{"from":%d}' % number, status="503 Service Unavailable"))
        answer = await world.ask(post(PATH, BODY))
        assert (answer.status, answer.body) == (503, b'{"from":2}')
        await world.quiet()


POOLS = {"m": {"pools": ["own", "rented"]}}
M = BODY.replace(b'"a", "t', b'"m", "t')


class Pooled(Stood):
    """Both engines serve `m`: engine1 in the pool `own`, engine2 in `rented`."""

    def __init__(self, section: Mapping[str, object] = POOLS, **options: Any) -> None:
        facts = {"engine1": {"pool": "own"}, "engine2": {"pool": "rented"}}
        World.__init__(self, 2, {"engine1": ("m",), "engine2": ("m", "b")}, facts, **options)
        self._options["models"] = section

    async def steps(self, request_id: str) -> list[tuple[str, str, str]]:
        """What `why` tells of the order."""
        (row,) = why(self.app, request_id)
        return [(step["model"], step["pool"], step["reason"]) for step in row["steps"]]


async def test_the_first_pool_answers_while_it_can() -> None:
    async with Pooled() as world:
        answers = [await world.ask(post(PATH, M)) for _ in range(10)]
        assert {answer.json["engine"] for answer in answers} == {"engine1"}


async def test_a_pool_that_is_full_spills_over_and_the_reason_is_kept() -> None:
    async with Pooled() as world:
        world.bound(1)
        hold = world.engine.script = Hold()
        first = await world.send(M)
        await world.until(lambda: world.engine.seen)
        spilt = await world.ask(post(PATH, M))
        assert (spilt.status, spilt.json["engine"]) == (200, "engine2")
        assert spilt.id
        assert await world.steps(spilt.id) == [
            ("m", "rented", "asked for; own is full"),
            ("m", "own", "asked for; own is full"),
        ]
        hold.go.set()
        assert (await first.answer()).json["engine"] == "engine1"


async def test_who_finds_every_pool_full_waits_in_the_first() -> None:
    async with Pooled() as world:
        world.bound(1)
        holds = [Hold(), Hold()]
        for engine, hold in zip(world.engines, holds, strict=True):
            engine.script = hold
        clients = [await world.send(M)]
        await world.until(lambda: world.engine.seen)
        clients.append(await world.send(M))
        await world.until(lambda: world.engines[1].seen)
        clients.append(await world.send(M))
        await world.until(lambda: world.app.waiting.depths().get(("m", "own")))
        for hold in holds:
            hold.go.set()
        found = [await client.answer() for client in clients]
        assert [answer.json["engine"] for answer in found] == ["engine1", "engine2", "engine1"]


async def test_a_pool_that_fails_is_stood_in_for_by_the_next() -> None:
    async with Pooled() as world:
        await world.engines[0].stop()
        answer = await world.ask(post(PATH, M))
        assert (answer.status, answer.json["engine"]) == (200, "engine2")
        await world.quiet()
        assert [attempt.error for attempt in world.records[0].attempts] == ["upstream_refused", ""]


async def test_a_pool_that_is_not_ready_is_passed_over() -> None:
    async with Pooled() as world:
        world.show_fleet("engine1")
        assert (await world.ask(post(PATH, M))).json["engine"] == "engine2"


async def test_after_the_pools_the_model_that_stands_in_is_asked() -> None:
    async with Pooled({"m": {"pools": ["own"], "fallbacks": ["b"]}}) as world:
        world.engine.script = then_resets()
        answer = await world.ask(post(PATH, M))
        assert (answer.status, answer.json["engine"]) == (200, "engine2")
        assert msgspec.json.decode(world.engines[1].seen[0].body)["model"] == "b"


async def test_a_pool_outside_the_order_is_never_asked() -> None:
    async with Pooled({"m": {"pools": ["own"]}}) as world:
        await world.engines[0].stop()
        answer = await world.ask(post(PATH, M))
        assert (answer.status, answer.error["code"]) == (502, "upstream_refused")
        world.show_fleet("engine1")
        assert (await world.ask(post(PATH, M))).status == 503
        assert world.engines[1].seen == []


async def test_what_may_not_be_done_twice_is_tried_in_one_pool() -> None:
    async with Pooled() as world:
        await world.engines[0].stop()
        answer = await world.ask(post("/v1/audio/speech", M))
        assert (answer.status, answer.error["code"]) == (502, "upstream_refused")
        assert world.engines[1].seen == []


async def test_who_waits_for_the_next_pool_is_not_taken_for_one_whose_engine_is_silent() -> None:
    async with Pooled(timeouts={"first_byte": 0.3}) as world:
        world.bound(1)
        own, rented = world.engines
        own.script = sends(response(b"{}", status="503 Service Unavailable"))
        go = asyncio.Event()

        async def begins(seen: Seen, wire: Wire) -> None:
            event = b"data: {}\n\n"
            await wire.send(SSE_HEAD + b"%x\r\n%b\r\n" % (len(event), event))
            await go.wait()
            await wire.send(b"0\r\n\r\n")

        rented.script = begins
        first = await world.send(BODY.replace(b'"a", "t', b'"b", "t'))
        await world.until(lambda: rented.seen)
        waits = await world.send(M)
        await world.until(lambda: world.app.waiting.depths().get(("m", "rented")))
        await asyncio.sleep(0.6)
        rented.script = echo
        go.set()
        answer = await waits.answer()
        assert (answer.status, answer.json["engine"]) == (200, "engine2")
        assert (await first.answer()).status == 200
