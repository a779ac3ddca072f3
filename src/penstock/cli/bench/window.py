"""How a stage goes: what was heard of it, and how long it will take. Pure; live.py draws it."""

from collections import deque
from collections.abc import Sequence

import msgspec

from penstock.bench.client.run import Progress
from penstock.bench.measure.quantile import quantile
from penstock.bench.traffic.workload import Closed, Open, Replay, Stage

LATELY_S = 10.0
MOST_VALUES = 200
"""TTFTs kept of one word: enough for percentiles, few enough to sort four times a second."""


class Word(msgspec.Struct, frozen=True):
    """What was known at one moment of a stage."""

    at: float
    """Seconds since the stage began."""
    sent: int
    done: int
    tokens: int
    ttft: list[float]


class Rates(msgspec.Struct, frozen=True):
    """Of the last ten seconds."""

    sent: float = 0.0
    """Requests per second."""
    done: float = 0.0
    tokens: float = 0.0
    ttft_p50: float | None = None
    """Seconds."""
    ttft_p95: float | None = None


class Window:
    """The last ten seconds of the stage under way."""

    def __init__(self) -> None:
        self._stage: int | None = None
        self._words: deque[Word] = deque()

    def add(self, progress: Progress) -> None:
        if progress.stage != self._stage or (self._words and progress.elapsed_s < self._words[-1].at):
            self._stage = progress.stage
            self._words.clear()
            self._words.append(Word(0.0, 0, 0, 0, []))
        kept = progress.ttft[:: len(progress.ttft) // MOST_VALUES + 1]
        self._words.append(Word(progress.elapsed_s, progress.sent, progress.done, progress.tokens, kept))
        while len(self._words) > 2 and self._words[1].at <= progress.elapsed_s - LATELY_S:
            self._words.popleft()

    def rates(self) -> Rates:
        if len(self._words) < 2:
            return Rates()
        first, last = self._words[0], self._words[-1]
        seconds = last.at - first.at
        if seconds <= 0:
            return Rates()
        values = sorted(value for word in list(self._words)[1:] for value in word.ttft)
        return Rates(
            (last.sent - first.sent) / seconds,
            (last.done - first.done) / seconds,
            (last.tokens - first.tokens) / seconds,
            quantile(values, 0.5) if values else None,
            quantile(values, 0.95) if values else None,
        )


def offered(progress: Progress, stage: Stage | None) -> float:
    """Requests per second on the timetable, the mean of the stage; 0 in a closed loop."""
    match stage:
        case Open(seconds=seconds) | Replay(seconds=seconds) if seconds:
            return progress.planned / seconds
        case _:
            return 0.0


def part_done(progress: Progress) -> float:
    """Of the stage, 0 to 1."""
    return min(1.0, progress.done / progress.planned) if progress.planned else 0.0


def stage_left(progress: Progress, stage: Stage | None) -> float | None:
    """Seconds until the stage is over, about; None while nothing is known. An open loop ends by the clock."""
    match stage:
        case Open(seconds=seconds) | Replay(seconds=seconds) if seconds:
            return max(0.0, seconds - progress.elapsed_s)
        case _:
            if not progress.done or progress.elapsed_s <= 0:
                return None
            return max(0.0, (progress.planned - progress.done) * progress.elapsed_s / progress.done)


def run_left(progress: Progress, stages: Sequence[Stage], gap: float) -> float | None:
    """Seconds until the run is over, about: a request of a later closed loop is taken to last as long as one does at
    present, which more load makes too little."""
    if progress.stage < 0 or progress.stage >= len(stages):
        return None
    left = stage_left(progress, stages[progress.stage])
    if left is None or not progress.done:
        return None
    in_flight = progress.sent - progress.done
    for stage in stages[progress.stage + 1 :]:
        left += gap
        match stage:
            case Open(seconds=seconds) | Replay(seconds=seconds):
                left += seconds  # of a whole trace it is not known
            case Closed(concurrency=places, requests=requests):
                left += requests / places * max(1, in_flight) * progress.elapsed_s / progress.done
    return left
