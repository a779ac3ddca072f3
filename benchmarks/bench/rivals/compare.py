"""What rivals report beside what the engine wrote down. Pure.

Two truths: under the rival's own definition (from when it says it sent), and what users saw (from when the request was
due). A rival whose requests and latencies both begin late agrees with the first and misses the second.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.bench.rivals.tool import QUANTILES, Export, Rival, Unusable
from benchmarks.bench.truth import row

SEEN = {"ttft": ("ttft", "ttft_from_sent"), "e2e": ("e2e", "e2e_from_sent")}
"""What users saw -> the quantities that a rival may have for it, the best first."""
OWN = ("ttft_from_sent", "itl", "itl_mean", "e2e_from_sent")


@dataclass(frozen=True, slots=True)
class Written:
    """One stream, as the engine served it: seconds of the monotonic clock."""

    read: float
    events: Sequence[float]

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Written:
        """A line of the engine's log."""
        return cls(float(line["read"]), [float(at) for at in line["written"]])


def timetable(reads: Sequence[float], rate: float) -> list[float]:
    """When requests at even gaps were due, by when the engine read them, in order: as late as none was read early."""
    begin = min(read - number / rate for number, read in enumerate(reads))
    return [begin + number / rate for number in range(len(reads))]


def truths(streams: Sequence[Written], sent: Sequence[float], rate: float) -> dict[str, list[float]]:
    """Every quantity, ordered. `sent`: of all streams, in any order; the engine reads them in the order of sending."""
    served = sorted(streams, key=lambda stream: stream.read)
    due = timetable([stream.read for stream in served], rate)
    began = sorted(sent)
    return {
        "ttft": sorted(each.events[0] - at for each, at in zip(served, due, strict=True)),
        "ttft_from_sent": sorted(each.events[0] - at for each, at in zip(served, began, strict=True)),
        "itl": sorted(b - a for each in served for a, b in itertools.pairwise(each.events)),
        "itl_mean": sorted((each.events[-1] - each.events[0]) / (len(each.events) - 1) for each in served),
        "e2e": sorted(each.events[-1] - at for each, at in zip(served, due, strict=True)),
        "e2e_from_sent": sorted(each.events[-1] - at for each, at in zip(served, began, strict=True)),
    }


def rows(rival: Rival, way: str, export: Export, found: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """The table of one rival and way. `found`: as of `truths`."""
    taken = [(name, name) for name in OWN if name in export.reported]
    for seen, names in SEEN.items():
        taken += [(seen, name) for name in names if name in export.reported][:1]
    return [
        {
            "tool": rival.name, "version": rival.found(), "way": way, "quantity": quantity, "reported_as": name,
            **row(q, export.reported[name][q], rival.rule(found[quantity], q)),
        }
        for quantity, name in taken
        for q in QUANTILES
        if q in export.reported[name]
    ]  # fmt: skip


def checked(export: Export, streams: Sequence[Written], requests: int) -> None:
    """Raises Unusable unless every request was answered and told."""
    counts = {"answered": export.done, "told one by one": len(export.sent), "seen by the engine": len(streams)}
    for what, count in counts.items():
        if count != requests:
            raise Unusable(f"{count} of {requests} requests {what}")


def worst(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each tool and way: the largest error under its own definitions, and against what users saw."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in table:
        groups.setdefault((each["tool"], each["way"]), []).append(each)
    return [
        {
            "tool": tool, "way": way,
            "own": max((each["error_over_limit"] for each in group if each["quantity"] not in SEEN), default=None),
            "seen": max((each["error_over_limit"] for each in group if each["quantity"] in SEEN), default=None),
        }
        for (tool, way), group in groups.items()
    ]  # fmt: skip


def rate_of(small: tuple[int, float], large: tuple[int, float]) -> int:
    """Token events by CPU second of two runs, (events, CPU s) each: what start and end cost falls out.

    Raises Unusable when the larger run did not cost more.
    """
    events, cpu = large[0] - small[0], large[1] - small[1]
    if cpu <= 0:
        raise Unusable(f"{large[0]} events cost {large[1]:.2f} CPU s, {small[0]} cost {small[1]:.2f}")
    return round(events / cpu)
