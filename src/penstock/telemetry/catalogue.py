"""Every metric Penstock exports. Rules, dashboards and docs may name only what stands here.

Metrics with the same labels form a sheet: one row of numbers per label set, so a finished request finds its whole row
with one look-up.
"""

from enum import StrEnum

import msgspec

from penstock.telemetry import buckets


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """One declared metric. Counters are exported with the suffix `_total`."""

    name: str
    kind: Kind
    help: str
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, without +Inf."""

    @property
    def slots(self) -> int:
        """Numbers it takes in a row: a histogram holds its buckets, +Inf, and the sum."""
        return len(self.bounds) + 2 if self.kind is Kind.HISTOGRAM else 1


class Sheet(msgspec.Struct, frozen=True):
    """Metrics that share their labels."""

    name: str
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]

    @property
    def slots(self) -> int:
        return sum(m.slots for m in self.metrics)

    def offset(self, name: str) -> int:
        """Where a metric's numbers begin inside a row."""
        at = 0
        for metric in self.metrics:
            if metric.name == name:
                return at
            at += metric.slots
        raise KeyError(name)


def _counter(name: str, text: str) -> Metric:
    return Metric(name, Kind.COUNTER, text)


def _gauge(name: str, text: str) -> Metric:
    return Metric(name, Kind.GAUGE, text)


def _histogram(name: str, bounds: tuple[float, ...], text: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, text, bounds)


REQUESTS = Sheet(
    "requests",
    ("route", "model", "engine", "status", "outcome"),
    (_counter("penstock_requests", "Requests that ended, by how they ended"),),
)

TRAFFIC = Sheet(
    "traffic",
    ("route", "model", "engine"),
    (
        _histogram("penstock_request_duration_seconds", buckets.LATENCY, "Request received to last byte, end to end"),
        _histogram(
            "penstock_time_to_first_token_seconds", buckets.FIRST_TOKEN, "Request received to first content (streams)"
        ),
        _histogram("penstock_inter_token_latency_seconds", buckets.TOKEN, "Between two relayed pieces of a stream"),
        _histogram(
            "penstock_time_per_output_token_seconds", buckets.TOKEN, "First to last content over output tokens less one"
        ),
        _counter("penstock_input_tokens", "Input tokens, cached ones included"),
        _counter("penstock_output_tokens", "Output tokens, reasoning ones included"),
        _counter("penstock_cached_input_tokens", "Input tokens the engine read from its prefix cache"),
        _counter("penstock_reasoning_tokens", "Output tokens spent on reasoning"),
        _counter("penstock_requests_without_usage", "Requests whose tokens were counted, as the engine reported none"),
        _counter("penstock_request_bytes", "Bytes of request bodies"),
        _counter("penstock_response_bytes", "Bytes of response bodies"),
        _counter("penstock_stream_events", "Stream events relayed"),
        _counter("penstock_attempts", "Tries at an engine, the first ones included"),
        _counter("penstock_retries", "Tries after a request's first"),
    ),
)

PREFILL = Sheet(
    "prefill",
    ("engine", "outcome"),
    (
        _counter("penstock_prefill_legs", "First legs of requests in two legs, by how they ended"),
        _histogram("penstock_prefill_leg_seconds", buckets.FIRST_TOKEN, "Time a first leg took"),
    ),
)
"""The engine is the one that read the prompt."""

ENGINE_LOAD = Sheet(
    "engine_load",
    ("engine",),
    (_gauge("penstock_engine_requests_in_flight", "Requests an engine is answering for this gateway"),),
)

QUEUE = Sheet(
    "queue",
    ("model", "pool"),
    (_gauge("penstock_queue_requests", "Requests that wait until an engine has room"),),
)

REFUSALS = Sheet(
    "refusals",
    ("model", "code"),
    (_counter("penstock_requests_refused", "Requests the gateway answered 429 itself, by the error's code"),),
)

PROCESS = Sheet(
    "process",
    (),
    (
        _gauge("penstock_requests_in_flight", "Requests being answered"),
        _gauge("penstock_connections", "Open client connections"),
        _counter("penstock_connections_accepted", "Client connections accepted"),
        _counter("penstock_access_log_dropped", "Access log lines dropped because the log could not keep up"),
    ),
)

LEDGER = Sheet(
    "ledger",
    (),
    (_counter("penstock_ledger_dropped", "Ledger entries lost because the disk was full"),),
)

LIMITS = Sheet(
    "limits",
    ("rule",),
    (
        _counter("penstock_limit_refused", "Requests that a limit refused"),
        _counter("penstock_limit_shadowed", "Requests that a limit in shadow mode would have refused"),
        _counter("penstock_limit_opened", "Requests that a fail_open limit let pass while its store could not say"),
    ),
)

TENANTS = Sheet(
    "tenants",
    ("tenant",),
    (
        _histogram(
            "penstock_tenant_queue_seconds", buckets.FIRST_TOKEN, "Time requests waited until an engine had room"
        ),
        _counter("penstock_tenant_service", "Service charged at busy engines, in units of one fresh input token"),
        _counter("penstock_tenant_backlog_seconds", "Time in which requests of the tenant waited"),
    ),
)
"""Of requests to engines that have a bound: only there tenants can be in each other's way."""

WORKER = "worker"
"""Label of what is told of each worker: its process id. Such series end with their worker."""

LOOP = Sheet(
    "loop",
    (WORKER,),
    (
        _histogram("penstock_loop_lag_seconds", buckets.PAUSE, "How late the event loop was, asked ten times a second"),
        _gauge("penstock_loop_lag_max_seconds", "The latest it was within the last ten to twenty seconds"),
    ),
)

COLLECTOR = Sheet(
    "collector",
    (WORKER, "generation"),
    (_histogram("penstock_gc_pause_seconds", buckets.PAUSE, "Runs of Python's garbage collector, and how long"),),
)

LOOKUPS = Sheet(
    "prefix_lookups",
    ("outcome",),
    (
        _counter("penstock_prefix_lookup", "Prompts whose token ids were looked up before routing, by what came of it"),
        _counter("penstock_prefix_lookup_seconds", "Time requests waited for the token ids of their prompts"),
    ),
)
"""Only where `routing.prefixes` is `precise`."""

SHEETS = (
    REQUESTS, TRAFFIC, PREFILL, ENGINE_LOAD, QUEUE, REFUSALS, PROCESS, LEDGER, LIMITS, TENANTS, LOOP, COLLECTOR,
    LOOKUPS,
)  # fmt: skip
"""What workers write. Rows of all workers are added up."""

SIGNALS = Sheet(
    "engine_signals",
    ("engine",),
    (
        _gauge("penstock_engine_requests_running", "Requests in the engine's batch, whoever sent them"),
        _gauge("penstock_engine_requests_waiting", "Requests in the engine's own queue"),
        _gauge("penstock_engine_kv_utilisation", "Share of the engine's KV cache in use, 0 to 1"),
        _gauge("penstock_engine_kv_capacity_tokens", "Tokens the engine's KV cache holds"),
        _gauge("penstock_engine_adapter_slots", "LoRA adapters that can be resident at once"),
        _gauge("penstock_engine_adapters_resident", "LoRA adapters with running or waiting requests"),
        _gauge("penstock_engine_load_age_seconds", "Age of the reading that the engine's signals are from"),
    ),
)
"""The engines' own word on their load. A number they do not tell is NaN here, and no series."""

MISSING = Sheet(
    "engine_signals_missing",
    ("engine", "signal"),
    (_gauge("penstock_engine_signals_missing", "1 for a signal that the engine should export and does not"),),
)

CACHES = Sheet(
    "engine_caches",
    ("engine",),
    (
        _counter("penstock_engine_kv_events", "Events that the engine told of its KV cache"),
        _counter("penstock_engine_kv_event_gaps", "Batches of such events that were lost for good"),
        _gauge("penstock_engine_cached_blocks", "Blocks of prompts known to be in the engine's KV cache"),
        _gauge("penstock_engine_cache_whole", "1 while all that is in the engine's KV cache is known"),
    ),
)
"""Of engines that are followed. Counts begin anew when an engine comes back."""

SHIPPING = Sheet(
    "ledger_shipping",
    (),
    (
        _gauge("penstock_ledger_lag_entries", "Ledger entries in journals that are not in the store yet"),
        _gauge("penstock_ledger_lag_seconds", "Time since every ledger entry was in the store"),
        _counter("penstock_ledger_shipped", "Charges put into the store"),
        _counter("penstock_ledger_interrupted", "Requests charged as interrupted, as their worker died"),
        _counter("penstock_ledger_damaged", "Journal files put aside because they could not be read to their end"),
        _counter("penstock_ledger_failures", "Passes over the journals that the store did not take"),
    ),
)

LIMIT_STORE = Sheet(
    "limit_store",
    (),
    (
        _gauge("penstock_limit_store_up", "1 when the store of limits answered last"),
        _counter("penstock_limit_store_failures", "Exchanges that the store of limits did not answer in time"),
    ),
)

SHARES = Sheet(
    "tenant_shares",
    ("tenant",),
    (_gauge("penstock_tenant_share", "Part of all service of the last minute that the tenant was given, 0 to 1"),),
)

FAIRNESS = Sheet(
    "fairness",
    (),
    (_gauge("penstock_fairness_index", "Jain's index of the last minute's service of tenants that waited, by weight"),),
)
"""No series while fewer than two waited: there is nothing to be fair about."""

STATE = Sheet(
    "state",
    (),
    (_gauge("penstock_state_problem", "1 while a store of tenants, limits or the ledger cannot be used"),),
)

PLATFORM = (
    SIGNALS,
    MISSING,
    CACHES,
    SHIPPING,
    LIMIT_STORE,
    SHARES,
    FAIRNESS,
    STATE,
    Sheet(
        "engines",
        ("engine", "kind"),
        (
            _gauge("penstock_engine_ready", "1 when the engine takes requests"),
            _counter("penstock_engine_restarts", "Times a managed engine was started again"),
        ),
    ),
    Sheet(
        "platform",
        (),
        (
            _gauge("penstock_workers", "Gateway worker processes that are up"),
            _counter("penstock_worker_restarts", "Workers started again after they died"),
            _counter("penstock_config_reloads", "Configs taken over while running"),
            _counter("penstock_config_reload_failures", "Configs refused while running"),
        ),
    ),
    Sheet("build", ("version",), (_gauge("penstock_build_info", "1, with the version as label"),)),
)
"""What the supervisor knows."""
