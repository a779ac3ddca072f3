"""Heads, split into lines: which go on to the other side, and which the gateway keeps.

llhttp judges the bytes; this splits them. Lines go on as they are, spelling and spacing included.
"""

from penstock.core.errors import BadRequest
from penstock.core.request import Request
from penstock.wire.heads import ONCE, READ_OF_REQUEST

LINES = 4096
"""Header lines remembered; past it each new one is looked at afresh."""
LONGEST_REMEMBERED = 256

LONGEST_LENGTH = 18
"""Digits of a Content-Length that are read."""
VERSIONS = frozenset({b"HTTP/1.1", b"HTTP/1.0"})
"""llhttp also reads HTTP/0.9, HTTP/2.0 and RTSP, which no engine behind us would take for the same request."""

Line = tuple[bytes, bytes, bool]
"""What is remembered of a header line: lower-case name, value, and whether the line goes on as well."""
PASS: Line = (b"", b"", True)
"""A line that goes on and says nothing to the gateway."""


class LineMemory:
    """What to do with a header line, remembered by its bytes: peers repeat themselves, request after request."""

    def __init__(self, kept: frozenset[bytes], noted: frozenset[bytes]) -> None:
        self._kept = kept
        self._noted = noted
        self._known: dict[bytes, Line] = {}
        self.get = self._known.get

    def learn(self, line: bytes) -> Line:
        """What a line is: one that the gateway keeps, one that it notes, or PASS.

        Raises BadRequest for white space where a name should be.
        """
        name, _, value = line.partition(b":")
        if not name or name[:1] in b" \t" or name[-1:] in b" \t":
            raise BadRequest("A header line has white space where its name should be.")
        lower = name.lower()
        noted = lower in self._noted
        found = (lower, value.strip(b" \t"), noted) if noted or lower in self._kept else PASS
        # Credentials are not kept in a second place, and lengths are as many as requests.
        if len(self._known) < LINES and len(line) <= LONGEST_REMEMBERED and lower not in FORGOTTEN:
            self._known[line] = found
        return found


FORGOTTEN = frozenset({b"authorization", b"x-api-key", b"cookie", b"content-length", b"x-request-id", b"date"})


class Template:
    """A head that a connection may repeat but for the body's length, as clients that keep one do.

    Bytes equal on both sides of that number mean what they meant before: to this code, and to the parser that found
    the first one valid. The fields taken over are shared and never changed in place.
    """

    __slots__ = ("_after", "_before", "_headers", "_http11", "_method", "_path", "_sent", "_special", "_target")

    def __init__(self, head: bytes, request: Request) -> None:
        length = request.special.get(b"content-length", b"")
        at = head.lower().find(b"\r\ncontent-length: " + length + b"\r\n") + 18 if length else len(head)
        if at < 18:
            at, length = len(head), b""  # spaced in another way: only the very same head will match
        self._before = head[:at]
        self._after = head[at + len(length) :]
        self._method, self._target, self._path = request.method, request.target, request.path
        self._http11, self._headers, self._special = request.http11, request.headers, request.special
        self._sent: dict[object, bytes] = {}

    def fits(self, head: bytes) -> bool:
        """Whether `head` differs in the length alone."""
        before, after = self._before, self._after
        if not head.startswith(before) or not head.endswith(after):
            return False
        return head[len(before) : len(head) - len(after)].isdigit() if after else len(head) == len(before)

    def read(self, data: bytes, received: float, most: int) -> tuple[Request, int] | None:
        """The request at the start of `data`, its body included, and how many bytes it has; None when the head is
        another, the body has not all come, or it is longer than `most` bytes."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        start = len(before)
        length = 0
        if after:
            end = data.find(b"\r", start, start + LONGEST_LENGTH + 1)
            digits = data[start:end]
            if end < 0 or not digits.isdigit() or not data.startswith(after, end):
                return None
            length = int(digits)
            start = end + len(after)
        elif self._special.get(b"content-length", b"0") != b"0":
            return None
        end = start + length
        if end > len(data) or length > most:
            return None
        body = data[start:end] if length else b""
        request = Request(
            received, self._method, self._target, self._path, self._http11, self._headers, self._special, self._sent,
            body, length,
        )  # fmt: skip
        return request, end


class HeadReader:
    """Reads the heads of requests. `noted`: lower-case names of headers that go on and are read here as well."""

    def __init__(self, noted: frozenset[bytes] = frozenset()) -> None:
        self._memory = LineMemory(READ_OF_REQUEST, noted)

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
                continue
            name, value, onwards = found
            if onwards:
                headers.append(line)
                special.setdefault(name, value)
            else:
                if name in special:
                    if name in ONCE:
                        raise BadRequest(f"The header {name.decode()} is given twice.")
                    value = special[name] + b", " + value
                special[name] = value
