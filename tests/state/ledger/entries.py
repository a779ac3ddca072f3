"""Entries and journals for tests."""

from pathlib import Path

from penstock.state.ledger.entries import Closed, Entry, Opened
from penstock.state.ledger.follow import Place, follow, writers


def opened(number: int, request_id: str = "", engine: str = "e0") -> Opened:
    return Opened(number, request_id or f"req-{number}", 1_700_000_000.0 + number, "acme", "search", "k1", "m", engine)


def closed(
    number: int,
    request_id: str = "",
    *,
    tokens: tuple[int, int, int, int] = (10, 4, 7, 2),
    outcome: str = "success",
    engine: str = "e0",
    model: str = "m",
    received: float | None = None,
) -> Closed:
    when = 1_700_000_000.0 + number if received is None else received
    name = request_id or f"req-{number}"
    return Closed(number, name, when, "acme", "search", "k1", model, engine, outcome, 200, *tokens, "usage", True, 0.25)


def everything(folder: Path, most_bytes: int = 1 << 20) -> dict[str, list[Entry]]:
    """Every entry in a folder of journals, read in parts as a shipper would."""
    found: dict[str, list[Entry]] = {}
    for writer, segments in writers(folder).items():
        place, entries = Place(), found.setdefault(writer, [])
        while True:
            part = follow(folder, writer, segments, place, most_bytes)
            entries += part.entries
            assert not part.damaged
            if not part.more:
                break
            place = part.place
    return found
