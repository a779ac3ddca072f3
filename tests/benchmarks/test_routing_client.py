"""The client and the loops, against a server of bytes."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.routing.client import ask
from benchmarks.routing.drive import drive
from benchmarks.routing.engines import Engine, read_counters
from benchmarks.routing.session import served
from benchmarks.routing.workloads import Job, Workload, known

pytestmark = pytest.mark.anyio

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-penstock-engine: e1\r\ntransfer-encoding: chunked\r\n\r\n"
)
ROLE = {"choices": [{"delta": {"role": "assistant", "content": None}}]}
LAST = {
    "choices": [],
    "usage": {"prompt_tokens": 30, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 20}},
}

Reply = Callable[[dict[str, object], asyncio.StreamWriter], Awaitable[None]]


def content(text: str) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}}]}


def chunk(event: object) -> bytes:
    data = b"data: %s\n\n" % (event if isinstance(event, bytes) else json.dumps(event).encode())
    return b"%x\r\n%s\r\n" % (len(data), data)


@asynccontextmanager
async def server(reply: Reply) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reply(json.loads(await reader.readexactly(size)), writer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def whole(_body: dict[str, object], writer: asyncio.StreamWriter) -> None:
    """An answer of two events, cut in the middle of an event; the first content comes after 50 ms."""
    writer.write(HEAD + chunk(ROLE))
    await asyncio.sleep(0.05)
    rest = chunk(content("stone")) + chunk(content(" mill")) + chunk(LAST) + chunk(b"[DONE]") + b"0\r\n\r\n"
    writer.write(rest[:25])
    await writer.drain()
    await asyncio.sleep(0.01)
    writer.write(rest[25:])
    await writer.drain()


async def test_first_content_not_the_role_is_the_first_token() -> None:
    async with server(whole) as port:
        answer = await ask(port, "m", [{"role": "user", "content": "hi"}])
    assert answer.ok
    assert answer.first - answer.sent >= 0.05
    assert answer.first <= answer.done
    assert (answer.prompt_tokens, answer.cached_tokens, answer.out_tokens) == (30, 20, 2)
    assert (answer.text, answer.engine) == ("stone mill", "e1")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (HEAD + chunk(content("stone")), "cut off"),
        (HEAD + chunk(content("s")) + chunk({"error": {"message": "lost"}}) + b"0\r\n\r\n", "lost"),
        (HEAD + chunk(LAST) + b"0\r\n\r\n", "no content"),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", ""),
        (b"what is this", "HttpParser"),
        (HEAD + chunk(b"{"), ""),
    ],
)
async def test_an_answer_that_is_not_whole_is_not_ok(reply: bytes, error: str) -> None:
    async def send(_body: dict[str, object], writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()

    async with server(send) as port:
        answer = await ask(port, "m", [])
    assert not answer.ok
    assert error in answer.error


async def test_nobody_listens(free_port: Callable[[], int]) -> None:
    answer = await ask(free_port(), "m", [])
    assert not answer.ok
    assert answer.error


async def test_turns_of_a_session_carry_the_answers_before() -> None:
    bodies = []

    async def remember(body: dict[str, object], writer: asyncio.StreamWriter) -> None:
        bodies.append(body)
        await whole(body, writer)

    jobs = [Job("system", ("one", "two"))]
    async with server(remember) as port:
        rows, seconds = await drive(known()["multi_turn"], jobs, lambda: port, "m")
    assert [message["content"] for message in bodies[1]["messages"]] == ["system", "one", "stone mill", "two"]
    assert [row.engine for row in rows] == ["e1", "e1"]
    assert rows[1].due_s >= rows[0].total_s
    assert seconds >= 0.1


async def test_open_loops_count_from_the_due_time_and_do_not_wait() -> None:
    workload = known()["shared_open"]
    async with server(whole) as port:
        rows, seconds = await drive(workload, [Job("s", ("t",), due) for due in (0.0, 0.01, 0.02)], lambda: port, "m")
    assert [row.due_s for row in rows] == [0.0, 0.01, 0.02]
    assert seconds < sum(row.total_s for row in rows)


async def test_closed_loops_have_so_many_at_a_time_and_are_marked_once() -> None:
    now, most, marks = 0, 0, []

    async def watch(body: dict[str, object], writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await whole(body, writer)
        now -= 1

    async def mark() -> None:
        marks.append(most)

    workload = Workload("w", "closed", known()["hot_spot"].dose, known()["hot_spot"].make, 2, steady_from=0.5)
    async with server(watch) as port:
        rows, _ = await drive(workload, [Job("s", ("t",))] * 6, lambda: port, "m", mark)
    assert len(rows) == 6
    assert most == 2
    assert len(marks) == 1


async def test_a_failed_turn_ends_its_session() -> None:
    async def refuse(_body: dict[str, object], writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with server(refuse) as port:
        rows, _ = await drive(known()["multi_turn"], [Job("s", ("a", "b", "c"))], lambda: port, "m")
    assert [(row.ttft_s, row.error) for row in rows] == [(None, "status 500")]


LLAMA = """# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 1730
llamacpp:prompt_tokens_cached_total 1632
llamacpp:tokens_predicted_total 65
llamacpp:requests_processing 1
llamacpp:requests_deferred 2
"""
VLLM = """vllm:generation_tokens_total{engine="0",model_name="m"} 80.0
vllm:prefix_cache_queries_total{engine="0"} 1.2e+03
vllm:prefix_cache_hits_total{engine="0"} 640.0
vllm:num_requests_running{engine="0"} 1.0
vllm:num_requests_running{engine="1"} 2.0
"""


def test_counters_of_both_engines() -> None:
    llama, vllm = read_counters("llamacpp", LLAMA), read_counters("vllm", VLLM)
    assert (llama.out_tokens, llama.prompt_tokens, llama.cached_tokens, llama.busy) == (65, 3362, 1632, 3)
    assert (vllm.out_tokens, vllm.prompt_tokens, vllm.cached_tokens, vllm.busy) == (80, 1200, 640, 3)


async def test_who_served_comes_from_the_header_or_else_from_the_counters() -> None:
    engines = [Engine(name, "llamacpp", 0, None) for name in ("e0", "e1")]  # type: ignore[arg-type]
    before = [read_counters("llamacpp", f"llamacpp:tokens_predicted_total {n}\n") for n in (8, 16)]
    after = [read_counters("llamacpp", f"llamacpp:tokens_predicted_total {n}\n") for n in (32, 24)]
    async with server(whole) as port:
        rows, _ = await drive(known()["shared_open"], [Job("s", ("t",))], lambda: port, "m")
    assert served(rows, engines, before, after) == ("header", [0.0, 1.0])
    rows[0] = dataclasses.replace(rows[0], engine="")
    assert served(rows, engines, before, after) == ("counters", [3.0, 1.0])
