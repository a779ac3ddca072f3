"""Prometheus exposition text and OpenMetrics text, as far as an engine's load needs them.

Only lines of wanted metrics are looked at: a search per name instead of a walk over every line, because a gateway reads
many engines every second and most of a text is histograms.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,|(?=\}))')
CLOSE = re.compile(r"[ \t]*\}")
ESCAPE = re.compile(r"\\(.)")
MEANING = {"n": "\n", '"': '"', "\\": "\\"}
COUNTER = b"_total"


class Sample(NamedTuple):
    """One line."""

    labels: Mapping[str, str]
    value: float


Readings: TypeAlias = Mapping[str, Sequence[Sample]]
"""Samples by the stem of their metric's name."""


def stem(name: str) -> str:
    """A name without `_total`: whether a counter bears it depends on the format and on the client library."""
    return name.removesuffix("_total")


def samples(text: bytes, wanted: Iterable[str]) -> dict[str, list[Sample]]:
    """The samples of each wanted stem. Metrics that are not there have no entry; broken lines are passed over."""
    text = b"\n%b" % text
    found: dict[str, list[Sample]] = {}
    for name in wanted:
        lines = _lines(text, name)
        if lines:
            found[name] = lines
    return found


def _lines(text: bytes, name: str) -> list[Sample]:
    start = b"\n%b" % name.encode()
    read: list[Sample] = []
    at = text.find(start)
    while at >= 0:
        end = text.find(b"\n", at + 1)
        line = text[at + len(start) : end if end >= 0 else len(text)].removeprefix(COUNTER)
        sample = _sample(line.decode("utf-8", "replace")) if line[:1] in (b"{", b" ", b"\t") else None
        if sample is not None:
            read.append(sample)
        at = text.find(start, end) if end >= 0 else -1
    return read


def _sample(line: str) -> Sample | None:
    """What follows a name: labels, value, perhaps a timestamp or an exemplar. None when it is not that."""
    labels: dict[str, str] = {}
    at = 0
    if line.startswith("{"):
        at = 1
        while (pair := LABEL.match(line, at)) is not None:
            labels[pair[1]] = _unescaped(pair[2])
            at = pair.end()
        closing = CLOSE.match(line, at)
        if closing is None:
            return None
        at = closing.end()
    words = line[at:].split(maxsplit=1)
    value = _number(words[0]) if words else None
    return None if value is None else Sample(labels, value)


def _unescaped(value: str) -> str:
    return ESCAPE.sub(lambda found: MEANING.get(found[1], found[0]), value) if "\\" in value else value


def _number(word: str) -> float | None:
    """A float of the format. Python reads `1_0`; the format does not."""
    try:
        return None if "_" in word else float(word)
    except ValueError:
        return None
