"""Clients that never stop asking, and remember how each request ended for them. Some leave in the middle."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from benchmarks.limits.counting import MODEL

PATH = "/v1/chat/completions"
PATIENCE_S = 20.0
AWAY_S = 0.05
"""Pause of a client that got no answer."""
LEAVING = 0.15
"""Share of the requests whose client leaves before the end."""
STREAMED = 0.6
WITH_USAGE = 0.8
"""Share of the streams that ask for usage."""


class Ending(StrEnum):
    """How a request ended, as its client saw it."""

    WHOLE = "whole"
    """The answer came to its last byte."""
    LEFT = "left"
    """The client left."""
    CUT = "cut"
    """The connection broke."""
    ERROR = "error"
    """The gateway answered with an error, or put one into the stream."""
    UNHEARD = "unheard"
    """No connection could be made."""


@dataclass
class Asked:
    """One request."""

    id: str
    key: str
    """Public id of the caller's key."""
    stream: bool
    ending: Ending
    usage: dict[str, Any] | None = None
    """As the answer told it."""
    why: str = ""


@dataclass
class Crowd:
    """Clients of one API. `keys`: (public id, secret)."""

    url: str
    keys: Sequence[tuple[str, str]]
    clients: int
    seed: int = 1
    asked: list[Asked] = field(default_factory=list)
    stopped: bool = False

    async def run(self) -> None:
        """Asks until it is `stopped`; then each finishes what it has begun."""
        await asyncio.gather(*(self._client(number) for number in range(self.clients)))

    async def _client(self, number: int) -> None:
        chance = random.Random(f"{self.seed}-{number}")
        key, secret = self.keys[number % len(self.keys)]
        headers = {"authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=PATIENCE_S, trust_env=False) as http:
            nth = 0
            while not self.stopped:
                nth += 1
                asked = await ask(http, f"r-{self.seed}-{number}-{nth}", key, chance)
                self.asked.append(asked)
                if asked.ending in (Ending.UNHEARD, Ending.ERROR):
                    await asyncio.sleep(AWAY_S)


async def ask(http: httpx.AsyncClient, request_id: str, key: str, chance: random.Random) -> Asked:
    """One request, streamed or not, to its end or to where its client leaves."""
    stream = chance.random() < STREAMED
    leaves = chance.random() < LEAVING
    body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "x" * chance.randint(1, 2000)}]}
    if stream:
        body |= {"stream": True}
        if chance.random() < WITH_USAGE:
            body |= {"stream_options": {"include_usage": True}}
    asked = Asked(request_id, key, stream, Ending.CUT)
    try:
        if stream:
            await _stream(http, asked, body, (lambda: chance.random() < 0.1) if leaves else (lambda: False))
        else:
            await _whole(http, asked, body, chance.uniform(0.0, 0.3) if leaves else PATIENCE_S)
    except httpx.ConnectError as error:
        asked.ending, asked.why = Ending.UNHEARD, repr(error)
    except httpx.TransportError as error:
        asked.why = repr(error)
    return asked


async def _whole(http: httpx.AsyncClient, asked: Asked, body: dict[str, Any], patience_s: float) -> None:
    try:
        async with asyncio.timeout(patience_s):
            answer = await http.post(PATH, json=body, headers={"x-request-id": asked.id})
    except TimeoutError:
        asked.ending = Ending.LEFT
        return
    if answer.status_code != 200:
        asked.ending, asked.why = Ending.ERROR, answer.text
        return
    asked.ending, asked.usage = Ending.WHOLE, answer.json()["usage"]


async def _stream(http: httpx.AsyncClient, asked: Asked, body: dict[str, Any], leaves: Callable[[], bool]) -> None:
    last = ""
    async with http.stream("POST", PATH, json=body, headers={"x-request-id": asked.id}) as answer:
        if answer.status_code != 200:
            asked.ending, asked.why = Ending.ERROR, (await answer.aread()).decode()
            return
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                asked.usage = event.get("usage") or asked.usage
                if "error" in event:
                    asked.ending, asked.why = Ending.ERROR, line
                    return
                if leaves():
                    asked.ending = Ending.LEFT
                    return
            last = line or last
    if last == "data: [DONE]":
        asked.ending = Ending.WHOLE
    else:
        asked.why = f"it ended with {last!r}"
