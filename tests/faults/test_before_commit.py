"""Engines that fail before their first content byte: tried elsewhere when there is an elsewhere, typed otherwise."""

import asyncio

import httpx
import openai
import pytest

from penstock.core.record import Outcome
from tests.faults.upstream import Call, Script, Upstream
from tests.faults.world import CHAT, gateway, post, timeouts, until

pytestmark = pytest.mark.anyio

DEAD = "http://127.0.0.1:1"
"""Nothing listens there: connections are refused."""


async def resets(call: Call) -> None:
    call.reset()


async def hangs_up(call: Call) -> None:
    call.close()


async def resets_inside_its_head(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    call.reset()


async def resets_after_its_head(call: Call) -> None:
    await call.sse()
    call.reset()


async def hangs_up_before_a_promised_body(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
    call.close()


async def speaks_another_protocol(call: Call) -> None:
    await call.send(b"SSH-2.0-OpenSSH_9.2\r\n")


async def switches_protocols(call: Call) -> None:
    await call.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n")


async def silent(call: Call) -> None:
    await call.left()


async def silent_after_its_head(call: Call) -> None:
    await call.sse()
    await call.left()


FAULTS: dict[Script, str] = {
    resets: "upstream_reset",
    hangs_up: "upstream_reset",
    resets_inside_its_head: "upstream_reset",
    resets_after_its_head: "upstream_reset",
    hangs_up_before_a_promised_body: "upstream_reset",
    speaks_another_protocol: "upstream_malformed",
    switches_protocols: "upstream_malformed",
}


def named(script: object) -> str:
    return getattr(script, "__name__", str(script))


@pytest.mark.parametrize("fault", FAULTS, ids=named)
async def test_another_engine_answers_unseen(fault: Script) -> None:
    async with Upstream(fault) as bad, Upstream() as good, gateway(bad, good) as gate, gate.http() as client:
        for _ in range(2):  # routing takes turns, so one of two requests meets the bad one first
            answer = await client.post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 200
            assert answer.json()["choices"][0]["message"]["content"] == "hello"
        records = await gate.records(2)
        assert [r.outcome for r in records] == [Outcome.SUCCESS] * 2
        moved = next(r for r in records if len(r.attempts) == 2)
        assert [(a.engine, a.error) for a in moved.attempts] == [("e0", FAULTS[fault]), ("e1", "")]
        assert len(good.calls) == 2
        assert good.calls[0].body == good.calls[1].body


@pytest.mark.parametrize("fault", FAULTS, ids=named)
async def test_alone_it_becomes_a_typed_502(fault: Script) -> None:
    async with Upstream(fault) as bad, gateway(bad) as gate, gate.openai() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(**CHAT)
        assert caught.value.status_code == 502
        assert (caught.value.type, caught.value.code) == ("upstream_error", FAULTS[fault])
        record = await gate.record()
        assert (record.outcome, record.status, record.error) == (Outcome.UPSTREAM_FAILED, 502, FAULTS[fault])
        assert len(record.attempts) == len(bad.calls) == 1


async def test_a_refusing_engine_is_left_for_another() -> None:
    async with Upstream() as good, gateway(DEAD, good) as gate, gate.http() as client:
        for _ in range(2):
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        tried = [[a.error for a in r.attempts] for r in await gate.records(2)]
        assert tried == [["upstream_refused", ""]] * 2


async def test_a_refusing_engine_alone_is_a_502() -> None:
    async with gateway(DEAD) as gate, gate.openai() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(**CHAT)
        assert (caught.value.status_code, caught.value.code) == (502, "upstream_refused")
        assert (await gate.record()).outcome is Outcome.UPSTREAM_FAILED


async def test_three_attempts_are_enough() -> None:
    async with Upstream(resets) as bad, gateway(bad, bad, bad, bad, bad) as gate, gate.http() as client:
        answer = await client.post("/v1/chat/completions", json=CHAT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_reset")
        attempts = (await gate.record()).attempts
        assert len({a.engine for a in attempts}) == len(attempts) == len(bad.calls) == 3


@pytest.mark.parametrize("fault", [silent, silent_after_its_head], ids=named)
async def test_silence_is_a_504_and_is_not_retried(fault: Script) -> None:
    # The engine may be busy with the first attempt: a second would double its work.
    async with Upstream(fault) as slow, gateway(slow, slow, **timeouts(first_byte=0.15)) as gate:
        async with gate.openai() as client:
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(**CHAT)
        assert (caught.value.status_code, caught.value.code) == (504, "first_byte_timeout")
        assert caught.value.type == "timeout_error"
        record = await gate.record()
        assert (record.outcome, record.status) == (Outcome.TIMED_OUT, 504)
        assert len(record.attempts) == len(slow.calls) == 1
        assert await until(lambda: slow.calls[0].over) < 1, "the engine was not told"


async def test_a_stale_connection_is_replaced_by_a_fresh_one() -> None:
    async def answers_once(call: Call) -> None:
        if call.nth:
            call.reset()  # as an engine whose keep-alive timer ran out while the request was on its way
        else:
            await call.answer()

    async with Upstream(answers_once) as engine, gateway(engine) as gate, gate.http() as client:
        for _ in range(3):
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        first, second, third = await gate.records(3)
        assert [a.error for a in first.attempts] == [""]
        for later in (second, third):
            assert [(a.engine, a.reused, a.error) for a in later.attempts] == [
                ("e0", True, "upstream_reset"),
                ("e0", False, ""),
            ]
        assert engine.connections == 3


async def test_a_connection_closed_while_idle_is_not_used() -> None:
    closed = asyncio.Event()

    async def answers_then_closes(call: Call) -> None:
        await call.answer()
        call.close()
        closed.set()

    async with Upstream(answers_then_closes) as engine, gateway(engine) as gate, gate.http() as client:
        for _ in range(2):
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
            await closed.wait()
        assert [[a.error for a in r.attempts][-1] for r in await gate.records(2)] == ["", ""]


async def test_an_early_answer_to_an_upload_arrives() -> None:
    async def too_much(call: Call) -> None:
        await call.json({"error": {"message": "too much"}}, b"413 Payload Too Large")
        call.close()

    async with Upstream(before_body=too_much) as engine, gateway(engine) as gate:
        raw = await gate.raw(post(b"x" * 8_000_000, b"/v1/files"))
        answer = await raw.head()
        assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 502 "))
        assert (await gate.record()).status in (413, 502)


async def test_an_upload_to_a_slow_engine_arrives_whole() -> None:
    body = bytes(range(256)) * 40_000  # 10 MB, far more than the sockets hold

    async def hesitates(call: Call) -> None:
        await asyncio.sleep(0.1)

    async def counts(call: Call) -> None:
        await call.json({"size": len(call.body), "same": call.body == body})

    async with Upstream(counts, before_body=hesitates) as engine, gateway(engine) as gate, gate.http() as client:
        uploading = asyncio.gather(*(client.post("/v1/files", content=body) for _ in range(3)))
        answer: httpx.Response
        for answer in await uploading:
            assert answer.json() == {"size": len(body), "same": True}
        assert {r.bytes_in for r in await gate.records(3)} == {len(body)}
