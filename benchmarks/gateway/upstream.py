"""A mock OpenAI engine that costs as little as Python can: the gateway in front is what gets measured.

    python -m benchmarks.gateway.upstream 19000

Streams of one pace share a wheel: one timer writes an event to a slot of streams at a time, on an absolute
timetable, as an engine that decodes in batches does.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import sys
from typing import cast

import httptools
import uvloop

from benchmarks.gateway.plan import MODEL, Plan, read_plan

_FAST = re.compile(rb"POST (/v1/chat/completions\S*) .*?\r\ncontent-length: ?(\d+)\r\n", re.I | re.S)
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_SLOT_S = 0.002
_CREATED = 1_760_000_000


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def _event(delta: dict[str, str], finish: str | None, usage: dict[str, int] | None = None) -> bytes:
    choices = [] if usage else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    body: dict[str, object] = {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": MODEL,
        "choices": choices,
    }
    if usage:
        body["usage"] = usage
    return _chunk(b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n")


def _usage(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 42, "completion_tokens": completion, "total_tokens": 42 + completion}


# In turn: LiteLLM breaks off a stream that repeats one chunk 100 times.
TOKENS = (_event({"content": " river~"}, None), _event({"content": " wheel~"}, None))
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: mock\r\ntransfer-encoding: chunked\r\n\r\n"
)


@functools.lru_cache(maxsize=64)
def stream_end(events: int) -> bytes:
    """Finish event, usage event, `[DONE]` and the end of the chunked body."""
    return _event({}, "stop") + _event({}, None, _usage(events)) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def answer(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: mock\r\ncontent-length: %d\r\n\r\n%s"
        % (len(body), body)
    )


@functools.lru_cache(maxsize=256)
def wish(url: bytes, body: bytes) -> tuple[Plan, bool]:
    """The plan of a chat request and whether it streams."""
    return read_plan(url if b"?" in url else body), _STREAM.search(body) is not None


def send(transport: asyncio.Transport, fd: int, data: bytes) -> None:
    """Writes straight to the socket where nothing is queued: half the cost of the loop's own write."""
    if not transport.get_write_buffer_size():
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            pass
        except OSError:
            transport.abort()
            return
    if data:
        transport.write(data)


@functools.lru_cache(maxsize=64)
def completion(size: int) -> bytes:
    """A unary answer whose body is `size` bytes (at least what the JSON around the text needs)."""

    def render(text: str) -> bytes:
        message = {"role": "assistant", "content": text}
        return json.dumps(
            {
                "id": "chatcmpl-mock",
                "object": "chat.completion",
                "created": _CREATED,
                "model": MODEL,
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                "usage": _usage(31),
            },
            separators=(",", ":"),
        ).encode()

    return answer(render("x" * max(1, size - len(render("")))))


class Wheel:
    """All open streams of one rate. Each slot is written `rate` times a second; a new stream joins the next slot."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: int) -> None:
        self.loop = loop
        self.slots: list[list[Stream]] = [[] for _ in range(max(1, int(1 / rate / _SLOT_S)))]
        self.step = 1 / rate / len(self.slots)
        self.at = 0
        self.joined = 0
        self.due = 0.0

    def join(self, stream: Stream) -> None:
        if not any(self.slots):
            self.due = self.loop.time() + self.step
            self.loop.call_at(self.due, self.turn)
        self.slots[self.joined % len(self.slots)].append(stream)
        self.joined += 1

    def turn(self) -> None:
        now = self.loop.time()
        while self.due <= now:
            slot = self.slots[self.at]
            slot[:] = [stream for stream in slot if stream.emit()]
            self.at = (self.at + 1) % len(self.slots)
            self.due += self.step
        if any(self.slots):
            self.loop.call_at(self.due, self.turn)


class Stream:
    __slots__ = ("alive", "events", "fd", "held", "left", "transport")

    def __init__(self, transport: asyncio.Transport, fd: int, events: int) -> None:
        self.transport = transport
        self.fd = fd
        self.events = self.left = events
        self.alive = True
        self.held = False

    def emit(self) -> bool:
        """Writes one event; False once the stream is over."""
        if not self.alive:
            return False
        if self.left > 0:
            self.left -= 1
            send(self.transport, self.fd, TOKENS[self.left & 1])
            return True
        send(self.transport, self.fd, stream_end(self.events))
        self.alive = False
        return False


class Mock(asyncio.Protocol):
    def __init__(self, wheels: dict[int, Wheel]) -> None:
        self.wheels = wheels
        self.url = b""
        self.body = b""
        self.stream: Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.fd: int = transport.get_extra_info("socket").fileno()
        self.parser = httptools.HttpRequestParser(self)
        self.parsing = False

    def connection_lost(self, _exc: Exception | None) -> None:
        if self.stream:
            self.stream.alive = False

    def pause_writing(self) -> None:
        if self.stream:
            self.stream.held = True

    def resume_writing(self) -> None:
        if self.stream:
            self.stream.held = False
            if self.stream.alive:
                self.gush(self.stream)

    def data_received(self, data: bytes) -> None:
        if not self.parsing and (found := _FAST.match(data)):
            body = data[data.find(b"\r\n\r\n") + 4 :]
            if len(body) == int(found[2]):
                self.chat(found[1], body)
                return
        self.parsing = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        url, body, self.body = self.url, self.body, b""
        self.parsing = False
        if url.startswith(b"/v1/chat/completions"):
            self.chat(url, body)
        elif url.startswith(b"/v1/models"):
            model = {"id": MODEL, "object": "model", "created": _CREATED, "owned_by": "bench"}
            self.transport.write(answer(json.dumps({"object": "list", "data": [model]}).encode()))
        elif url.startswith(b"/health"):
            self.transport.write(answer(b'{"status":"ok"}'))
        else:
            echo = {
                "method": self.parser.get_method().decode(),
                "path": url.decode(),
                "body_bytes": len(body),
            }
            self.transport.write(answer(json.dumps(echo).encode()))

    def chat(self, url: bytes, body: bytes) -> None:
        plan, streamed = wish(url, body)
        if not streamed:
            send(self.transport, self.fd, completion(plan.size))
            return
        stream = self.stream = Stream(self.transport, self.fd, plan.events)
        send(self.transport, self.fd, HEAD)
        stream.emit()
        loop = asyncio.get_running_loop()
        if not plan.rate:
            loop.call_soon(self.gush, stream)
            return
        wheel = self.wheels.get(plan.rate)
        if wheel is None:
            wheel = self.wheels[plan.rate] = Wheel(loop, plan.rate)
        wheel.join(stream)

    def gush(self, stream: Stream) -> None:
        """One event per turn of the loop, so that each is a write of its own."""
        if not stream.held and stream.emit():
            asyncio.get_running_loop().call_soon(self.gush, stream)


async def serve(port: int) -> asyncio.Server:
    """Listens on loopback; port 0 takes a free one."""
    wheels: dict[int, Wheel] = {}
    return await asyncio.get_running_loop().create_server(lambda: Mock(wheels), "127.0.0.1", port, backlog=4096)


async def _main(port: int) -> None:
    server = await serve(port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
