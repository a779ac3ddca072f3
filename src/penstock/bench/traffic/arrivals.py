"""When requests are due: a rate that changes over time, and how evenly arrivals follow it.

A process of rate 1 is made first, with gaps of mean 1 and the wanted coefficient of variation: 0 gives equal gaps, 1 a
Poisson process, more gives bursts (gamma gaps of shape 1 / cv^2; vLLM's `--burstiness` is that shape). Its points are
then carried over by the inverse of the rate's integral, so that every rate can be had with every burstiness. Nothing is
rescaled to a round number of requests: the count of a Poisson stage varies as it does in life.
"""

from collections.abc import Iterator
from math import cos, exp, pi
from random import Random
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

Rate = Annotated[float, Meta(ge=0, le=1e6, description="Requests per second")]
Seconds = Annotated[float, Meta(gt=0, le=1e6, description="Seconds")]
STEPS = 60
"""Halvings of an interval: more than a float has bits to tell apart."""


class Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="shape", tag="constant"):
    """The same rate throughout."""

    rate: Rate

    def due(self, at: float) -> float:
        """Requests that should have come by `at`."""
        return self.rate * at

    def rate_at(self, at: float) -> float:
        return self.rate


class Ramp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="shape", tag="ramp"):
    """From one rate to another in a straight line, and on at the second."""

    first: Rate
    last: Rate
    seconds: Seconds

    def due(self, at: float) -> float:
        within = min(at, self.seconds)
        slope = (self.last - self.first) / self.seconds
        return self.first * within + slope * within * within / 2 + self.last * (at - within)

    def rate_at(self, at: float) -> float:
        return self.first + (self.last - self.first) * min(1.0, at / self.seconds)


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="shape", tag="steps"):
    """One rate after the other, each for `seconds`, and on at the last."""

    rates: Annotated[tuple[Rate, ...], Meta(min_length=1)]
    seconds: Seconds

    def due(self, at: float) -> float:
        total, left = 0.0, at
        for rate in self.rates[:-1]:
            within = min(left, self.seconds)
            total += rate * within
            left -= within
        return total + self.rates[-1] * left

    def rate_at(self, at: float) -> float:
        return self.rates[min(len(self.rates) - 1, int(at / self.seconds))]


class Diurnal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="shape", tag="diurnal"):
    """A day: lowest at its beginning, highest in its middle. `amplitude` is the part of `mean` it swings by."""

    mean: Rate
    amplitude: Annotated[float, Meta(ge=0, le=1, description="Part of the mean that it swings by")] = 0.8
    period: Annotated[float, Meta(gt=0, le=1e6, description="Seconds of a day")] = 86_400.0

    def due(self, at: float) -> float:
        turn = 2 * pi / self.period
        # The integral of 1 - a cos(turn t); the sine as a cosine, to have one of them.
        return self.mean * (at - self.amplitude / turn * cos(turn * at - pi / 2))

    def rate_at(self, at: float) -> float:
        return self.mean * (1 - self.amplitude * cos(2 * pi * at / self.period))


class FlashCrowd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="shape", tag="flash_crowd"):
    """`base` until `at`, up to `peak` within `rise`, there for `hold`, then back, by a factor of e every `decay`."""

    base: Rate
    peak: Rate
    at: Annotated[float, Meta(ge=0, le=1e6, description="Seconds")]
    rise: Seconds = 5.0
    hold: Annotated[float, Meta(ge=0, le=1e6, description="Seconds")] = 30.0
    decay: Seconds = 30.0

    def due(self, at: float) -> float:
        more, since = self.peak - self.base, at - self.at
        total = self.base * at
        if since > 0:
            rising = min(since, self.rise)
            total += more * rising * rising / (2 * self.rise)
            total += more * min(max(0.0, since - self.rise), self.hold)
            falling = max(0.0, since - self.rise - self.hold)
            total += more * self.decay * (1 - exp(-falling / self.decay))
        return total

    def rate_at(self, at: float) -> float:
        more, since = self.peak - self.base, at - self.at
        if since <= 0:
            return self.base
        if since < self.rise:
            return self.base + more * since / self.rise
        return self.base + more * exp(-max(0.0, since - self.rise - self.hold) / self.decay)


Shape: TypeAlias = Constant | Ramp | Steps | Diurnal | FlashCrowd


def arrivals(shape: Shape, seconds: float, cv: float, rng: Random) -> Iterator[float]:
    """Due times in [0, seconds), never decreasing. `cv`: coefficient of variation of the gaps of the even process."""
    whole = shape.due(seconds)
    point, at = 0.0, 0.0
    while True:
        point += _gap(cv, rng)
        if point >= whole:
            return
        at = _when(shape, point, at, seconds)
        yield at


def _gap(cv: float, rng: Random) -> float:
    """Mean 1."""
    if cv == 0:
        return 1.0
    if cv == 1:
        return rng.expovariate(1.0)
    form = 1 / (cv * cv)
    return rng.gammavariate(form, 1 / form)


def _when(shape: Shape, point: float, low: float, high: float) -> float:
    """The moment by which `point` requests are due."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        if shape.due(middle) < point:
            low = middle
        else:
            high = middle
    return high
