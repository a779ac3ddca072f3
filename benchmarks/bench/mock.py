"""An engine whose latencies are known: `python -m benchmarks.bench.mock LOG` prints its port; SIGTERM ends it.

The model's name says how it answers; each request's `x-request-id` stands in LOG with the moments at which its bytes
were read and its events were written, on the machine's monotonic clock, which the client reads too.

    fixed     first event after 50 ms, then one every 10 ms
    bimodal   nine of ten after 20 ms, the tenth after 200 ms; then as fixed
    stall     as fixed, and every eighth event comes 80 ms late
    freeze    as fixed; at SIGUSR1 the whole server stands still for one second, reading included
    queue     whole after 50 ms in one of 4 slots, for which requests wait in line
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import sys
import time
from typing import cast

import uvloop

from benchmarks.bench.queue import Slots

LENGTH = re.compile(rb"content-length: ?(\d+)", re.I)
NAME = re.compile(rb"x-request-id: ?(\S+)", re.I)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
GAP_S = 0.010
FROZEN_S = 1.0
SLOTS, HOLDS_S = 4, 0.050
_now = time.perf_counter


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


Log = list[dict[str, object]]
"""Kept until the end: writing lines down would be a latency of its own."""


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, log: Log, running: set[asyncio.Task[None]], chance: random.Random, slots: Slots) -> None:
        self._log = log
        self._running = running
        self._chance = chance
        self._slots = slots
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        read = _now()
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        size = int(length[1]) if length else 0
        if not end or len(body) < size:
            return
        self._data = body[size:]
        if head.startswith(b"GET "):
            models = {"object": "list", "data": [{"id": name, "object": "model"} for name in WAYS]}
            self._whole(models)
            return
        if b"/tokenize " in head[:40]:
            text = json.loads(body[:size])["prompt"]
            self._whole({"tokens": list(range(len(text.split())))})
            return
        found = NAME.search(head)
        task = asyncio.get_running_loop().create_task(
            self._serve(json.loads(body[:size]), found[1].decode() if found else "", read)
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, asked: dict[str, object], name: str, read: float) -> None:
        way, count = str(asked["model"]), int(str(asked.get("max_tokens") or 8))
        first = 0.05 if way != "bimodal" else 0.2 if self._chance.random() < 0.1 else 0.02
        gap = GAP_S
        if way == "queue":
            first, gap = self._slots.leaves(read) - read, 0.0
        written: list[float] = []
        due = read + first
        self._transport.write(HEAD)
        for number in range(count):
            if (left := due - _now()) > 0:
                await asyncio.sleep(left)
            self._transport.write(chunk(EVENT))
            written.append(_now())
            due = max(due, written[-1] - gap) + gap + (0.08 if way == "stall" and number % 8 == 7 else 0.0)
        usage = {"prompt_tokens": 8, "completion_tokens": count, "total_tokens": 8 + count}
        last = b"data: " + json.dumps({"choices": [], "usage": usage}, separators=(",", ":")).encode() + b"\n\n"
        self._transport.write(chunk(last) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self._log.append({"id": name, "way": way, "read": read, "written": written, "ended": _now()})

    def _whole(self, document: object) -> None:
        body = json.dumps(document).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


WAYS = ("fixed", "bimodal", "stall", "freeze", "queue")


async def main(path: str) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    log, chance, running = Log(), random.Random(11), set[asyncio.Task[None]]()
    slots = Slots(SLOTS, HOLDS_S)

    loop.add_signal_handler(signal.SIGUSR1, time.sleep, FROZEN_S)
    server = await loop.create_server(lambda: Connection(log, running, chance, slots), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    server.close()
    with open(path, "w") as file:  # noqa: ASYNC230 - it is over
        for line in log:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
