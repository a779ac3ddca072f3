"""The relay on real sockets: bytes and keys arrive, the stream streams, who leaves frees the API."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from penstock.gateway.admin.app import create_admin
from penstock.gateway.admin.settings import AdminSettings

PATH = "/v1/chat/completions"
type_of_handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(state, handler: type_of_handler, **settings: str) -> AsyncIterator[httpx.AsyncClient]:
    """The admin listener in front of an API that is `handler`."""
    api = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = api.sockets[0].getsockname()[1]
    app = create_admin(state, AdminSettings(api=f"http://127.0.0.1:{port}", **settings))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="on"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        admin = server.servers[0].sockets[0].getsockname()[1]
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{admin}", trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            await running
            api.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
    return headers, await reader.readexactly(int(headers.get("content-length", "0")))


class Api:
    """Streams `parts`, each after the test lets it, then holds or ends or breaks off."""

    def __init__(self, *, after: str = "end", head: bool = True) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        self.asked = asyncio.Event()
        self.after = after
        self.head = head

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.headers, self.body = await read_request(reader)
            self.asked.set()
            if self.head:
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: abc\r\n"
                    b"server: hidden\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"data: 1\n\n")
                )
                await self.go.wait()
                writer.write(chunk(b"data: 2\n\n"))
            if self.after == "hold":
                assert await reader.read() == b""
                self.left.set()
            elif self.after == "end":
                writer.write(chunk(b""))
            await writer.drain()
        finally:
            writer.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_streams_as_it_comes_with_key_and_body(state):
    async def scenario() -> None:
        api = Api()
        body = b'{"model": "tiny",  "stream":true}'
        headers = {"content-type": "application/json", "authorization": "Bearer sk-1"}
        async with (
            served(state, api) as client,
            client.stream("POST", PATH, content=body, headers=headers) as answer,
        ):
            lines = answer.aiter_raw()
            assert await anext(lines) == b"data: 1\n\n"
            api.go.set()
            assert b"".join([part async for part in lines]) == b"data: 2\n\n"
        assert api.body == body
        assert api.headers["authorization"] == "Bearer sk-1"
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-request-id"] == "abc"
        assert "hidden" not in answer.headers.get_list("server")
        assert answer.headers["x-content-type-options"] == "nosniff"

    asyncio.run(asyncio.wait_for(scenario(), 10))


@pytest.mark.parametrize("head", [True, False], ids=["mid-stream", "before the first byte"])
def test_a_client_that_leaves_frees_the_api(state, head):
    async def scenario() -> None:
        api = Api(after="hold", head=head)
        api.go.set()
        async with served(state, api) as client:

            async def ask() -> None:
                async with client.stream("POST", PATH, json={}) as answer:
                    async for _ in answer.aiter_raw():
                        pass

            asking = asyncio.ensure_future(ask())
            await api.asked.wait()
            await asyncio.sleep(0.05)
            asking.cancel()
            await asyncio.wait_for(api.left.wait(), 1)

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_broken_stream_ends_in_a_typed_error(state):
    async def scenario() -> None:
        api = Api(after="break")
        api.go.set()
        async with served(state, api) as client:
            answer = await client.post(PATH, json={})
        assert answer.text.startswith("data: 1\n\ndata: 2\n\n")
        error = json.loads(answer.text.split("data: ")[-1])["error"]
        assert error["code"] == "upstream_reset"

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_an_absent_api_is_a_502(state):
    async def scenario() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with served(state, refuse) as client:
            answer = await client.post(PATH, json={})
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "upstream_refused"

    asyncio.run(asyncio.wait_for(scenario(), 10))


@pytest.mark.parametrize(
    ("headers", "passed"),
    [
        ({"authorization": "Bearer admin"}, None),
        ({"x-penstock-admin-token": "admin", "authorization": "Bearer sk-1"}, "Bearer sk-1"),
        ({"x-penstock-admin-token": "admin"}, None),
    ],
)
def test_the_admin_token_never_reaches_the_api(state, headers, passed):
    async def scenario() -> None:
        api = Api()
        api.go.set()
        async with served(state, api, token="admin") as client:
            assert (await client.post(PATH, json={}, headers=headers)).status_code == 200
        assert api.headers.get("authorization") == passed
        assert "x-penstock-admin-token" not in api.headers

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_huge_body_is_refused(client):
    answer = client.post(PATH, content=b" " * (8 * 1024 * 1024 + 1), headers={"content-type": "application/json"})
    assert answer.status_code == 413
