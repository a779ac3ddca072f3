"""Ten thousand requests, valid and mutated, cut at random places, over real sockets.

Whatever comes: no crash, no hang, no answer that a strict parser cannot read, no more answers than requests, and the
requests before the first broken one are answered in order, each with its own id.
"""

import collections

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.fuzzing import QUICK, cut, in_one_world
from tests.gateway.world import CHAT, Truncated, World, chunked, get, post

CONNECTIONS, REQUESTS = 450, 30
"""Examples, and how many requests each holds at most."""

TOKENS = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b"0", b"\r\n\r\n", b"0\r\n\r\n", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n",
    b"Connection: upgrade\r\n", b"HTTP/1.0", b"HTTP/1.1", b"GET ", b"CONNECT ", b"HEAD ", b"http://", b"%00", b"\xff",
    b"{", b'"', b"\\", b"ffffffffffffffff", b"-1", b"Host: b\r\n", b"\r\n x",
]  # fmt: skip

SHAPES = [
    lambda n: post("/v1/chat/completions", CHAT, f"X-Request-ID: {n}"),
    lambda n: post("/v1/embeddings?a=%20", b'{"model":"m"}', f"X-Request-ID: {n}", "User-Agent: fuzz/1"),
    lambda n: get("/v1/files/x", f"X-Request-ID: {n}"),
    lambda n: get("/v1/models", f"X-Request-ID: {n}"),
    lambda n: get("/v1/none", f"X-Request-ID: {n}", "Connection: keep-alive, x-drop", "X-Drop: 1", method="DELETE"),
    lambda n: (
        get("/v1/a", f"X-Request-ID: {n}", "Transfer-Encoding: chunked", method="PUT") + chunked(b"ab", b"\r\n\n")
    ),
    lambda n: post("/v1/a", b"x" * 300, f"X-Request-ID: {n}", "Expect: 100-continue"),
    lambda n: post("/v1/b", b"{}", f"X-Request-ID: {n}", "Upgrade: h2c", "Connection: Upgrade"),
    lambda n: post("/v1/chat/completions", b'{"model":"none"}', f"X-Request-ID: {n}"),
]

PLAIN = st.lists(st.integers(0, len(SHAPES) - 1), min_size=1, max_size=REQUESTS)
DAMAGE = st.tuples(st.integers(0, 999), st.integers(0, 12), st.sampled_from(TOKENS) | st.binary(max_size=4))
"""Where (per mille), how many bytes go, what comes instead."""


def damaged(data: bytes, damages: list[tuple[int, int, bytes]]) -> bytes:
    for mille, gone, instead in damages:
        at = len(data) * mille // 1000
        data = data[:at] + instead + data[at + gone :]
    return data


async def answers_of(world: World, pieces: list[bytes], most: int) -> list[str]:
    """Request ids of the answers on one connection, until our end of it is answered by the gateway's."""
    client = await world.client()
    await client.send(*pieces)
    ids = []
    # A request of our own at the end makes sure that something ends the exchange: it is answered, or refused before.
    await client.send(get("/v1/models", "X-Request-ID: last", "Connection: close"))
    try:
        while len(ids) <= most + 1:
            answer = await client.answer("GET")
            ids.append(answer.id)
            if answer.header(b"connection") == b"close":
                assert await client.rest() == b"", "nothing follows an answer that says close"
                break
    except Truncated:
        pytest.fail(f"an answer was cut off after {ids}")
    client.leave()
    return ids


@pytest.mark.timeout(180)
def test_valid_requests_cut_anywhere_are_all_answered_in_order() -> None:
    tally = collections.Counter[str]()

    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=CONNECTIONS // 3)
        @given(shapes=PLAIN, at=st.lists(st.integers(1, 999), max_size=6))
        def example(shapes: list[int], at: list[int]) -> None:
            async def run(world: World) -> None:
                shapes_all = shapes * (REQUESTS // len(shapes))
                numbers = [f"n{number}" for number in range(len(shapes_all))]
                whole = b"".join(SHAPES[shape](n) for shape, n in zip(shapes_all, numbers, strict=True))
                tally["requests"] += len(shapes_all)
                assert await answers_of(world, cut(whole, at), len(numbers)) == [*numbers, "last"]
                await world.quiet()
                assert not world.engine.garbage

            play(run)

        example()

    in_one_world(World, body)
    assert tally["requests"] >= 3_000


@pytest.mark.timeout(180)
def test_mutated_requests_break_nothing_but_themselves() -> None:
    tally = collections.Counter[str]()

    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=CONNECTIONS)
        @given(
            before=st.lists(st.integers(0, len(SHAPES) - 1), min_size=1, max_size=3),
            odd=st.integers(0, len(SHAPES) - 1),
            damages=st.lists(DAMAGE, min_size=1, max_size=3),
            after=st.lists(st.integers(0, len(SHAPES) - 1), max_size=3),
            at=st.lists(st.integers(1, 999), max_size=5),
        )
        def example(
            before: list[int], odd: int, damages: list[tuple[int, int, bytes]], after: list[int], at: list[int]
        ) -> None:
            async def run(world: World) -> None:
                # The requests ahead are many, so that the odd one meets a connection at work.
                ahead = (before * 20)[: REQUESTS // 2 + 2]
                numbers = [f"n{number}" for number in range(len(ahead))]
                valid = b"".join(SHAPES[shape](n) for shape, n in zip(ahead, numbers, strict=True))
                broken = damaged(SHAPES[odd]("odd"), damages)
                behind = b"".join(SHAPES[shape](f"b{number}") for number, shape in enumerate(after))
                tally["requests"] += len(ahead) + 1 + len(after) + 2
                records = len(world.records)
                tail = b"\r\n0\r\n\r\n"  # ends a chunked body that the damage left open
                filler = b"\r\n" * 400  # ends a declared body that it made longer
                ids = await answers_of(world, cut(valid + broken + behind + tail + filler, at), len(ahead) + 60)
                assert ids[: len(ahead)] == numbers, "what came before the odd request is answered in order"
                assert (await world.ask(post("/v1/a", CHAT, "X-Request-ID: next"))).id == "next"
                await world.quiet()
                assert len(world.records) - records <= len(ids) + 2
                assert not world.engine.garbage
                world.engine.seen.clear()

            play(run)

        example()

    in_one_world(lambda: World(timeouts={"head": 0.3, "body": 0.3, "idle": 5.0}), body)
    assert tally["requests"] >= 7_000


@pytest.mark.timeout(180)
def test_noise_is_refused_or_waited_out() -> None:
    """Bytes that were never a request: pieces of the protocol in any order."""

    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=300)
        @given(
            soup=st.lists(st.sampled_from(TOKENS) | st.binary(max_size=6), max_size=30),
            at=st.lists(st.integers(1, 999), max_size=3),
        )
        def example(soup: list[bytes], at: list[int]) -> None:
            async def run(world: World) -> None:
                client = await world.client()
                await client.send(*cut(b"".join(soup), at))
                client.finish()
                got = await client.rest()
                assert not got or got.startswith(b"HTTP/1.1 ")
                if got:
                    parser = h11.Connection(h11.CLIENT)
                    parser.receive_data(got)
                    assert 400 <= parser.next_event().status_code < 500 or b" 200 " in got or b" 100 " in got
                assert (await world.ask(get("/v1/models"))).status == 200
                await world.quiet()

            play(run)

        example()

    in_one_world(World, body)
