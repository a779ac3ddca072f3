"""Penstock's own Records: JSON lines of the access log (`log.access`), or of the audit log (its files, or what
`penstock audit show --json` prints), whose lines of other kinds are passed over.

A Record's `time` is when the request was received. The tenant is the audit log's actor, ORGANISATION/TEAM/KEY; in the
access log, which does not know it, the name of the key.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.bench.traffic.traces.objects import keys, objects
from penstock.bench.traffic.traces.row import MOST_TOKENS, Row, wrong

Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
NOBODY = "-"
"""The audit log's actor of a request without a key."""


class Told(msgspec.Struct, frozen=True):
    """What is read of a Record."""

    time: Annotated[float, Meta(ge=0)]
    model: str = ""
    key: str = ""
    input_tokens: Count = 0
    output_tokens: Count = 0


class Fields(msgspec.Struct, frozen=True):
    """Of a line of the audit log."""

    record: Told | None = None


class Line(msgspec.Struct, frozen=True):
    """A Record, or a line of the audit log, which has a kind."""

    time: Annotated[float, Meta(ge=0)]
    model: str = ""
    key: str = ""
    input_tokens: Count = 0
    output_tokens: Count = 0
    kind: str = ""
    actor: str = ""
    fields: Fields = Fields()


def recognises(line: str) -> bool:
    return keys(line) >= {"id", "time"} or keys(line) >= {"kind", "time", "fields"}


def rows(lines: Iterable[str], file: str) -> Iterator[Row]:
    """Raises ConfigError."""
    for number, line in objects(lines, file, Line):
        if not line.kind:
            yield Row(line.time, line.input_tokens, line.output_tokens, model=line.model, tenant=line.key)
        elif line.kind == "request":
            told = line.fields.record
            if told is None:
                raise wrong(file, number, "fields.record", None, "write the Record of the request")
            who = "" if line.actor == NOBODY else line.actor
            yield Row(told.time, told.input_tokens, told.output_tokens, model=told.model, tenant=who)
