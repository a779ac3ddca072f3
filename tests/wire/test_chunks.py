"""Chunks recognised by their first bytes are exactly those a parser would take whole."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.chunks import CHUNKS, LARGEST, SMALLEST, payload_bytes


def test_every_beginning_stands_for_one_length() -> None:
    for size in range(SMALLEST, LARGEST + 1):
        payload = b"d" * size
        for head in (b"%x" % size, b"%X" % size):
            chunk = b"%b\r\n%b\r\n" % (head, payload)
            assert CHUNKS[chunk[:5]] == len(chunk)


@given(st.binary(max_size=5))
def test_nothing_else_is_a_beginning(beginning: bytes) -> None:
    length = CHUNKS.get(beginning)
    if length is not None:
        size, _, first = beginning.partition(b"\r\n")
        assert length == int(size, 16) + len(size) + 4
        assert size.isalnum()
        assert first in (b"", b"d", b"e", b"i", b":")


@given(st.lists(st.integers(SMALLEST, LARGEST)))
def test_payload_bytes_are_those_without_framing(sizes: list[int]) -> None:
    assert payload_bytes([b"%x\r\n%b\r\n" % (size, b"d" * size) for size in sizes]) == sum(sizes)
