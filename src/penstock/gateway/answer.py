"""Answers the gateway gives itself: errors, and the list of models."""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from penstock.core.endpoint import Endpoint
from penstock.core.errors import MethodNotAllowed, NotFound, RequestError
from penstock.core.request import Request
from penstock.core.tenant import Scopes
from penstock.policy.identity.access import model_allowed
from penstock.wire.openai import error_body

MODELS = b"/v1/models"
"""Prefix of the paths that `models_answer` looks at."""
STATUS_LINE = {status.value: b"HTTP/1.1 %d %b" % (status.value, status.phrase.encode()) for status in HTTPStatus}


def status_line(status: int) -> bytes:
    return STATUS_LINE.get(status) or b"HTTP/1.1 %d " % status


def connection_header(*, http11: bool, keep: bool) -> bytes:
    """What the client must be told of the connection, if anything (RFC 9112, 9.3)."""
    if not keep:
        return b"connection: close\r\n"
    return b"" if http11 else b"connection: keep-alive\r\n"


def json_answer(
    status: int, body: bytes, request: Request, request_id: bytes, *, keep: bool, extra: bytes = b""
) -> bytes:
    """A whole JSON response. A HEAD request gets the head alone."""
    return b"%b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b%b\r\n%b" % (
        status_line(status),
        len(body),
        request_id,
        extra,
        connection_header(http11=request.http11, keep=keep),
        b"" if request.method == b"HEAD" else body,
    )


def error_answer(
    error: RequestError, request: Request, request_id: bytes, *, keep: bool, extra: Sequence[bytes] = ()
) -> bytes:
    """An OpenAI-shaped error with the headers the SDKs obey (`retry-after`, `x-should-retry`), and `extra` lines."""
    lines = b"".join([line + b"\r\n" for line in extra])
    if error.retry_after_s is not None:
        lines += b"retry-after: %d\r\n" % max(1, round(error.retry_after_s))
    if error.retry is not None:
        lines += b"x-should-retry: %b\r\n" % (b"true" if error.retry else b"false")
    if error.allow is not None:
        lines += b"allow: %b\r\n" % error.allow.encode()
    body = error_body(error, anthropic=request.target.startswith(b"/v1/messages"))
    return json_answer(error.status, body, request, request_id, keep=keep, extra=lines)


def models_answer(request: Request, endpoints: tuple[Endpoint, ...], scopes: Scopes) -> bytes | None:
    """Body for GET /v1/models and /v1/models/{id} over the whole fleet; None for any other request below MODELS.

    A caller bound to certain models sees those alone.

    Entries are the engines' own, byte for byte. Raises NotFound for a model that no ready engine serves.
    """
    path = request.path
    if request.method not in (b"GET", b"HEAD"):
        return None
    entries: dict[str, bytes] = {}
    for endpoint in endpoints:
        if endpoint.ready and endpoint.role != "prefill":
            for name, entry in endpoint.models.items():
                if model_allowed(scopes, name):
                    entries.setdefault(name, entry)
    if path in (b"/v1/models", b"/v1/models/"):
        return msgspec.json.encode({"object": "list", "data": [msgspec.Raw(entry) for entry in entries.values()]})
    if not path.startswith(b"/v1/models/"):
        return None
    name = _unquote(path.removeprefix(b"/v1/models/"))
    if name not in entries:
        raise no_such_model(name, list(entries))
    return entries[name]


def _unquote(raw: bytes) -> str:
    parts = raw.split(b"%")
    text = bytearray(parts[0])
    for part in parts[1:]:
        try:
            text += bytes.fromhex(part[:2].decode("ascii")) + part[2:]
        except ValueError:
            text += b"%" + part
    return text.decode("utf-8", "replace")


def no_such_model(name: str, known: list[str]) -> NotFound:
    served = ", ".join(known) if known else "none yet"
    reason = f"No ready engine serves the model {name!r:.200}. Served: {served}."
    return NotFound(reason, code="model_not_found", param="model")


def method_not_allowed(method: bytes, allow: str) -> MethodNotAllowed:
    error = MethodNotAllowed(f"{method.decode('ascii', 'replace')} is not served here; use {allow}.")
    error.allow = allow
    return error
