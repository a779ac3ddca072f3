"""A world small enough to see whole: scripted engines, the real data path, a client that writes raw bytes.

Everything talks over real loopback sockets on the loop of the test. An engine does what its script says, once per
request it reads, and keeps what it saw.

    async with World() as world:
        world.engine.script = sends(b"HTTP/1.1 204 No Content\r\n\r\n")
        client = await world.client()
        await client.send(post("/v1/chat/completions", CHAT))
        assert (await client.answer()).status == 204
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

import h11
import msgspec

from penstock.config.schema import Config
from penstock.core.clock import monotonic
from penstock.core.endpoint import Endpoint, EngineState
from penstock.core.record import Record
from penstock.gateway.app import App
from penstock.gateway.connection import Connection
from penstock.telemetry.catalogue import SHEETS
from penstock.telemetry.meter import Meter
from penstock.telemetry.series import SeriesReader, SeriesWriter, create_file

PATIENCE_S = 10.0
"""How long anything awaited may take before the test fails: far above what a loaded machine needs."""
SWEEP_S = 0.02
CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
RESET = struct.pack("ii", 1, 0)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A whole POST request with a declared length."""
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    """A whole request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway", *headers]).encode("latin-1") + b"\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole response with a declared length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def until(holds: Callable[[], object], within: float = PATIENCE_S) -> None:
    """Waits for a condition. Fails when it does not come to hold."""
    end = monotonic() + within
    while not holds():
        assert monotonic() < end, "the condition did not come to hold"
        await asyncio.sleep(0.002)


class Truncated(Exception):
    """The connection ended inside an answer."""


class Seen(msgspec.Struct, frozen=True):
    """A request as an engine read it."""

    engine: str
    method: str
    target: str
    head: bytes
    headers: list[tuple[bytes, bytes]]
    """Lower-case name, value; in order."""
    body: bytes

    def header(self, name: bytes) -> bytes:
        """All values of a header, joined; b"" when it is not there."""
        return b", ".join(value for key, value in self.headers if key == name)


Script = Callable[["Seen", "Wire"], Awaitable[None]]


class Wire:
    """The engine's end of one connection from the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        """Connections to this engine so far, this one included."""

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a write of its own."""
        for piece in pieces:
            if self.writer.is_closing():
                raise ConnectionResetError("the gateway has left")
            self.writer.write(piece)
            await self.writer.drain()

    async def trickle(self, *pieces: bytes) -> None:
        """Like `send`, with turns of the loop between the pieces, so that they arrive apart."""
        for piece in pieces:
            await self.send(piece)
            await asyncio.sleep(0.001)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """A TCP reset, as a crashed process or a middlebox sends it."""
        raw = self.writer.get_extra_info("socket")
        if raw is not None:  # the gateway may have left first
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Waits until the gateway has closed the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.reader.read(65_536):
                    pass
            except ConnectionError:
                pass


def sends(*pieces: bytes) -> Script:
    """Answers with these bytes, each piece in a segment of its own."""

    async def script(seen: Seen, wire: Wire) -> None:
        if len(pieces) == 1:
            await wire.send(pieces[0])
        else:
            await wire.trickle(*pieces)

    return script


def then_closes(*pieces: bytes) -> Script:
    """Answers with these bytes and closes."""

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.trickle(*pieces)
        wire.close()

    return script


def then_resets(*pieces: bytes) -> Script:
    """Answers with these bytes and resets the connection once the gateway has had the time to read them."""

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.trickle(*pieces)
        await asyncio.sleep(0.01)
        wire.reset()

    return script


async def echo(seen: Seen, wire: Wire) -> None:
    """Answers with what it saw, as JSON."""
    told = {
        "engine": seen.engine,
        "method": seen.method,
        "target": seen.target,
        "id": seen.header(b"x-request-id").decode(),
        "body": seen.body.decode("latin-1"),
    }
    body = json.dumps(told).encode()
    head_only = seen.method == "HEAD"
    data = response(body, "Content-Type: application/json")
    await wire.send(data[: -len(body)] if head_only else data)


class ScriptedEngine:
    """An engine that does what `script` says and keeps what it saw."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.script: Script = echo
        self.seen: list[Seen] = []
        self.garbage: list[bytes] = []
        """Bytes that did not read as a request."""
        self.connections = 0
        self.open = 0
        self.port = 0
        self.faults: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses connections from now on, and ends those it has."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        wire = Wire(reader, writer, self.connections)
        try:
            while (seen := await self._read(reader)) is not None:
                self.seen.append(seen)
                await self.script(seen, wire)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 - a script's failed assertion belongs to the test
            self.faults.append(error)
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> Seen | None:
        """One request. Reads as strictly as an engine could: what does not fit is garbage."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.garbage.append(error.partial)
            return None
        lines = head[:-4].split(b"\r\n")
        try:
            method, target, version = lines[0].decode("latin-1").split(" ")
            pairs = [line.split(b":", 1) for line in lines[1:]]
            headers = [(name.lower(), value.strip(b" \t")) for name, value in pairs]
            if version != "HTTP/1.1" or b"\n" in b"".join(lines) or b"\r" in b"".join(lines):
                raise ValueError
        except ValueError:
            self.garbage.append(head)
            return None
        lengths = [value for name, value in headers if name == b"content-length"]
        if len(lengths) > 1 or any(name == b"transfer-encoding" for name, _ in headers):
            self.garbage.append(head)
            return None
        body = await reader.readexactly(int(lengths[0])) if lengths else b""
        return Seen(self.name, method, target, head, headers, body)


class Answer(msgspec.Struct):
    """A complete response as h11, a strict parser, read it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    interim: list[int] = []
    """1xx statuses that came before it."""

    def header(self, name: bytes) -> bytes:
        return b", ".join(value for key, value in self.headers if key == name)

    @property
    def id(self) -> str:
        return self.header(b"x-request-id").decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The typed error of the body; all four fields are always there."""
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        return error


class Client:
    """A client that sends exactly the bytes it is given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._pending = b""
        self.ended = False

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a write of its own, with a turn of the loop between them. A closed connection is no error."""
        for piece in pieces:
            try:
                self._writer.write(piece)
                await self._writer.drain()
            except ConnectionError:
                return
            if len(pieces) > 1:
                await asyncio.sleep(0)

    async def read(self) -> bytes:
        """What has come; b"" at the end of the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                data = await self._reader.read(1 << 18)
            except ConnectionError:
                data = b""
        self.ended = self.ended or not data
        return data

    async def answer(self, method: str = "POST") -> Answer:
        """The next complete response. Raises Truncated when the connection ends first; h11's error when it is wrong."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "gateway")]))
        parser.send(h11.EndOfMessage())
        if self._pending:
            parser.receive_data(self._pending)
        self._pending = b""
        got, body = Answer(0, [], b""), list[bytes]()
        while not isinstance(event := await self._event(parser), h11.EndOfMessage):
            match event:
                case h11.InformationalResponse():
                    got.interim.append(event.status_code)
                case h11.Response():
                    got.status = event.status_code
                    got.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
                case h11.Data():
                    body.append(bytes(event.data))
                case _:
                    raise Truncated("closed before an answer")
        got.body = b"".join(body)
        self._pending = parser.trailing_data[0]
        return got

    async def _event(self, parser: h11.Connection) -> object:
        try:
            while (event := parser.next_event()) is h11.NEED_DATA:
                parser.receive_data(await self.read())
        except h11.RemoteProtocolError as error:
            if self.ended and "without sending complete" in str(error):
                raise Truncated(str(error)) from None
            raise
        return event

    async def some(self, part: bytes) -> bytes:
        """Raw bytes, up to and with `part`."""
        while part not in self._pending:
            data = await self.read()
            assert data, f"the connection ended before {part!r}: {self._pending!r}"
            self._pending += data
        at = self._pending.index(part) + len(part)
        got, self._pending = self._pending[:at], self._pending[at:]
        return got

    async def rest(self) -> bytes:
        """Everything until the connection ends."""
        pieces, self._pending = [self._pending], b""
        while data := await self.read():
            pieces.append(data)
        return b"".join(pieces)

    def finish(self) -> None:
        """Ends our direction only."""
        self._writer.write_eof()

    def leave(self) -> None:
        """Drops the connection, as a closed browser tab does."""
        self._writer.transport.abort()


class Kept:
    """An access log that keeps Records."""

    lost = 0

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class World:
    """Scripted engines, an App, and a listener.

    `models`: engine name -> models it serves; "m" where it is silent. `facts`: engine name -> fields of its Endpoint.
    `options`: sections of penstock.yaml.
    """

    def __init__(
        self,
        engines: int = 1,
        models: Mapping[str, tuple[str, ...]] | None = None,
        facts: Mapping[str, Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        names = [f"engine{number}" for number in range(1, engines + 1)]
        self.engines = [ScriptedEngine(name) for name in names]
        self.engine = self.engines[0]
        self._models = {name: (models or {}).get(name, ("m",)) for name in names}
        self._facts = facts or {}
        self._options = options
        self._log = Kept()
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    @property
    def records(self) -> list[Record]:
        """Every Record closed so far, in order."""
        self.app.book()
        return self._log.records

    async def __aenter__(self) -> World:
        for engine in self.engines:
            await engine.start()
        http = [{"kind": "http", "name": engine.name, "url": engine.url} for engine in self.engines]
        config = msgspec.convert({"engines": http, **self._options}, Config)
        descriptor = create_file()
        self.series = SeriesReader(descriptor, SHEETS)
        self.app = App(config, Meter(SeriesWriter(descriptor, SHEETS)), self._log)
        self.app.chance = lambda: 0.0  # the first of equals
        self.show_fleet()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self.app), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks.append(loop.create_task(self._sweep()))
        return self

    def show_fleet(self, *away: str) -> None:
        """Tells the gateway which engines are ready: all but those named."""
        self.app.fleet.update(
            tuple(
                Endpoint(
                    engine.name,
                    "http",
                    EngineState.UNREACHABLE if engine.name in away else EngineState.READY,
                    engine.url,
                    {m: json.dumps({"id": m, "object": "model"}).encode() for m in self._models[engine.name]},
                    **self._facts.get(engine.name, {}),
                )
                for engine in self.engines
            ),
            monotonic(),
        )

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.app.sweep(monotonic())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        self._server.close()
        for connection in list(self.app.connections):
            connection.abort()
        self.app.fleet.update((), monotonic())
        for engine in self.engines:
            await engine.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)
        if error is None:
            for engine in self.engines:
                for fault in engine.faults:
                    raise fault

    async def client(self, *, receive_buffer: int = 0) -> Client:
        """A new connection. `receive_buffer`: bytes the kernel may hold for a client that does not read."""
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
        limit = receive_buffer or 1 << 18
        reader, writer = await asyncio.open_connection(sock=raw, limit=limit)
        self._writers.append(writer)
        return Client(reader, writer)

    async def ask(self, data: bytes, method: str = "POST") -> Answer:
        """One request on a connection of its own."""
        client = await self.client()
        await client.send(data)
        answer = await client.answer(method)
        client.leave()
        return answer

    async def until(self, holds: Callable[[], object], within: float = PATIENCE_S) -> None:
        """Waits for a condition. Fails when it does not come to hold."""
        await until(holds, within)

    @property
    def idle_upstream(self) -> int:
        """Connections to the first engine that wait to be used again."""
        return int(repr(self.app.fleet.engines["engine1"]).partition("<Pool ")[2].split()[0])

    async def quiet(self) -> None:
        """Waits until nothing runs, and checks that everything was given back (law 6)."""
        await self.until(lambda: not self.app.running)
        assert not any(self.app.fleet.in_flight.values()), self.app.fleet.in_flight
