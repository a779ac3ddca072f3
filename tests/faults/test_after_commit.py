"""Engines that fail after their first content byte: nothing is retried, nothing is silently cut."""

import asyncio
import json

import httpx
import openai
import pytest

from penstock.config.schema import Streaming
from penstock.core.record import Outcome, TokenSource
from tests.faults.upstream import DONE, SSE, Call, Script, Upstream, delta
from tests.faults.world import CHAT, STREAM, gateway, post, timeouts, until

pytestmark = pytest.mark.anyio


async def resets_midway(call: Call) -> None:
    await call.sse(delta("one"), delta("two"))
    await asyncio.sleep(0.02)
    call.reset()


async def hangs_up_midway(call: Call) -> None:
    await call.sse(delta("one"), delta("two"))
    call.close()


async def breaks_its_chunking(call: Call) -> None:
    await call.sse(delta("one"), delta("two"))
    await call.send(b"zz\r\nno chunk size\r\n")
    await call.left()


async def stalls(call: Call) -> None:
    await call.sse(delta("one"), delta("two"))
    await call.left()


CODES: dict[Script, str] = {
    resets_midway: "upstream_reset",
    hangs_up_midway: "upstream_reset",
    breaks_its_chunking: "upstream_malformed",
    stalls: "stall_timeout",
}
SHORT = timeouts(stall=0.15)


def named(script: object) -> str:
    return getattr(script, "__name__", str(script))


def events(body: bytes) -> list[tuple[str, str]]:
    """(event, data) of every event, read as a browser would (WHATWG HTML, 9.2.6)."""
    found, kind, data = [], "", list[str]()
    for line in body.decode("utf-8", "replace").splitlines():
        field, _, value = line.partition(":")
        if not line:
            if data:
                found.append((kind or "message", "\n".join(data)))
            kind, data = "", []
        elif field == "event":
            kind = value.removeprefix(" ")
        elif field == "data":
            data.append(value.removeprefix(" "))
    return found


async def read_words(client: openai.AsyncOpenAI, words: list[str | None]) -> None:
    """Reads a stream into `words` until it ends, one way or the other."""
    async for part in await client.chat.completions.create(**STREAM):
        words.append(part.choices[0].delta.content)


@pytest.mark.parametrize("fault", CODES, ids=named)
async def test_the_openai_client_raises(fault: Script) -> None:
    async with Upstream(fault) as engine, gateway(engine, engine, **SHORT) as gate, gate.openai() as client:
        words = list[str | None]()
        with pytest.raises(openai.APIError) as caught:
            await read_words(client, words)
        assert words == ["one", "two"]
        assert caught.value.code == CODES[fault]
        record = await gate.record()
        expected = Outcome.TIMED_OUT if fault is stalls else Outcome.UPSTREAM_FAILED
        assert (record.outcome, record.error, record.status) == (expected, CODES[fault], 200)
        assert len(record.attempts) == len(engine.calls) == 1, "retried after its first byte"
        await until(lambda: engine.calls[0].over)


@pytest.mark.parametrize("fault", CODES, ids=named)
async def test_the_stream_ends_properly_and_the_connection_goes_on(fault: Script) -> None:
    async with Upstream(fault) as engine, gateway(engine, **SHORT) as gate:
        raw = await gate.raw(post(STREAM))
        assert b"transfer-encoding: chunked" in await raw.head()
        *_, error, end = await raw.chunks()
        assert end == b""
        [(kind, data)] = events(error)
        assert kind == "error"
        assert set(json.loads(data)["error"]) == {"message", "type", "param", "code"}

        engine.script = Call.answer  # recovered
        raw.writer.write(post(CHAT))
        assert (await raw.head()).startswith(b"HTTP/1.1 200 OK")


async def test_messages_get_errors_in_their_own_shape() -> None:
    async def dies(call: Call) -> None:
        await call.sse(b'event: message_start\ndata: {"type":"message_start"}\n\n')
        call.reset()

    async with Upstream(dies) as engine, gateway(engine) as gate:
        raw = await gate.raw(post(STREAM, b"/v1/messages"))
        await raw.head()
        last = events(b"".join(await raw.chunks()))[-1]
        assert last[0] == "error"
        document = json.loads(last[1])
        assert (document["type"], document["error"]["code"]) == ("error", "upstream_reset")


@pytest.mark.parametrize(
    "last_words",
    [
        b'data: {"choices": [{"delta": {"content": "thr',
        b"dat",
        b'data: {"choices": []}',
        b"event: delta\n",
        b'data: {"whole": "line"}\n',
        b'event: delta\ndata: {"half',
        b": a comment that is n",
    ],
    ids=lambda words: words.decode().strip(),
)
async def test_half_an_event_never_merges_with_the_error(last_words: bytes) -> None:
    async def dies_in_mid_event(call: Call) -> None:
        await call.sse(delta("one"))
        await call.chunk(last_words)
        await asyncio.sleep(0.02)
        call.reset()

    async with Upstream(dies_in_mid_event) as engine, gateway(engine) as gate:
        raw = await gate.raw(post(STREAM))
        await raw.head()
        first, *others, (kind, error) = events(b"".join(await raw.chunks()))
        assert json.loads(first[1])["choices"][0]["delta"]["content"] == "one"
        assert all(json.loads(data) is not None for _, data in others), "an event that is not whole came through"
        assert kind == "error"
        assert json.loads(error)["error"]["code"] == "upstream_reset"


async def test_half_an_event_and_the_openai_client() -> None:
    async def dies_in_mid_event(call: Call) -> None:
        await call.sse(delta("one"), delta("two")[:40])
        await asyncio.sleep(0.02)
        call.reset()

    async with Upstream(dies_in_mid_event) as engine, gateway(engine) as gate, gate.openai() as client:
        words = list[str | None]()
        with pytest.raises(openai.APIError) as caught:
            await read_words(client, words)
        assert (words, caught.value.code) == (["one"], "upstream_reset")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n" + b"3e8\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ntransfer-encoding: chunked\r\n\r\n" + b"3e8\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 1000\r\n\r\n",
    ],
    ids=["json, declared", "json, chunked", "audio", "stream, declared"],
)
async def test_other_bodies_are_cut_visibly(head: bytes) -> None:
    async def dies(call: Call) -> None:
        await call.send(head + b'{"id": 1, "text":\n')
        await asyncio.sleep(0.02)
        call.reset()

    async with Upstream(dies) as engine, gateway(engine) as gate, gate.http() as client:
        with pytest.raises(httpx.TransportError):
            await client.post("/v1/chat/completions", json=CHAT)
        record = await gate.record()
        assert (record.outcome, record.error) == (Outcome.UPSTREAM_FAILED, "upstream_reset")
        assert len(engine.calls) == 1


async def test_total_time_ends_a_stream_that_never_does() -> None:
    async def for_ever(call: Call) -> None:
        await call.sse()
        while True:
            await call.chunk(delta("word"))
            await asyncio.sleep(0.01)

    async with Upstream(for_ever) as engine, gateway(engine, **timeouts(total=0.25)) as gate:
        async with gate.openai() as client:
            with pytest.raises(openai.APIError) as caught:
                await read_words(client, [])
        assert caught.value.code == "total_timeout"
        record = await gate.record()
        assert record.outcome is Outcome.TIMED_OUT
        assert 0.25 < record.duration_s < 1
        assert record.tokens_source is TokenSource.COUNTED, "the usage chunk never came"
        assert record.output_tokens > 3


async def test_a_stream_that_ends_with_the_connection_is_whole() -> None:
    async def closes(call: Call) -> None:
        await call.send(SSE.replace(b"transfer-encoding: chunked\r\n", b""))
        await call.send(delta("one") + DONE)
        call.close()

    async with Upstream(closes) as engine, gateway(engine) as gate:
        assert await (await gate.raw(post(STREAM))).body() == delta("one") + DONE
        assert (await gate.record()).outcome is Outcome.SUCCESS


MALFORMED = {
    "no space": b'data:{"a":1}\n\n',
    "broken JSON": b"data: {not json\n\ndata: }\n\n",
    "CRLF": b'data: {"a":1}\r\n\r\ndata: [DONE]\r\n\r\n',
    "not UTF-8": b"data: \xff\xfe\x00\x80\n\n",
    "comments": b": ping\n\n:\n\n",
    "no field": b"just words\n\n\n\n\n",
    "unknown fields": b"retry: 5\nid: 7\nfoo: bar\ndata: x\n\n",
    "unfinished": b'data: {"a":1}\n\ndata: no end',
    "only a line feed": b"\n",
    "byte order mark": b"\xef\xbb\xbfdata: x\n\n",
    "long line": b"data: " + b"x" * 200_000 + b"\n\n",
    "several data lines": b"data: a\ndata: b\n\n",
}


@pytest.mark.parametrize("step", [1, 7, 1 << 20], ids="in pieces of {}".format)
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_strange_lines_pass_byte_for_byte(body: bytes, step: int) -> None:
    step = max(step, len(body) // 50)

    async def sends(call: Call) -> None:
        await call.sse(*(body[at : at + step] for at in range(0, len(body), step)))
        await call.finish()

    async with Upstream(sends) as engine, gateway(engine) as gate:
        assert await (await gate.raw(post(STREAM))).body() == body
        assert (await gate.record()).outcome is Outcome.SUCCESS


@pytest.mark.parametrize("cut", [30, 7], ids=["inside a line", "between two lines of an event"])
async def test_heartbeats_fill_silence_and_nothing_else(cut: int) -> None:
    second = b"id: 22\n" + delta("two")

    async def thinks_twice(call: Call) -> None:
        await call.sse()
        await asyncio.sleep(0.2)
        await call.chunk(delta("one"))
        await call.chunk(second[:cut])
        await asyncio.sleep(0.2)
        await call.chunk(second[cut:] + DONE)
        await call.finish()

    async with Upstream(thinks_twice) as engine, gateway(engine, streaming=Streaming(heartbeat=0.06)) as gate:
        body = await (await gate.raw(post(STREAM))).body()
        blocks = body.split(b"\n\n")
        assert blocks[0] == b": heartbeat"
        assert b"\n\n".join(b for b in blocks if b != b": heartbeat") == delta("one") + second + DONE
        async with gate.openai() as client:
            parts = [part async for part in await client.chat.completions.create(**STREAM)]
        assert [part.choices[0].delta.content for part in parts] == ["one", "two"]


async def test_a_heartbeat_commits() -> None:
    async def thinks_then_dies(call: Call) -> None:
        await call.sse()
        await asyncio.sleep(0.2)
        call.reset()

    beats = Streaming(heartbeat=0.05)
    async with Upstream(thinks_then_dies) as engine, gateway(engine, engine, streaming=beats) as gate:
        [(kind, data)] = events(await (await gate.raw(post(STREAM))).body())
        assert (kind, json.loads(data)["error"]["code"]) == ("error", "upstream_reset")
        assert len((await gate.record()).attempts) == 1
