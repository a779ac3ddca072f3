"""One streamed chat completion over the gateway's API, timed as a client sees it."""

import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from penstock.cli.finding import Finding

TIMEOUT = httpx.Timeout(connect=5.0, read=600.0, write=30.0, pool=5.0)
"""Seconds. The wait for the first token of a long prompt is the longest of them."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which gateway to talk to."""

    base: str
    """Base URL that ends in `/v1`."""
    key: str | None
    certificate: str | None = None
    """PEM file of a gateway on this machine. It alone is trusted, whatever name it carries."""
    local: bool = False
    """Taken from the config: never through a proxy."""

    def client(self) -> httpx.Client:
        """A client that sends the key and nothing else of the environment's."""
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        verify = ssl.create_default_context(cafile=self.certificate)
        verify.check_hostname = self.certificate is None
        return httpx.Client(headers=headers, timeout=TIMEOUT, verify=verify, trust_env=not self.local)


@dataclass(slots=True)
class Answer:
    """What came back so far. Times in seconds since the request was sent."""

    text: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    ttft: float | None = None
    total: float = 0.0
    pieces: int = 0

    @property
    def tokens(self) -> int:
        """Completion tokens as the engine counted them, else the pieces that arrived."""
        counted = (self.usage or {}).get("completion_tokens")
        return counted if isinstance(counted, int) else self.pieces

    @property
    def rate(self) -> float | None:
        """Tokens per second after the first one; None when there is no second one."""
        if self.ttft is None or self.tokens < 2 or self.total <= self.ttft:
            return None
        return (self.tokens - 1) / (self.total - self.ttft)

    def summary(self) -> str:
        """One line for a person."""
        if self.ttft is None:
            return f"no text; {self.total:.2f} s"
        sign = "" if self.usage else "~"
        rate = f", {self.rate:.1f} tokens/s" if self.rate else ""
        return f"first token {self.ttft * 1000:.0f} ms, {sign}{self.tokens} tokens{rate}"


def first_model(client: httpx.Client, target: Target) -> str:
    """The first model the gateway lists. Raises Finding."""
    try:
        response = client.get(f"{target.base}/models")
    except httpx.HTTPError as error:
        raise _unreachable(target, error) from None
    _refuse_error(response.status_code, response.content)
    try:
        models = [str(entry["id"]) for entry in response.json()["data"]]
    except (ValueError, KeyError, TypeError):
        raise Finding(f"{target.base} does not answer like an OpenAI-compatible API; check --url") from None
    if not models:
        raise Finding("no model is ready yet; wait a moment, or look at the console for the state of the engines")
    return models[0]


def stream(
    client: httpx.Client, target: Target, body: dict[str, Any], answer: Answer, write: Callable[[str], None]
) -> None:
    """Sends `body` and writes pieces of text as they come; `answer` is filled even when this is interrupted.

    Raises Finding for an error status, an error event or a lost connection.
    """
    asked = time.perf_counter()
    try:
        with client.stream("POST", f"{target.base}/chat/completions", json=body) as response:
            if response.status_code >= 400:
                _refuse_error(response.status_code, response.read())
            for line in response.iter_lines():
                answer.total = time.perf_counter() - asked
                if line.startswith("data:") and (data := line[5:].strip()) != "[DONE]":
                    _take(data, answer, write)
    except httpx.ConnectError as error:
        raise _unreachable(target, error) from None
    except httpx.HTTPError as error:
        raise Finding(f"the answer broke off: {str(error) or type(error).__name__}") from None
    finally:
        answer.total = time.perf_counter() - asked


def _take(data: str, answer: Answer, write: Callable[[str], None]) -> None:
    try:
        event = json.loads(data)
    except ValueError:
        return  # The gateway passes malformed lines of an engine on; there is nothing to show of them.
    if not isinstance(event, dict):
        return
    if event.get("error"):
        raise Finding(_message(event, 200))
    if isinstance(event.get("usage"), dict):
        answer.usage = event["usage"]
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
    delta = choice.get("delta")
    text = delta.get("content") if isinstance(delta, dict) else None
    if isinstance(text, str) and text:
        if answer.ttft is None:
            answer.ttft = answer.total
        answer.pieces += 1
        answer.text += text
        write(text)


def _refuse_error(status: int, body: bytes) -> None:
    if status < 400:
        return
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    message = _message(document, status)
    hint = "; give the key with --key or PENSTOCK_API_KEY" if status == 401 else ""
    raise Finding(f"{message}{hint}")


def _message(document: Any, status: int) -> str:
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict) and error.get("message"):
        code = error.get("code") or error.get("type")
        return str(error["message"]).rstrip(". ") + (f" ({code})" if code else "")
    return str(error) if error else f"the gateway answered with status {status}"


def _unreachable(target: Target, error: Exception) -> Finding:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        if "CERTIFICATE" in str(error).upper():
            return Finding(f"the certificate of {target.base} is not trusted; set SSL_CERT_FILE to its authority")
        return Finding(f"nothing answers at {target.base}; start it with `penstock up`, or point --url elsewhere")
    return Finding(f"{target.base}: {str(error) or type(error).__name__}; check --url")
