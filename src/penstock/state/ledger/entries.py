"""What a journal holds: that a request went to an engine, and how it ended.

A client may choose its request's id, and two requests may share one. So an entry is known by its writer and a number
that the writer counts; the request id is only for people and for engines' logs.
"""

from typing import TypeAlias

import msgspec

INTERRUPTED = "interrupted"
"""Outcome of a request whose worker died before it ended."""
RECONCILED = "reconciled"
"""Source of the tokens of a request that an engine's log settled."""
UNTOLD = ("none", "counted")
"""Sources of tokens that no engine reported; an engine's log may settle them."""
SERVED = ("success", "client_left")
"""Outcomes that pay for the request and for engine time, on top of tokens."""

MOST_BYTES = 1000
"""Of one entry. Longer ones have their names cut."""
MOST_NAME = 96
"""Bytes that each name keeps in an entry that would be too long."""


class Opened(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A request goes to an engine: from now on it may cost."""

    number: int
    request_id: str
    received: float
    """Seconds since the epoch."""
    org: str
    team: str
    key: str
    """Public id of the key."""
    model: str
    engine: str


class Closed(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """A request has ended. Tokens as the Record has them: cached ones within the input, reasoning within the output."""

    number: int
    """The one it was opened with; a new one when it never went to an engine."""
    request_id: str
    received: float
    """Seconds since the epoch: the moment that decides its price and its day."""
    org: str
    team: str
    key: str
    model: str
    engine: str
    """Empty when none was asked."""
    outcome: str
    status: int
    input: int
    cached: int
    output: int
    reasoning: int
    source: str
    """Where the token counts come from, a `TokenSource`."""
    stream: bool
    duration_s: float


Entry: TypeAlias = Opened | Closed


def cut(entry: Entry) -> Entry:
    """The same entry with every name cut to what fits, for the few that cannot be written as they are."""
    changes = {
        name: value.encode("utf-8", "replace")[:MOST_NAME].decode("utf-8", "ignore")
        for name in entry.__struct_fields__
        if type(value := getattr(entry, name)) is str
    }
    numbers = {
        name: max(0, min(value, 2**53))
        for name in entry.__struct_fields__
        if type(value := getattr(entry, name)) is int
    }
    return msgspec.structs.replace(entry, **changes, **numbers)
