"""Tenants that ask: at fixed times, or whenever an answer has come. Streams, counted token by token as they arrive."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.limits.platform import MODEL
from benchmarks.routing.workloads import words

PATIENCE_S = 120.0
CONTENT = b'"content":"'
PROMPT = re.compile(rb'"prompt_tokens":(\d+)')
CACHED = re.compile(rb'"cached_tokens":(\d+)')


@dataclass(frozen=True, slots=True)
class Tenant:
    """`words` of prompt, about one token each, new every time; `tokens` of answer."""

    name: str
    key: str
    words: int = 6
    tokens: int = 12
    weight: float = 1.0


@dataclass(slots=True)
class Sent:
    """One request. Seconds on the monotonic clock."""

    tenant: str
    id: str
    due: float
    sent: float = 0.0
    done: float = 0.0
    status: int = 0


@dataclass(slots=True)
class Load:
    """Requests under way to one platform, and what came back since `begin`."""

    port: int
    rng: random.Random
    rows: list[Sent] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    """Prompt tokens per tenant that were not in the cache, counted when the first of the answer comes: as many as the
    tenant's last answer reported, as prompts differ by a few tokens only."""
    cached: dict[str, int] = field(default_factory=dict)
    """Those that were."""
    written: dict[str, int] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _prefix: str = ""
    _prompt: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Prompt tokens, fresh and cached, of the tenant's last answer."""

    def __post_init__(self) -> None:
        self._prefix = f"{self.rng.randrange(16**8):08x}"

    def begin(self) -> None:
        """Counts from here on."""
        self.read, self.cached, self.written = {}, {}, {}

    async def ask(self, tenant: Tenant, due: float) -> Sent:
        """One request, sent now. Never raises: what failed has status 0."""
        row = Sent(tenant.name, f"{self._prefix}-{next(self._numbers)}", due, time.monotonic())
        self.rows.append(row)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._exchange(tenant, row)
        except (OSError, TimeoutError):
            row.status = 0
        row.done = time.monotonic()
        return row

    async def _exchange(self, tenant: Tenant, row: Sent) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(self._request(tenant, row.id))
            head = await reader.readuntil(b"\r\n\r\n")
            row.status = int(head[9:12])
            first, last = True, b""
            while data := await reader.read(65536):
                last = last[-1000:] + data
                if row.status == 200 and (tokens := data.count(CONTENT)):
                    add(self.written, tenant.name, tokens)
                    if first:
                        first = False
                        fresh, cached = self._prompt.get(tenant.name, (tenant.words, 0))
                        add(self.read, tenant.name, fresh)
                        add(self.cached, tenant.name, cached)
            self._learn(tenant.name, last)
        except asyncio.IncompleteReadError:
            row.status = 0
        finally:
            writer.close()

    def _learn(self, tenant: str, last: bytes) -> None:
        if found := PROMPT.search(last):
            part = CACHED.search(last)
            cached = int(part[1]) if part else 0
            self._prompt[tenant] = int(found[1]) - cached, cached

    def _request(self, tenant: Tenant, number: str) -> bytes:
        wanted = {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"{number} {words(self.rng, tenant.words)}"}],
            "max_tokens": tenant.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body = json.dumps(wanted).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {tenant.key}\r\nX-Request-Id: {number}\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def add(counts: dict[str, int], name: str, more: int) -> None:
    counts[name] = counts.get(name, 0) + more


def poisson(rng: random.Random, rate: float, seconds: float) -> list[float]:
    """Times of arrival in `seconds`."""
    times: list[float] = []
    at = rng.expovariate(rate)
    while at < seconds:
        times.append(at)
        at += rng.expovariate(rate)
    return times


async def at_times(load: Load, tenant: Tenant, begun: float, times: Sequence[float], at_once: int = 0) -> None:
    """Sends each request when it is due, whatever became of those before; at most `at_once` at a time (0: any number),
    first come first served."""
    places = asyncio.Semaphore(at_once) if at_once else None

    async def one(due: float) -> None:
        if places is None:
            await load.ask(tenant, due)
        else:
            async with places:
                await load.ask(tenant, due)

    async with asyncio.TaskGroup() as tasks:
        for time_ in times:
            await asyncio.sleep(max(0.0, begun + time_ - time.monotonic()))
            tasks.create_task(one(begun + time_))


async def always(load: Load, tenant: Tenant, outstanding: int, going_on: Callable[[], bool]) -> None:
    """Keeps so many requests outstanding as long as it goes on."""

    async def one() -> None:
        while going_on():
            row = await load.ask(tenant, time.monotonic())
            if row.status != 200:
                await asyncio.sleep(0.25)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(outstanding):
            tasks.create_task(one())
