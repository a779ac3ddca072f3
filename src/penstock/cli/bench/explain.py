"""`penstock bench explain`: what bounds each stage of a set of runs."""

from collections import Counter
from pathlib import Path

import click
import msgspec

from penstock.bench.contract.contract import RunSet
from penstock.bench.measure.bound import Candidate, Explanation, explain
from penstock.bench.report.parts import shown_run
from penstock.cli.bench.baseline import FOLDER, load
from penstock.cli.bench.show import echo_json, stages_of
from penstock.cli.options import json_option


@click.command("explain")
@click.argument("result")
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="Of the baselines.")
@json_option
def command(result: str, folder: Path, as_json: bool) -> None:
    """Say what bounds each stage of RESULT, and what does not.

    RESULT is a file of `bench run --out`, or NAME or NAME@NUMBER of a baseline. Of a set with several runs the last
    valid one is shown, and how many of them are bound by the same. With --json all of them.
    """
    runs = load(result, folder)
    told = _all(runs)
    if as_json:
        echo_json({"runs": [{"stages": msgspec.to_builtins(stages)} for stages in told]})
        return
    shown = runs.runs.index(shown_run(runs))
    for number, stage in enumerate(told[shown]):
        agree = Counter(each[number].bound.what for each in told)[stage.bound.what]
        click.echo(_text(stage, f" in {agree} of {len(told)} runs" if len(told) > 1 else ""))


def _all(runs: RunSet) -> list[list[Explanation]]:
    return [
        [explain(run, number, stage) for number, stage in enumerate(stages_of(run, runs.contract))] for run in runs.runs
    ]


def _text(stage: Explanation, agree: str) -> str:
    lines = [f"{stage.stage}: bound by {stage.bound.what}{agree}"]
    lines += [
        f"  {_mark(each, stage):<7}  {each.what:<13}  {each.why}; bounds when {each.rule}" for each in stage.candidates
    ]
    return "\n".join([*lines, f"  advice: {stage.advice}\n"])


def _mark(candidate: Candidate, stage: Explanation) -> str:
    """`bounds`, `also` for what applies too and is asked later, `no`, or `unknown` for what nobody told."""
    if candidate.what == stage.bound.what:
        return "bounds"
    if candidate.applies:
        return "also"
    return "unknown" if any(number is None for number in candidate.numbers.values()) else "no"
