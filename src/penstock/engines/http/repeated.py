"""Answers whose heads repeat the last one: engines say the same of every answer but for its length."""

from penstock.core.engine import ResponseHead

LONGEST_HEAD = 4096
LONGEST_LENGTH = 15
"""Digits of a Content-Length that are read here."""


class Repeated:
    """A head as an engine sent it, to recognise the next answer without the parser.

    Bytes equal on both sides of the length mean what the parser found them to mean. Only whole answers in one read
    are recognised; the parser reads the others.
    """

    __slots__ = ("_after", "_before", "_head")

    def __init__(self, before: bytes, after: bytes, head: ResponseHead) -> None:
        self._before = before
        self._after = after
        self._head = head

    def read(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Head and body of `data` if it is one whole answer with this head."""
        if not data.startswith(self._before):
            return None
        start = len(self._before)
        end = data.find(b"\r", start, start + LONGEST_LENGTH + 1)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self._after, end):
            return None
        body = data[end + len(self._after) :]
        length = int(digits)
        if len(body) != length:
            return None
        head = self._head
        return (head if length == head.content_length else head.of_length(length)), body


def repeatable(data: bytes, head: ResponseHead) -> Repeated | None:
    """What recognises answers like `data`, a whole one that the parser has read; None where it is not that plain."""
    length = head.content_length
    if length is None or head.bodyless or head.sse:
        return None
    size = len(data) - length
    if size > LONGEST_HEAD or data[size - 4 : size] != b"\r\n\r\n":
        return None
    line = b"\r\ncontent-length: %d\r\n" % length
    at = data[:size].lower().find(line)
    if at < 0:
        return None
    start, end = at + 18, at + len(line) - 2
    return Repeated(data[:start], data[end:size], head)
