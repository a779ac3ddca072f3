"""What a client may send, and what the engine then reads."""

import asyncio
import json

import pytest

from tests.gateway.world import CHAT, World, chunked, get, post, response, sends

pytestmark = pytest.mark.anyio

CHUNKED_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n%b\r\n"


async def test_a_connection_serves_request_after_request() -> None:
    async with World() as world:
        client = await world.client()
        for number in range(3):
            await client.send(post("/v1/embeddings", b'{"model":"m","n":%d}' % number))
            assert json.loads((await client.answer()).json["body"])["n"] == number
        assert len(world.app.connections) == 1
        assert world.engine.connections == 1, "the upstream connection is kept alive too"
        await world.quiet()
        assert [record.outcome for record in world.records] == ["success"] * 3


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with World() as world:
        client = await world.client()
        bodies = [b'{"model":"m","n":%d}' % number for number in range(40)]
        await client.send(b"".join(post("/v1/x", body) for body in bodies))
        assert [(await client.answer()).json["body"].encode() for _ in bodies] == bodies


async def test_pipelined_requests_split_at_every_byte() -> None:
    """Two requests with bodies, one declared and one chunked, and a GET behind: cut anywhere, they mean the same."""
    whole = (
        post("/v1/a?q=%20", b'{"model":"m"}')
        + CHUNKED_HEAD % b""
        + b'5;x=y\r\n{"mod\r\n'
        + b'8\r\nel":"m"}\r\n0\r\nTrailer-Field: t\r\n\r\n'
        + get("/v1/models/m")
    )
    async with World() as world:
        for cut in range(1, len(whole)):
            client = await world.client()
            await client.send(whole[:cut], whole[cut:])
            first, second, third = await client.answer(), await client.answer(), await client.answer("GET")
            assert (first.json["target"], first.json["body"]) == ("/v1/a?q=%20", '{"model":"m"}')
            assert (second.json["target"], second.json["body"]) == ("/v1/chat/completions", '{"model":"m"}')
            assert third.json["id"] == "m"
            client.leave()
        await world.quiet()
        assert not world.engine.garbage


async def test_one_byte_at_a_time() -> None:
    async with World() as world:
        client = await world.client()
        whole = CHUNKED_HEAD % b"" + chunked(CHAT[:3], CHAT[3:]) + post("/v1/b", CHAT)
        await client.send(*(whole[at : at + 1] for at in range(len(whole))))
        assert (await client.answer()).json["body"] == CHAT.decode()
        assert (await client.answer()).json["target"] == "/v1/b"


async def test_a_chunked_body_reaches_the_engine_whole_with_its_length_declared() -> None:
    body = bytes(range(256)) * 300 + b"\r\n0\r\n\r\n\n\n"
    async with World() as world:
        pieces = [body[at : at + 777] for at in range(0, len(body), 777)]
        await world.ask(CHUNKED_HEAD % b"" + chunked(*pieces))
        (seen,) = world.engine.seen
        assert seen.body == body
        assert seen.header(b"content-length") == str(len(body)).encode()
        assert not seen.header(b"transfer-encoding")


async def test_extensions_and_trailers_of_chunks_stay_behind() -> None:
    async with World() as world:
        chunks = b'2;a=b;c="d"\r\n{}\r\n0;last\r\nX-Trailer: v\r\n\r\n'
        answer = await world.ask(CHUNKED_HEAD % b"Trailer: X-Trailer\r\n" + chunks)
        assert answer.status == 200
        (seen,) = world.engine.seen
        assert (seen.body, seen.header(b"content-length")) == (b"{}", b"2")
        assert not seen.header(b"x-trailer")
        assert not seen.header(b"trailer")


async def test_many_short_lines_in_chunks_are_no_burden() -> None:
    """The data path slices chunked bodies at line feeds: a body of nothing else must not cost the square of it."""
    async with World() as world:
        body = b"\n" * 200_000
        begun = asyncio.get_running_loop().time()
        await world.ask(CHUNKED_HEAD % b"" + chunked(body))
        assert world.engine.seen[0].body == body
        assert asyncio.get_running_loop().time() - begun < 2.0


async def test_expect_continue_is_answered_before_the_body_comes() -> None:
    async with World() as world:
        client = await world.client()
        await client.send(post("/v1/a", CHAT, "Expect: 100-continue")[: -len(CHAT)])
        assert await client.some(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(CHAT)
        answer = await client.answer()
        assert (answer.status, answer.interim) == (200, [])
        assert not world.engine.seen[0].header(b"expect"), "the expectation was ours to meet"


async def test_expect_continue_waits_for_its_turn() -> None:
    """A 100 must not stand inside or before the answer of the request ahead of it."""
    async with World() as world:
        client = await world.client()
        await client.send(post("/v1/a", CHAT) + post("/v1/b", CHAT, "Expect: 100-continue")[: -len(CHAT)])
        first = await client.answer()
        assert (first.json["target"], first.interim) == ("/v1/a", [])
        assert await client.some(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(CHAT)
        second = await client.answer()
        assert (second.json["target"], second.interim) == ("/v1/b", [])


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (("Expect: 200-ok",), 417, "expectation_failed"),
        (("Expect: 100-continue", "Content-Length: 999999999"), 413, "request_too_large"),
    ],
)
async def test_an_expectation_that_cannot_be_met_gets_its_answer_instead(
    headers: tuple[str, ...], status: int, code: str
) -> None:
    async with World() as world:
        client = await world.client()
        await client.send(get("/v1/a", *headers, method="POST"))
        answer = await client.answer()
        assert (answer.status, answer.error["code"], answer.interim) == (status, code, [])


async def test_an_expectation_of_http_1_0_is_ignored() -> None:
    async with World() as world:
        client = await world.client()
        head = b"POST /v1/a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        await client.send(head, b"{}")
        answer = await client.answer()
        assert (answer.status, answer.interim) == (200, [])


async def test_http_1_0_closes_unless_asked_to_stay() -> None:
    async with World() as world:
        client = await world.client()
        await client.send(b"GET /v1/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = await client.answer("GET")
        assert (answer.status, answer.header(b"connection")) == (200, b"keep-alive")
        await client.send(b"GET /v1/a HTTP/1.0\r\n\r\n")
        answer = await client.answer("GET")
        assert (answer.status, answer.header(b"connection")) == (200, b"close")
        assert await client.rest() == b""


async def test_http_1_0_gets_streams_that_end_with_the_connection() -> None:
    async with World() as world:
        events = b"data: 1\n\n", b"data: 2\n\n"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        world.engine.script = sends(head, *(b"9\r\n" + event + b"\r\n" for event in events), b"0\r\n\r\n")
        client = await world.client()
        await client.send(b"GET /v1/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert b"connection: close" in head
        assert b"transfer-encoding" not in head
        assert body == b"".join(events)


async def test_head_gets_a_head_alone() -> None:
    async with World() as world:
        client = await world.client()
        await client.send(get("/v1/files/f", method="HEAD") + get("/v1/models", method="HEAD") + get("/v1/models"))
        relayed, own = await client.answer("HEAD"), await client.answer("HEAD")
        assert (relayed.status, relayed.body) == (200, b"")
        assert int(relayed.header(b"content-length")) > 0, "the length that GET would have"
        assert (own.status, own.body) == (200, b"")
        full = await client.answer("GET")
        assert full.header(b"content-length") == own.header(b"content-length")


async def test_upgrade_to_h2c_is_not_taken_up() -> None:
    """The request stands as plain HTTP/1.1, its body included, and so does the one behind it."""
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    async with World() as world:
        client = await world.client()
        await client.send(post("/v1/a", CHAT, *upgrade) + get("/v1/b", *upgrade) + post("/v1/c", CHAT))
        assert [(await client.answer()).json["target"] for _ in range(3)] == ["/v1/a", "/v1/b", "/v1/c"]
        for seen in world.engine.seen:
            assert not seen.header(b"upgrade")
            assert not seen.header(b"http2-settings")
            assert not seen.header(b"connection")
        assert world.engine.seen[0].body == CHAT


async def test_upgrade_with_a_chunked_body() -> None:
    async with World() as world:
        client = await world.client()
        await client.send(CHUNKED_HEAD % b"Connection: upgrade\r\nUpgrade: h2c\r\n" + chunked(CHAT) + get("/v1/b"))
        assert (await client.answer()).json["body"] == CHAT.decode()
        assert (await client.answer()).json["target"] == "/v1/b"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("http://example.org/v1/a?x=/y", "/v1/a?x=/y"),
        ("HTTPS://example.org:8443/v1/a", "/v1/a"),
        ("http://user@example.org/tokenize?x=http://y/", "/tokenize?x=http://y/"),
    ],
)
async def test_a_target_in_absolute_form_is_read_as_its_path(target: str, path: str) -> None:
    async with World() as world:
        await world.ask(get(target), "GET")
        assert world.engine.seen[0].target == path
        assert world.engine.seen[0].header(b"host") == world.engine.url.removeprefix("http://").encode()


async def test_headers_that_connection_names_end_here() -> None:
    async with World() as world:
        headers = ("Connection: close, X-Secret", "x-SECRET: 1", "Connection: x-other", "X-Other: 2", "X-Kept:3 ")
        await world.ask(get("/v1/a", *headers), "GET")
        (seen,) = world.engine.seen
        assert not seen.header(b"x-secret")
        assert not seen.header(b"x-other")
        assert not seen.header(b"connection")
        assert b"\r\nX-Kept:3 \r\n" in seen.head, "what crosses, crosses byte for byte"


async def test_hop_by_hop_headers_stay_on_their_hop() -> None:
    hop = ("Keep-Alive: timeout=5", "Proxy-Authorization: Basic eA==", "TE: trailers", "Proxy-Connection: close")
    async with World() as world:
        world.engine.script = sends(response(b"{}", "Keep-Alive: timeout=5", "Proxy-Authenticate: Basic", "X-Up: 1"))
        answer = await world.ask(get("/v1/a", *hop), "GET")
        for name in (b"keep-alive", b"proxy-authorization", b"te", b"proxy-connection"):
            assert not world.engine.seen[0].header(name)
        assert answer.header(b"x-up") == b"1"
        assert not answer.header(b"keep-alive")
        assert not answer.header(b"proxy-authenticate")


@pytest.mark.parametrize(
    ("given", "kept"), [("trace-7!~", True), ("x" * 128, True), ("x" * 129, False), ("two words", False), ("é", False)]
)
async def test_the_request_id_is_the_clients_where_it_can_be(given: str, kept: bool) -> None:
    async with World() as world:
        answer = await world.ask(post("/v1/a", CHAT, f"X-Request-ID: {given}"))
        assert (answer.id == given) is kept
        assert answer.id == answer.json["id"], "the engine got the same"
        await world.quiet()
        assert world.records[0].id == answer.id


async def test_an_engines_request_id_does_not_hide_ours() -> None:
    async with World() as world:
        world.engine.script = sends(response(b"{}", "X-Request-Id: engine-1"))
        answer = await world.ask(post("/v1/a", CHAT, "X-Request-ID: mine"))
        assert answer.header(b"x-request-id") == b"mine"


async def test_a_client_that_half_closes_after_connection_close_is_served() -> None:
    async with World() as world:
        client = await world.client()
        await client.send(post("/v1/a", CHAT, "Connection: close"))
        answer = await client.answer()
        assert (answer.status, answer.header(b"connection")) == (200, b"close")
        assert await client.rest() == b""


async def test_empty_lines_before_a_request_are_ignored() -> None:
    async with World() as world:
        client = await world.client()
        await client.send(b"\r\n\r\n" + get("/v1/a"), b"\r\n" + get("/v1/b"))
        assert [(await client.answer("GET")).json["target"] for _ in range(2)] == ["/v1/a", "/v1/b"]
