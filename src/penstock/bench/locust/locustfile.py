"""A contract's closed-loop stages, as `penstock bench run` sends them. Made by `penstock bench locust`.

    locust -f THIS_FILE --headless

It needs Locust and nothing else, and one Locust process: workers of a distributed run would each send all of it.
PENSTOCK_API_KEY, if set, is sent as the key. Each answer gives up to three Locust events, named after the stage:

    ttft  first content - due; due is when the client's place became free
    tpot  (last content - first content) / (output tokens - 1)
    e2e   last byte - due; with an exception for an answer that failed

Locust rounds what its tables show: two digits of what is above 100 ms.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import zlib
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import gevent
from locust import LoadTestShape, User, constant, events, task

PLAN = ""
"""Base64 of zlib of JSON: url, gap (seconds between stages), warmup ([path, body] each) and stages (label, concurrency,
requests)."""
IDLE_S = 0.005
PATIENCE_S = 600.0
PIECE = 1 << 16


class Link:
    """One kept-alive connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._http = make(parts.hostname or "", parts.port, timeout=PATIENCE_S)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"content-type": "application/json"}
        if key := os.environ.get("PENSTOCK_API_KEY"):
            self._headers["authorization"] = f"Bearer {key}"

    def send(self, path: str, body: str) -> Answer:
        """Raises OSError or HTTPException."""
        try:
            self._http.request("POST", self._prefix + path, body.encode(), self._headers)
            response = self._http.getresponse()
            answer = Answer(response.status)
            if response.length is not None:  # an answer in one piece: an error
                answer.feed(response.read(), time.perf_counter())
            while piece := response.read1(PIECE):
                answer.feed(piece, time.perf_counter())
            answer.ended = time.perf_counter()
        except (OSError, http.client.HTTPException):
            self._http.close()
            raise
        return answer

    def close(self) -> None:
        self._http.close()


class Answer:
    """What came of one request. Moments of time.perf_counter; 0: never."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.first = self.last = self.ended = 0.0
        self.tokens = self.size = self._events = 0
        self.done = False
        self.error = ""
        self._rest = b""

    def feed(self, piece: bytes, now: float) -> None:
        self.size += len(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: [DONE]"):
                self.done = True
            elif line.startswith(b"data:"):
                self._look(json.loads(line[5:]), now)

    def _look(self, event: dict[str, Any], now: float) -> None:
        if usage := event.get("usage"):
            self.tokens = int(usage.get("completion_tokens") or 0)
        if event.get("error"):
            self.error = f"an error in the stream: {event['error']!s:.200}"
        for choice in event.get("choices") or ():
            said = choice.get("delta") or choice
            if any(said.get(name) for name in ("content", "reasoning_content", "reasoning", "text", "tool_calls")):
                self.first = self.first or now
                self.last = now
                self._events += 1

    def failure(self) -> str:
        """Why it is not whole; empty: it is."""
        if self.status >= 400:
            return f"status {self.status}"
        return self.error or ("" if self.done else "the stream ended without [DONE]")

    def tpot(self) -> float | None:
        """Seconds."""
        tokens = self.tokens or self._events
        return (self.last - self.first) / (tokens - 1) if tokens > 1 else None


class Load:
    """What is left to send, stage by stage. All clients of a stage begin together."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.url = str(plan["url"])
        self.warmup: list[tuple[str, str]] = plan["warmup"]
        self.gap = float(plan["gap"])
        self._stages = plan["stages"]
        self._number = 0
        self._left: deque[tuple[str, str]] = deque(self._stages[0]["requests"])
        self._running = 0
        self._resume = 0.0

    @property
    def label(self) -> str:
        return str(self._stages[self._number]["label"])

    @property
    def concurrency(self) -> int:
        return int(self._stages[self._number]["concurrency"])

    def take(self, clients: int) -> tuple[str, str] | None:
        """The next request; None: there is nothing to send now, or Locust has not as many `clients` as the stage: those
        that are still to come begin with the rest, and those that it ends must not be asked."""
        if not self._left or clients != self.concurrency or time.perf_counter() < self._resume:
            return None
        self._running += 1
        return self._left.popleft()

    def answered(self) -> None:
        self._running -= 1

    def over(self) -> bool:
        """Goes on to the next stage when one is through; whether all are."""
        if self._left or self._running:
            return False
        if self._number + 1 == len(self._stages):
            return True
        self._number += 1
        self._left = deque(self._stages[self._number]["requests"])
        self._resume = time.perf_counter() + self.gap
        return False


LOAD = Load(json.loads(zlib.decompress(base64.b64decode(PLAN))))


class Client(User):
    """One client of a closed loop: sends its next request when its last is answered."""

    host = LOAD.url
    wait_time = constant(0)

    def on_start(self) -> None:
        self._link = Link(self.host or LOAD.url)

    def on_stop(self) -> None:
        self._link.close()

    @task
    def next_request(self) -> None:
        found = LOAD.take(self.environment.runner.user_count)
        if found is None:
            gevent.sleep(IDLE_S)
            return
        label, due = LOAD.label, time.perf_counter()
        try:
            answer = self._link.send(*found)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._tell("e2e", label, time.perf_counter() - due, 0, error)
        else:
            self._account(label, due, answer)
        finally:
            LOAD.answered()

    def _account(self, label: str, due: float, answer: Answer) -> None:
        if answer.first:
            self._tell("ttft", label, answer.first - due)
        if (each := answer.tpot()) is not None:
            self._tell("tpot", label, each)
        why = answer.failure()
        self._tell("e2e", label, answer.ended - due, answer.size, RuntimeError(why) if why else None)

    def _tell(self, what: str, label: str, seconds: float, size: int = 0, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type=what, name=label, response_time=seconds * 1e3, response_length=size, exception=error,
            context={},
        )  # fmt: skip


class Stages(LoadTestShape):
    """As many clients as the stage has."""

    def tick(self) -> tuple[int, float] | None:
        return None if LOAD.over() else (LOAD.concurrency, float(LOAD.concurrency))


@events.test_start.add_listener
def warm_up(environment: Any, **_: object) -> None:
    """What is not counted, one request after the other."""
    link = Link(environment.host or LOAD.url)
    try:
        for path, body in LOAD.warmup:
            link.send(path, body)
    finally:
        link.close()
