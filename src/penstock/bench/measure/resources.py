"""What a stage cost and what energy it took. What is not known is absent, and never 0."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from penstock.bench.sample import Series, Stage

ENERGY = "energy"
"""Name of the series of meters: joules, growing."""
HOUR_S = 3600.0
THOUSAND = 1000


class Cost(msgspec.Struct, frozen=True):
    """In the currency of the price per hour."""

    whole: float
    """Of the stage, from its beginning to its last answer."""
    per_1k_output_tokens: float | UnsetType = UNSET
    per_1k_requests: float | UnsetType = UNSET
    """Whole answers."""


class Energy(msgspec.Struct, frozen=True):
    """Of all meters of the machine together, whatever else it did."""

    joules: float
    sources: list[str]
    joules_per_output_token: float | UnsetType = UNSET


def cost(price_per_hour: float | None, seconds: float, output_tokens: float, answers: int) -> Cost | UnsetType:
    """`price_per_hour`: of all that serves; None: not known."""
    if price_per_hour is None:
        return UNSET
    whole = price_per_hour * seconds / HOUR_S
    return Cost(
        whole,
        THOUSAND * whole / output_tokens if output_tokens else UNSET,
        THOUSAND * whole / answers if answers else UNSET,
    )


def energy(stage: Stage, series: Sequence[Series], output_tokens: float) -> Energy | UnsetType:
    """UNSET where no meter was read from the stage's beginning to its end."""
    found = {
        each.source: used
        for each in series
        if each.name == ENERGY and (used := used_between(each, stage.begin, stage.end)) is not None
    }
    if not found:
        return UNSET
    joules = sum(found.values())
    return Energy(joules, sorted(found), joules / output_tokens if output_tokens else UNSET)


def used_between(meter: Series, begin: float, end: float) -> float | None:
    """Joules between two moments; None where its readings do not reach so far."""
    low, high = reading(meter, begin), reading(meter, end)
    return None if low is None or high is None else high - low


def reading(meter: Series, moment: float) -> float | None:
    """What a meter showed at a moment, on a line between two readings."""
    if not meter.at or not meter.at[0] <= moment <= meter.at[-1]:
        return None
    after = next(number for number, at in enumerate(meter.at) if at >= moment)
    if meter.at[after] == moment or not after:
        return meter.values[after]
    (x0, x1), (y0, y1) = meter.at[after - 1 : after + 1], meter.values[after - 1 : after + 1]
    return y0 + (y1 - y0) * (moment - x0) / (x1 - x0)
