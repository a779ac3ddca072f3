"""Mooncake: JSON lines of timestamp (milliseconds), input_length, output_length and hash_ids, one per block of 512
tokens, the last one of the rest. Source: Qin et al., "Mooncake", FAST 2025.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.bench.traffic.traces.objects import keys, objects
from penstock.bench.traffic.traces.row import MOST_TOKENS, Row

Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]


class Line(msgspec.Struct, frozen=True):
    """One request; further fields are passed over."""

    timestamp: Annotated[float, Meta(ge=0)]
    input_length: Count
    output_length: Count
    hash_ids: tuple[Annotated[int, Meta(ge=0)], ...] = ()


def recognises(line: str) -> bool:
    return keys(line) >= {"timestamp", "input_length", "output_length"}


def rows(lines: Iterable[str], file: str) -> Iterator[Row]:
    """Raises ConfigError."""
    for _, line in objects(lines, file, Line):
        yield Row(line.timestamp / 1000, line.input_length, line.output_length, line.hash_ids)
