"""The mock upstream and the load generators against each other, on real sockets."""

import asyncio
import json

import pytest
from openai import AsyncOpenAI

from benchmarks.gateway.load import closed_loop, open_loop
from benchmarks.gateway.plan import KEY, MARK, Plan, read_plan, request_bytes
from benchmarks.gateway.streams import StreamRun, run_streams
from benchmarks.gateway.upstream import TOKENS, completion, serve


@pytest.mark.parametrize(
    "text", [b"?events=3&rate=7&size=90", b'"Which? events=3 rate=7 size=90"', b"size=90&events=3&rate=7"]
)
def test_plan_is_read_from_query_and_prompt(text: bytes) -> None:
    assert read_plan(text) == Plan(3, 7, 90)


def test_plan_survives_its_own_request() -> None:
    plan = Plan(12, 50, 8192)
    assert read_plan(request_bytes("h", plan, stream=True)) == plan


@pytest.mark.parametrize("size", [300, 8192])
def test_unary_answer_has_the_size_and_usage_asked_for(size: int) -> None:
    head, _, body = completion(size).partition(b"\r\n\r\n")
    assert len(body) == size
    assert f"content-length: {size}".encode() in head
    assert json.loads(body)["usage"]["total_tokens"] == 73


def test_a_token_event_holds_one_mark() -> None:
    assert [token.count(MARK) for token in TOKENS] == [1, 1]


async def _served(port_of: asyncio.Server) -> int:
    return int(port_of.sockets[0].getsockname()[1])


def test_openai_client_reads_the_mock() -> None:
    async def go() -> None:
        server = await serve(0)
        port = await _served(server)
        async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY) as client:
            ask = {"model": "mock", "messages": [{"role": "user", "content": "events=5 rate=500"}]}
            whole = await client.chat.completions.create(**ask)
            assert whole.usage is not None
            assert whole.usage.completion_tokens == 31
            chunks = [chunk async for chunk in await client.chat.completions.create(**ask, stream=True)]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert text == " river~ wheel~ river~ wheel~ river~"
            assert chunks[-1].usage is not None
            assert chunks[-1].usage.completion_tokens == 5
            assert [model.id async for model in client.models.list()] == ["mock"]
            echo = await client.post("/anything", body={"a": 1}, cast_to=object)
            assert echo == {"method": "POST", "path": "/v1/anything", "body_bytes": 7}
        server.close()

    asyncio.run(go())


def test_loops_count_every_answer_and_latency_from_the_due_time() -> None:
    async def go() -> None:
        server = await serve(0)
        port = await _served(server)
        request = request_bytes("h", Plan(size=8192), stream=False)
        closed = await closed_loop(port, request, 4, 0.2)
        assert closed.done == len(closed.latency) > 10
        assert closed.errors == 0
        opened = await open_loop(port, request, 200, 0.25, connections=2)
        assert opened.done == 50
        assert all(late >= lag for late, lag in zip(sorted(opened.latency), sorted(opened.lag), strict=True))
        server.close()

    asyncio.run(go())


@pytest.mark.parametrize(("rate", "sampled"), [(0, 0), (200, 0), (200, 2)])
def test_streams_arrive_whole(rate: int, sampled: int) -> None:
    async def go() -> None:
        server = await serve(0)
        request = request_bytes("h", Plan(20, rate), stream=True)
        tally = await run_streams(StreamRun(await _served(server), request, 20, 8, patience_s=5, sampled=sampled))
        assert (tally.complete, tally.dropped, tally.events, tally.first_error) == (8, 0, 160, "")
        assert len(tally.ttft) == (sampled or 8)
        server.close()

    asyncio.run(go())


def _canned(answer: bytes) -> asyncio.Protocol:
    class Canned(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, _data: bytes) -> None:
            self.transport.write(answer)  # type: ignore[attr-defined]
            self.transport.close()

    return Canned()


@pytest.mark.parametrize(
    ("answer", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\ndata: ~\n\ndata: [DONE]\n", 1),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ndata: ~\n\ndata: [DONE]\n\n", 1),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: ~\n\n\r\n", 0),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: ~\n\n\r\n0\r\n\r\n", 0),
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", 0),
        (b"", 0),
    ],
)  # fmt: skip
def test_a_cut_or_refused_stream_counts_as_dropped(answer: bytes, complete: int) -> None:
    async def go() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _canned(answer), "127.0.0.1", 0)
        tally = await run_streams(StreamRun(await _served(server), b"GET", 1, 1, patience_s=2))
        assert (tally.complete, tally.dropped) == (complete, 1 - complete)
        server.close()

    asyncio.run(go())
