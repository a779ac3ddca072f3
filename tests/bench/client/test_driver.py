"""The client on real sockets: what it times, what it sends, and how faults end."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.bench.client.driver import Driver, following
from penstock.bench.client.messages import Done, Task
from penstock.bench.client.settings import Patience, Server
from penstock.bench.sample import Ending, Planned
from penstock.core.clock import monotonic
from tests.bench.client import server as s

pytestmark = pytest.mark.anyio
CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()


def planned(due: float | None = None, **more: object) -> Planned:
    return Planned(due, CHAT, model="m", kind="k", input_tokens=9, **more)  # type: ignore[arg-type]


async def drive(
    port: int, requests: list[Planned], concurrency: int = 1, patience: Patience | None = None, **keys: str
) -> Done:
    task = Task(
        Server("127.0.0.1", port, keys=keys), patience or Patience(), monotonic(), 0.0, 0, concurrency,
        list(enumerate(requests)),
    )  # fmt: skip
    return await Driver(task).run()


async def test_a_stream_is_timed_event_by_event() -> None:
    async with s.Server(s.three_words) as server:
        (sample,) = (await drive(server.port, [planned()])).samples
    assert (sample.ending, sample.status, sample.events) == (Ending.OK, 200, 3)
    assert (sample.input_tokens, sample.output_tokens, sample.cached_tokens, sample.counted) == (7, 3, 2, False)
    assert len(sample.gaps) == 2
    assert all(0.015 < gap < 0.2 for gap in sample.gaps)
    assert sample.due <= sample.sent <= sample.first <= sample.last <= sample.ended
    assert sample.last - sample.first == pytest.approx(sum(sample.gaps), abs=1e-6)


async def test_one_byte_at_a_time_counts_the_same_events() -> None:
    async def trickle(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        for byte in s.HEAD + s.event("a") + s.event("b") + s.usage(1, 2) + s.END:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with s.Server(trickle) as server:
        (sample,) = (await drive(server.port, [planned()])).samples
    assert (sample.ending, sample.events, sample.output_tokens) == (Ending.OK, 2, 2)


async def test_events_of_one_read_have_no_gap_between_them() -> None:
    async def burst(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(s.HEAD + s.event("a") + s.event("b") + s.event("") + s.event("c") + s.END)
        await writer.drain()

    async with s.Server(burst) as server:
        (sample,) = (await drive(server.port, [planned()])).samples
    assert (sample.events, sample.output_tokens, sample.counted) == (3, 3, True)
    assert sample.gaps[-1] == 0.0


async def test_an_open_loop_keeps_its_timetable_while_the_server_sleeps() -> None:
    """The trap of coordinated omission: ten requests are due while the first is held up for half a second."""

    async def slow_first(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await s.three_words(asked, writer)

    gate = asyncio.Event()
    async with s.Server(slow_first) as server:
        asyncio.get_running_loop().call_later(0.5, gate.set)
        done = await drive(server.port, [planned(0.03 * number) for number in range(10)], concurrency=0)
    assert len(done.samples) == 10
    for sample in done.samples:
        assert sample.sent - sample.due < 0.1
        assert sample.first - sample.due > 0.5 - 0.03 * sample.index - 0.05
    assert server.connections == 10


async def test_a_closed_loop_has_no_more_at_once_and_keeps_its_connections() -> None:
    running = most = 0

    async def counted(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await s.three_words(asked, writer)
        running -= 1

    async with s.Server(counted) as server:
        done = await drive(server.port, [planned() for _ in range(12)], concurrency=3)
    assert (len(done.samples), most, server.connections) == (12, 3, 3)
    assert sum(sample.reused for sample in done.samples) == 9
    assert sorted(sample.index for sample in done.samples) == list(range(12))


async def test_refused() -> None:
    async with s.Server(s.three_words) as server:
        port = server.port
    (sample,) = (await drive(port, [planned()])).samples
    assert (sample.ending, sample.status) == (Ending.REFUSED, 0)
    assert sample.error


async def test_reset_in_the_middle_of_a_stream() -> None:
    async def broken(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(s.HEAD + s.event("a"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    async with s.Server(broken) as server:
        (sample,) = (await drive(server.port, [planned()])).samples
    assert (sample.ending, sample.events) == (Ending.RESET, 1)
    assert sample.first > 0


async def test_a_stream_without_its_end_is_no_success() -> None:
    async def half(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(s.HEAD + s.event("a") + b"0\r\n\r\n")
        await writer.drain()

    async with s.Server(half) as server:
        (sample,) = (await drive(server.port, [planned()])).samples
    assert sample.ending is Ending.STREAM_ERROR


async def test_an_error_inside_a_stream() -> None:
    async def failing(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        bad = s.chunk(b'data: {"error":{"message":"gone","code":"engine_lost"}}\n\n')
        writer.write(s.HEAD + s.event("a") + bad + s.END)
        await writer.drain()

    async with s.Server(failing) as server:
        (sample,) = (await drive(server.port, [planned()])).samples
    assert (sample.ending, sample.error) == (Ending.STREAM_ERROR, "engine_lost")


@pytest.mark.parametrize(
    ("answer", "ending", "error"),
    [
        (s.whole({"error": {"code": "rate_limit_exceeded"}}, "429 Too Many"), Ending.STATUS, "rate_limit_exceeded"),
        (b"HTTP/1.1 502 Bad\r\ncontent-length: 2\r\n\r\nno", Ending.STATUS, "no JSON"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", Ending.MALFORMED, "no JSON"),
        (b"what is this\r\n\r\n", Ending.MALFORMED, ""),
    ],
)
async def test_answers_that_are_no_success(answer: bytes, ending: Ending, error: str) -> None:
    async def script(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with s.Server(script) as server:
        (sample,) = (await drive(server.port, [planned()])).samples
    assert sample.ending is ending
    assert error in sample.error


async def test_an_answer_in_one_piece() -> None:
    async def script(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        found = {"choices": [{"message": {"content": "hello"}}], "usage": {"prompt_tokens": 4, "completion_tokens": 1}}
        writer.write(s.whole(found))
        await writer.drain()

    async with s.Server(script) as server:
        (sample,) = (await drive(server.port, [planned()])).samples
    assert (sample.ending, sample.input_tokens, sample.output_tokens) == (Ending.OK, 4, 1)
    assert sample.first == sample.last > 0


async def test_a_client_leaves_as_planned_and_one_gives_up() -> None:
    async def silent(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(s.HEAD + s.event("a"))
        await writer.drain()
        await asyncio.sleep(0.5)

    async with s.Server(silent) as server:
        (left,) = (await drive(server.port, [planned(cancel_after_s=0.1)])).samples
        assert left.ending is Ending.CANCELLED
        assert left.ended - left.sent == pytest.approx(0.1, abs=0.08)
        (late,) = (await drive(server.port, [planned()], patience=Patience(total=0.2))).samples
        assert late.ending is Ending.TIMEOUT


async def test_a_conversation_says_all_that_was_said() -> None:
    async with s.Server(s.three_words) as server:
        talk = planned(turns=("and then", "why"), session="t", pause_s=0.05)
        done = await drive(server.port, [talk])
    assert [sample.turn for sample in done.samples] == [0, 1, 2]
    last = [(each["role"], each["content"]) for each in server.asked[2].body["messages"]]
    assert last == [("user", "hi"), ("assistant", "abc"), ("user", "and then"), ("assistant", "abc"), ("user", "why")]
    for before, after in zip(done.samples, done.samples[1:], strict=False):
        assert after.sent - before.ended >= 0.045


def test_a_completion_goes_on_with_its_own_text() -> None:
    body = json.dumps({"prompt": "one"}).encode()
    after = following(Planned(None, body, "/v1/completions", turns=("three",)), " two")
    assert json.loads(after.body)["prompt"] == "one two\nthree"
    assert (after.turn, after.turns) == (1, ())


async def test_keys_of_tenants_and_headers_go_along() -> None:
    async with s.Server(s.three_words) as server:
        task = Task(
            Server("127.0.0.1", server.port, keys={"": "sk-all", "b": "sk-b"}), Patience(), monotonic(), 0.0, 0, 1,
            [(0, planned()), (1, planned(tenant="b", headers=(("x-session", "s1"),)))],
        )  # fmt: skip
        await Driver(task).run()
    assert b"authorization: Bearer sk-all\r\n" in server.asked[0].head
    assert b"authorization: Bearer sk-b\r\n" in server.asked[1].head
    assert b"x-session: s1\r\n" in server.asked[1].head


@pytest.mark.parametrize(
    ("concurrency", "rest", "endings"),
    [(0, (0.1, 3600.0), [Ending.CANCELLED, Ending.OK]), (1, (0.0,), [Ending.OK])],
    ids=["open", "closed"],
)
async def test_stopped_it_ends_at_once_and_sends_nothing_more(
    concurrency: int, rest: tuple[float, ...], endings: list[Ending]
) -> None:
    """While a conversation goes on in a moment, and in an open loop an answer does not come and a request is due in an
    hour."""

    async def first_alone(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        if len(server.asked) == len(endings):
            came.set()
        if asked.number:
            await asyncio.Event().wait()
        await s.three_words(asked, writer)
        answered.set()

    async def press() -> None:
        await answered.wait()
        await came.wait()
        await asyncio.sleep(0.1)
        driver.stop()

    answered, came = asyncio.Event(), asyncio.Event()
    async with s.Server(first_alone) as server:
        requests = [planned(0.0, turns=("and?",), pause_s=1.0), *map(planned, rest)]
        task = Task(
            Server("127.0.0.1", server.port), Patience(), monotonic(), 0.0, 0, concurrency, list(enumerate(requests))
        )
        driver = Driver(task)
        async with asyncio.timeout(20):
            done, _ = await asyncio.gather(driver.run(), press())
        assert sorted(sample.ending for sample in done.samples) == endings
        await asyncio.sleep(1.1)
        assert len(server.asked) == len(endings)
