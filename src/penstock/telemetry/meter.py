"""Record -> series: the one place that fills request metrics."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping

from penstock.core.record import Outcome, PrefillLeg, Record, TokenSource
from penstock.telemetry import buckets
from penstock.telemetry.catalogue import (
    COLLECTOR,
    ENGINE_LOAD,
    LEDGER,
    LIMITS,
    LOOKUPS,
    LOOP,
    PREFILL,
    PROCESS,
    QUEUE,
    REFUSALS,
    REQUESTS,
    TENANTS,
    TRAFFIC,
)
from penstock.telemetry.series import OTHER, Row, SeriesWriter

ROUTES = {
    route.encode(): route
    for route in (
        "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/models",
        "/tokenize", "/v1/rerank", "/v1/audio/transcriptions", "/v1/audio/speech", "/v1/images/generations",
        "/v1/files", "/v1/batches",
    )
}  # fmt: skip
"""Paths that get a label value of their own; scanners and typos share `other`."""

DURATION = TRAFFIC.offset("penstock_request_duration_seconds")
FIRST_TOKEN = TRAFFIC.offset("penstock_time_to_first_token_seconds")
BETWEEN = TRAFFIC.offset("penstock_inter_token_latency_seconds")
PER_TOKEN = TRAFFIC.offset("penstock_time_per_output_token_seconds")
INPUT = TRAFFIC.offset("penstock_input_tokens")
OUTPUT = TRAFFIC.offset("penstock_output_tokens")
CACHED = TRAFFIC.offset("penstock_cached_input_tokens")
REASONING = TRAFFIC.offset("penstock_reasoning_tokens")
COUNTED = TRAFFIC.offset("penstock_requests_without_usage")
BYTES_IN = TRAFFIC.offset("penstock_request_bytes")
BYTES_OUT = TRAFFIC.offset("penstock_response_bytes")
EVENTS = TRAFFIC.offset("penstock_stream_events")
ATTEMPTS = TRAFFIC.offset("penstock_attempts")
RETRIES = TRAFFIC.offset("penstock_retries")

LAG = LOOP.offset("penstock_loop_lag_seconds")
MOST_LAG = LOOP.offset("penstock_loop_lag_max_seconds")
PAUSE = COLLECTOR.offset("penstock_gc_pause_seconds")
LEGS = PREFILL.offset("penstock_prefill_legs")
LEG = PREFILL.offset("penstock_prefill_leg_seconds")

TENANT_QUEUE = TENANTS.offset("penstock_tenant_queue_seconds")
TENANT_SERVICE = TENANTS.offset("penstock_tenant_service")
TENANT_BACKLOG = TENANTS.offset("penstock_tenant_backlog_seconds")

IN_FLIGHT = PROCESS.offset("penstock_requests_in_flight")
CONNECTIONS = PROCESS.offset("penstock_connections")
ACCEPTED = PROCESS.offset("penstock_connections_accepted")
DROPPED = PROCESS.offset("penstock_access_log_dropped")

DURATION_SUM = DURATION + len(buckets.LATENCY) + 1
BETWEEN_SUM = BETWEEN + len(buckets.TOKEN) + 1


class Meter:
    """A worker's metrics. Rows from `traffic` are counted up in place by streams; `mark` and `flush` make it known."""

    def __init__(self, writer: SeriesWriter) -> None:
        self._writer = writer
        self.mark = writer.mark
        self.flush = writer.flush
        self._traffic: dict[tuple[str, str, str], Row] = {}
        self._requests: dict[tuple[str, str, str, int, Outcome | None], tuple[Row, Row]] = {}
        self._limits: tuple[dict[str, int], ...] = ({}, {}, {})
        """What limits had done by the last time they were shown."""

    def route(self, path: bytes) -> str:
        """The label value of a path."""
        return ROUTES.get(path, OTHER)

    def show_load(self, requests: int, connections: int, accepted: int, dropped: int) -> None:
        """Sets what is true of the process now."""
        row = self._writer.row(PROCESS, ())
        numbers = row.numbers
        numbers[IN_FLIGHT], numbers[CONNECTIONS] = requests, connections
        numbers[ACCEPTED], numbers[DROPPED] = accepted, dropped
        self.mark(row)

    def show_engine_load(self, engine: str, requests: int) -> None:
        row = self._writer.row(ENGINE_LOAD, (engine,))
        row.numbers[0] = requests
        self.mark(row)

    def show_queue(self, model: str, pool: str, requests: int) -> None:
        row = self._writer.row(QUEUE, (model, pool))
        row.numbers[0] = requests
        self.mark(row)

    def show_ledger(self, dropped: int) -> None:
        row = self._writer.row(LEDGER, ())
        row.numbers[0] = dropped
        self.mark(row)

    def show_limits(self, *counts: Mapping[str, int]) -> None:
        """By rule: requests refused, shadowed, let pass. Rules beyond the bound of labels add up in one row."""
        for slot, (now, shown) in enumerate(zip(counts, self._limits, strict=True)):
            for rule, count in now.items():
                if more := count - shown.get(rule, 0):
                    shown[rule] = count
                    row = self._writer.row(LIMITS, (rule,))
                    row.numbers[slot] += more
                    self.mark(row)

    def add_tenant(self, tenant: str, at_once: int, waits: Iterable[float], service: float, backlog_s: float) -> None:
        """Counts what has come to a tenant: requests that did not wait, seconds of those that did, service, backlog."""
        row = self._writer.row(TENANTS, (tenant,))
        numbers = row.numbers
        numbers[TENANT_QUEUE] += at_once
        for wait_s in waits:
            observe(numbers, TENANT_QUEUE, buckets.FIRST_TOKEN, wait_s)
        numbers[TENANT_SERVICE] += service
        numbers[TENANT_BACKLOG] += backlog_s
        self.mark(row)

    def add_lag(self, worker: str, lag_s: float, most_s: float) -> None:
        """Counts how late the event loop was once. `most_s`: the latest it has been lately."""
        row = self._writer.row(LOOP, (worker,))
        observe(row.numbers, LAG, buckets.PAUSE, lag_s)
        row.numbers[MOST_LAG] = most_s
        self.mark(row)

    def add_pauses(self, worker: str, pauses: Iterable[tuple[int, float]]) -> None:
        """Counts runs of the collector: (generation, seconds)."""
        for generation, pause_s in pauses:
            row = self._writer.row(COLLECTOR, (worker, str(generation)))
            observe(row.numbers, PAUSE, buckets.PAUSE, pause_s)
            self.mark(row)

    def add_lookup(self, outcome: str, seconds: float) -> None:
        """Counts a look-up of token ids, and how long its request waited for it."""
        row = self._writer.row(LOOKUPS, (outcome,))
        row.numbers[0] += 1
        row.numbers[1] += seconds
        self.mark(row)

    def traffic(self, route: str, model: str, engine: str) -> Row:
        key = (route, model, engine)
        row = self._traffic.get(key)
        if row is None:
            row = self._traffic[key] = self._writer.row(TRAFFIC, key)
        return row

    def finish(self, record: Record, route: str, model: str) -> None:
        """Counts one ended request. `model`: its label value, a model of the fleet or `other`."""
        key = (route, model, record.engine, record.status, record.outcome)
        rows = self._requests.get(key)
        if rows is None:
            outcome = record.outcome or Outcome.INTERNAL_ERROR
            labels = (route, model, record.engine, str(record.status), outcome.value)
            rows = self._writer.row(REQUESTS, labels), self.traffic(route, model, record.engine)
            self._requests[key] = rows
        counted, row = rows
        counted.numbers[0] += 1
        if not counted.marked:
            self.mark(counted)
        if not row.marked:
            self.mark(row)
        numbers = row.numbers
        numbers[DURATION + bisect_left(buckets.LATENCY, record.duration_s)] += 1
        numbers[DURATION_SUM] += record.duration_s
        if record.ttft_s is not None:
            observe(numbers, FIRST_TOKEN, buckets.FIRST_TOKEN, record.ttft_s)
        if record.tpot_s is not None:
            observe(numbers, PER_TOKEN, buckets.TOKEN, record.tpot_s)
        if record.tokens_source is not TokenSource.NONE:
            numbers[INPUT] += record.input_tokens
            numbers[OUTPUT] += record.output_tokens
            numbers[CACHED] += record.cached_tokens
            numbers[REASONING] += record.reasoning_tokens
            if record.tokens_source is TokenSource.COUNTED:
                numbers[COUNTED] += 1
        numbers[BYTES_IN] += record.bytes_in
        numbers[BYTES_OUT] += record.bytes_out
        tries = len(record.attempts)
        numbers[ATTEMPTS] += tries
        if tries > 1:
            numbers[RETRIES] += tries - 1
        if record.status == 429 or record.prefill is not None:
            self._finish_rare(record, model)

    def _finish_rare(self, record: Record, model: str) -> None:
        """What few requests have."""
        if record.prefill is not None:
            self._first_leg(record.prefill)
        if record.status == 429 and record.error:  # an engine's own 429 is an answer and no error
            refused = self._writer.row(REFUSALS, (model, record.error))
            refused.numbers[0] += 1
            self.mark(refused)

    def _first_leg(self, leg: PrefillLeg) -> None:
        row = self._writer.row(PREFILL, (leg.engine, leg.outcome or OTHER))
        row.numbers[LEGS] += 1
        observe(row.numbers, LEG, buckets.FIRST_TOKEN, leg.seconds)
        self.mark(row)


def observe(numbers: list[float], at: int, bounds: tuple[float, ...], value: float) -> None:
    """One observation of a histogram whose numbers begin at slot `at`: a bucket, and the sum after the last."""
    numbers[at + bisect_left(bounds, value)] += 1
    numbers[at + len(bounds) + 1] += value


def observe_all(numbers: list[float], at: int, bounds: tuple[float, ...], values: list[float]) -> None:
    """The buckets of many observations, not their sum. Sorts `values`: those of one bucket are then counted at once."""
    values.sort()
    counted, end = 0, len(values)
    while counted < end:
        bucket = bisect_left(bounds, values[counted])
        within = bisect_right(values, bounds[bucket], counted) if bucket < len(bounds) else end
        numbers[at + bucket] += within - counted
        counted = within
