"""What every format comes to: a request of a trace."""

import math

import msgspec

from penstock.core.errors import ConfigError

MOST_TOKENS = 10_000_000


class Row(msgspec.Struct, frozen=True, gc=False):
    """One request. Without tokens of input or output it failed, or nobody knows how long it was."""

    at: float
    """Seconds, from whatever moment the trace counts from."""
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    """Ids of the prompt's blocks, in order: equal leading ids are an equal beginning."""
    model: str = ""
    tenant: str = ""
    """ORGANISATION/TEAM/KEY or the name of a key."""


def wrong(file: str, line: int, field: str, value: object, fix: str) -> ConfigError:
    """The error for a value: where it stands, what it is, what it should be."""
    return ConfigError(f"{file}:{line}: {field} is {value!r:.60}; {fix}")


def tokens(file: str, line: int, field: str, text: str) -> int:
    """A count of tokens. Raises ConfigError."""
    bare = text.strip()
    if not (bare.isascii() and bare.isdigit() and len(bare) < 10 and int(bare) <= MOST_TOKENS):
        raise wrong(file, line, field, text, f"write whole tokens, 0 to {MOST_TOKENS}")
    return int(bare)


def seconds(file: str, line: int, field: str, text: str) -> float:
    """A moment in seconds. Raises ConfigError."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise wrong(file, line, field, text, "write seconds, 0 or more")
    return found
