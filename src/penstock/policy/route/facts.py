"""What routing decides on, and what it says."""

import msgspec

from penstock.core.load import Load


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What one request needs of an engine."""

    model: str
    """The name the engine serves it under: a model, or a LoRA adapter. Empty: the client named none."""
    chain: tuple[int, ...] = ()
    """Hash chain over the prompt, one entry per block; each depends on all blocks before it."""
    prompt_tokens: int = 0
    """Estimated."""
    output_tokens: int = 0
    """Predicted: what the request may still cost after its first token."""
    session: str = ""
    """Requests of one session like the engine of their predecessor."""
    priority: int = 0
    """Higher is served first; negative may be shed (as in the Gateway API Inference Extension)."""
    pool: str = ""
    """Only engines of this pool; empty for any."""
    leg: str = ""
    """`prefill` admits engines that only prefill; anything else leaves them out."""
    tokens: tuple[int, ...] = ()
    """The prompt's token ids as a chain (`tokens.token_chain`); empty where they are not known."""
    lookup: str = ""
    """How the token ids were found, or why not; empty where nobody looked."""


class EngineFacts(msgspec.Struct, frozen=True):
    """One engine as it stands. `weight` comes from resilience: slow start and half-open breakers lower it."""

    name: str
    models: frozenset[str]
    adapters: frozenset[str] = frozenset()
    """Those of `models` that are LoRA adapters resident there."""
    pool: str = "default"
    role: str = "both"
    """`both`, `prefill` or `decode`."""
    cost: float = 0.0
    """Money per million tokens, input and output alike, relative between engines."""
    weight: float = 1.0
    """Share of its fair load it may get, 0 to 1; 0 takes it out."""
    kv_capacity_tokens: int = 0
    """From the config or the engine; 0 when unknown."""
    max_in_flight: int = 0
    """Requests at once from all gateways' workers together; 0 for no bound."""
    load: Load | None = None


class Scored(msgspec.Struct, frozen=True):
    """One candidate of a decision, for people."""

    engine: str
    score: float
    """0 to 1, 1 is best."""
    parts: dict[str, float]
    """Scorer -> score in [0, 1]."""
    matched_tokens: int = 0
    """Prompt tokens believed to be in its prefix cache."""
    in_flight: int = 0
    in_flight_tokens: int = 0


class Decision(msgspec.Struct, gc=False):
    """The engine chosen, and why. Cheap to make: the candidates' scores are worked out by `Router.explain`."""

    engine: str
    policy: str
    rule: str
    """Which rule decided, with places for its numbers."""
    numbers: tuple[object, ...] = ()
    matched_tokens: int = 0
    candidates: int = 0
    at: float = 0.0
    """When it was asked for, monotonic."""
    seconds: float = 0.0
    """What deciding took: until a request began by it; 0 when none did."""
    snapshot: object = None
    """What `Router.explain` needs; private to the router."""
    full: bool = False
    """The engine has no room: the request waits there for its prefix."""
    charge: tuple[int, float] | None = None
    """Booked by `Router.begin`; private to the router."""

    @property
    def reason(self) -> str:
        """One line: which rule decided, with its numbers. Written out only when somebody reads it."""
        return self.rule % self.numbers


class Lease(msgspec.Struct, gc=False):
    """A request's claim on an engine, from choice to end (law 6: every lease returns)."""

    engine: str
    tokens: int
    """Counted as in flight on that engine."""
    ask: Ask
    since: float
    ended: bool = False
    matched_tokens: int = 0
    """Prompt tokens believed cached there when it began."""
    queue: float = 0.0
    """Requests believed waiting in that engine when it began."""
    batch: float = 0.0
    """Requests believed running in that engine when it began."""
    adapter: str = ""
    """LoRA adapter that it keeps in use there."""
    until: float = 0.0
    """When it ended, once it has."""
    busy: int = 0
    """Engines that had requests when it began, its own among them."""
