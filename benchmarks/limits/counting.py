"""An engine that keeps its own count: `python -m benchmarks.limits.counting LOG` prints its port, and SIGTERM ends it.

It generates a random number of tokens for each request, one per step, and stops when its caller is gone. Then it
appends a line to LOG: what it generated for which request id, and whether the caller was told the usage.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from dataclasses import dataclass
from typing import Any

MODEL = "mock"
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODELS = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "mock"}]}


@dataclass
class Work:
    """What one request is to cost."""

    prompt: int
    cached: int
    output: int
    reasoning: int
    step_s: float
    made: int = 0

    @property
    def usage(self) -> dict[str, Any]:
        """As OpenAI's API reports it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.made,
            "total_tokens": self.prompt + self.made,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": min(self.reasoning, self.made)},
        }


def draw(chance: random.Random) -> Work:
    prompt, output = chance.randint(1, 4000), chance.randint(1, 60)
    return Work(prompt, chance.randint(0, prompt), output, chance.randint(0, output), chance.uniform(0.001, 0.02))


class Connection(asyncio.Protocol):
    """One caller's connection; one request at a time."""

    def __init__(self, log: int, chance: random.Random, running: set[asyncio.Task[None]]) -> None:
        self._log = log
        self._chance = chance
        self._running = running
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        line, *lines = head.split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        size = int(fields.get(b"content-length", 0))
        if len(body) < size:
            return
        self._data = body[size:]
        if line.startswith(b"GET "):
            self._json(MODELS)
            return
        task = asyncio.get_running_loop().create_task(
            self._serve(fields.get(b"x-request-id", b"").decode(), json.loads(body[:size]))
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, request_id: str, asked: dict[str, Any]) -> None:
        work = draw(self._chance)
        told = await (self._stream(work, asked) if asked.get("stream") else self._whole(work))
        line = {
            "request_id": request_id,
            "prompt_tokens": work.prompt,
            "completion_tokens": work.made,
            "cached_tokens": work.cached,
            "reasoning_tokens": min(work.reasoning, work.made),
            "told": told,
        }
        os.write(self._log, json.dumps(line).encode() + b"\n")

    async def _whole(self, work: Work) -> bool:
        while work.made < work.output:
            if await self._left_within(work.step_s):
                return False
            work.made += 1
        choice = {"index": 0, "message": {"role": "assistant", "content": "word " * work.made}, "finish_reason": "stop"}
        self._json({"id": "c", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": work.usage})
        return not self._gone.is_set()

    async def _stream(self, work: Work, asked: dict[str, Any]) -> bool:
        wants_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        self._write(STREAM)
        while work.made < work.output:
            if await self._left_within(work.step_s):
                return False
            work.made += 1
            delta = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
            self._event({"id": "c", "object": "chat.completion.chunk", "model": MODEL, "choices": [delta]})
        if wants_usage:
            usage = {"id": "c", "object": "chat.completion.chunk", "model": MODEL, "choices": [], "usage": work.usage}
            self._event(usage)
        told = wants_usage and not self._gone.is_set()
        self._chunk(b"data: [DONE]\n\n")
        self._write(b"0\r\n\r\n")
        return told

    async def _left_within(self, seconds: float) -> bool:
        """Time for one token; whether the caller has gone meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        return self._gone.is_set()

    def _json(self, document: object) -> None:
        body = json.dumps(document).encode()
        self._write(JSON % len(body) + body)

    def _event(self, document: object) -> None:
        self._chunk(b"data: " + json.dumps(document).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self._write(b"%x\r\n%b\r\n" % (len(data), data))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._gone.is_set():
            self._transport.write(data)


async def main(path: str) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    chance, running = random.Random(7), set[asyncio.Task[None]]()
    server = await loop.create_server(lambda: Connection(log, chance, running), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    server.close()
    if running:
        await asyncio.wait(running)
    os.close(log)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
