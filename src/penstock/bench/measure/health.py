"""Whether the client itself kept up: if not, a run says nothing of the server."""

from collections.abc import Sequence

from penstock.bench.measure.moments import lag, ttft
from penstock.bench.measure.quantile import quantile
from penstock.bench.sample import ClientHealth, Sample, Stage

MOST_LAG_S = 0.010
MOST_LAG_SHARE = 0.05
"""Of the median TTFT: a client may be late by as much as nobody would see in the figures."""
MOST_CORE = 0.9
LEAST_RATE = 0.98


def health(stages: Sequence[Stage], samples: Sequence[Sample], cpu: Sequence[tuple[float, float]]) -> ClientHealth:
    """`cpu`: (CPU seconds, wall seconds) of each process in each stage.

    Invalid are runs whose requests were sent late (99th percentile above 10 ms and above 5 % of the median TTFT), whose
    busiest client process had more than 90 % of a core, or that sent less than 98 % of the rate that was asked for.
    """
    lags = sorted(map(lag, samples)) or [0.0]
    p50, p99 = quantile(lags, 0.5), quantile(lags, 0.99)
    firsts = sorted(value for sample in samples if (value := ttft(sample)) is not None)
    busiest = max((spent / wall for spent, wall in cpu if wall > 0), default=0.0)
    asked, achieved = _rates(stages, samples)
    bound = max(MOST_LAG_S, MOST_LAG_SHARE * quantile(firsts, 0.5) if firsts else 0.0)
    reasons = []
    if p99 > bound:
        reasons.append(f"requests were sent late: schedule delay p99 {p99 * 1e3:.1f} ms, above {bound * 1e3:.1f} ms")
    if busiest > MOST_CORE:
        reasons.append(f"a client process used {busiest:.0%} of a core; use more with --processes")
    if asked and achieved < LEAST_RATE * asked:
        reasons.append(f"{achieved:.4g} requests/s were sent of {asked:.4g} that were due")
    spent, wall = sum(each for each, _ in cpu), sum(stage.end - stage.begin for stage in stages)
    return ClientHealth(
        len(cpu) // max(1, len(stages)), spent, wall, busiest, p50, p99, lags[-1], asked, achieved, "; ".join(reasons)
    )


def _rates(stages: Sequence[Stage], samples: Sequence[Sample]) -> tuple[float, float]:
    """(asked, achieved) requests per second over all open stages: first to last due, and first to last sent."""
    due: list[float] = []
    seconds_due = seconds_sent = 0.0
    for number, stage in enumerate(stages):
        own = [sample for sample in samples if sample.stage == number and not sample.turn]
        if stage.concurrency or len(own) < 2:
            continue
        due += [sample.due for sample in own]
        seconds_due += max(sample.due for sample in own) - stage.begin
        seconds_sent += max(sample.sent for sample in own) - stage.begin
    if not due or not seconds_due:
        return 0.0, 0.0
    return len(due) / seconds_due, len(due) / max(seconds_due, seconds_sent)
