"""A client of the API that waits for the whole answer, and what it was told."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks.limits.engine import MODEL


@dataclass(frozen=True, slots=True)
class Reply:
    """`status` 0: none came."""

    status: int
    code: str = ""
    """Of the error, when it is one."""
    retry_after_s: float = 0.0


def request(key: str, words: int, most: int | None, *, stream: bool) -> bytes:
    """A chat completion with a prompt of so many words, of at most `most` tokens."""
    asked: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "word " * words}]}
    if most is not None:
        asked["max_tokens"] = most
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(asked).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: penstock\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client:
    """One connection, made again when it has broken. At most one request at a time."""

    def __init__(self, port: int, patience_s: float = 10.0) -> None:
        self._port = port
        self._patience_s = patience_s
        self._link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def ask(self, asked: bytes) -> Reply:
        """Sends it and waits for the end of its answer; an answer that does not come in time is none."""
        try:
            async with asyncio.timeout(self._patience_s):
                if self._link is None:
                    self._link = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._link
                writer.write(asked)
                return await _answer(reader)
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return Reply(0)

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link[1].close()


async def _answer(reader: asyncio.StreamReader) -> Reply:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    else:
        body = await reader.readuntil(b"\r\n0\r\n\r\n")
    if status == 200:
        return Reply(200)
    code = json.loads(body)["error"]["code"]
    return Reply(status, code, float(fields.get("retry-after", 0)))


class Timer:
    """Absolute times, `period_s` apart, from `begun` until `seconds` later. Monotonic."""

    def __init__(self, begun: float, period_s: float, seconds: float) -> None:
        self._begun = begun
        self._period_s = period_s
        self._count = round(seconds / period_s)
        self._number = -1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> float:
        self._number += 1
        if self._number >= self._count:
            raise StopAsyncIteration
        due = self._begun + self._number * self._period_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        return due
