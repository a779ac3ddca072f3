"""Each call is made twice, straight to the engine and through the gateway: neither side may tell the difference.

What the gateway adds or replaces, and nothing else, is left out of the comparison: `host`, framing (`content-length`,
`transfer-encoding`), hop-by-hop headers and `x-request-id`.
"""

import asyncio
import io
import os
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from penstock.core.record import Outcome
from tests.faults.echo import BINARY, echo
from tests.faults.upstream import MODEL, Call, Upstream
from tests.faults.world import CHAT, Gateway, gateway

pytestmark = pytest.mark.anyio

OWN = {
    b"host", b"connection", b"keep-alive", b"x-hop", b"transfer-encoding", b"content-length", b"x-request-id", b"te",
    b"trailer", b"expect", b"proxy-connection", b"upgrade",
}  # fmt: skip
BOUNDARY = re.compile(rb"[0-9a-f]{32}")
MESSAGES: Any = CHAT["messages"]
FILE = ("näme.jsonl", b'{"a": 1}\r\n--not a boundary\r\n' + BINARY, "application/jsonl")
WAV = ("voice.wav", BINARY, "audio/wav")
TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


def listen(client: OpenAI, **options: Any) -> Any:
    """A stream read to its end."""
    return list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True, **options))


def bytes_of(answer: Any) -> Any:
    return answer.read()


CALLS: dict[str, Callable[[OpenAI], Any]] = {
    "chat": lambda c: c.chat.completions.create(
        model="m", messages=MESSAGES, temperature=0.1, tools=TOOLS, seed=2**60, extra_body={"top_k": 5, "x": [None]},
    ),
    "chat stream": lambda c: listen(c),
    "chat stream with usage": lambda c: listen(c, stream_options={"include_usage": True}),
    "chat with own headers": lambda c: c.chat.completions.create(
        model="m", messages=MESSAGES, extra_headers={"X-Mine": "a  b", "x-MIXED-case": "y"}, extra_query={"q": "a b&c"},
    ),
    "chat without ASCII": lambda c: c.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "żółć 漢字 🙂 \u0000 \u2028 \\ \""}],
    ),
    "stored chats": lambda c: c.chat.completions.list(model="m", limit=3),
    "stored chat": lambda c: c.chat.completions.retrieve("chatcmpl-1"),
    "stored chat changed": lambda c: c.chat.completions.update("chatcmpl-1", metadata={"k": "v"}),
    "stored chat deleted": lambda c: c.chat.completions.delete("chatcmpl-1"),
    "stored messages": lambda c: c.chat.completions.messages.list("chatcmpl-1"),
    "completion": lambda c: c.completions.create(model="m", prompt=["one", "two"], logprobs=1, echo=True),
    "embeddings as base64": lambda c: c.embeddings.create(model="m", input=["a", "b"]),
    "embeddings as floats": lambda c: c.embeddings.create(model="m", input=[[1, 2]], encoding_format="float"),
    "response": lambda c: c.responses.create(model="m", input="hi", instructions="be brief"),
    "response stream": lambda c: list(c.responses.create(model="m", input="hi", stream=True)),
    "response again": lambda c: c.responses.retrieve("resp_1", include=["message.input_image.image_url"]),
    "response items": lambda c: c.responses.input_items.list("resp_1", limit=2, order="asc"),
    "response cancelled": lambda c: c.responses.cancel("resp_1"),
    "response deleted": lambda c: c.responses.delete("resp_1"),
    "model deleted": lambda c: c.models.delete("ft:m:org::1"),
    "file up": lambda c: c.files.create(file=FILE, purpose="fine-tune"),
    "files": lambda c: c.files.list(purpose="batch", order="desc"),
    "file": lambda c: c.files.retrieve("file-1"),
    "file down": lambda c: bytes_of(c.files.content("file-1")),
    "file deleted": lambda c: c.files.delete("file-1"),
    "upload": lambda c: c.uploads.create(bytes=3, filename="f", mime_type="a/b", purpose="batch"),
    "upload part": lambda c: c.uploads.parts.create("u-1", data=b"\x00\xff\r\n"),
    "upload done": lambda c: c.uploads.complete("u-1", part_ids=["p"]),
    "speech": lambda c: bytes_of(c.audio.speech.create(model="m", voice="alloy", input="hello")),
    "transcription": lambda c: c.audio.transcriptions.create(model="m", file=WAV, language="en", temperature=0.5),
    "translation": lambda c: c.post("/audio/translations", cast_to=object, body={"model": "m"}, files={"file": WAV}),
    "image": lambda c: c.images.generate(model="m", prompt="a penstock", n=1, size="256x256"),
    "image edit": lambda c: c.images.edit(model="m", image=io.BytesIO(BINARY), prompt="blue"),
    "batch": lambda c: c.batches.create(
        input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h",
    ),
    "batches": lambda c: c.batches.list(limit=2, after="b/0 1"),
    "batch again": lambda c: c.batches.retrieve("b-1"),
    "batch cancelled": lambda c: c.batches.cancel("b-1"),
    "fine-tuning": lambda c: c.fine_tuning.jobs.create(model="m", training_file="file-1"),
    "fine-tunings": lambda c: c.fine_tuning.jobs.list(limit=1),
    "fine-tuning events": lambda c: c.fine_tuning.jobs.list_events("j-1"),
    "fine-tuning checkpoints": lambda c: c.fine_tuning.jobs.checkpoints.list("j-1"),
    "fine-tuning cancelled": lambda c: c.fine_tuning.jobs.cancel("j-1"),
    "moderation": lambda c: c.moderations.create(model="m", input="fine"),
    "vector stores": lambda c: c.vector_stores.list(),
    "vector store": lambda c: c.vector_stores.create(name="v"),
}  # fmt: skip


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[Upstream]:
    async with Upstream(echo) as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def gate(engine: Upstream) -> AsyncIterator[Gateway]:
    async with gateway(engine) as made:
        yield made


def plain(answer: Any) -> Any:
    """An answer as data: pages also hold the client they came from."""
    return answer.model_dump() if isinstance(answer, BaseModel) else answer


def sync_client(url: str) -> OpenAI:
    client = openai.DefaultHttpxClient(trust_env=False)
    return OpenAI(base_url=f"{url}/v1", api_key="sk-client", max_retries=0, timeout=20.0, http_client=client)


def end_to_end(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers that must cross, multipart's random boundary made equal."""
    return sorted((name, BOUNDARY.sub(b"B", value)) for name, value in headers if name not in OWN)


def assert_same_request(direct: Call, through: Call) -> None:
    assert through.method == direct.method
    assert through.target == direct.target
    assert end_to_end(through.headers) == end_to_end(direct.headers)
    assert BOUNDARY.sub(b"B", through.body) == BOUNDARY.sub(b"B", direct.body)
    assert through.header(b"x-request-id")


async def each_way(engine: Upstream, gate: Gateway, call: Callable[[str], Any]) -> tuple[Any, Any]:
    """What `call(url)` gives straight and through the gateway; what the engine saw of it is compared."""
    engine.calls.clear()
    straight, through = [await asyncio.to_thread(call, url) for url in (engine.url, gate.url)]
    assert len(engine.calls) == 2
    assert_same_request(*engine.calls)
    return straight, through


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_the_openai_client(engine: Upstream, gate: Gateway, call: Callable[[OpenAI], Any]) -> None:
    def ask(url: str) -> Any:
        with sync_client(url) as client:
            return call(client)

    straight, through = await each_way(engine, gate, ask)
    assert plain(through) == plain(straight)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_asynchronous_openai_client(engine: Upstream, gate: Gateway, stream: bool) -> None:
    engine.calls.clear()
    seen = []
    for url in (engine.url, gate.url):
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, http_client=http) as client:
            answer: Any = await client.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
            seen.append([part async for part in answer] if stream else answer)
    assert seen[0] == seen[1]
    assert_same_request(*engine.calls)


async def test_answers_reach_raw_responses_whole(engine: Upstream, gate: Gateway) -> None:
    def ask(url: str) -> tuple[int, str, str | None]:
        with sync_client(url) as client:
            raw = client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
            return raw.status_code, raw.text, raw.headers.get("x-ratelimit-remaining-tokens")

    straight, through = await each_way(engine, gate, ask)
    assert through == straight
    assert straight[2] == "12"


async def test_models_are_the_engines_own_entries(engine: Upstream, gate: Gateway) -> None:
    engine.calls.clear()
    async with gate.http() as client, gate.openai() as sdk:
        assert (await client.get("/v1/models")).json() == {"object": "list", "data": [MODEL]}
        assert (await client.get("/v1/models/m")).json() == MODEL
        assert [model.id async for model in await sdk.models.list()] == ["m"]
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.models.retrieve("absent")
        assert caught.value.code == "model_not_found"
    assert not engine.calls


TARGETS = [
    "/v1/raw",
    "/v1/raw?",
    "/v1/raw?a=%2F&b=%zz&c=+&d=%C3%A9&&=&e",
    "/v1/raw?x[]=1&x[]=2;y=3#not-a-fragment".replace("#", "%23"),
    "/v1/raw?q=" + "%41" * 2000,
    "/v1//deep/..x/%2exx/raw%00;p=1",
    "/v1/raw/~user/@a:b,c!$&'()*+=",
    '/v1/raw?json={%22a%22:[1,2]}|^`"<>',
    "/v1/nothing",
    "/v1/teapot",
    "/v1/metrics-of-the-engine?v=1",
]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]
BODIES = {
    "none": None,
    "empty": b"",
    "one byte": b"\x00",
    "not UTF-8": b"\xff\xfe{\x80}",
    "text": "żółć\r\n\r\n0\r\n\r\n".encode(),
    "looks like a request": b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    "5 MB": bytes(range(256)) * 20_480,
}


def spoken(method: str, target: str, body: bytes | None) -> bytes:
    """A request as bytes, with headers of every kind."""
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    return (
        f"{method} {target} HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\nX-Twice: 1\r\nX-Twice: 2\r\n"
        "Authorization: Bearer sk-client\r\nX-Empty:\r\nx-lower: a,  b ,c\r\nCookie: a=b; c=d\r\n"
        "Accept-Encoding: gzip\r\nX-Long: " + "v" * 5000 + "\r\nContent-Type: application/octet-stream\r\n"
        "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"
    ).encode() + b"X-Bytes: caf\xe9\r\n%b\r\n%b" % (length, body or b"")


async def heard(port: int, payload: bytes, bodyless: bool) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """Status line, headers and body of the answer to `payload`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(payload)
        line, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(b":") for line in lines)]
        length = dict(headers).get(b"content-length")
        none = bodyless or line.split(b" ")[1] == b"204"
        body = b"" if none else await reader.readexactly(int(length or 0))
        return line.split(b" ")[1], [(b"length", length or b""), *end_to_end(headers)], body
    finally:
        writer.transport.abort()


async def assert_alike(engine: Upstream, gate: Gateway, method: str, target: str, body: bytes | None) -> None:
    engine.calls.clear()
    payload = spoken(method, target, body)
    straight = await heard(engine.port, payload, method == "HEAD")
    through = await heard(gate.port, payload, method == "HEAD")
    assert through == straight
    first, second = engine.calls
    assert_same_request(first, second)
    # Order and spelling too, not only the set.
    lines = [[h for h in call.headers if h[0] not in OWN | {b"authorization"}] for call in engine.calls]
    assert lines[0] == lines[1]
    assert (second.header(b"content-length") is None) == (body is None), "framing appeared or vanished"


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t[:24])
@pytest.mark.parametrize("method", METHODS)
async def test_any_method_and_target(engine: Upstream, gate: Gateway, method: str, target: str) -> None:
    await assert_alike(engine, gate, method, target, None)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "OPTIONS"])
async def test_any_method_and_body(engine: Upstream, gate: Gateway, method: str, body: bytes | None) -> None:
    await assert_alike(engine, gate, method, "/v1/raw?x=1", body)


async def test_chunked_uploads_arrive_as_they_were(engine: Upstream, gate: Gateway) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(BINARY), 999):
            yield BINARY[at : at + 999]

    engine.calls.clear()
    async with gate.http() as client:
        answer: httpx.Response = await client.post("/v1/raw", content=pieces())
        assert answer.content == b"POST /v1/raw\n" + BINARY
    [call] = engine.calls
    assert call.body == BINARY
    assert call.header(b"transfer-encoding") is None
    assert call.header(b"content-length") == b"%d" % len(BINARY)


async def test_compressed_answers_are_not_touched() -> None:
    packed = b"\x1f\x8b" + os.urandom(5000)

    async def compressed(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for at in range(0, len(packed), 700):
            await call.chunk(packed[at : at + 700])
        await call.finish()

    async with Upstream(compressed) as upstream, gateway(upstream) as gate:
        async with gate.http() as client, client.stream("GET", "/v1/anything") as answer:
            assert answer.headers["content-encoding"] == "gzip"
            assert b"".join([piece async for piece in answer.aiter_raw()]) == packed
        assert (await gate.record()).outcome is Outcome.SUCCESS
