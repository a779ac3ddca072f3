"""The flow of a stream's middle past the parser: whatever the cuts, the sink gets what a parser alone would give."""

from __future__ import annotations

import asyncio
import socket
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.engine import Flow, ResponseHead
from penstock.core.errors import RequestError
from penstock.engines.http.pool import Pool
from penstock.engines.http.upstream import Upstream

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Recorder:
    """A sink that lends a flow from its first piece on, and remembers everything in order."""

    def __init__(self, *, lends: bool) -> None:
        self.flow: Flow | None = None
        self.got: list[bytes] = []
        self.ended = False
        self.error: RequestError | None = None
        self._lent = Flow(self._flowed) if lends else None

    def _flowed(self, chunk: bytes) -> None:
        head, _, rest = chunk.partition(b"\r\n")
        assert len(rest) == int(head, 16) + 2
        assert rest.endswith(b"\r\n")
        self.got.append(rest[:-2])

    def head(self, head: ResponseHead) -> None:
        assert head.status == 200

    def data(self, piece: bytes, last: bool) -> None:
        self.got.append(piece)
        self.flow = self._lent

    def end(self) -> None:
        self.ended = True

    def failed(self, error: RequestError) -> None:
        self.error = error


def relayed(segments: list[bytes], *, lends: bool, sock: socket.socket | None = None) -> Recorder:
    """What the sink has after an upstream connection received `segments`, one read each."""
    sink = Recorder(lends=lends)
    upstream = Upstream(Pool(1), cast(Any, SimpleNamespace(put=lambda *_: None)))
    transport = SimpleNamespace(
        write=lambda _: None, abort=lambda: None, close=lambda: None, get_extra_info=lambda _: sock
    )
    upstream.connection_made(cast(asyncio.Transport, transport))
    upstream.start(cast(Any, SimpleNamespace(sink=sink, head_only=False, ended=lambda: None)), b"")
    for segment in segments:
        upstream.data_received(segment)
    return sink


EVENT = st.builds(
    lambda name, text, end: name + b" " + text + end,
    st.sampled_from([b"data:", b"event:", b"id:", b":", b"7f\r\ndata:", b"retry:"]),
    st.binary(max_size=400) | st.just(b"x" * 5000),
    st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n", b""]),
)
SPELLING = st.sampled_from([b"%x", b"%X", b"%08x", b"%x;extension"])


@given(
    st.lists(st.tuples(st.lists(EVENT, min_size=1, max_size=3), SPELLING), max_size=8),
    st.lists(st.integers(0, 6000), max_size=6),
)
def test_the_sink_gets_the_same_bytes_with_and_without_a_flow(
    chunks: list[tuple[list[bytes], bytes]], cuts: list[int]
) -> None:
    pieces = [HEAD]
    for events, spelling in chunks:
        payload = b"".join(events)
        pieces.append(spelling % len(payload) + b"\r\n" + payload + b"\r\n")
    pieces.append(b"0\r\n\r\n")
    # Each chunk in a read of its own, except where a cut falls: there a read ends early and the rest joins the next.
    segments: list[bytes] = []
    carried = b""
    for number, piece in enumerate(pieces):
        whole = carried + piece
        cut = cuts[number] if number < len(cuts) else len(whole)
        segments.append(whole[:cut])
        carried = whole[cut:]
    segments = [segment for segment in [*segments, carried] if segment]
    flowing, parsed = relayed(segments, lends=True), relayed(segments, lends=False)
    assert flowing.error is parsed.error is None
    assert flowing.ended
    assert parsed.ended
    assert b"".join(flowing.got) == b"".join(parsed.got)


def test_a_read_that_is_one_whole_chunk_of_events_is_noted_and_sent_on() -> None:
    event = b"data: " + b"x" * 100 + b"\n\n"
    chunk = b"%x\r\n%b\r\n" % (len(event), event)
    sink = relayed([HEAD, chunk, chunk, chunk], lends=True)
    assert sink.flow is not None
    assert sink.flow.chunks == [chunk, chunk]
    assert len(sink.flow.arrivals) == 2
    assert sink.got == [event] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_QUICKACK is Linux's")
@pytest.mark.parametrize(("kind", "at_once"), [(b"text/event-stream", 0), (b"application/json", 1)])
def test_small_reads_of_a_stream_are_not_acknowledged_one_by_one(kind: bytes, at_once: int) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
    ):
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
        relayed([HEAD.replace(b"text/event-stream", kind) + b"5\r\n: yes\r\n"], lends=True, sock=ours)
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == at_once


def test_what_looks_like_a_chunk_inside_a_chunk_is_not_taken_for_one() -> None:
    event = b"data: " + b"x" * 100 + b"\n\n"
    look_alike = b"%x\r\n%b\r\n" % (len(event), event)
    first, rest = b"data: 1\n\n", look_alike + b"data: z\n\n"
    sink = relayed(
        [HEAD, b"9\r\n" + first + b"\r\n", b"%x\r\n" % len(rest), look_alike, b"data: z\n\n\r\n", b"0\r\n\r\n"],
        lends=True,
    )
    assert sink.ended
    assert b"".join(sink.got) == first + rest
