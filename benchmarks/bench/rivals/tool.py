"""What a rival is: how it is asked for a load, and how its export is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

QUANTILES = (0.5, 0.9, 0.95, 0.99)
Table = dict[str, dict[float, float]]
"""Quantity -> quantile -> seconds, in the words of docs/measures.md."""


class Unusable(Exception):
    """A rival that did not run, or whose export lacks something. The text is what the figures say of it."""


@dataclass(frozen=True, slots=True)
class Load:
    """One stage: `rate` requests/s at even gaps, or, with rate 0, `clients` of which each waits for its answer."""

    url: str
    model: str
    requests: int
    tokens: int
    rate: float = 0.0
    clients: int = 0
    words: str = "one two three four five six seven eight"
    """The prompt, or, where a rival writes its own, a further field of the body: what the mock reads its plan from."""


@dataclass(frozen=True, slots=True)
class Export:
    """What a rival wrote down. `sent`: when it says each request began, on `clock`, in any order."""

    done: int
    sent: Sequence[float]
    clock: Literal["monotonic", "wall"]
    reported: Table


@dataclass(frozen=True, slots=True)
class Rival:
    name: str
    version: str
    """The one that `install` gets and whose export is known."""
    program: Path
    install: str
    """What to do when `program` is not there."""
    command: Callable[[Load, Path], list[str]]
    """Writes what it needs into the folder and gives the argument list."""
    read: Callable[[Path], Export]
    """Raises OSError, KeyError, ValueError."""
    rule: Callable[[Sequence[float], float], float]
    """Its percentile of ordered values."""
    says: Mapping[str, str]
    """Quantity -> what it measures under that name, and how it calls it."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str:
        """Empty when it is installed."""
        return "" if self.program.exists() else f"not installed: {self.install}"

    def found(self) -> str:
        """The version that is installed; the known one where its environment does not say."""
        name = self.program.name
        infos = self.program.parent.parent.glob(f"lib/python*/site-packages/{name}-*.dist-info")
        return next((each.name.removesuffix(".dist-info").partition("-")[2] for each in infos), self.version)


def linear(ordered: Sequence[float], q: float) -> float:
    """Percentile between two values (Hyndman and Fan's type 7), numpy's default."""
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def write_prompts(path: Path, name: str, load: Load) -> Path:
    """One JSON line a request, the prompt in field `name`."""
    path.write_text((json.dumps({name: load.words}) + "\n") * load.requests)
    return path


def percentiles(found: Mapping[str, Any], names: Mapping[float, str], unit_s: float) -> dict[float, float]:
    return {q: round(float(found[name]) * unit_s, 7) for q, name in names.items() if name in found}
