"""What an operator may turn in routing."""

import msgspec


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Every number a decision uses. The defaults are explained in docs/routing.md."""

    policy: str = "balanced"
    """Name in `POLICIES`."""
    weights: dict[str, float] = {}
    """Scorer -> weight, for the policy `weighted`."""
    precise: bool = False
    """Prefixes come from KV events where token ids are known, and else from what this router sent where."""
    block_bytes: int = 256
    """Prompt bytes in each of the first blocks of the hash chain; later blocks are larger."""
    bytes_per_token: float = 4.0
    """First estimate; usage that engines report corrects it."""
    unknown_kv_tokens: int = 262_144
    """KV capacity assumed for an engine that tells none."""
    window_relative: float = 1.3
    """An engine is near minimum load up to this multiple of the least load ..."""
    window_slack: float = 2.0
    """... or up to this many requests above it, whichever is more."""
    detour: float = 8.0
    """At most so many requests above the bound a prefix is followed to the one engine that has it, if reading it anew
    would take longer than they ..."""
    wanted: float = 1.75
    """... unless that engine has lately had more than so many times an even share, of two engines 1.25 and of three 1.5
    times at most: then others have to learn it."""
    even: float = 1.25
    """A prefix that nobody has goes to an engine that has lately had no more than so many times an even share."""
    tokens_per_request: float = 1024.0
    """In-flight tokens that weigh as one more request."""
    kv_limit: float = 0.9
    """KV utilisation from which no request follows its prefix to an engine."""
    kv_penalty: float = 8.0
    """Requests that a full KV cache counts for in the load; grows from nothing at 10 points below the limit."""
    fresh_s: float = 2.0
    """A reading of an engine's load counts in full up to this age, seconds ..."""
    stale_s: float = 10.0
    """... and not at all from this age on."""
    forgetting: float = 0.98
    """Weight of the past per sample, in the latency regression."""
