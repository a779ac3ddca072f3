"""Requests and answers as a broker keeps them."""

from collections.abc import Iterable

import msgspec

from penstock.wire.heads import HOP_BY_HOP

Pairs = list[tuple[str, str]]

NOT_REPLAYED = {name.decode() for name in HOP_BY_HOP} | {
    "host",
    "content-length",
    "expect",
    "idempotency-key",
    "x-request-id",
}
"""Headers of a request that belong to its first hop, or are made anew."""
NOT_KEPT = {name.decode() for name in HOP_BY_HOP} | {"content-length", "date", "server"}
"""Headers of an answer that the listener makes itself."""
EVENTS = "text/event-stream"


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A request, to be sent again as it came. Credentials are in its headers."""

    target: str
    """Path and query."""
    headers: Pairs
    body: bytes


class Head(msgspec.Struct, frozen=True, array_like=True):
    """How an answer begins."""

    status: int
    headers: Pairs

    @property
    def streams(self) -> bool:
        """Whether it is a stream of events."""
        return any(name == "content-type" and value.startswith(EVENTS) for name, value in self.headers)


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """Part of an answer, in order. The first has the head, the last the size of the whole body."""

    body: bytes
    head: Head | None = None
    size: int = -1

    @property
    def last(self) -> bool:
        return self.size >= 0


pack = msgspec.msgpack.Encoder().encode
read_request = msgspec.msgpack.Decoder(Asked).decode
read_piece = msgspec.msgpack.Decoder(Piece).decode


def replayed(headers: Iterable[tuple[str, str]]) -> Pairs:
    """The headers of a request that go to the gateway."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in NOT_REPLAYED]


def kept(headers: Iterable[tuple[str, str]]) -> Pairs:
    """The headers of an answer that its reader gets."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in NOT_KEPT]
