"""`penstock bench export`: figures in the words of other tools."""

import json
from pathlib import Path

import click

from penstock.bench.contract.contract import RunSet
from penstock.bench.export.dialect import DIALECTS
from penstock.bench.export.part import Part
from penstock.bench.report.parts import shown_run
from penstock.cli.bench.baseline import FOLDER, load
from penstock.cli.bench.measure import require_new, write_new
from penstock.core.errors import ConfigError


@click.command("export")
@click.argument("result")
@click.option("--as", "tool", type=click.Choice(list(DIALECTS)), required=True, help="Whose names and definitions.")
@click.option("--run", "run_number", type=click.IntRange(1), help="Which run.  [default: the last valid one]")
@click.option("--stage", "stage_number", type=click.IntRange(1), help="Which stage.  [default: all, one per line]")
@click.option("--detailed", is_flag=True, help="With the arrays of values per request (vllm).")
@click.option("--out", type=click.Path(path_type=Path), help="Write it there.")
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="Of the baselines.")
def command(
    result: str, tool: str, run_number: int | None, stage_number: int | None, detailed: bool, out: Path | None,
    folder: Path,
) -> None:  # fmt: skip
    """Tell the figures of a run as another tool would: its names, units and definitions.

    RESULT is a file of `bench run --out`, or NAME or NAME@NUMBER of a baseline. One stage gives one JSON object,
    several give one per line.
    """
    dialect = DIALECTS[tool]
    made = dialect.detailed if detailed else dialect.brief
    if made is None:
        raise ConfigError(f"--detailed: the file of {tool} has no values per request; leave it out")
    if out is not None:
        require_new(out)
    documents = [made(part) for part in _parts(load(result, folder), run_number, stage_number)]
    lines = [json.dumps(each, indent=2 if len(documents) == 1 else None) for each in documents]
    text = "\n".join(lines) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        write_new(out, text.encode())


def _parts(runs: RunSet, run_number: int | None, stage_number: int | None) -> list[Part]:
    """Raises ConfigError for what is not there."""
    if not runs.runs:
        raise ConfigError("RESULT: it holds no run")
    if run_number is not None and run_number > len(runs.runs):
        raise ConfigError(f"--run: there is no run {run_number}; it has runs 1 to {len(runs.runs)}")
    run = shown_run(runs) if run_number is None else runs.runs[run_number - 1]
    if stage_number is not None and stage_number > len(run.stages):
        raise ConfigError(f"--stage: there is no stage {stage_number}; it has stages 1 to {len(run.stages)}")
    wanted = range(len(run.stages)) if stage_number is None else [stage_number - 1]
    return [Part(runs.contract, run, number) for number in wanted]
