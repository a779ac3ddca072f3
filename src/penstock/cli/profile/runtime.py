"""Two scrapes of a platform's metrics -> loop lag and collections of its workers in between."""

from collections import defaultdict
from math import inf

import msgspec
from prometheus_client.parser import text_string_to_metric_families

LAG = "penstock_loop_lag_seconds"
MOST_LAG = "penstock_loop_lag_max_seconds"
PAUSE = "penstock_gc_pause_seconds"

Numbers = dict[tuple[str, str, str], float]
"""(sample, worker, bound of a bucket or generation) -> value."""


class Collections(msgspec.Struct, frozen=True):
    generation: int
    runs: int
    seconds: float


class WorkerRuntime(msgspec.Struct, frozen=True):
    """Lag in seconds: upper bounds of buckets, None where it was above all of them or nothing was told."""

    worker: int
    looks: int
    lag_p50_s: float | None
    lag_p99_s: float | None
    lag_max_s: float
    """Of the ten to twenty seconds before the second scrape."""
    collections: list[Collections]


def workers(text: str) -> frozenset[int]:
    """Process ids of the workers that a scrape tells of."""
    return frozenset(int(worker) for sample, worker, _ in _numbers(text) if sample == MOST_LAG and worker.isdigit())


def runtime(before: str, after: str) -> list[WorkerRuntime]:
    """For each worker of the second scrape. One that was not in the first has done all of it in between."""
    then, now = _numbers(before), _numbers(after)
    found = []
    for worker in sorted(workers(after)):
        own = {key: value - then.get(key, 0.0) for key, value in now.items() if key[1] == str(worker)}
        buckets = sorted((float(le), count) for (name, _, le), count in own.items() if name == f"{LAG}_bucket")
        looks = int(own.get((f"{LAG}_count", str(worker), ""), 0))
        found.append(
            WorkerRuntime(
                worker,
                looks,
                _quantile(buckets, looks, 0.5),
                _quantile(buckets, looks, 0.99),
                now[MOST_LAG, str(worker), ""],
                [
                    Collections(int(generation), int(runs), own.get((f"{PAUSE}_sum", str(worker), generation), 0.0))
                    for (name, _, generation), runs in sorted(own.items())
                    if name == f"{PAUSE}_count"
                ],
            )
        )
    return found


def _quantile(buckets: list[tuple[float, float]], count: int, q: float) -> float | None:
    """The bound of the bucket that holds it; `buckets`: (bound, how many are not above it)."""
    bound = next((bound for bound, within in buckets if within >= q * count), inf) if count else inf
    return None if bound == inf else bound


def _numbers(text: str) -> Numbers:
    """Empty for a text that is nobody's metrics."""
    found: Numbers = defaultdict(float)
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError:
        return {}
    for family in families:
        if family.name in (LAG, MOST_LAG, PAUSE):
            for sample in family.samples:
                labels = sample.labels
                if family.name != PAUSE or "le" not in labels:
                    at = labels.get("le") or labels.get("generation") or ""
                    found[sample.name, labels.get("worker", ""), at] += float(sample.value)
    return dict(found)
