"""A request as it came in: original bytes, and the few things read from them."""

import msgspec

from penstock.core.errors import RequestError

Headers = list[bytes]
"""End-to-end headers as `Name: value` lines, in the order and spelling received."""


class Request(msgspec.Struct, eq=False):
    """One parsed HTTP request. `target`, `headers` and `body` are the client's own bytes."""

    received: float
    """Monotonic time when the first byte of the head arrived."""
    method: bytes = b""
    target: bytes = b""
    path: bytes = b""
    """The target without its query string."""
    http11: bool = True
    headers: Headers = []
    special: dict[bytes, bytes] = {}
    """Headers the gateway itself reads or replaces, by lower-case name."""
    sent: dict[object, bytes] | None = None
    """What its head becomes, by engine: shared by requests whose heads are the same. None: it shares nothing."""
    body: bytes = b""
    bytes_in: int = 0
    keep_alive: bool = True
    expects_continue: bool = False
    error: RequestError | None = None
    """Set when the connection refused the request before it was whole."""
