"""A streaming client: one chat completion, timed to its first content event."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httptools

from benchmarks.gateway.plan import KEY
from benchmarks.routing.workloads import OUT_TOKENS

PATIENCE_S = 180.0
Message = Mapping[str, str]


@dataclass(slots=True)
class Answer:
    """What came back; times are `time.monotonic()` seconds, 0 for what never came."""

    status: int = 0
    sent: float = 0.0
    first: float = 0.0
    done: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    out_tokens: int = 0
    engine: str = ""
    """By the gateway's own header; empty when it sends none."""
    text: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200 and self.first > 0 and not self.error


@dataclass(slots=True)
class Reading:
    """httptools' callbacks of one response, and the SSE events of its body."""

    answer: Answer
    complete: bool = False
    rest: bytes = b""
    pieces: list[str] = field(default_factory=list)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-penstock-engine":
            self.answer.engine = value.decode()

    def on_body(self, body: bytes) -> None:
        *lines, self.rest = (self.rest + body).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and b"[DONE]" not in line:
                self._event(json.loads(line[5:]))

    def on_message_complete(self) -> None:
        self.complete = True

    def _event(self, event: Mapping[str, Any]) -> None:
        if "error" in event:
            self.answer.error = str(event["error"])[:200]
        for choice in event.get("choices") or ():
            if text := (choice.get("delta") or {}).get("content"):
                self.answer.first = self.answer.first or time.monotonic()
                self.pieces.append(text)
        if usage := event.get("usage"):
            self.answer.prompt_tokens = usage.get("prompt_tokens") or 0
            self.answer.out_tokens = usage.get("completion_tokens") or 0
            self.answer.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


def request_bytes(
    port: int, model: str, messages: Sequence[Message], *, stream: bool = True, tokens: int = OUT_TOKENS
) -> bytes:
    """Greedy, always `tokens` long, so that every gateway's engines do the same work."""
    wanted: dict[str, object] = {
        "model": model,
        "messages": list(messages),
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": stream,
    }
    if stream:
        wanted["stream_options"] = {"include_usage": True}
    body = json.dumps(wanted, separators=(",", ":")).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Accept: text/event-stream\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(port: int, model: str, messages: Sequence[Message]) -> Answer:
    """Never raises: what went wrong is in `error`."""
    answer = Answer(sent=time.monotonic())
    reading = Reading(answer)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await _exchange(port, request_bytes(port, model, messages), reading)
    except (OSError, TimeoutError, ValueError, httptools.HttpParserError) as error:
        answer.error = answer.error or repr(error)[:200]
    answer.done = time.monotonic()
    answer.text = "".join(reading.pieces)
    if not reading.complete:
        answer.error = answer.error or "the answer was cut off"
    elif answer.status == 200 and not answer.first:
        answer.error = answer.error or "no content in the answer"
    return answer


async def _exchange(port: int, request: bytes, reading: Reading) -> None:
    parser = httptools.HttpResponseParser(reading)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        while not reading.complete and (data := await reader.read(65536)):
            parser.feed_data(data)
            reading.answer.status = parser.get_status_code()
    finally:
        writer.close()
