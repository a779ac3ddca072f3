"""How long a closed loop was full: what comes before and after, its clients coming and going, weighs in its rates."""

from collections.abc import Sequence

import msgspec

from penstock.bench.sample import Ending, Sample, Stage

FULL = 0.95
"""Part of the greatest number of requests under way from which a loop counts as full (vllm-bench's rule)."""
BREAK_S = 0.02
"""A place that is empty for less is between two requests of its client."""


class Steady(msgspec.Struct, frozen=True):
    """The longest span at full concurrency."""

    seconds: float
    share: float
    """Of the stage."""
    rate: float
    """Whole answers per second that ended in it."""
    output_rate: float
    """Tokens per second in it, those of an answer spread evenly from its first to its last content."""


def steady(stage: Stage, samples: Sequence[Sample]) -> Steady | None:
    """Of a closed loop; None for an open one, or without samples."""
    if not stage.concurrency or not samples:
        return None
    begin, end = longest_full(samples)
    length = end - begin
    if length <= 0:
        return Steady(0.0, 0.0, 0.0, 0.0)
    ended = sum(sample.ending is Ending.OK and begin < sample.ended <= end for sample in samples)
    tokens = sum(sample.output_tokens * _within(sample, begin, end) for sample in samples)
    share = min(1.0, length / max(1e-9, stage.end - stage.begin))  # timers may wake a client a moment early
    return Steady(length, share, ended / length, tokens / length)


def longest_full(samples: Sequence[Sample]) -> tuple[float, float]:
    """Bounds of the longest span in which at least `FULL` of the greatest number of requests are under way, from due to
    ended; breaks shorter than `BREAK_S` count as full."""
    steps = sorted([(each.due, 1) for each in samples] + [(each.ended, -1) for each in samples])
    running = peak = 0
    for _, step in steps:
        running += step
        peak = max(peak, running)
    best, since, left = (0.0, 0.0), steps[0][0], None
    running = 0
    full = False
    for at, step in steps:
        running += step
        if running >= FULL * peak and not full:
            full = True
            if left is None or at - left >= BREAK_S:
                since = at
        elif running < FULL * peak and full:
            full, left = False, at
            best = max(best, (since, at), key=lambda span: span[1] - span[0])
    return best


def _within(sample: Sample, begin: float, end: float) -> float:
    """Part of an answer that came in a span, 0 to 1."""
    if sample.last <= sample.first:
        return float(begin < sample.first <= end)
    return max(0.0, min(end, sample.last) - max(begin, sample.first)) / (sample.last - sample.first)
