"""Event streams in pieces: nothing is lost, lines stay whole, events are counted however the bytes were cut."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.sse import LONGEST_HELD, count_events, error_event, split_line

PIECES = st.lists(st.text("data: x\n\r:", max_size=12).map(str.encode), max_size=20)


@given(pieces=PIECES)
def test_pieces_go_on_as_whole_lines_and_nothing_is_lost(pieces: list[bytes]) -> None:
    held, gone = b"", b""
    for piece in pieces:
        passing, held = split_line(held, piece)
        assert not passing or passing.endswith(b"\n")
        assert b"\n" not in held
        gone += passing
    assert gone + held == b"".join(pieces)


@given(pieces=PIECES)
def test_events_are_counted_the_same_however_the_stream_is_cut(pieces: list[bytes]) -> None:
    held, counted = b"", 0
    for piece in pieces:
        passing, held = split_line(held, piece)
        counted += count_events(passing)
    whole = b"".join(pieces)
    lines = whole[: whole.rfind(b"\n") + 1].split(b"\n")
    assert counted == sum(line.startswith(b"data:") for line in lines)


def test_a_line_without_an_end_is_let_go_before_it_fills_memory() -> None:
    passing, held = split_line(b"x" * LONGEST_HELD, b"")
    assert (passing, len(held)) == (b"", LONGEST_HELD)
    passing, held = split_line(held, b"x")
    assert (len(passing), held) == (LONGEST_HELD + 1, b"")


def test_an_error_inside_an_event_closes_it_first() -> None:
    assert error_event(b"{}", mid_event=False) == b"event: error\ndata: {}\n\n"
    assert error_event(b"{}", mid_event=True) == b"\nevent: error\ndata: {}\n\n"
