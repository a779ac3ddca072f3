"""What an engine may answer, and what the client then reads."""

import pytest

from tests.gateway.world import (
    CHAT,
    SSE_HEAD,
    Seen,
    Truncated,
    Wire,
    World,
    chunked,
    get,
    post,
    response,
    sends,
    then_closes,
    then_resets,
)

pytestmark = pytest.mark.anyio

ASK = post("/v1/chat/completions", CHAT)
EVENTS = b'data: {"a":1}\n\n', b'data: {"a":2}\n\n', b"data: [DONE]\n\n"


async def test_an_answer_of_declared_length_stays_one() -> None:
    async with World() as world:
        world.engine.script = sends(response(b"0123456789", "Content-Type: audio/mpeg", "X-Up: \xe9"))
        answer = await world.ask(ASK)
        assert (answer.status, answer.body, answer.header(b"content-length")) == (200, b"0123456789", b"10")
        assert answer.header(b"x-up") == b"\xe9"


async def test_a_short_chunked_answer_gets_its_length_declared() -> None:
    """It came in one read, so its length is known before the head goes out."""
    async with World() as world:
        world.engine.script = sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"ab", b"cd"))
        answer = await world.ask(ASK)
        assert (answer.body, answer.header(b"content-length")) == (b"abcd", b"4")


async def test_a_stream_stays_a_stream() -> None:
    async with World() as world:
        world.engine.script = sends(SSE_HEAD, *(b"%x\r\n%b\r\n" % (len(e), e) for e in EVENTS), b"0\r\n\r\n")
        answer = await world.ask(ASK)
        assert (answer.body, answer.header(b"transfer-encoding")) == (b"".join(EVENTS), b"chunked")
        await world.quiet()
        assert world.records[0].events == 3
        assert world.engine.connections == 1


@pytest.mark.parametrize("pieces", [(b"whole",), (b"", b"in ", b"parts"), (b"", b"")])
async def test_an_answer_that_ends_with_the_connection(pieces: tuple[bytes, ...]) -> None:
    async with World() as world:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
        world.engine.script = then_closes(head + pieces[0], *pieces[1:])
        client = await world.client()
        for _ in range(2):
            await client.send(ASK)
            assert (await client.answer()).body == b"".join(pieces)
        assert world.engine.connections == 2, "the client's connection outlives the engine's"


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("before", [b"", b"data: 1\n\n"])
async def test_a_stream_whose_last_line_is_unfinished(framing: str, before: bytes) -> None:
    """The line that is held back goes out at the end, inside the framing that was declared."""
    async with World() as world:
        last = b"data: [DONE]"
        if framing == "chunked":
            chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (before, last) if piece]
            world.engine.script = sends(SSE_HEAD, *chunks, b"0\r\n\r\n")
        else:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
            world.engine.script = then_closes(head, *filter(None, (before, last)))
        client = await world.client()
        await client.send(ASK + get("/v1/models"))
        assert (await client.answer()).body == before + last
        assert (await client.answer("GET")).json["object"] == "list", "the connection is still in step"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_answers_without_a_body(status: str) -> None:
    async with World() as world:
        head = f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode()
        world.engine.script = sends(head)
        client = await world.client()
        for _ in range(2):
            await client.send(get("/v1/a", method="DELETE"))
            answer = await client.answer("DELETE")
            assert (answer.status, answer.body, answer.header(b"etag")) == (int(status[:3]), b"", b"x")
            assert not answer.header(b"transfer-encoding")
        assert world.engine.connections == 1


async def test_a_204_that_declares_a_length_loses_it() -> None:
    async with World() as world:
        world.engine.script = sends(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nwrong")
        client = await world.client()
        await client.send(ASK + get("/v1/models"))
        answer = await client.answer()
        assert (answer.status, answer.body, answer.header(b"content-length")) == (204, b"", b"")
        assert (await client.answer("GET")).status == 200
        await world.quiet()
        assert "0 idle" in repr(world.app.fleet.engines["engine1"]), "five bytes nobody asked for"


async def test_interim_answers_are_taken_in_silence() -> None:
    """100, 102 and 103 are not the answer, and nothing of their heads gets into it."""
    interim = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Type: text/event-stream\r\nConnection: x-kept\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\nContent-Length: 0\r\n\r\n"
    )
    async with World() as world:
        final = response(b"{}", "X-Kept: 1")
        for script in (sends(interim + final), sends(interim, final)):
            world.engine.script = script
            answer = await world.ask(ASK)
            assert (answer.status, answer.body, answer.interim) == (200, b"{}", [])
            assert (answer.header(b"link"), answer.header(b"x-kept")) == (b"", b"1")
        await world.quiet()
        assert not any(record.stream for record in world.records)


async def test_the_connection_to_the_engine_is_used_again() -> None:
    async with World() as world:
        for _ in range(5):
            await world.ask(ASK)
        assert world.engine.connections == 1
        await world.quiet()
        assert [record.attempts[0].reused for record in world.records] == [False, True, True, True, True]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(response(b"{}") + b"surplus", id="bytes behind the answer"),
        pytest.param(response(b"{}") + response(b"two"), id="a second answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", id="said close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", id="HTTP/1.0"),
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(data: bytes) -> None:
    async with World() as world:
        world.engine.script = sends(data)
        for _ in range(3):
            assert (await world.ask(ASK)).body == b"{}"
        assert world.engine.connections == 3


async def test_bytes_that_come_unasked_end_an_idle_connection() -> None:
    async with World() as world:
        wires: list[Wire] = []

        async def script(seen: Seen, wire: Wire) -> None:
            wires.append(wire)
            await wire.send(response(b"{}"))

        world.engine.script = script
        await world.ask(ASK)
        await wires[0].send(response(b'{"forged":true}'))
        await world.until(lambda: "0 idle" in repr(world.app.fleet.engines["engine1"]))
        assert (await world.ask(ASK)).body == b"{}"
        assert world.engine.connections == 2


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", id="bare line feeds"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\n{}", id="folded header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 2\r\n\r\n{}", id="space before a colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 2\r\n\r\n{}", id="NUL"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n{}" % (b"9" * 5000), id="endless length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            id="length and chunks",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", id="gzip"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", id="no chunk size"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", id="101"),
        pytest.param(b"HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\n{}" + response(b"x"), id="099"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: %b\r\n" % (b"x" * 8000) * 100 + b"\r\n", id="huge head"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 30_000, id="endless hints"),
    ],
)
async def test_what_is_not_an_answer_becomes_a_typed_502(data: bytes) -> None:
    async with World() as world:
        world.engine.script = sends(data)
        client = await world.client()
        await client.send(ASK + get("/v1/models"))
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (502, "upstream_malformed")
        assert (await client.answer("GET")).status == 200, "the client's connection is still in step"
        await world.quiet()
        assert [record.outcome for record in world.records] == ["upstream_failed", "success"]
        await world.until(lambda: world.engine.open == 0)


async def test_garbage_after_the_first_chunks_is_told_inside_the_stream() -> None:
    async with World() as world:
        world.engine.script = sends(SSE_HEAD, b"9\r\ndata: 1\n\n\r\n", b"zz\r\n")
        client = await world.client()
        await client.send(ASK + get("/v1/models"))
        first, _, error = (await client.answer()).body.partition(b"\n\n")
        assert first == b"data: 1"
        assert error.startswith(b"event: error\ndata: {")
        assert b'"upstream_malformed"' in error
        assert (await client.answer("GET")).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n",
    ],
)
async def test_an_answer_cut_short_is_never_passed_off_as_whole(head: bytes) -> None:
    async with World() as world:
        world.engine.script = then_resets(head + b"half")
        with pytest.raises(Truncated):
            await world.ask(ASK)
        await world.quiet()
        assert [(record.status, record.outcome) for record in world.records] == [(200, "upstream_failed")]


async def test_an_engine_that_answers_before_it_has_the_body() -> None:
    """413 from an engine that does not read on: its answer arrives, its connection is not used again."""
    async with World() as world:

        async def script(seen: Seen, wire: Wire) -> None:
            await wire.send(response(b"{}", "Connection: close", status="413 Content Too Large"))

        world.engine.script = script
        answer = await world.ask(post("/v1/a", b"x" * 1_000_000))
        assert answer.status == 413
        assert "0 idle" in repr(world.app.fleet.engines["engine1"])


async def test_answer_pieces_of_every_size_arrive_whole() -> None:
    body = bytes(range(256)) * 40
    async with World() as world:
        for size in (1, 7, 4096):
            pieces = [body[at : at + size] for at in range(0, len(body), size)][:600]
            chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-Trailer: 1\r\n\r\n"
            world.engine.script = sends(data[:50], data[50:70], data[70:])
            answer = await world.ask(ASK)
            assert answer.body == b"".join(pieces)
            assert not answer.header(b"x-trailer")
