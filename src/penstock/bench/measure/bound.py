"""What bounds a run: where more would have to be given for it to go faster."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import msgspec

from penstock.bench.measure.figures import Figures
from penstock.bench.measure.health import MOST_CORE
from penstock.bench.measure.moments import ttft
from penstock.bench.sample import Run, Sample, Stage

FULL = 0.9
"""KV utilisation from which engines wait for it or preempt."""
MUCH = 0.3
"""Part of the time to first token that a queue must take to be what bounds."""
APART_S = 0.1
"""Values of one series this far apart are of two readings."""
HALF = 0.5
"""Part of a request that prefill must take to be what bounds."""

ADVICE: Mapping[str, str] = {
    "client": "Give the client more cores (--processes) or a machine of its own; these figures say nothing of the "
    "server.",
    "KV cache": "Give the engine more KV memory, a smaller KV type or shorter contexts, or add an engine.",
    "gateway queue": "Raise max_in_flight if the engines' batches have room, else add an engine.",
    "engine queue": "Raise how many sequences the engine batches if its KV cache has room, else add an engine.",
    "prefill": "Let prompts begin alike so that prefix caches help, shorten them, or give prefill more compute.",
    "decode": "A smaller or quantised model, speculative decoding or faster memory shorten each token; more requests "
    "at once raise the rate, not the speed of one.",
    "nothing": "Look at how the answers ended: none was whole.",
}
"""One sentence for each bound."""


class Bound(msgspec.Struct, frozen=True):
    """`what`: client, KV cache, gateway queue, engine queue, prefill, decode, or nothing."""

    what: str
    why: str


class Candidate(msgspec.Struct, frozen=True):
    """Something that could bound a stage, and what is known of it."""

    what: str
    applies: bool
    why: str
    """The numbers in words."""
    rule: str
    """When it applies."""
    numbers: dict[str, float | None]
    """None: nobody told. Seconds, shares from 0 to 1, and mean counts."""


class Explanation(msgspec.Struct, frozen=True):
    """Why one stage is bound as it is."""

    stage: str
    bound: Bound
    advice: str
    candidates: list[Candidate]
    """In the order in which they are asked; the first that applies bounds."""


def bound(run: Run, number: int, stage: Figures) -> Bound:
    """For the stage with that number, by what is known of it: the first candidate that applies."""
    return explain(run, number, stage).bound


def explain(run: Run, number: int, stage: Figures) -> Explanation:
    """All candidates of a stage with their numbers. What the client and engines told of the stage counts, and of the
    whole run where they told nothing within it.
    """
    own = [sample for sample in run.samples if sample.stage == number]
    at = run.stages[number]
    candidates = [each(run, at, stage, own) for each in CANDIDATES]
    found = next((each for each in candidates if each.applies), None)
    limit = Bound(found.what, found.why) if found else Bound("nothing", "no answer was whole")
    return Explanation(stage.stage, limit, ADVICE[limit.what], candidates)


def _client(run: Run, at: Stage, stage: Figures, own: Sequence[Sample]) -> Candidate:
    client, lag = run.client, stage.spreads.get("lag")
    late = lag.at["p99"] if lag else client.lag_p99_s
    why = client.invalid or (
        f"its busiest process used {client.busiest:.0%} of a core, requests were sent {late * 1e3:.1f} ms late at p99"
    )
    return Candidate(
        "client",
        bool(client.invalid) or client.busiest > MOST_CORE,
        why,
        f"the run is not valid or a process used more than {MOST_CORE:.0%}",
        {
            "core_share": client.busiest, "schedule_delay_p99_s": late, "asked_rate": client.asked_rate,
            "achieved_rate": client.achieved_rate,
        },
    )  # fmt: skip


def _kv(run: Run, at: Stage, stage: Figures, own: Sequence[Sample]) -> Candidate:
    kv = _mean(run, at, "kv_utilisation")
    why = "no engine told" if kv is None else f"{kv:.0%} of it was in use on average"
    return Candidate("KV cache", kv is not None and kv >= FULL, why, f"it is {FULL:.0%} or more", {"utilisation": kv})


def _gateway_queue(run: Run, at: Stage, stage: Figures, own: Sequence[Sample]) -> Candidate:
    first = stage.spreads.get("ttft")
    queued = _queued(run, at, own)
    share = min(1.0, queued / first.mean) if queued is not None and first and first.mean else None
    why = "no server told of one"
    if queued is not None and share is not None:
        why = f"{share:.0%} of the time to first token was spent waiting in the gateway, {queued:.3g} s of it"
    numbers = {"queue_s": queued, "share_of_ttft": share}
    return Candidate("gateway queue", (share or 0.0) >= MUCH, why, f"it is {MUCH:.0%} or more", numbers)


def _queued(run: Run, at: Stage, own: Sequence[Sample]) -> float | None:
    """Mean seconds in the gateway's queue: as the answers say, else how many waited over how many left it per second
    (Little's law). None where nobody told.
    """
    begun = [sample for sample in own if ttft(sample) is not None]
    if any(sample.queue_s for sample in begun):
        return sum(sample.queue_s for sample in begun) / len(begun)
    depth = _depth(run, at)
    return depth * (at.end - at.begin) / len(begun) if depth is not None and begun else None


def _depth(run: Run, at: Stage) -> float | None:
    """Requests in the gateway's queues on average: its models' and pools' queues, read at about the same time, add
    up."""
    within = [
        (moment, value)
        for series in run.series
        if series.name == "queue"
        for moment, value in zip(series.at, series.values, strict=False)
        if at.begin <= moment <= at.end
    ]
    moments = sorted(moment for moment, _ in within)
    readings = sum(later - earlier > APART_S for earlier, later in pairwise(moments)) + 1
    return sum(value for _, value in within) / readings if within else None


def _engine_queue(run: Run, at: Stage, stage: Figures, own: Sequence[Sample]) -> Candidate:
    waiting, running = _mean(run, at, "waiting"), _mean(run, at, "running")
    applies, why = False, "no engine told"
    if waiting is not None and running is not None:
        applies = waiting >= max(1.0, MUCH * running)
        why = f"{waiting:.1f} requests waited in engines on average beside {running:.1f} running"
    rule = f"one or more wait, and {MUCH:.0%} of those that run"
    return Candidate("engine queue", applies, why, rule, {"waiting": waiting, "running": running})


def _prefill(run: Run, at: Stage, stage: Figures, own: Sequence[Sample]) -> Candidate:
    share = _before_first(stage)
    why = "no answer was whole" if share is None else f"{share:.0%} of a request passed before its first token"
    return Candidate("prefill", share is not None and share >= HALF, why, f"it is {HALF:.0%} or more", {"share": share})


def _decode(run: Run, at: Stage, stage: Figures, own: Sequence[Sample]) -> Candidate:
    share = _before_first(stage)
    rest = None if share is None else 1 - share
    why = "no answer was whole" if rest is None else f"{rest:.0%} of a request passed after its first token"
    return Candidate(
        "decode", rest is not None and rest > 1 - HALF, why, f"it is more than {1 - HALF:.0%}", {"share": rest}
    )


CANDIDATES: tuple[Callable[[Run, Stage, Figures, Sequence[Sample]], Candidate], ...] = (
    _client, _kv, _gateway_queue, _engine_queue, _prefill, _decode,
)  # fmt: skip
"""In the order in which they are asked."""


def _before_first(stage: Figures) -> float | None:
    """Part of a request that passed before its first token."""
    first, whole = stage.spreads.get("ttft"), stage.spreads.get("e2e")
    if first is None or whole is None:
        return None
    return min(1.0, first.mean / whole.mean) if whole.mean else 0.0


def _mean(run: Run, at: Stage, name: str) -> float | None:
    """Of a series within a stage; of the whole run where the stage was too short for a reading."""
    told = [series for series in run.series if series.name == name]
    within = [
        value
        for series in told
        for moment, value in zip(series.at, series.values, strict=False)
        if at.begin <= moment <= at.end
    ]
    values = within or [value for series in told for value in series.values]
    return sum(values) / len(values) if values else None
