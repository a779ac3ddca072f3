"""What a proof hands back."""

from dataclasses import dataclass
from typing import Any

from benchmarks.bars import Bar


@dataclass(frozen=True, slots=True)
class Proof:
    """JSON throughout."""

    bars: list[Bar]
    figures: dict[str, Any]
    """What follows from the raw data, for people."""
    raw: dict[str, Any]
