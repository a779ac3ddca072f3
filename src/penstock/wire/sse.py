"""Server-sent events (WHATWG HTML, 9.2), as far as a relay must know them.

A relay passes bytes. It holds back an unfinished line, so that at every moment it can add an event of its own
without corrupting one of the engine's.
"""

HEARTBEAT = b": heartbeat\n\n"
LONGEST_HELD = 64 * 1024
"""An unfinished line longer than this is passed on: memory is bounded before tidiness."""


def split_line(held: bytes, piece: bytes) -> tuple[bytes, bytes]:
    """(bytes that may go now, unfinished line to hold) of what was held and what has come."""
    whole = held + piece
    end = whole.rfind(b"\n") + 1
    if len(whole) - end > LONGEST_HELD:
        return whole, b""
    return whole[:end], whole[end:]


def count_events(piece: bytes) -> int:
    """`data:` lines in a piece that starts at a line start. JSON never holds a raw line feed, so this is exact."""
    return piece.count(b"\ndata:") + piece.startswith(b"data:")


def error_event(body: bytes, *, mid_event: bool) -> bytes:
    """An in-band error. `mid_event`: the last thing passed was not a blank line, so the event is closed first."""
    return b"%bevent: error\ndata: %b\n\n" % (b"\n" if mid_event else b"", body)
