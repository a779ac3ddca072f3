"""A prompt that is read on one engine and answered on another; and what becomes of it when that fails."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from penstock.core.clock import monotonic
from penstock.core.record import Outcome, PrefillOutcome
from penstock.gateway.why import why
from penstock.policy.resilience.timeouts import kind_of
from penstock.policy.route.disaggregate import prefill_parameters
from tests.gateway.two_legs import (
    BLOCKS,
    PATH,
    WROTE,
    answers,
    bodies,
    closes,
    hangs,
    long_chat,
    prefiller,
    reads,
    resets,
    resets_midway,
    told,
    two_legged,
    writes,
)
from tests.gateway.world import SSE_HEAD, Script, Seen, Wire, World, chunked, get, post, response, sends, then_resets

pytestmark = pytest.mark.anyio
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


class Standing(World):
    """`small` stands in for `m`."""

    async def __aenter__(self) -> World:
        self._options["models"] = {"m": {"fallbacks": ["small"]}}
        return await super().__aenter__()


def account(world: World, request_id: str) -> dict[str, Any]:
    world.app.book()
    (row,) = why(world.app, request_id)
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(row))
    return found


def legs_counted(world: World) -> dict[str, float]:
    """Outcome -> first legs, as metrics tell."""
    world.app.sweep(monotonic())
    return {labels[1]: row[0] for sheet, labels, row in world.series.rows() if sheet.name == "prefill" and row[0]}


@pytest.mark.parametrize("stream", [{}, STREAM], ids=["whole", "stream"])
async def test_one_engine_reads_and_another_answers(stream: dict[str, Any]) -> None:
    async with two_legged() as world:
        body = long_chat(max_tokens=50, temperature=0.25, **stream)
        answer = await world.ask(post(PATH, body, "Accept-Encoding: gzip", "x-team: red"))
        assert answer.status == 200
        assert b"Once" in answer.body
        await world.quiet()
        (first,), (second,) = bodies(prefiller(world)), bodies(world.engine)
        asked = json.loads(body)
        assert first == {
            "model": "m",
            "messages": asked["messages"],
            "temperature": 0.25,
            "max_tokens": 1,
            "stream": False,
            "kv_transfer_params": prefill_parameters(),
        }
        assert second == {**asked, "kv_transfer_params": BLOCKS}
        legs = [prefiller(world).seen[0], world.engine.seen[0]]
        assert {leg.header(b"x-request-id").decode() for leg in legs} == {answer.id}
        assert {leg.header(b"x-team") for leg in legs} == {b"red"}
        assert [leg.header(b"accept-encoding") for leg in legs] == [b"", b"gzip"]
        record = world.records[-1]
        assert (record.outcome, record.engine, record.stream) == (Outcome.SUCCESS, "engine1", bool(stream))
        assert (record.input_tokens, record.output_tokens) == (WROTE["prompt_tokens"], WROTE["completion_tokens"])
        assert [attempt.engine for attempt in record.attempts] == ["engine1"]
        assert record.prefill is not None
        assert (record.prefill.engine, record.prefill.outcome) == ("engine2", PrefillOutcome.TRANSFERRED)
        assert 0 < record.prefill.seconds < record.duration_s
        assert legs_counted(world) == {"transferred": 1}


async def test_the_account_of_a_request_tells_both_engines() -> None:
    async with two_legged() as world:
        row = account(world, (await world.ask(post(PATH, long_chat()))).id)
        legs = row["legs"]
        assert "fresh prompt tokens" in legs["reason"]
        assert (legs["decode"], legs["prefill"]["engine"]) == ("engine1", "engine2")
        assert (legs["first_leg"]["engine"], legs["first_leg"]["outcome"]) == ("engine2", "transferred")
        assert row["decisions"][-1]["engine"] == "engine1"
        short = account(world, (await world.ask(post(PATH, b'{"model":"m","messages":[]}'))).id)["legs"]
        assert (short["prefill"], short["first_leg"]) == (None, None)
        assert "fewer than 1024" in short["reason"]


async def test_a_running_first_leg_is_told_of_and_both_engines_are_counted() -> None:
    async with two_legged() as world:
        prefiller(world).script = hangs
        client = await world.client()
        await client.send(post(PATH, long_chat(), "x-request-id: mine-1"))
        await world.until(lambda: prefiller(world).seen)
        assert world.app.fleet.in_flight == {"engine1": 1, "engine2": 1}
        assert world.app.fleet.load("engine2") > 2  # one request, and its fresh prompt of 1,500 tokens
        assert account(world, "mine-1")["legs"]["first_leg"]["engine"] == "engine2"
        client.leave()
        await world.quiet()


async def test_a_short_or_cached_prompt_is_answered_by_one() -> None:
    async with two_legged() as world:
        await world.ask(post(PATH, b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'))
        assert prefiller(world).seen == []
        for _ in range(2):
            assert (await world.ask(post(PATH, long_chat()))).status == 200
        assert len(prefiller(world).seen) == 1, "what was answered there is cached there"
        assert world.engine.seen[-1].body == long_chat()
        await world.quiet()


async def test_other_settings_split_other_prompts() -> None:
    async with two_legged(routing={"split_tokens": 4}) as world:
        await world.ask(post(PATH, b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'))
        assert len(prefiller(world).seen) == 1


@pytest.mark.parametrize(
    "fields",
    [{"n": 2}, {"best_of": 3}, {"use_beam_search": True}, {"echo": True}, {"prompt_logprobs": 1}, {"n": "x"},
     {"kv_transfer_params": {"do_remote_decode": True}}, {"prompt": ["a", "b"]}, {"prompt": [[1], [2]]}],
    ids=str,
)  # fmt: skip
async def test_what_is_not_one_prompt_with_one_answer_stays_whole(fields: dict[str, Any]) -> None:
    async with two_legged() as world:
        body = long_chat(**fields)
        assert (await world.ask(post(PATH, body))).status == 200
        assert prefiller(world).seen == []
        assert world.engine.seen[0].body == body


async def test_other_paths_stay_whole() -> None:
    async with two_legged() as world:
        assert (await world.ask(post("/v1/embeddings", long_chat()))).status == 200
        assert (await world.ask(get("/v1/models"), "GET")).status == 200
        assert prefiller(world).seen == []


FAULTS: list[tuple[Script, PrefillOutcome]] = [
    (answers({"error": {}}, "503 Service Unavailable"), PrefillOutcome.REFUSED),
    (answers({"error": {}}, "500 Internal Server Error"), PrefillOutcome.REFUSED),
    (answers({"error": {}}, "400 Bad Request"), PrefillOutcome.REFUSED),
    (resets, PrefillOutcome.FAILED),
    (closes, PrefillOutcome.FAILED),
    (resets_midway, PrefillOutcome.FAILED),
    (sends(b"SSH-2.0-OpenSSH_9.2\r\n"), PrefillOutcome.FAILED),
    (sends(response(b"<html>")), PrefillOutcome.FAILED),
    (sends(response(b" " * (2 << 20))), PrefillOutcome.FAILED),
    (sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[chunked(b" " * 65_536)[:-5]] * 40),
     PrefillOutcome.FAILED),
    (sends(b"HTTP/1.1 204 No Content\r\n\r\n"), PrefillOutcome.FAILED),
    (hangs, PrefillOutcome.TIMED_OUT),
    (answers(told(None)), PrefillOutcome.NO_BLOCKS),
    (answers(told({**BLOCKS, "remote_block_ids": [[]]})), PrefillOutcome.NO_BLOCKS),
    (answers(told("elsewhere")), PrefillOutcome.NO_BLOCKS),
]  # fmt: skip
NAMES = [
    "503", "500", "400", "reset", "close", "reset midway", "no http", "no json", "too long", "endless", "204", "hang",
    "null", "empty", "nonsense",
]  # fmt: skip


@pytest.mark.parametrize("stream", [{}, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize(("fault", "outcome"), FAULTS, ids=NAMES)
async def test_without_blocks_the_decode_engine_does_the_whole(
    fault: Script, outcome: PrefillOutcome, stream: dict[str, Any]
) -> None:
    async with two_legged(timeouts={"first_byte": 0.4 if fault is hangs else 30.0}) as world:
        prefiller(world).script = fault
        body = long_chat(**stream)
        answer = await world.ask(post(PATH, body))
        assert answer.status == 200
        assert b"Once" in answer.body
        await world.quiet()
        assert [seen.body for seen in world.engine.seen] == [body], "the client's own bytes, once"
        record = world.records[-1]
        assert (record.outcome, [a.engine for a in record.attempts]) == (Outcome.SUCCESS, ["engine1"])
        assert record.output_tokens == WROTE["completion_tokens"]
        assert record.prefill is not None
        assert record.prefill.outcome is outcome
        assert legs_counted(world) == {outcome.value: 1}
        retried = outcome is not PrefillOutcome.NO_BLOCKS
        assert account(world, answer.id)["retry_budget"]["retries"] == retried


async def test_an_engine_that_takes_no_connection_is_done_without() -> None:
    async with two_legged() as world:
        await prefiller(world).stop()
        assert (await world.ask(post(PATH, long_chat()))).status == 200
        await world.quiet()
        prefill = world.records[-1].prefill
        assert prefill is not None
        assert prefill.outcome is PrefillOutcome.REFUSED


async def test_a_kept_alive_connection_that_was_closed_is_no_failure() -> None:
    async with two_legged() as world:
        assert (await world.ask(post(PATH, long_chat("sea")))).status == 200

        async def stale(seen: Seen, wire: Wire) -> None:
            await (resets if wire.number == 1 else reads)(seen, wire)

        prefiller(world).script = stale
        answer = await world.ask(post(PATH, long_chat("river")))
        assert answer.status == 200
        assert "kv_transfer_params" in bodies(world.engine)[-1]
        assert account(world, answer.id)["retry_budget"]["retries"] == 0
        await world.quiet()


async def test_a_client_that_leaves_in_the_first_leg_ends_it_and_nothing_follows() -> None:
    async with two_legged() as world:
        freed = asyncio.Event()

        async def slow(seen: Seen, wire: Wire) -> None:
            await wire.gone()
            freed.set()

        prefiller(world).script = slow
        client = await world.client()
        await client.send(post(PATH, long_chat()))
        await world.until(lambda: prefiller(world).seen)
        client.leave()
        async with asyncio.timeout(10):
            await freed.wait()
        await world.quiet()
        assert world.engine.seen == []
        record = world.records[-1]
        assert (record.outcome, record.attempts) == (Outcome.CLIENT_LEFT, [])
        assert record.prefill is not None
        assert record.prefill.outcome is PrefillOutcome.CLIENT_LEFT


async def test_the_total_time_covers_both_legs() -> None:
    async with two_legged(timeouts={"total": 0.2}) as world:
        prefiller(world).script = hangs
        answer = await world.ask(post(PATH, long_chat()))
        assert (answer.status, answer.error["code"]) == (504, "total_timeout")
        await world.quiet()
        assert world.engine.seen == []
        prefill = world.records[-1].prefill
        assert prefill is not None
        assert prefill.outcome is PrefillOutcome.STOPPED


async def test_the_first_byte_has_one_bound_for_both_legs() -> None:
    async with two_legged(timeouts={"first_byte": 0.6}) as world:
        prefiller(world).script = world.engine.script = hangs
        began = monotonic()
        answer = await world.ask(post(PATH, long_chat()))
        assert (answer.status, answer.error["code"]) == (504, "first_byte_timeout")
        assert 0.6 < monotonic() - began < 1.0
        await world.quiet()


async def test_a_drain_that_ends_the_first_leg_ends_the_request() -> None:
    async with two_legged() as world:
        prefiller(world).script = hangs
        client = await world.client()
        await client.send(post(PATH, long_chat()))
        await world.until(lambda: prefiller(world).seen)
        world.app.drain()
        world.app.abandon()
        assert (await client.answer()).error["code"] == "drain_timeout"
        await world.quiet()
        assert world.engine.seen == []


async def test_an_engine_that_fails_is_left_alone_for_a_while() -> None:
    async with two_legged() as world:
        prefiller(world).script = resets
        for number in range(8):
            assert (await world.ask(post(PATH, long_chat(f"sea {number}")))).status == 200
        await world.quiet()
        assert len(prefiller(world).seen) == 5, "resilience.breaker_failures"
        last = account(world, world.records[-1].id)["legs"]
        assert last["reason"] == "no engine to prefill on"


async def test_failed_first_legs_end_with_the_budget() -> None:
    async with two_legged(resilience={"retry_ratio": 0.0, "breaker_failures": 1000, "slow_start": 0}) as world:
        prefiller(world).script = resets
        for number in range(18):
            assert (await world.ask(post(PATH, long_chat(f"sea {number}")))).status == 200
        await world.quiet()
        assert len(prefiller(world).seen) == 12  # 0.2 a second over a window of 60 s
        last = account(world, world.records[-1].id)["legs"]
        assert (last["reason"], last["first_leg"]) == ("no retry is left, should the first leg fail", None)


async def test_an_engine_that_dies_with_the_blocks_leaves_the_whole_to_another() -> None:
    async with two_legged(decoders=2) as world:
        world.engines[0].script = world.engines[1].script = resets
        client = await world.client()

        async def first_dies(seen: Seen, wire: Wire) -> None:
            other = next(engine for engine in world.engines[:2] if engine.name != seen.engine)
            other.script = writes
            wire.reset()

        world.engines[0].script = world.engines[1].script = first_dies
        await client.send(post(PATH, long_chat()))
        assert (await client.answer()).status == 200
        await world.quiet()
        assert len(prefiller(world).seen) == 1
        record = world.records[-1]
        dead, other = (next(e for e in world.engines if e.name == a.engine) for a in record.attempts)
        assert bodies(dead)[0]["kv_transfer_params"] == BLOCKS
        assert "kv_transfer_params" not in bodies(other)[0], "blocks are read once"


async def test_a_kept_alive_connection_that_was_closed_before_leg_two_gets_the_whole_on_a_fresh_one() -> None:
    async with two_legged() as world:
        assert (await world.ask(post(PATH, long_chat("sea")))).status == 200

        async def stale(seen: Seen, wire: Wire) -> None:
            await (resets if wire.number == 1 else writes)(seen, wire)

        world.engine.script = stale
        assert (await world.ask(post(PATH, long_chat("river")))).status == 200
        await world.quiet()
        assert ["kv_transfer_params" in body for body in bodies(world.engine)] == [True, True, False]
        assert len(prefiller(world).seen) == 2
        assert [a.error for a in world.records[-1].attempts] == ["upstream_reset", ""]


async def test_a_slow_second_leg_teaches_its_own_kind() -> None:
    async with two_legged(decoders=2) as world:
        learned = world.app.learned
        kind = kind_of("m\ndecode", False, 1500, 0, 0)
        for _ in range(60):
            learned.learned(kind, first_s=0.001)
        learned.least_s = 0.0
        configured = learned.limits(kind).first_byte_s
        assert configured == 5.0, "the floor"
        before = {each: len(entry.first) for each, entry in learned._kinds.items()}
        first = [hangs]

        async def slow_once(seen: Seen, wire: Wire) -> None:
            await (first.pop() if first else writes)(seen, wire)

        world.engines[0].script = world.engines[1].script = slow_once
        assert (await world.ask(post(PATH, long_chat()))).status == 200
        await world.quiet()
        assert [a.error for a in world.records[-1].attempts] == ["engine_slow", ""]
        assert len(learned._kinds[kind].first) == before[kind] + 1


async def test_an_engine_that_was_not_reached_leaves_the_blocks_to_another() -> None:
    async with two_legged(decoders=2) as world:
        go = asyncio.Event()

        async def slow(seen: Seen, wire: Wire) -> None:
            await go.wait()
            await reads(seen, wire)

        prefiller(world).script = slow
        client = await world.client()
        await client.send(post(PATH, long_chat()))
        await world.until(lambda: prefiller(world).seen)
        chosen = next(e for e in world.engines[:2] if world.app.fleet.in_flight[e.name])
        await chosen.stop()
        go.set()
        assert (await client.answer()).status == 200
        await world.quiet()
        other = next(e for e in world.engines[:2] if e is not chosen)
        assert [body["kv_transfer_params"] for body in bodies(other)] == [BLOCKS]
        assert [a.error for a in world.records[-1].attempts] == ["upstream_refused", ""]


async def test_an_engine_that_left_during_the_first_leg_is_not_asked() -> None:
    async with two_legged(decoders=2) as world:
        go = asyncio.Event()

        async def slow(seen: Seen, wire: Wire) -> None:
            await go.wait()
            await reads(seen, wire)

        prefiller(world).script = slow
        client = await world.client()
        await client.send(post(PATH, long_chat()))
        await world.until(lambda: prefiller(world).seen)
        chosen = next(e for e in world.engines[:2] if world.app.fleet.in_flight[e.name])
        staying = tuple(each for each in world.app.fleet.endpoints if each.name != chosen.name)
        world.app.fleet.update(staying, monotonic())
        go.set()
        assert (await client.answer()).status == 200
        assert chosen.seen == []
        await world.quiet()


async def test_blocks_that_cannot_be_read_are_not_the_clients_problem() -> None:
    async with two_legged() as world:
        failed = answers({"error": {"message": "KV load failed"}}, "500 Internal Server Error")

        async def cannot_read(seen: Seen, wire: Wire) -> None:
            await (failed if b"kv_transfer_params" in seen.body else writes)(seen, wire)

        world.engine.script = cannot_read
        answer = await world.ask(post(PATH, long_chat()))
        assert answer.status == 200
        await world.quiet()
        assert ["kv_transfer_params" in body for body in bodies(world.engine)] == [True, False]
        record = world.records[-1]
        assert [a.error for a in record.attempts] == ["blocks_unread", ""]
        assert record.prefill is not None
        assert record.prefill.outcome is PrefillOutcome.UNREAD
        assert len(prefiller(world).seen) == 1
        assert account(world, answer.id)["retry_budget"]["retries"] == 1


async def test_nothing_is_repeated_after_the_first_byte() -> None:
    async with two_legged() as world:
        world.engine.script = then_resets(SSE_HEAD, chunked(b'data: {"choices":[]}\n\n')[:-5])
        answer = await world.ask(post(PATH, long_chat(**STREAM)))
        assert b"upstream_reset" in answer.body
        await world.quiet()
        assert (len(world.engine.seen), len(prefiller(world).seen)) == (1, 1)


async def test_an_engine_that_only_prefills_gets_nothing_else() -> None:
    async with two_legged() as world:
        world.show_fleet("engine1")
        answer = await world.ask(post(PATH, long_chat()))
        assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
        world.app.fleet.update(world.app.fleet.endpoints[1:], monotonic())
        answer = await world.ask(post(PATH, long_chat()))
        assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
        assert (await world.ask(get("/v1/models"), "GET")).json["data"] == []
        assert prefiller(world).seen == []
        await world.quiet()


async def test_an_engine_of_another_pool_reads_for_nobody() -> None:
    facts = {"engine1": {"role": "decode", "pool": "a"}, "engine2": {"role": "prefill", "pool": "b"}}
    async with World(2, facts=facts) as world:
        world.engine.script = writes
        assert (await world.ask(post(PATH, long_chat()))).status == 200
        assert world.engines[1].seen == []
        assert not world.app.fleet.splitting


async def test_a_model_that_stands_in_gets_the_clients_own_request() -> None:
    models = {"engine1": ("m",), "engine2": ("small",), "engine3": ("m",)}
    facts = {"engine1": {"role": "decode"}, "engine3": {"role": "prefill"}}
    async with Standing(3, models, facts) as world:
        world.engines[0].script, world.engines[1].script, world.engines[2].script = resets, writes, reads
        assert (await world.ask(post(PATH, long_chat()))).status == 200
        (seen,) = bodies(world.engines[1])
        assert seen == {**json.loads(long_chat()), "model": "small"}
        await world.quiet()


async def test_first_legs_wait_for_no_room_and_answers_do() -> None:
    facts = {
        "engine1": {"role": "decode", "max_in_flight": 1},
        "engine2": {"role": "prefill", "max_in_flight": 1},
    }
    async with World(2, facts=facts) as world:
        world.engines[0].script, world.engines[1].script = writes, reads
        bodies_ = [post(PATH, long_chat(f"sea {number}")) for number in range(6)]
        found = await asyncio.gather(*(world.ask(body) for body in bodies_))
        assert {answer.status for answer in found} == {200}
        await world.quiet()
        assert len(prefiller(world).seen) == len(world.engine.seen) == 6


async def test_what_is_learnt_of_one_leg_is_not_held_against_the_other() -> None:
    async with two_legged(decoders=2) as world:
        for number in range(4):
            await world.ask(post(PATH, long_chat(f"sea {number}", **STREAM)))
        world.app.book()
        kinds = {kind.model for kind in world.app.learned._kinds}
        assert kinds == {"m\nprefill", "m\ndecode"}
