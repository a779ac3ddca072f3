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


def replayed(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """The headers of a request that go to the gateway."""
    return [(name, value) for name, value in _lower(headers) if name not in NOT_REPLAYED]


def kept(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """The headers of an answer that its reader gets."""
    return [(name, value) for name, value in _lower(headers) if name not in NOT_KEPT]


def raw(headers: Pairs) -> list[tuple[bytes, bytes]]:
    """As they are sent."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _lower(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
