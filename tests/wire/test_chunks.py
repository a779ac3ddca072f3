"""Chunks recognised by their first bytes are exactly those a parser would take whole."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.chunks import BEGINNING, END_OF_EVENTS, ENDS, LARGEST, SMALLEST, payload_bytes


def test_every_beginning_stands_for_one_length() -> None:
    for size in range(SMALLEST, LARGEST + 1):
        payload = b"d" * size
        for head in (b"%x" % size, b"%X" % size):
            chunk = b"%b\r\n%b\r\n" % (head, payload)
            assert chunk[ENDS[chunk[BEGINNING]]] == chunk[-4:]


@given(st.integers(SMALLEST, LARGEST), st.booleans(), st.binary(max_size=300), st.integers(0, 300))
def test_only_a_read_that_is_the_chunk_and_no_more_ends_where_it_should(
    size: int, upper: bool, more: bytes, less: int
) -> None:
    head = b"%X" % size if upper else b"%x" % size
    chunk = b"%b\r\n%b\n\n\r\n" % (head, b"d" * (size - 2))
    end = ENDS[chunk[BEGINNING]]
    assert chunk[end] == END_OF_EVENTS
    assert (chunk + more)[end] != END_OF_EVENTS or not more
    assert chunk[: len(chunk) - less][end] != END_OF_EVENTS or not less
    assert (chunk[:-4] + b"d\n\r\n")[end] != END_OF_EVENTS


@given(st.binary(max_size=5))
def test_nothing_else_is_a_beginning(beginning: bytes) -> None:
    end = ENDS.get(beginning)
    if end is not None:
        size, _, first = beginning.partition(b"\r\n")
        assert end.start == int(size, 16) + len(size)
        assert size.isalnum()
        assert first in (b"", b"d", b"e", b"i", b":")


@given(st.lists(st.integers(SMALLEST, LARGEST)))
def test_payload_bytes_are_those_without_framing(sizes: list[int]) -> None:
    assert payload_bytes([b"%x\r\n%b\r\n" % (size, b"d" * size) for size in sizes]) == sum(sizes)
