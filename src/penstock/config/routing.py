"""How requests find an engine, wait for one, and survive its failure."""

from typing import Annotated, Literal

from msgspec import Meta

from penstock.config.section import Name, Seconds, SecondsOrOff, Section

Share = Annotated[float, Meta(ge=0, le=1, description="0 to 1")]


class Routing(Section, frozen=True):
    """Which engine takes a request. docs/routing.md has the formulas."""

    policy: Annotated[
        Literal[
            "balanced", "round_robin", "random", "power_of_two", "least_load", "prefix", "session", "lowest_cost",
            "predicted_latency",
        ],
        Meta(description="Rule of choice; `balanced`: longest cached prefix among the engines near the least load"),
    ] = "balanced"  # fmt: skip
    block_bytes: Annotated[int, Meta(ge=64, le=65_536, description="Bytes of prompt per block of the prefix index")] = (
        256
    )
    prefixes: Annotated[
        Literal["approximate", "precise"],
        Meta(description="Where prompts are cached: by what was sent there, or by the KV events of vLLM"),
    ] = "approximate"
    token_wait: Annotated[
        float,
        Meta(gt=0, le=10, description="`precise`: seconds a request waits for its token ids before it goes without"),
    ] = 0.03
    window: Annotated[
        float, Meta(ge=1, description="`balanced`: an engine is near the least load up to this many times it")
    ] = 1.3
    load_interval: Annotated[Seconds, Meta(description="Seconds between two readings of an engine's metrics")] = 1.0
    session_header: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$", description="Header that names the session of a request")
    ] = "x-session-id"
    priority_header: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$", description="Header with a whole number; higher goes first")
    ] = "x-priority"
    split_tokens: Annotated[
        int,
        Meta(ge=1, description="Uncached prompt tokens from which an engine with the role `prefill` reads the prompt"),
    ] = 1024
    explain_headers: Annotated[
        bool, Meta(description="Tell in response headers which engine answered and how much of its cache was hoped for")
    ] = False


class Resilience(Section, frozen=True):
    """What happens when an engine fails or lags. docs/resilience.md has the formulas."""

    attempts: Annotated[int, Meta(ge=1, le=10, description="Tries per request, the first included")] = 3
    retry_ratio: Annotated[Share, Meta(description="Retries and hedges per request, over time; 0.1 is one in ten")] = (
        0.1
    )
    breaker_failures: Annotated[
        int, Meta(ge=1, description="Failures in a row after which an engine is left alone for a while")
    ] = 5
    breaker_open: Annotated[Seconds, Meta(description="How long it is left alone first; doubles while it fails")] = 5.0
    min_healthy: Annotated[Share, Meta(description="Ejection leaves at least this share of a pool in use")] = 0.5
    slow_start: Annotated[SecondsOrOff, Meta(description="A new engine gets its full share after this long")] = 10.0
    hedge: Annotated[bool, Meta(description="Ask a second engine when the first is slower than almost ever")] = False
    adaptive_timeouts: Annotated[
        bool, Meta(description="Learn timeouts from what requests of their kind took; `timeouts` are then ceilings")
    ] = True


class Queue(Section, frozen=True):
    """Where requests wait while every engine of their pool is at `max_in_flight`."""

    size: Annotated[int, Meta(ge=0, description="Requests that may wait per pool and worker; 0 refuses at once")] = 1024
    max_wait: Annotated[
        Seconds, Meta(description="Longest wait; a request that would wait longer is refused at once")
    ] = 30.0
    aging: Annotated[
        float,
        Meta(ge=0, le=86_400, description="Seconds of being passed over that make up for a priority; 0: none do"),
    ] = 10.0
    output_price: Annotated[
        float,
        Meta(ge=0, le=1000, description="Of an output token in a tenant's share; that of an input token is 1"),
    ] = 2.0
    cached_price: Annotated[
        float, Meta(ge=0, le=1000, description="Of an input token that the engine found in its prefix cache")
    ] = 0.1


class Model(Section, frozen=True):
    """What holds for the requests of one model."""

    fallbacks: Annotated[
        tuple[str, ...], Meta(description="Models asked instead, in this order, when no engine of this one can answer")
    ] = ()
    pools: Annotated[
        tuple[Name, ...],
        Meta(description="Pools asked in this order, a later one when the earlier are full or fail; empty: all as one"),
    ] = ()
    max_in_flight: Annotated[int, Meta(ge=0, description="Its requests at once per worker; 0 sets no bound")] = 0
