"""What a benchmark request asks of the mock, and the bytes of that request.

The wish travels inside the prompt (`events=31 rate=50 size=0`), because query strings and private headers do
not survive every gateway; the mock also reads the same words from a query string.
"""

from __future__ import annotations

import json
import platform
import re
from dataclasses import dataclass

KEY = "sk-bench-0123456789abcdef"
MODEL = "mock"
# One such byte per content event and nowhere else in a body: a count of single bytes cannot be cut in two by a
# segment or by another chunk framing.
MARK = b"~"

_WISH = re.compile(rb"events=(\d+)(?:[ &]rate=(\d+))?|size=(\d+)|rate=(\d+)")


@dataclass(frozen=True, slots=True)
class Plan:
    """`events` content events per stream, `rate` events/s (0: as fast as possible), `size` bytes of a unary body."""

    events: int = 31
    rate: int = 0
    size: int = 300

    def words(self) -> str:
        return f"events={self.events} rate={self.rate} size={self.size}"


def read_plan(text: bytes) -> Plan:
    """The plan named by a query string or a prompt; defaults where it is silent."""
    events, rate, size = 31, 0, 300
    for found in _WISH.finditer(text):
        if found[1]:
            events = int(found[1])
        if found[2] or found[4]:
            rate = int(found[2] or found[4])
        if found[3]:
            size = int(found[3])
    return Plan(events, rate, size)


def request_bytes(host: str, plan: Plan, *, stream: bool) -> bytes:
    """A chat completion as the official `openai` Python client sends it: the same 17 headers, a short chat."""
    wanted: dict[str, object] = {
        "model": MODEL,
        "messages": [
            {
                "role": "system",
                "content": "You are a helpful assistant. Answer briefly and name your sources.",
            },
            {
                "role": "user",
                "content": f"Which river turns the mill at the end of the valley? {plan.words()}",
            },
        ],
        "max_tokens": max(plan.events, 16),
        "temperature": 0.2,
    }
    if stream:
        wanted |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(wanted, separators=(",", ":")).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: {host}\r\n"
        "Accept-Encoding: gzip, deflate\r\n"
        "Connection: keep-alive\r\n"
        "Accept: application/json\r\n"
        "Content-Type: application/json\r\n"
        "User-Agent: OpenAI/Python 2.8.1\r\n"
        "X-Stainless-Lang: python\r\n"
        "X-Stainless-Package-Version: 2.8.1\r\n"
        "X-Stainless-OS: Linux\r\n"
        "X-Stainless-Arch: x64\r\n"
        "X-Stainless-Runtime: CPython\r\n"
        f"X-Stainless-Runtime-Version: {platform.python_version()}\r\n"
        f"Authorization: Bearer {KEY}\r\n"
        "X-Stainless-Async: false\r\n"
        "x-stainless-retry-count: 0\r\n"
        "x-stainless-read-timeout: 600\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
