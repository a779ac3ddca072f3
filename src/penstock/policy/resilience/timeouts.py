"""How long an answer may take, learned from answers of its kind.

    limit = min(ceiling, max(floor, factor * quantile))      the ceiling with fewer than `minimum` answers

A kind is model x streamed or not x size of the input x asked size of the output x queue found. A limit that was hit is
learned as well, with the time it was given: were it left out, only the quick would teach, and a fleet that has become
slower would time out for ever. So each run of timeouts raises the limit by `factor`, up to the ceiling.
"""

from collections import OrderedDict
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from penstock.policy.resilience.quantile import Recent

MOST_KINDS = 1000
"""Kinds remembered; the one longest unused goes."""
GRAIN_TOKENS = 64
"""Inputs below it are all the same size; above it a size is a power of two."""


class TimeoutSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How limits are learned. The ceilings are the configured timeouts."""

    adaptive: Annotated[bool, Meta(description="Learn limits; otherwise the configured timeouts hold")] = True
    quantile: Annotated[float, Meta(gt=0, lt=1, description="Of the last answers of a kind")] = 0.99
    factor: Annotated[float, Meta(gt=1, le=100, description="Times that quantile")] = 3.0
    minimum: Annotated[int, Meta(ge=2, le=10_000, description="Answers of a kind before its limits are used")] = 50
    samples: Annotated[int, Meta(ge=10, le=10_000, description="Last answers of a kind that count")] = 256
    first_byte_floor: Annotated[float, Meta(gt=0, le=3600, description="Seconds; no learned limit is below")] = 5.0
    stall_floor: Annotated[float, Meta(gt=0, le=3600, description="Seconds; no learned limit is below")] = 5.0
    total_floor: Annotated[float, Meta(gt=0, le=3600, description="Seconds; no learned limit is below")] = 30.0


class Ceilings(msgspec.Struct, frozen=True):
    """The configured timeouts in seconds, never exceeded."""

    first_byte_s: float
    stall_s: float
    total_s: float


class Limits(msgspec.Struct, frozen=True):
    """What one request is given, in seconds."""

    first_byte_s: float
    stall_s: float
    total_s: float


class Kind(NamedTuple):
    """Requests that take about as long as each other."""

    model: str
    stream: bool
    input: int
    """Power-of-two class of the prompt's tokens."""
    output: int
    """Power-of-two class of the most tokens asked for; 0: no limit named."""
    queue: int
    """Power-of-four class of the requests that waited at the engine."""


def kind_of(model: str, stream: bool, prompt_tokens: int, most_output_tokens: int, waiting: int) -> Kind:
    """The kind of a request. `most_output_tokens` is 0 when the client named none."""
    output = 1 + (most_output_tokens // GRAIN_TOKENS).bit_length() if most_output_tokens > 0 else 0
    size = (max(0, prompt_tokens) // GRAIN_TOKENS).bit_length()
    return Kind(model, stream, size, output, (max(0, waiting).bit_length() + 1) // 2)


class _Learned(msgspec.Struct):
    first: Recent
    stall: Recent
    total: Recent


class Timeouts:
    """Learns from every answer and gives the next one its limits."""

    def __init__(self, settings: TimeoutSettings, ceilings: Ceilings) -> None:
        self._settings = settings
        self._ceilings = ceilings
        self._configured = Limits(ceilings.first_byte_s, ceilings.stall_s, ceilings.total_s)
        self._enough = min(settings.minimum, settings.samples)
        self._kinds: OrderedDict[Kind, _Learned] = OrderedDict()
        self.least_s = min(settings.first_byte_floor, settings.stall_floor)
        """No limit on a silence is below: who has waited less need not ask."""

    def learned(
        self, kind: Kind, *, first_s: float | None = None, stall_s: float | None = None, total_s: float | None = None
    ) -> None:
        """What one answer took: to its first byte, its longest silence after it, to its end; None: it never got there.

        A limit that was hit is given as the time that had passed. Answers the client cut short teach nothing: leave
        them out.
        """
        early = self._entry(_early(kind))
        if first_s is not None:
            early.first.add(first_s)
        if stall_s is not None:
            early.stall.add(stall_s)
        if total_s is not None:
            self._entry(kind).total.add(total_s)

    def limits(self, kind: Kind) -> Limits:
        """What a request of this kind is given."""
        early = self._kinds.get(_early(kind)) if self._settings.adaptive else None
        if early is None:
            return self._configured
        settings, ceilings = self._settings, self._ceilings
        whole = self._kinds.get(kind)
        first_s = self._limit(early.first, settings.first_byte_floor, ceilings.first_byte_s)
        stall_s = self._limit(early.stall, settings.stall_floor, ceilings.stall_s)
        if whole is None:
            return Limits(first_s, stall_s, ceilings.total_s)
        total_s = self._limit(whole.total, settings.total_floor, ceilings.total_s)
        return Limits(first_s, stall_s, max(first_s, total_s))

    def explain(self, kind: Kind) -> str:
        """Where its limits come from, for people."""
        if not self._settings.adaptive:
            return "configured: adaptive is off"
        early, whole = self._kinds.get(_early(kind)), self._kinds.get(kind)
        firsts, stalls = (len(early.first), len(early.stall)) if early is not None else (0, 0)
        totals = len(whole.total) if whole is not None else 0
        return f"learned from {firsts} first bytes, {stalls} streams, {totals} ends; {self._enough} of each are needed"

    def first_byte_quantile(self, kind: Kind, quantile: float) -> float | None:
        """Seconds within which that share of answers began; None with too few of them."""
        entry = self._kinds.get(_early(kind))
        if entry is None or len(entry.first) < self._enough:
            return None
        return entry.first.quantile(quantile)

    def _limit(self, values: Recent, floor: float, ceiling: float) -> float:
        if len(values) < self._enough:
            return ceiling
        settings = self._settings
        return min(ceiling, max(floor, settings.factor * values.quantile(settings.quantile)))

    def _entry(self, kind: Kind) -> _Learned:
        entry = self._kinds.get(kind)
        if entry is None:
            size = self._settings.samples
            entry = self._kinds[kind] = _Learned(Recent(size), Recent(size), Recent(size))
            if len(self._kinds) > MOST_KINDS:
                self._kinds.popitem(last=False)
        else:
            self._kinds.move_to_end(kind)
        return entry


def _early(kind: Kind) -> Kind:
    """Until the first byte of a stream, the size of the output plays no part."""
    return Kind(kind.model, True, kind.input, 0, kind.queue) if kind.stream and kind.output else kind
