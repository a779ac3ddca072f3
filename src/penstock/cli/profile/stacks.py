"""What sampled stacks say. A stack is its frames, the outermost first, and how often it was seen."""

from collections import Counter
from collections.abc import Sequence

import msgspec

Stack = tuple[tuple[str, ...], int]


class Function(msgspec.Struct, frozen=True):
    """Shares of all samples, 0 to 1."""

    name: str
    where: str
    self_share: float
    """It ran itself."""
    total_share: float
    """It or something it had called ran."""


def parse(text: str) -> list[Stack]:
    """py-spy's raw format: `frame;frame;frame COUNT` lines. What is no such line is left out."""
    found: list[Stack] = []
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        if frames and count.isdigit():
            found.append((tuple(frames.split(";")), int(count)))
    return found


def under(root: str, stacks: Sequence[Stack]) -> list[Stack]:
    """The same stacks with one more frame outside."""
    return [((root, *frames), count) for frames, count in stacks]


def samples(stacks: Sequence[Stack]) -> int:
    return sum(count for _, count in stacks)


def hottest(stacks: Sequence[Stack], most: int) -> list[Function]:
    """By self share, then by total share. A function that calls itself counts once in a stack."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for frames, count in stacks:
        own[frames[-1]] += count
        for frame in set(frames):
            total[frame] += count
    whole = samples(stacks) or 1
    order = sorted(total, key=lambda frame: (-own[frame], -total[frame], frame))
    return [Function(*_named(frame), own[frame] / whole, total[frame] / whole) for frame in order[:most]]


def speedscope(stacks: Sequence[Stack], name: str, rate: int) -> dict[str, object]:
    """A file for speedscope.app, of its type `sampled`: stacks seen often are long, and have no order in time."""
    numbers: dict[str, int] = {}
    for frames, _ in stacks:
        for frame in frames:
            numbers.setdefault(frame, len(numbers))
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "exporter": "penstock profile",
        "shared": {"frames": [{"name": frame} for frame in numbers]},
        "profiles": [
            {
                "type": "sampled",
                "name": name,
                "unit": "seconds",
                "startValue": 0,
                "endValue": samples(stacks) / rate,
                "samples": [[numbers[frame] for frame in frames] for frames, _ in stacks],
                "weights": [count / rate for _, count in stacks],
            }
        ],
    }


def _named(frame: str) -> tuple[str, str]:
    """`inner (spin.py:3)` -> (inner, spin.py:3)."""
    name, sign, where = frame.rpartition(" (")
    return (name, where.removesuffix(")")) if sign else (frame, "")
