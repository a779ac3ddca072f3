"""Heads, split into lines: which go on to the other side, and which the gateway keeps.

llhttp judges the bytes; this splits them. Lines go on as they are, spelling and spacing included.
"""

from penstock.core.errors import BadRequest
from penstock.core.request import Request
from penstock.wire.heads import ONCE, READ_OF_REQUEST

LINES = 4096
"""Header lines remembered; past it each new one is looked at afresh."""
LONGEST_REMEMBERED = 256

VERSIONS = frozenset({b"HTTP/1.1", b"HTTP/1.0"})
"""llhttp also reads HTTP/0.9, HTTP/2.0 and RTSP, which no engine behind us would take for the same request."""

PASS = (b"", b"")
"""What is remembered of a line that goes on as it is."""


class LineMemory:
    """What to do with a header line, remembered by its bytes: peers repeat themselves, request after request."""

    def __init__(self, kept: frozenset[bytes]) -> None:
        self._kept = kept
        self._known: dict[bytes, tuple[bytes, bytes]] = {}
        self.get = self._known.get

    def learn(self, line: bytes) -> tuple[bytes, bytes]:
        """(lower-case name, value) of a line that the gateway keeps; PASS for one that goes on.

        Raises BadRequest for white space where a name should be.
        """
        name, _, value = line.partition(b":")
        if not name or name[:1] in b" \t" or name[-1:] in b" \t":
            raise BadRequest("A header line has white space where its name should be.")
        lower = name.lower()
        found = (lower, value.strip(b" \t")) if lower in self._kept else PASS
        # Credentials are not kept in a second place, and lengths are as many as requests.
        if len(self._known) < LINES and len(line) <= LONGEST_REMEMBERED and lower not in FORGOTTEN:
            self._known[line] = found
        return found


FORGOTTEN = frozenset({b"authorization", b"x-api-key", b"cookie", b"content-length", b"x-request-id", b"date"})


class Template:
    """A head that a connection may repeat but for the body's length, as clients that keep one do.

    Bytes equal on both sides of that number mean what they meant before. The fields taken over are shared and never
    changed in place.
    """

    __slots__ = ("_after", "_before", "_headers", "_http11", "_method", "_path", "_special", "_target")

    def __init__(self, head: bytes, request: Request) -> None:
        length = request.special.get(b"content-length", b"")
        at = head.lower().find(b"\r\ncontent-length: " + length + b"\r\n") + 18 if length else len(head)
        if at < 18:
            at, length = len(head), b""  # spaced in another way: only the very same head will match
        self._before = head[:at]
        self._after = head[at + len(length) :]
        self._method, self._target, self._path = request.method, request.target, request.path
        self._http11, self._headers, self._special = request.http11, request.headers, request.special

    def read(self, head: bytes, request: Request) -> bool:
        """Fills `request` if `head` differs from the template in the length alone; tells whether it did."""
        before, after = self._before, self._after
        if not head.startswith(before):
            return False
        if not after:
            if len(head) != len(before):
                return False
            request.special = self._special
        else:
            length = head[len(before) : -len(after)]
            if not length.isdigit() or not head.endswith(after):
                return False
            request.special = {**self._special, b"content-length": length}
        request.method, request.target, request.path = self._method, self._target, self._path
        request.http11, request.headers = self._http11, self._headers
        return True


class HeadReader:
    """Reads the heads of requests."""

    def __init__(self) -> None:
        self._memory = LineMemory(READ_OF_REQUEST)

    def read(self, head: bytes, request: Request) -> None:
        """Fills `request` from a head that ends in an empty line. Raises BadRequest for an ambiguous one."""
        lines = head[:-4].split(b"\r\n")
        start = lines[0].split(b" ")
        if len(start) != 3 or start[2] not in VERSIONS:
            raise BadRequest("The request line is not `METHOD TARGET HTTP/1.1`.")
        request.method, request.target, version = start
        request.path = request.target.partition(b"?")[0]
        request.http11 = version == b"HTTP/1.1"
        get, headers, special = self._memory.get, request.headers, request.special
        del lines[0]
        for line in lines:
            found = get(line) or self._memory.learn(line)
            if found is PASS:
                headers.append(line)
            else:
                name, value = found
                if name in special:
                    if name in ONCE:
                        raise BadRequest(f"The header {name.decode()} is given twice.")
                    value = special[name] + b", " + value
                special[name] = value
