"""How a long fetch tells what it does. The command line draws it; tests and quiet callers ignore it."""

from typing import Protocol


class Progress(Protocol):
    """Told by a source as it works, always from one thread.

    One fetch calls `start` once per attempt at a body, `advance` for what arrives, and `done` when it is whole.
    """

    def start(self, total_bytes: int, resumed_bytes: int) -> None:
        """An attempt begins. `resumed_bytes` are here already; `total_bytes` is 0 when nobody said."""

    def advance(self, n: int) -> None:
        """`n` more bytes are on disk."""

    def done(self) -> None: ...

    def message(self, text: str) -> None:
        """A line for people: what happens now, or why it takes longer."""


class Silent:
    """Says nothing."""

    def start(self, total_bytes: int, resumed_bytes: int) -> None:
        pass

    def advance(self, n: int) -> None:
        pass

    def done(self) -> None:
        pass

    def message(self, text: str) -> None:
        pass
