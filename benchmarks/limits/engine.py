"""An OpenAI engine without a model that counts to the token: how long an answer is, and what it says it used, is exact.

A prompt is as many tokens as it has words, and START more. An answer is as long as the engine draws, at most
`max_tokens`; a stream sends a token at a time and reports its usage where it was asked to.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httptools

MODEL = "mock"
START = 10
"""Tokens that the template of a chat adds to the words of a prompt."""


@dataclass(slots=True)
class Served:
    """A request that has ended. Monotonic seconds."""

    arrived: float
    ended: float
    read: int
    written: int

    @property
    def tokens(self) -> int:
        return self.read + self.written


class Engine:
    """`shortest` to `longest` tokens per answer, `pace_s` seconds per token."""

    def __init__(self, shortest: int, longest: int, pace_s: float, seed: int = 1) -> None:
        self._lengths = (shortest, longest)
        self._draw = random.Random(seed)
        self.pace_s = pace_s
        self.port = 0
        self.served: list[Served] = []

    def length(self, most: int | None) -> int:
        """Tokens of the next answer."""
        drawn = self._draw.randint(*self._lengths)
        return drawn if most is None else min(drawn, most)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Engine]:
        """Serves on a free port of loopback."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()


class _Connection(asyncio.Protocol):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if self._url.startswith(b"/v1/chat/completions"):
            self._task = asyncio.ensure_future(self._chat(json.loads(body), time.monotonic()))
        else:
            self._send_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def _chat(self, asked: dict[str, Any], arrived: float) -> None:
        """Also counts what a client that has left made it do."""
        read = START + sum(len(message["content"].split()) for message in asked["messages"])
        length, written = self._engine.length(asked.get("max_tokens")), 0
        try:
            if asked.get("stream"):
                self._transport.write(_HEAD)
                for written in range(1, length + 1):  # noqa: B007 - read when it has ended, however
                    await asyncio.sleep(self._engine.pace_s)
                    self._event([_choice(delta={"content": "word "})])
                self._event([_choice(delta={}, finish_reason="stop")])
                if (asked.get("stream_options") or {}).get("include_usage"):
                    self._event([], _usage(read, written))
                self._transport.write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            else:
                await asyncio.sleep(self._engine.pace_s * length)
                written = length
                message = {"role": "assistant", "content": "word " * length}
                choices = [_choice(message=message, finish_reason="stop")]
                self._send_json(_answer("chat.completion", choices, _usage(read, written)))
        finally:
            self._engine.served.append(Served(arrived, time.monotonic(), read, written))

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> None:
        text = json.dumps(_answer("chat.completion.chunk", choices, usage), separators=(",", ":"))
        self._transport.write(_chunk(b"data: " + text.encode() + b"\n\n"))

    def _send_json(self, content: dict[str, Any]) -> None:
        body = json.dumps(content, separators=(",", ":")).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def _choice(**parts: Any) -> dict[str, Any]:
    return {"index": 0, "finish_reason": None, **parts}


def _answer(kind: str, choices: list[dict[str, Any]], usage: dict[str, int] | None) -> dict[str, Any]:
    answer = {"id": "chatcmpl-1", "object": kind, "created": 1_760_000_000, "model": MODEL, "choices": choices}
    return answer | ({"usage": usage} if usage is not None else {})


def _usage(read: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
