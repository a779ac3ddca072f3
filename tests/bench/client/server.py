"""A server that answers as a test says, on a real socket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable

LENGTH = re.compile(rb"content-length: (\d+)", re.I)
Script = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Asked:
    """One request as it came."""

    def __init__(self, head: bytes, body: bytes, number: int) -> None:
        self.head = head
        self.body = json.loads(body)
        self.number = number


class Server:
    """`script` answers each request; `asked` holds all that came."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = LENGTH.search(head)
                body = await reader.readexactly(int(found[1])) if found else b"{}"
                asked = Asked(head, body, len(self.asked))
                self.asked.append(asked)
                await self.script(asked, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: str) -> bytes:
    return chunk(b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode())


def usage(given: int, made: int, cached: int = 0) -> bytes:
    found = {"prompt_tokens": given, "completion_tokens": made, "prompt_tokens_details": {"cached_tokens": cached}}
    return chunk(b"data: " + json.dumps({"choices": [], "usage": found}, separators=(",", ":")).encode() + b"\n\n")


END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def three_words(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A stream of three events, 20 ms apart, with usage."""
    writer.write(HEAD)
    for word in ("a", "b", "c"):
        writer.write(event(word))
        await writer.drain()
        await asyncio.sleep(0.02)
    writer.write(usage(7, 3, 2) + END)
    await writer.drain()


def whole(document: object, status: str = "200 OK") -> bytes:
    """An answer in one piece."""
    body = json.dumps(document).encode()
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        status.encode(),
        len(body),
        body,
    )
