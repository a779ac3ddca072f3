"""An engine that does what a test says: a raw HTTP/1.1 server on a real socket, one script per request."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
MODEL = {"id": "m", "object": "model", "created": 7, "owned_by": "the-upstream", "extra": {"kept": [1, 2.50]}}


def delta(text: str) -> bytes:
    """One event of a chat stream."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return b"data: " + json.dumps(chunk([choice])).encode() + b"\n\n"


def usage_event() -> bytes:
    return b"data: " + json.dumps(chunk([]) | {"usage": USAGE}).encode() + b"\n\n"


def chunk(choices: list[Any]) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}


def completion(text: str) -> dict[str, Any]:
    """A whole chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}


class Call:
    """One request as it reached the engine, and the means to answer it, badly if need be."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nth: int) -> None:
        self.head = head
        self.body = b""
        self.nth = nth
        """The how-manieth request of its connection, from 0."""
        self.sent = 0
        """Bytes of an answer that the system has taken."""
        self.over = False
        """The connection has ended, by either side."""
        self._reader = reader
        self._writer = writer
        line, *lines = head[:-4].split(b"\r\n")
        self.method, self.target, _ = line.split(b" ")
        pairs = (line.partition(b":") for line in lines)
        self.headers = [(name.lower(), value.strip()) for name, _, value in pairs]

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)

    # -- well -------------------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Returns when nearly all of it has left: a gateway that stops reading holds it up."""
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def sse(self, *events: bytes) -> None:
        """The head of a stream and its first events, each in a chunk of its own."""
        await self.send(SSE)
        for event in events:
            await self.chunk(event)

    async def finish(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def json(self, document: object, status: bytes = b"200 OK") -> None:
        body = json.dumps(document).encode()
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        await self.send(head + body)

    async def answer(self, text: str = "hello") -> None:
        """What a healthy engine says."""
        if b'"stream": true' in self.body or b'"stream":true' in self.body:
            await self.sse(*(delta(word) for word in text.split()), usage_event(), DONE)
            await self.finish()
        else:
            await self.json(completion(text))

    # -- badly ------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """RST: what a peer sees of a crashed machine or a killed process."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self.over = True

    def close(self) -> None:
        """FIN: what a peer sees of a process that exits."""
        self._writer.close()
        self.over = True

    async def left(self) -> None:
        """Waits until the gateway has closed the connection."""
        try:
            while await self._reader.read(4096):
                pass
        except ConnectionError:
            pass
        self.over = True

    def read_slowly(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader


Script = Callable[[Call], Awaitable[None]]


async def healthy(call: Call) -> None:
    await call.answer()


class Upstream:
    """Listens on a port of its own; `calls` keeps every request, health probes aside."""

    def __init__(self, script: Script = healthy, *, before_body: Script | None = None) -> None:
        self.script = script
        self.before_body = before_body
        """Runs when a head has come and its body has not been read."""
        self.calls: list[Call] = []
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=16 * 1024 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Nothing listens any more, and every connection is gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=256 * 1024)
        nth = 0
        try:
            while True:
                call = Call(await reader.readuntil(b"\r\n\r\n"), reader, writer, nth)
                if self.before_body is not None:
                    await self.before_body(call)
                    if call.over:
                        return
                call.body = await reader.readexactly(int(call.header(b"content-length") or 0))
                if call.method == b"GET" and call.target == b"/v1/models" and call.header(b"x-request-id") is None:
                    await call.json({"object": "list", "data": [MODEL]})  # a health probe
                    continue
                self.calls.append(call)
                await self.script(call)
                nth += 1
                if call.over:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort()
