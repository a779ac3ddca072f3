"""A set of runs, stage by stage, with all that tables and plots need."""

from collections.abc import Sequence

import msgspec

from penstock.bench.contract.compare import value_of
from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.measure.estimate import Estimate, ends_of, of_rate, of_runs, tokens_of
from penstock.bench.measure.figures import Figures, Slo, figures, with_resources
from penstock.bench.sample import Ending, Run, Sample, Stage

QUANTITIES = ("ttft", "tpot", "itl", "e2e")
LEVELS = ("p50", "p95", "p99")
RATES = ("rate", "output_rate", "goodput")
METRICS = (*(f"{quantity}.{level}" for quantity in QUANTITIES for level in LEVELS), *RATES)


class Part(msgspec.Struct):
    """One stage."""

    label: str
    """Short, and no other's: `C=4`, `2/s`, or its own name."""
    stage: Stage
    """Of the run that is shown."""
    figures: Figures
    """Of the run that is shown."""
    kinds: list[Figures]
    """By class, where the run has several."""
    samples: list[Sample]
    """Of all runs that count."""
    estimates: dict[str, Estimate]
    """By name of `METRICS`, as far as they were measured."""


def shown_run(runs: RunSet) -> Run:
    """The last valid run, or the last one."""
    return next((run for run in reversed(runs.runs) if not run.invalid), runs.runs[-1])


def counted_runs(runs: RunSet) -> list[Run]:
    """The valid ones; the last one where there is none."""
    return [run for run in runs.runs if not run.invalid] or runs.runs[-1:]


def parts_of(runs: RunSet) -> list[Part]:
    """The stages of a set."""
    shown, counted = shown_run(runs), counted_runs(runs)
    names = labels(shown.stages)
    kinds = sorted({sample.kind for sample in shown.samples})
    found = []
    for number, stage in enumerate(shown.stages):
        own = _samples(shown, number)
        slo = runs.contract.slo
        found.append(
            Part(
                names[number],
                stage,
                with_resources(figures(stage, own, slo), shown, number),
                [figures(stage, own, slo, kind) for kind in kinds] if len(kinds) > 1 else [],
                [sample for run in counted for sample in _samples(run, number)],
                _estimates(counted, number, runs.contract),
            )
        )
    return found


def labels(stages: Sequence[Stage]) -> list[str]:
    """Short names of stages, each once."""
    found: list[str] = []
    for stage in stages:
        made = f"C={stage.concurrency}" if stage.name == f"{stage.concurrency} at once" else stage.name
        again = sum(each == made or each.startswith(f"{made} #") for each in found)
        found.append(f"{made} #{again + 1}" if again else made)
    return found


def _samples(run: Run, number: int) -> list[Sample]:
    return [sample for sample in run.samples if sample.stage == number]


def _estimates(counted: Sequence[Run], number: int, contract: Contract) -> dict[str, Estimate]:
    whole = [run for run in counted if number < len(run.stages)]
    each = [figures(run.stages[number], _samples(run, number), contract.slo) for run in whole]
    if len(whole) == 1:
        return _of_one(whole[0].stages[number], _samples(whole[0], number), each[0], contract.slo)
    found = {}
    for metric in METRICS:
        values = [value for told in each if (value := value_of(told, metric)) is not None]
        if values:
            found[metric] = of_runs(values)
    return found


def _of_one(stage: Stage, samples: Sequence[Sample], told: Figures, slo: Slo) -> dict[str, Estimate]:
    found = {}
    for quantity in QUANTITIES:
        if (spread := told.spreads.get(quantity)) is not None:
            for level in LEVELS:
                low, high = spread.sure.get(level, (None, None))
                found[f"{quantity}.{level}"] = Estimate(spread.at[level], low, high, "requests")
    found["rate"] = of_rate(ends_of(sample for sample in samples if sample.ending is Ending.OK), stage)
    found["output_rate"] = of_rate(tokens_of(samples), stage)
    if slo.asks:
        found["goodput"] = of_rate(ends_of(sample for sample in samples if slo.good(sample)), stage)
    return found
