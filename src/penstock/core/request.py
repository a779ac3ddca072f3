"""A request as it came in: original bytes, and the few things read from them."""

from penstock.core.errors import RequestError

Headers = list[bytes]
"""End-to-end headers as `Name: value` lines, in the order and spelling received."""


class Request:
    """One parsed HTTP request. `target`, `headers` and `body` are the client's own bytes."""

    method = b""
    target = b""
    path = b""
    """The target without its query string."""
    http11 = True
    keep_alive = True
    expects_continue = False
    body = b""
    bytes_in = 0
    error: RequestError | None = None
    """Set when the connection refused the request before it was whole."""

    def __init__(self, received: float) -> None:
        self.received = received
        """Monotonic time when the first byte of the head arrived."""
        self.headers: Headers = []
        self.special: dict[bytes, bytes] = {}
        """Headers the gateway itself reads or replaces, by lower-case name."""
