"""Engine answers, valid and mutated, cut anywhere: the client never takes one for what it is not.

It sees a complete and valid response, or a typed error inside the stream, or a connection that breaks off. No byte of
one answer ever turns up in another, and a connection to the engine that gave garbage is not used again.
"""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.fuzzing import QUICK, cut, in_one_world
from tests.gateway.test_fuzz_requests import DAMAGE, damaged
from tests.gateway.world import CHAT, SSE_HEAD, Answer, Seen, Truncated, Wire, World, chunked, post, response

EXAMPLES = 600
NAMED = re.compile(rb"answer-(\d+)")

EVENTS = b'data: {"answer-%d":1}\n\n', b'data: {"answer-%d":2}\n\n', b"data: [DONE]\n\n"


def shape(kind: int, n: int) -> bytes:
    """An answer that tells its number, in one of the ways engines answer."""
    events = [event % n if b"%d" in event else event for event in EVENTS]
    body = b'{"answer-%d":true}' % n
    return [
        response(body, "Content-Type: application/json"),
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(body[:5], body[5:]),
        SSE_HEAD + chunked(*events),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + b"".join(events),
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + response(body, "Content-Type: text/plain"),
        b"HTTP/1.1 204 No Content\r\nX-A: answer-%d\r\n\r\n" % n,
        response(body, "Content-Type: application/json", status="429 Too Many Requests"),
        b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body,
    ][kind]


CLOSES = {3, 7}
"""Answers that end with their connection."""


def numbers_in(answer: Answer) -> set[int]:
    text = answer.body + b"".join(value for _, value in answer.headers)
    return {int(number) for number in NAMED.findall(text)}


async def ask_on(world: World, count: int) -> list[Answer | None]:
    """`count` pipelined requests on one connection: their answers, None where the connection broke off."""
    client = await world.client()
    await client.send(post("/v1/a", CHAT) * count)
    answers: list[Answer | None] = []
    for _ in range(count):
        try:
            answers.append(await client.answer())
        except Truncated:
            answers.append(None)
            break
    client.leave()
    return answers


def scripted(answers: list[list[bytes]], ends: list[bool], used: list[tuple[int, int]]):  # type: ignore[no-untyped-def]
    """The n-th request to the engine gets the n-th answer. `used`: (connection, answer) in order."""
    turn = iter(range(len(answers)))

    async def script(seen: Seen, wire: Wire) -> None:
        n = next(turn, None)
        if n is None:
            await wire.send(response(b"{}"))
            return
        used.append((wire.number, n))
        for piece in answers[n]:
            await wire.send(piece)
            await asyncio.sleep(0)
        if ends[n]:
            wire.close()

    return script


@pytest.mark.timeout(180)
def test_valid_answers_cut_anywhere_arrive_whole() -> None:
    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=EXAMPLES // 2)
        @given(kinds=st.lists(st.integers(0, 7), min_size=1, max_size=4), at=st.lists(st.integers(1, 999), max_size=5))
        def example(kinds: list[int], at: list[int]) -> None:
            async def run(world: World) -> None:
                answers = [cut(shape(kind, n), at) for n, kind in enumerate(kinds)]
                world.engine.script = scripted(answers, [kind in CLOSES for kind in kinds], [])
                got = await ask_on(world, len(kinds))
                assert [numbers_in(answer) for answer in got if answer] == [{n} for n in range(len(kinds))]
                for kind, answer in zip(kinds, got, strict=True):
                    assert answer is not None
                    expected = shape(kind, 0).rpartition(b"\r\n\r\n")[2] if kind in (0, 3, 4, 6, 7) else None
                    if expected is not None:
                        assert len(answer.body) == len(expected)
                await world.quiet()

            play(run)

        example()

    in_one_world(World, body)


@pytest.mark.timeout(180)
def test_mutated_answers_are_refused_told_or_broken_off() -> None:
    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=EXAMPLES)
        @given(
            kind=st.integers(0, 7),
            damages=st.lists(DAMAGE, min_size=1, max_size=3),
            at=st.lists(st.integers(1, 999), max_size=4),
            short=st.integers(0, 1000),
        )
        def example(kind: int, damages: list[tuple[int, int, bytes]], at: list[int], short: int) -> None:
            async def run(world: World) -> None:
                # Damaged, then cut short; then valid answers, which must arrive as they are.
                whole = damaged(shape(kind, 0), damages)
                broken = whole[: len(whole) * short // 1000]
                used: list[tuple[int, int]] = []
                script = scripted([cut(broken, at), [shape(0, 1)], [shape(2, 2)]], [True, False, False], used)
                world.engine.script = script
                first, *rest = await ask_on(world, 3)
                if first is not None:
                    assert numbers_in(first) <= {0, 1}, "one engine's answer at most: the first, or that of a retry"
                    assert len(numbers_in(first)) <= 1
                    if first.status == 502:
                        assert first.error["code"].startswith("upstream_") or kind == 6
                # A retry may have taken the second answer; those that follow are whole and in order.
                for answer in rest:
                    # 502: the engine closed a connection just as a request that may not be repeated went out on it.
                    if answer is not None and answer.status != 502 and answer.body != b"{}":
                        assert len(numbers_in(answer)) == 1
                        assert 0 not in numbers_in(answer), "the damaged answer never reaches another request"
                if first is None or first.status == 502:
                    connections = [number for number, n in used if n != 0]
                    assert used[0][0] not in connections, "the connection that gave garbage is not used again"
                await world.quiet()

            play(run)

        example()

    in_one_world(lambda: World(timeouts={"first_byte": 0.5, "stall": 0.5}), body)


@pytest.mark.timeout(180)
def test_a_connection_is_not_used_again_after_garbage_behind_a_whole_answer() -> None:
    """The engine keeps its end open, so only our own doubt can close the connection."""

    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=200)
        @given(
            kind=st.sampled_from([0, 1, 2, 4, 5, 6]),
            surplus=st.binary(min_size=1, max_size=30).filter(lambda data: data.strip(b"\r\n"))
            | st.just(response(b"x")),
        )
        def example(kind: int, surplus: bytes) -> None:
            async def run(world: World) -> None:
                used: list[tuple[int, int]] = []
                answers = [[shape(kind, 0) + surplus], [shape(0, 1)]]
                world.engine.script = scripted(answers, [False, False], used)
                got = await ask_on(world, 2)
                assert [numbers_in(answer) for answer in got if answer] == [{0}, {1}]
                assert used[0][0] != used[1][0]
                await world.quiet()

            play(run)

        example()

    in_one_world(World, body)
