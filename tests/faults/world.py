"""The gateway's data path inside the test: a real App and real Connections on a real port, Records at hand."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import msgspec
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from penstock.config.engines import Http
from penstock.config.schema import Config, Timeouts
from penstock.core.clock import monotonic
from penstock.core.endpoint import Endpoint, EngineState
from penstock.core.record import Record
from penstock.gateway.app import App
from penstock.gateway.billing import Billing
from penstock.gateway.connection import Connection
from penstock.telemetry.accesslog import NoLog
from penstock.telemetry.catalogue import SHEETS
from penstock.telemetry.meter import Meter
from penstock.telemetry.series import SeriesReader, SeriesWriter, create_file
from tests.faults.upstream import MODEL, Upstream

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAM: dict[str, Any] = CHAT | {"stream": True, "stream_options": {"include_usage": True}}


async def until(true: Callable[[], object], within: float = 5.0) -> float:
    """Waits for a condition; seconds it took. Raises TimeoutError after `within` seconds."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() - begun > within:
            raise TimeoutError(f"still not so after {within:g} s")
        await asyncio.sleep(0.002)
    return time.monotonic() - begun


class Gateway:
    """One worker's data path."""

    def __init__(self, app: App, port: int, series: SeriesReader) -> None:
        self.app = app
        self._series = series
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.clients: list[Raw] = []

    async def records(self, count: int = 1) -> list[Record]:
        """All Records, oldest first, once there are `count` and nothing runs."""
        await until(lambda: len(self.app.recent(count)) == count and not self.app.running)
        self.app.book()
        records = self.app.recent(count + 1)
        assert len(records) == count
        assert not any(self.app.fleet.in_flight.values())
        return records[::-1]

    async def record(self) -> Record:
        """The only Record there is."""
        return (await self.records())[0]

    def counted(self, sheet: str, *labels: str) -> list[float]:
        """A row of metrics as it is now."""
        self.app.sweep(monotonic())
        (row,) = (list(row) for of, values, row in self._series.rows() if (of.name, values) == (sheet, labels))
        return row

    def http(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20.0, **options)

    def openai(self) -> AsyncOpenAI:
        """The official client, its own retries off so that it cannot hide a failure."""
        client = DefaultAsyncHttpxClient(trust_env=False)
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="k", max_retries=0, timeout=20.0, http_client=client)

    async def raw(self, payload: bytes, *, buffer: int = 0) -> "Raw":
        """A connection without an HTTP library; `buffer`: its receive buffer in bytes."""
        own = socket.socket()
        if buffer:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=own)
        writer.write(payload)
        self.clients.append(Raw(reader, writer))
        return self.clients[-1]


class Raw:
    """A client that sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def chunks(self) -> list[bytes]:
        """Every chunk of a chunked body, the terminating one included as b""."""
        found = []
        while not found or found[-1]:
            size = int(await self.reader.readline(), 16)
            found.append((await self.reader.readexactly(size + 2))[:-2])
        return found

    async def body(self) -> bytes:
        """Head and body of one answer, read as its head says; the body."""
        head = (await self.head()).lower()
        if b"transfer-encoding: chunked" in head:
            return b"".join(await self.chunks())
        return await self.reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))

    async def rest(self) -> bytes:
        """Everything until the connection ends, however it ends."""
        data = b""
        try:
            while piece := await self.reader.read(1 << 20):
                data += piece
        except ConnectionError:
            pass
        return data

    async def leave(self) -> None:
        """Closes the connection, whatever is still on its way."""
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def post(document: object, path: bytes = b"/v1/chat/completions", headers: bytes = b"") -> bytes:
    """A request as bytes."""
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return b"POST %b HTTP/1.1\r\nhost: g\r\n%bcontent-length: %d\r\n\r\n%b" % (path, headers, len(body), body)


@asynccontextmanager
async def gateway(*engines: Upstream | str, billing: Billing | None = None, **sections: Any) -> AsyncIterator[Gateway]:
    """A gateway before `engines` (or bare URLs) e0, e1, ..., which all serve the model `m`."""
    urls = [engine if isinstance(engine, str) else engine.url for engine in engines]
    config = Config(engines=tuple(Http(f"e{n}", url) for n, url in enumerate(urls)), **sections)
    series = create_file()
    app = App(config, Meter(SeriesWriter(series, SHEETS)), NoLog(), billing=billing)
    reader = SeriesReader(series, SHEETS)
    app.chance = lambda: 0.0  # the first of equals
    os.close(series)  # the mappings keep the file
    models = {"m": msgspec.json.encode(MODEL)}
    app.fleet.update(
        tuple(Endpoint(f"e{n}", "http", EngineState.READY, url, models) for n, url in enumerate(urls)), monotonic()
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(app), "127.0.0.1", 0)
    sweeping = loop.create_task(_sweep(app))
    made = Gateway(app, server.sockets[0].getsockname()[1], reader)
    try:
        yield made
    finally:
        for client in made.clients:
            await client.leave()
        server.close()
        app.drain()
        for connection in list(app.connections):
            connection.abort()
        app.fleet.update((), monotonic())
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)


async def _sweep(app: App) -> None:
    while True:
        await asyncio.sleep(0.02)
        app.sweep(monotonic())


def timeouts(**seconds: float) -> dict[str, Timeouts]:
    return {"timeouts": Timeouts(**seconds)}
