"""What the admin listener asks of the process that owns the fleet.

The listener knows nothing of workers, engines or shared memory: it renders what an
`AdminState` answers. Times are epoch seconds, durations seconds, sizes bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram since start: `counts[i]` fell in (bounds[i-1], bounds[i]] seconds.

    Counts are per bucket, not cumulative; one more than bounds, the last is overflow.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.bounds) + 1:
            raise ValueError(f"{len(self.bounds)} bounds need {len(self.bounds) + 1} counts, not {len(self.counts)}")


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all workers since start. All grow but `in_flight` and `connections`."""

    requests: int
    errors: int
    events: int
    input_tokens: int
    output_tokens: int
    in_flight: int
    connections: int
    ttft: Buckets
    itl: Buckets


COST_GROUPS = ("day", "org", "team", "key", "model")
"""What costs can be asked by."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far limits are used."""

    rows: Sequence[Row]
    """rule, level, subject, own (not of the config), measure, model, window_s, span, limit, used (by all replicas, as
    the store last said), held (here, and not spent), part (used of limit). Amounts of `spend` are money as text."""
    problem: str
    """Why the store of counts cannot say now; empty while it answers."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was used and what it cost."""

    rows: Sequence[Row]
    """What was asked by (a team with its organisation, a key with both), currency, requests, input, cached, output,
    reasoning, cost (money as text), unpriced, unknown, counted (requests), last (when the last one was received)."""
    problem: str
    """Why the newest requests are missing; empty when all is well."""


@dataclass(frozen=True, slots=True)
class Fairness:
    """How engines were shared over the last `window_s` seconds."""

    window_s: float
    index: float | None
    """Jain's index over the tenants that waited; None when fewer than two did."""
    rows: Sequence[Row]
    """tenant, weight, waiting (requests), wait_p50_s, wait_p95_s, share (of all service, 0 to 1)."""


class AdminState(Protocol):
    """The fleet as the admin listener sees it.

    Any method may raise OSError (TimeoutError included) when a worker does not answer;
    the listener turns that into 503.
    """

    async def metrics(self) -> bytes:
        """All series in the Prometheus text format, version 0.0.4."""

    def ready(self) -> tuple[bool, list[str]]:
        """Whether a request sent now can be answered; if not, each reason in words."""

    def engines(self) -> Sequence[Row]:
        """One row per engine.

        name, kind, state (a core EngineState), address, models
        (list of names), in_flight, restarts, since (of this state), last_error, pid,
        version, load, cache (what is known of its KV cache). What an engine does not have is None.
        """

    async def requests(self, limit: int) -> Sequence[Row]:
        """The last `limit` finished Records, newest first.

        id, time (arrival), method, path, model, engine, stream, status, outcome, error,
        ttft_s, tpot_s, duration_s, itl {count, mean_s, max_s}, input_tokens,
        output_tokens, cached_tokens, tokens_source, bytes_in, bytes_out, attempts.
        """

    async def why(self, request_id: str) -> Row | None:
        """How a request was routed; None when no worker knows it (any more). Raises TimeoutError when a worker that may
        know it does not answer.

        id, running, reason, queue_s, decisions (candidates with scores, those filtered and why), attempts, outcome,
        retry_budget.
        """

    async def health(self) -> Sequence[Row]:
        """One row per worker: engine -> weight, breaker, and why it is out if it is."""

    async def memory(self, types: int) -> Sequence[Row]:
        """One row per worker: worker (process id), objects, took_s, types (the most frequent ones, with
        their count). Each worker stands still while it counts.
        """

    async def adapters(self, engine: str) -> Sequence[Row]:
        """The LoRA adapters of an engine: name, base, path. Raises NotFound or BadRequest, as do the next two."""

    async def load_adapter(self, engine: str, name: str, path: str, *, replace: bool) -> None:
        """Has an engine load an adapter; returns when it serves it."""

    async def unload_adapter(self, engine: str, name: str) -> None:
        """Has an engine drop an adapter."""

    async def live(self) -> Sequence[Row]:
        """Running requests: id, model, engine, path, stream, age_s, first_byte, events.

        `first_byte` says whether the client has had one.
        """

    def limits(self) -> Limits | None:
        """The counts of limits that were lately in use; None when nobody can have a limit."""

    async def costs(self, by: str, days: int) -> Costs | None:
        """Totals of the last `days` days, by one of COST_GROUPS; None without a ledger. Raises Unavailable."""

    async def fairness(self) -> Fairness | None:
        """How tenants that queue share the engines; None when they do not queue."""

    def totals(self) -> Totals:
        """Counters for the timeline; called once a second, so it must be cheap."""

    def about(self) -> Row:
        """version, api (base address), models (names), workers, uptime_s, open, tenants.

        `open` is true when the API takes requests without a key, `tenants` when organisations, teams and keys are kept.
        """
