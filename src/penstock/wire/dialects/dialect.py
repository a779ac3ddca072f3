"""What a dialect is: per range of versions, where each signal of a Load comes from."""

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from penstock.wire.dialects.exposition import Readings, lines_of, stem
from penstock.wire.dialects.formulas import Formula, Value

Version: TypeAlias = tuple[int, ...]
LARGEST = 2**53
RELEASE = re.compile(r"[vb]?(\d{1,9}(?:\.\d{1,9})*)")


def version_of(written: str) -> Version | None:
    """`v0.11.2rc1+cpu` is (0, 11, 2): candidates and builds count as their release. None for what is no version."""
    found = RELEASE.match(written.strip())
    return tuple(int(part) for part in found[1].split(".")) if found else None


def _sane(value: Value) -> Value:
    """No signal is below zero or beyond what a float counts exactly; such a number, or NaN, is none."""
    return value if value is None or isinstance(value, tuple) or 0 <= value <= LARGEST else None


@dataclass(frozen=True, slots=True)
class Rule:
    """A field of Load and its formula."""

    signal: str
    formula: Formula
    only: str = ""
    """Why it may rightly be absent: a setting, or a series born with its first event. It is then never flagged."""
    after: str = ""
    """A series that the engine creates together with this one, at the first request; without it, no flag."""


@dataclass(frozen=True, slots=True)
class Range:
    """The rules of the versions from `since` up to, not including, `until`; "" is open."""

    rules: tuple[Rule, ...]
    since: str = ""
    until: str = ""
    stems: frozenset[str] = field(init=False, repr=False)
    """Of all metrics that the rules read."""

    def __post_init__(self) -> None:
        named = [name for rule in self.rules for name in (*rule.formula.metrics, rule.after) if name]
        object.__setattr__(self, "stems", frozenset(stem(name.partition("{")[0]) for name in named))

    def covers(self, version: Version) -> bool:
        low, high = version_of(self.since), version_of(self.until)
        return (low is None or low <= version) and (high is None or version < high)

    def values(self, readings: Readings) -> dict[str, Value]:
        """What the rules find, by signal."""
        return {rule.signal: _sane(rule.formula.value(readings)) for rule in self.rules}

    def missing(self, values: dict[str, Value], readings: Readings) -> tuple[str, ...]:
        """The signals that should have been found."""
        return tuple(
            rule.signal
            for rule in self.rules
            if values[rule.signal] is None and not rule.only and (not rule.after or stem(rule.after) in readings)
        )


@dataclass(frozen=True, slots=True)
class Dialect:
    """An engine's way to speak of its load."""

    name: str
    prefixes: tuple[str, ...]
    """What its metrics' names begin with."""
    ranges: tuple[Range, ...]
    """Newest first."""
    lines: re.Pattern[str] = field(init=False, repr=False)
    """Finds the lines of all metrics that any range reads."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", lines_of({name for each in self.ranges for name in each.stems}))

    def range_of(self, version: str) -> Range | None:
        """The range that a version falls in; None for what is no version or falls in none."""
        parsed = version_of(version)
        return None if parsed is None else next((each for each in self.ranges if each.covers(parsed)), None)

    def fitting(self, readings: Readings) -> tuple[Range, dict[str, Value]]:
        """The range that a text without a version is read by, and its values.

        The one of whose metrics the most are there; of equals, the one that misses the fewest signals, then the newest.
        So an older range whose metrics are a part of a newer one's does not hide that the newer one misses something.
        """
        best, values, score = self.ranges[0], self.ranges[0].values(readings), (-1, 0)
        for each in self.ranges:
            found = each.values(readings)
            missing = len(each.missing(found, readings))
            if each is self.ranges[0] and not missing:
                return each, found
            fit = (len(each.stems & readings.keys()), -missing)
            if fit > score:
                best, values, score = each, found, fit
        return best, values
