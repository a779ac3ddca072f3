"""Why a request went where it did, and what response headers tell of it."""

import asyncio
from typing import Any

import msgspec
import pytest

from penstock.gateway.why import UNCHOSEN, why
from tests.gateway.world import Seen, Wire, World, echo, post, response, sends

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
LONG = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % (b"Tell me of the sea. " * 200)


def account(world: World, request_id: str) -> dict[str, Any]:
    """The only row, after a trip through JSON: people read it there."""
    world.app.book()
    (row,) = why(world.app, request_id)
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(row))
    return found


async def test_a_routed_request_tells_its_candidates_scores_match_and_attempts() -> None:
    async with World(engines=3) as world:
        first = await world.ask(post(PATH, LONG, "x-priority: 3"))
        again = await world.ask(post(PATH, LONG))
        assert again.json["engine"] == first.json["engine"]
        home = again.json["engine"]
        told = account(world, first.id)
        assert (told["id"], told["running"], told["outcome"]) == (first.id, False, "success")
        assert [attempt["engine"] for attempt in told["attempts"]] == [home]
        (decision,) = told["decisions"]
        assert (decision["engine"], decision["policy"], decision["matched_tokens"]) == (home, "balanced", 0)
        assert decision["asked"]["priority"] == 3
        assert decision["asked"]["prompt_tokens"] > 900
        assert 0 < decision["seconds"] < 1
        assert {each["engine"] for each in decision["candidates"]} == {"engine1", "engine2", "engine3"}
        for each in decision["candidates"]:
            assert 0 <= each["score"] <= 1
            assert all(0 <= part <= 1 for part in each["parts"].values())
        told = account(world, again.id)
        (decision,) = told["decisions"]
        matched = {each["engine"]: each["matched_tokens"] for each in decision["candidates"]}
        assert matched.pop(home) == decision["matched_tokens"] > 800
        assert set(matched.values()) == {0}
        assert decision["candidates"][0]["engine"] == home
        assert told["reason"] == decision["reason"]
        assert told["retry_budget"]["retries"] == 0


async def test_a_moved_request_tells_each_decision_and_who_was_left_out() -> None:
    async with World(engines=2) as world:
        home = (await world.ask(post(PATH, LONG))).json["engine"]
        busy = sends(response(b"{}", status="503 Service Unavailable"))
        next(engine for engine in world.engines if engine.name == home).script = busy
        moved = await world.ask(post(PATH, LONG))
        told = account(world, moved.id)
        assert [attempt.get("error", "") for attempt in told["attempts"]] == ["upstream_busy", ""]
        first, second = told["decisions"]
        assert (first["engine"], second["engine"]) == (home, moved.json["engine"])
        assert second["filtered"] == [{"engine": home, "reason": "excluded"}]
        assert told["retry_budget"]["retries"] == 1


async def test_a_request_is_told_of_at_once_when_it_has_ended() -> None:
    async with World(engines=2) as world:
        answer = await world.ask(post(PATH, LONG))
        assert len(why(world.app, answer.id)[0]["decisions"]) == 1


async def test_one_engine_is_no_choice() -> None:
    async with World() as world:
        told = account(world, (await world.ask(post(PATH, LONG))).id)
        assert told["decisions"] == []
        assert told["reason"] == UNCHOSEN
        assert [attempt["engine"] for attempt in told["attempts"]] == ["engine1"]


async def test_a_running_request_is_told_of_and_an_unknown_one_is_not() -> None:
    async with World(engines=2) as world:
        go = asyncio.Event()

        async def hold(seen: Seen, wire: Wire) -> None:
            await go.wait()
            await echo(seen, wire)

        for engine in world.engines:
            engine.script = hold
        client = await world.client()
        await client.send(post(PATH, LONG, "x-request-id: mine-1"))
        await world.until(lambda: any(engine.seen for engine in world.engines))
        told = account(world, "mine-1")
        assert (told["running"], told["outcome"], len(told["decisions"])) == (True, None, 1)
        assert why(world.app, "nobodys") == []
        go.set()
        assert (await client.answer()).id == "mine-1"
        assert account(world, "mine-1")["running"] is False


async def test_no_more_is_remembered_than_the_config_says() -> None:
    async with World(engines=2, admin={"records": 2}) as world:
        answers = [await world.ask(post(PATH, LONG)) for _ in range(3)]
        world.app.book()
        assert why(world.app, answers[0].id) == []
        assert not world.app.choices(answers[0].id).decisions
        assert [len(account(world, answer.id)["decisions"]) for answer in answers[1:]] == [1, 1]


@pytest.mark.parametrize("engines", [1, 2])
async def test_headers_tell_the_engine_when_asked_to(engines: int) -> None:
    async with World(engines=engines, routing={"explain_headers": True}) as world:
        for expected in (0, 800):
            answer = await world.ask(post(PATH, LONG))
            assert answer.header(b"x-penstock-engine").decode() == answer.json["engine"]
            if engines > 1:
                assert answer.header(b"x-penstock-policy") == b"balanced"
                assert int(answer.header(b"x-penstock-prefix-tokens")) >= expected


async def test_headers_of_a_moved_request_name_the_engine_that_answered() -> None:
    async with World(engines=2, routing={"explain_headers": True}) as world:
        world.engines[0].script = world.engines[1].script = sends(response(b"{}", status="503 Busy"))
        both = await world.ask(post(PATH, LONG))
        await world.quiet()
        assert both.header(b"x-penstock-engine").decode() == world.records[-1].attempts[-1].engine


async def test_headers_are_silent_unless_asked() -> None:
    async with World(engines=2) as world:
        answer = await world.ask(post(PATH, LONG))
        assert not [name for name, _ in answer.headers if name.startswith(b"x-penstock")]


async def test_headers_tell_how_long_a_request_waited() -> None:
    go = asyncio.Event()

    async def hold(seen: Seen, wire: Wire) -> None:
        await go.wait()
        await echo(seen, wire)

    async with World(facts={"engine1": {"max_in_flight": 1}}, routing={"explain_headers": True}) as world:
        world.engine.script = hold
        clients = [await world.client(), await world.client()]
        await clients[0].send(post(PATH, LONG))
        await world.until(lambda: world.engine.seen)
        await clients[1].send(post(PATH, LONG))
        await world.until(lambda: world.app.waiting.depths() == {("m", "default"): 1})
        await asyncio.sleep(0.05)
        go.set()
        waited = [float((await client.answer()).header(b"x-penstock-queue-seconds")) for client in clients]
        assert waited[0] == 0
        assert 0.05 <= waited[1] < 5
