"""What bounds a run: where more would have to be given for it to go faster."""

from collections.abc import Sequence

import msgspec

from penstock.bench.measure.figures import Figures
from penstock.bench.measure.health import MOST_CORE
from penstock.bench.sample import Run

FULL = 0.9
"""KV utilisation from which engines wait for it or preempt."""
MUCH = 0.3
"""Part of the time to first token that a queue must take to be what bounds."""


class Bound(msgspec.Struct, frozen=True):
    """`what`: client, KV cache, gateway queue, engine queue, prefill, decode, or nothing."""

    what: str
    why: str


def bound(run: Run, stage: Figures) -> Bound:
    """For one stage, by what is known of it: the first that applies."""
    client = run.client
    if client.invalid:
        return Bound("client", client.invalid)
    if client.busiest > MOST_CORE:
        return Bound("client", f"its busiest process used {client.busiest:.0%} of a core")
    kv, waiting, running = (_mean(run, stage.stage, name) for name in ("kv_utilisation", "waiting", "running"))
    if kv is not None and kv >= FULL:
        return Bound("KV cache", f"{kv:.0%} of it was in use on average: shorter contexts, or more of it")
    spreads = stage.spreads
    first, whole = spreads.get("ttft"), spreads.get("e2e")
    if first is None or whole is None:
        return Bound("nothing", "no answer was whole")
    numbers = {number for number, each in enumerate(run.stages) if each.name == stage.stage}
    queued = [sample.queue_s for sample in run.samples if sample.stage in numbers]
    share = sum(queued) / len(queued) / first.mean if queued and first.mean else 0.0
    if share >= MUCH:
        return Bound("gateway queue", f"{share:.0%} of the time to first token was spent waiting in the gateway")
    if waiting is not None and running is not None and waiting >= max(1.0, MUCH * running):
        return Bound(
            "engine queue", f"{waiting:.1f} requests waited in engines on average beside {running:.1f} running"
        )
    share = first.mean / whole.mean if whole.mean else 0.0
    if share >= 0.5:
        return Bound("prefill", f"{share:.0%} of a request passed before its first token")
    return Bound("decode", f"{1 - share:.0%} of a request passed after its first token")


def _mean(run: Run, stage: str, name: str) -> float | None:
    """Of what was watched while the stage ran."""
    spans = [(each.begin, each.end) for each in run.stages if each.name == stage]
    values: Sequence[float] = [
        value
        for series in run.series
        if series.name == name
        for at, value in zip(series.at, series.values, strict=True)
        if any(begin <= at <= end for begin, end in spans)
    ]
    return sum(values) / len(values) if values else None
