"""A run over time: what happened in each slice of it."""

from collections.abc import Sequence

import msgspec

from penstock.bench.measure.moments import ttft
from penstock.bench.measure.quantile import quantile
from penstock.bench.sample import Ending, Sample


class Slice(msgspec.Struct, frozen=True):
    """From `at` on, for the slice's length."""

    at: float
    sent: int
    ended: int
    failed: int
    in_flight: int
    """When the slice began."""
    tokens: float
    """Output tokens per second, spread evenly from first to last content of each answer."""
    ttft_p50: float | None
    ttft_p95: float | None
    """Of requests whose first content came in the slice."""


def timeline(samples: Sequence[Sample], slices: int = 120) -> list[Slice]:
    """At most `slices` of equal length over the whole run."""
    if not samples:
        return []
    begin, end = min(sample.due for sample in samples), max(sample.ended for sample in samples)
    length = max(1e-3, (end - begin) / slices)

    def place(moment: float) -> int:
        return max(0, min(slices - 1, int((moment - begin) / length)))

    sent, ended, failed, running = ([0] * slices for _ in range(4))
    tokens = [0.0] * slices
    firsts: list[list[float]] = [[] for _ in range(slices)]
    for sample in samples:
        sent[place(sample.sent)] += 1
        ended[place(sample.ended)] += 1
        failed[place(sample.ended)] += sample.ending not in (Ending.OK, Ending.CANCELLED)
        for number in range(place(sample.sent) + 1, place(sample.ended) + 1):
            running[number] += 1
        if (found := ttft(sample)) is not None:
            firsts[place(sample.first)].append(found)
            first, last = place(sample.first), place(max(sample.first, sample.last))
            for number in range(first, last + 1):
                tokens[number] += sample.output_tokens / (last - first + 1)
    return [
        Slice(
            begin + number * length, sent[number], ended[number], failed[number], running[number],
            tokens[number] / length, _of(firsts[number], 0.5), _of(firsts[number], 0.95),
        )
        for number in range(slices)
    ]  # fmt: skip


def _of(values: list[float], q: float) -> float | None:
    return quantile(sorted(values), q) if values else None
