"""Prometheus exposition text and OpenMetrics text, as far as an engine's load needs them.

One search finds the lines of wanted metrics, instead of a walk over every line: a gateway reads many engines every
second, and most of a text is histograms.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,|(?=\}))')
CLOSE = re.compile(r"[ \t]*\}")
QUOTED_START = '\n{"'
QUOTED = re.compile(r'\n\{"([^"\\\n]*)"[ \t]*,?')
"""A name among the labels, `{"vllm:x",label="y"} 1`: the form that any name can be written in."""
ESCAPE = re.compile(r"\\(.)")
MEANING = {"n": "\n", '"': '"', "\\": "\\"}


class Sample(NamedTuple):
    """One line."""

    labels: Mapping[str, str]
    value: float


Readings: TypeAlias = Mapping[str, Sequence[Sample]]
"""Samples by the stem of their metric's name."""


def stem(name: str) -> str:
    """A name without `_total`, which a counter bears or not with the format and the client library, and without a
    colon, which OpenMetrics libraries turn into an underscore."""
    return name.removesuffix("_total").replace(":", "_")


def lines_of(stems: Iterable[str]) -> re.Pattern[str]:
    """Finds the lines of metrics: (name, what follows it). It is to be searched in a text behind a line feed.

    A colon may stand in the place of a stem's first underscore, behind the engine's name.
    """
    longest_first = (re.escape(each).replace("_", "[:_]", 1) for each in sorted(stems, key=len, reverse=True))
    return re.compile(rf"\n({'|'.join(longest_first)})(?:_total)?([{{ \t].*)")


def samples(text: str, lines: re.Pattern[str]) -> dict[str, list[Sample]]:
    """The samples of each stem. Metrics that are not there have no entry; broken lines are passed over."""
    text = f"\n{text}"
    if QUOTED_START in text:
        text = QUOTED.sub(r"\n\1{", text)
    found: dict[str, list[Sample]] = {}
    for name, rest in lines.findall(text):
        sample = _sample(rest)
        if sample is not None:
            found.setdefault(stem(name), []).append(sample)
    return found


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
