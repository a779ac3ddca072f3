"""How one attempt at an engine went, as far as it says something of the engine."""

from typing import NamedTuple


class Verdict(NamedTuple):
    """Times in seconds."""

    ok: bool | None
    """None when that tells nothing of the engine: the client left, or asked for what cannot be."""
    code: str = ""
    ttft_s: float | None = None
    tpot_s: float | None = None
    prompt_tokens: int = 0
    """As the engine reported; 0 when it did not."""
    cached_tokens: int = 0
