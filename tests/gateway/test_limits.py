"""Sizes, times and doors: what is refused, with which typed error, and when a connection ends."""

import asyncio
import time

import pytest

from tests.gateway.world import (
    CHAT,
    SSE_HEAD,
    Answer,
    Seen,
    Wire,
    World,
    chunked,
    get,
    post,
    response,
    sends,
)

pytestmark = pytest.mark.anyio

SMALL = {"limits": {"head_bytes": 1024, "body_bytes": 1024, "pipelined": 2}}
HASTY = {"timeouts": {"head": 0.2, "body": 0.2, "idle": 0.2}}
CHUNKED_HEAD = b"POST /v1/a HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"


def told(answer: Answer) -> tuple[int, str, str | None]:
    return answer.status, answer.error["code"], answer.error["param"]


async def test_a_head_of_the_size_allowed_passes_and_one_byte_more_does_not() -> None:
    async with World(**SMALL) as world:
        room = 1024 - len(get("/v1/a", "X: "))
        assert (await world.ask(get("/v1/a", f"X: {'x' * room}"), "GET")).status == 200
        answer = await world.ask(get("/v1/a", f"X: {'x' * (room + 1)}"), "GET")
        assert told(answer) == (431, "head_too_large", None)
        assert "limits.head_bytes (1024 bytes)" in answer.error["message"]


async def test_an_endless_head_is_refused_before_it_ends() -> None:
    async with World(**SMALL) as world:
        client = await world.client()
        await client.send(b"GET /v1/a HTTP/1.1\r\nX: ", b"x" * 600, b"x" * 600)
        assert told(await client.answer("GET")) == (431, "head_too_large", None)
        assert await client.rest() == b""


async def test_a_body_of_the_size_allowed_passes() -> None:
    async with World(**SMALL) as world:
        assert (await world.ask(post("/v1/a", b"x" * 1024))).status == 200
        assert (await world.ask(CHUNKED_HEAD + chunked(b"x" * 1000, b"x" * 24))).status == 200


async def test_a_declared_body_too_large_is_refused_at_its_head() -> None:
    async with World(**SMALL) as world:
        client = await world.client()
        await client.send(get("/v1/a", "Content-Length: 1025", method="POST"))
        assert told(await client.answer()) == (413, "request_too_large", "body")
        assert not world.engine.seen


@pytest.mark.parametrize("pieces", [(b"x" * 1025,), (b"x" * 600, b"x" * 600), (b"x",) * 1025])
async def test_a_chunked_body_too_large_is_refused_when_it_is(pieces: tuple[bytes, ...]) -> None:
    async with World(**SMALL) as world:
        answer = await world.ask(CHUNKED_HEAD + chunked(*pieces))
        assert told(answer) == (413, "request_too_large", "body")
        assert not world.engine.seen


async def test_the_answer_to_a_body_too_large_reaches_a_client_that_still_sends() -> None:
    """Closing while the client sends would reset the connection, and the reset could overtake the answer."""
    async with World(**SMALL) as world:
        client = await world.client()
        await client.send(get("/v1/a", "Content-Length: 100000000", method="POST"))
        for _ in range(200):
            await client.send(b"x" * 50_000)
        answer = await client.answer()
        assert told(answer) == (413, "request_too_large", "body")
        assert answer.header(b"connection") == b"close"
        assert await client.rest() == b""
        assert len(world.records) == 1


async def test_requests_ahead_of_a_refused_one_are_answered_first() -> None:
    async with World(**SMALL) as world:
        client = await world.client()
        await client.send(post("/v1/a", CHAT) + post("/v1/b", CHAT) + get("/v1/c", f"X: {'x' * 2000}"))
        assert [(await client.answer()).json["target"] for _ in range(2)] == ["/v1/a", "/v1/b"]
        assert (await client.answer()).status == 431
        assert await client.rest() == b""


async def test_more_pipelined_requests_than_allowed_wait_in_the_socket() -> None:
    async with World(**SMALL) as world:
        client = await world.client()
        await client.send(*(post("/v1/a", b'{"model":"m","n":%d}' % n) for n in range(50)))
        assert [(await client.answer()).json["body"] for _ in range(50)] == [
            f'{{"model":"m","n":{n}}}' for n in range(50)
        ]


@pytest.mark.parametrize(
    ("sent", "phase"),
    [
        (b"G", "head"),
        (b"POST /v1/a HTTP/1.1\r\nHost: gateway\r\n", "head"),
        (b"POST /v1/a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9\r\n\r\n", "body"),
        (b"POST /v1/a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9\r\n\r\n{", "body"),
        (CHUNKED_HEAD + b"9\r\n{", "body"),
    ],
)
async def test_a_client_that_goes_silent_inside_a_request(sent: bytes, phase: str) -> None:
    async with World(**HASTY) as world:
        client = await world.client()
        begun = time.monotonic()
        await client.send(sent)
        answer = await client.answer()
        assert time.monotonic() - begun >= 0.2
        assert told(answer) == (408, "request_timeout", None)
        assert f"timeouts.{phase}" in answer.error["message"]
        assert await client.rest() == b""
        assert [(record.status, record.outcome) for record in world.records] == [(408, "rejected")]


async def test_a_head_that_comes_in_drips_has_no_more_time() -> None:
    """Every byte is a sign of life, but the head as a whole is due."""
    async with World(timeouts={"head": 0.3}) as world:
        client = await world.client()
        await client.send(b"G")
        while not world.records:
            await client.send(b"X")
            await asyncio.sleep(0.01)
        assert (await client.answer()).status == 408


async def test_a_body_that_keeps_coming_is_not_late() -> None:
    async with World(timeouts={"body": 1.0}) as world:
        client = await world.client()
        await client.send(get("/v1/a", "Content-Length: 8", method="POST"))
        for _ in range(8):
            began = time.monotonic()
            await client.send(b"x")
            await world.until(lambda began=began: time.monotonic() - began > 0.15)  # type: ignore[misc]
        assert (await client.answer()).status == 200


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with World(**HASTY) as world:
        fresh, used = await world.client(), await world.client()
        await used.send(post("/v1/a", CHAT))
        assert (await used.answer()).status == 200
        assert (await fresh.rest(), await used.rest()) == (b"", b"")
        assert len(world.records) == 1, "a connection without a request is no request"


async def test_a_slow_engine_is_no_idle_client() -> None:
    async with World(**HASTY) as world:
        client = await world.client()

        async def script(seen: Seen, wire: Wire) -> None:
            begun = time.monotonic()
            await world.until(lambda: time.monotonic() - begun > 0.5)
            await wire.send(response(b"{}"))

        world.engine.script = script
        await client.send(post("/v1/a", CHAT))
        assert (await client.answer()).status == 200


async def test_too_many_connections_are_turned_away_with_a_word() -> None:
    async with World(limits={"connections": 1}) as world:
        first = await world.client()
        await first.send(post("/v1/a", CHAT))
        assert (await first.answer()).status == 200
        second = await world.client()
        answer = await second.answer()
        assert (answer.status, answer.error["code"]) == (503, "overloaded")
        assert answer.header(b"retry-after") == b"1"
        assert await second.rest() == b""
        await first.send(post("/v1/a", CHAT))
        assert (await first.answer()).status == 200


async def test_unknown_models_are_named_with_those_there_are() -> None:
    async with World(models={"engine1": ("m", "n")}) as world:
        answer = await world.ask(post("/v1/chat/completions", b'{"model":"x"}'))
        assert told(answer) == (404, "model_not_found", "model")
        assert answer.error["message"] == "No ready engine serves the model 'x'. Served: m, n."
        answer = await world.ask(get("/v1/models/x"), "GET")
        assert told(answer) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("body", "param", "part"),
    [
        (b'{"model":5}', "model", "Expected `str | null`, got `int`"),
        (b'{"stream":"yes"}', "stream", "Expected `bool | null`, got `str`"),
        (b'{"stream_options":{"include_usage":1}}', "stream_options.include_usage", "got `int`"),
        (b'{"model":"m"', None, "not valid JSON"),
        (b' {"model":}', None, "not valid JSON"),
        (b'{"model":"m"} {', None, "not valid JSON"),
        (b'{"model":"\xff"}', None, "not UTF-8"),
        (b'{"x":' + b"[" * 100_000, None, "nested too deeply"),
    ],
)
async def test_json_that_cannot_be_read_names_the_field(body: bytes, param: str | None, part: str) -> None:
    async with World() as world:
        client = await world.client()
        await client.send(post("/v1/chat/completions", body) + get("/v1/models"))
        answer = await client.answer()
        assert told(answer) == (400, "invalid_request", param)
        assert part in answer.error["message"]
        assert (await client.answer("GET")).status == 200, "the framing was clear: the connection goes on"
        assert not world.engine.seen


async def test_connect_is_not_served() -> None:
    async with World() as world:
        answer = await world.ask(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", "GET")
        assert told(answer) == (405, "method_not_allowed", None)
        assert answer.header(b"allow") == b"GET, POST"


KEYED = {"auth": {"keys": ["sk-right"]}}


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Authorization: Bearer sk-wrong",),
        ("Authorization: Bearer ",),
        ("Authorization: Basic sk-right",),
        ("Authorization: sk-right",),
        ("X-Api-Key: sk-wrong",),
        ("Authorization: Bearer sk-wrong", "X-Api-Key: sk-right"),
    ],
)
async def test_without_the_key_there_is_nothing(headers: tuple[str, ...]) -> None:
    async with World(**KEYED) as world:
        for data in (post("/v1/a", CHAT, *headers), get("/v1/models", *headers)):
            answer = await world.ask(data)
            assert told(answer) == (401, "invalid_api_key", None)
            assert answer.header(b"x-should-retry") == b"false"
        assert not world.engine.seen


@pytest.mark.parametrize(
    "header", ["Authorization: Bearer sk-right", "authorization: bearer  sk-right", "x-api-key: sk-right"]
)
async def test_with_the_key_the_engine_gets_none(header: str) -> None:
    async with World(**KEYED) as world:
        for _ in range(2):
            assert (await world.ask(post("/v1/a", CHAT, header))).status == 200
        assert b"sk-right" not in world.engine.seen[0].head
        await world.quiet()
        (name,) = {record.key for record in world.records}
        assert name
        assert "right" not in name


async def test_an_open_gateway_passes_credentials_on() -> None:
    async with World() as world:
        await world.ask(post("/v1/a", CHAT, "authorization: Bearer sk-engine", "x-api-key: k"))
        assert world.engine.seen[0].header(b"authorization") == b"Bearer sk-engine"
        assert world.engine.seen[0].header(b"x-api-key") == b"k"


async def test_no_engine_ready_says_why_and_when_to_come_back() -> None:
    async with World() as world:
        world.show_fleet("engine1")
        answer = await world.ask(post("/v1/a", CHAT))
        assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
        assert answer.header(b"retry-after") == b"2"
        assert "engine1 is unreachable" in answer.error["message"]


async def test_anthropics_endpoint_gets_errors_of_its_own_shape() -> None:
    async with World() as world:
        answer = await world.ask(post("/v1/messages", b'{"model":"x"}'))
        assert answer.json["type"] == "error"
        assert answer.json["error"]["code"] == "model_not_found"


async def test_a_silent_stream_is_kept_awake_between_events_only() -> None:
    async with World(streaming={"heartbeat": 0.05}) as world:
        client = await world.client()
        go_on = False

        async def script(seen: Seen, wire: Wire) -> None:
            await wire.send(SSE_HEAD, b"d\r\ndata: 1\n\ndata\r\n")
            await world.until(lambda: go_on)
            await wire.send(b"5\r\n: 2\n\n\r\n0\r\n\r\n")

        world.engine.script = script
        await client.send(post("/v1/a", CHAT))
        seen = await client.some(b": heartbeat\n\n")
        go_on = True
        rest = await client.some(b"0\r\n\r\n")
        text = seen + rest
        assert text.replace(b": heartbeat", b"").count(b"data: 1") == 1
        assert b"data: 2\n\n" in text, "the line that was split is whole"


async def test_a_drained_worker_finishes_what_runs_and_closes_the_rest() -> None:
    async with World() as world:
        idle, busy = await world.client(), await world.client()
        go_on = False

        async def script(seen: Seen, wire: Wire) -> None:
            await world.until(lambda: go_on)
            await wire.send(response(b"{}"))

        world.engine.script = script
        await busy.send(post("/v1/a", CHAT))
        await world.until(lambda: world.engine.seen)
        world.app.drain()
        assert await idle.rest() == b""
        go_on = True
        assert (await busy.answer()).status == 200
        assert await busy.rest() == b""


async def test_what_outlasts_the_drain_ends_with_its_typed_error() -> None:
    async with World() as world:
        stream, silent = await world.client(), await world.client()

        async def script(seen: Seen, wire: Wire) -> None:
            if seen.target == "/v1/stream":
                await wire.send(SSE_HEAD, b"9\r\ndata: 1\n\n\r\n")
            await wire.gone()

        world.engine.script = script
        await stream.send(post("/v1/stream", CHAT))
        await stream.some(b"data: 1\n\n")
        await silent.send(post("/v1/silent", CHAT))
        await world.until(lambda: len(world.engine.seen) == 2)
        world.app.drain()
        world.app.abandon()
        assert b'"drain_timeout"' in await stream.rest()
        assert told(await silent.answer()) == (504, "drain_timeout", None)
        await world.quiet()
        assert [record.outcome for record in world.records] == ["timed_out"] * 2


async def test_records_keep_only_the_beginning_of_a_name() -> None:
    async with World() as world:
        await world.ask(post("/v1/a", b'{"model":"%b"}' % (b"x" * 1_000_000)))
        assert len(world.records[0].model) == 256


async def test_a_form_is_routed_by_its_model() -> None:
    async with World(engines=2, models={"engine1": ("a",), "engine2": ("b",)}) as world:
        form = (
            b'--X\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
            b'\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--Y\r\n'
            b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\nb\r\n--X--\r\n'
        )
        world.engines[1].script = sends(response(b"{}"))
        assert (await world.ask(post("/v1/audio/transcriptions", form))).status == 200
        assert [len(engine.seen) for engine in world.engines] == [0, 1]
        assert world.engines[1].seen[0].body == form
