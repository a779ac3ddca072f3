"""How evenly a gateway loads the engines, from its requests' engines and intervals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one cell, in steady state."""

    load_over_fair: float
    """Requests in flight on the most loaded engine, mean over time, by the mean of all engines."""
    uneven_while_idle: float
    """Part of the time in which one engine had nothing to do while another had more than `beyond` times its part."""


def spread(rows: Sequence[Sequence[Any]], engines: int, steady_from: float, beyond: float) -> Spread | None:
    """`rows` as in the raw data. Steady state begins with the first request after the share `steady_from` of them, and
    ends with the start of the last one: from then on there is no more to give out. None where an engine is not told."""
    told = sorted((row[1], row[1] + row[3], row[7]) for row in rows if row[2] is not None)
    if not told or any(not engine for *_, engine in told):
        return None
    begin, end = told[int(len(told) * steady_from)][0], told[-1][0]
    moments = sorted({begin, end, *(at for row in told for at in row[:2] if begin < at < end)})
    held: dict[str, float] = {}
    uneven = 0.0
    for since, until in itertools.pairwise(moments):
        loads: dict[str, int] = {}
        for start, stop, engine in told:
            if start <= since and stop >= until:
                loads[engine] = loads.get(engine, 0) + 1
        for engine, load in loads.items():
            held[engine] = held.get(engine, 0.0) + load * (until - since)
        if 0 < len(loads) < engines and max(loads.values()) > beyond * sum(loads.values()) / engines:
            uneven += until - since
    whole = sum(held.values())
    if not whole:
        return None
    return Spread(round(max(held.values()) * engines / whole, 4), round(uneven / (end - begin), 4))
