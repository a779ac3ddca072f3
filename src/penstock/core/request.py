"""A request as it came in: original bytes, and the few things read from them."""

from penstock.core.errors import RequestError

Headers = list[bytes]
"""End-to-end headers as `Name: value` lines, in the order and spelling received."""


class Request:
    """One parsed HTTP request. `target`, `headers` and `body` are the client's own bytes."""

    __slots__ = (
        "body",
        "bytes_in",
        "error",
        "expects_continue",
        "headers",
        "http11",
        "keep_alive",
        "method",
        "path",
        "received",
        "sent",
        "special",
        "target",
    )

    def __init__(self, received: float) -> None:
        self.method = b""
        self.target = b""
        self.path = b""
        """The target without its query string."""
        self.http11 = True
        self.keep_alive = True
        self.expects_continue = False
        self.body = b""
        self.bytes_in = 0
        self.error: RequestError | None = None
        """Set when the connection refused the request before it was whole."""
        self.received = received
        """Monotonic time when the first byte of the head arrived."""
        self.headers: Headers = []
        self.special: dict[bytes, bytes] = {}
        """Headers the gateway itself reads or replaces, by lower-case name."""
        self.sent: dict[object, bytes] | None = None
        """What its head becomes, by engine: shared by requests whose heads are the same. None: it shares nothing."""
