"""What a person sees: how a run goes, and what came of it."""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from penstock.bench.client.run import Progress
from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.measure.bound import bound
from penstock.bench.measure.figures import Figures, figures, with_resources
from penstock.bench.report.page import run_page
from penstock.bench.report.table import KINDS, resource_rows, rows_of
from penstock.bench.sample import Run

PLAIN_S = 5.0


class Screen:
    """Shows progress: one line that changes in a terminal, a line every few seconds elsewhere, nothing if `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, transient=True) if sys.stderr.isatty() and not quiet else None
        self._last = 0.0
        self._ttft: list[float] = []
        self.title = ""

    def __enter__(self) -> "Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, progress: Progress) -> None:
        self._ttft = (self._ttft + progress.ttft)[-200:]
        now = time.monotonic()
        if self._live is not None:
            self._live.update(self._line(progress))
        elif not self._quiet and now - self._last > PLAIN_S:
            self._last = now
            click.echo(self._line(progress), err=True)

    def _line(self, progress: Progress) -> str:
        stage = f"stage {progress.stage + 1}/{progress.stages} ({progress.label})" if progress.stage >= 0 else "warm-up"
        rate = progress.done / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
        tokens = progress.tokens / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
        first = f", TTFT {statistics.median(self._ttft) * 1e3:.0f} ms lately" if self._ttft else ""
        return (
            f"{self.title}{stage}: {progress.done}/{progress.planned} answered, "
            f"{progress.sent - progress.done} running, {progress.failed} failed, {rate:.3g} req/s, "
            f"{tokens:.4g} tok/s{first}, lag {progress.lag_s * 1e3:.1f} ms"
        )


def stages_of(run: Run, contract: Contract) -> list[Figures]:
    """Figures of every stage."""
    return [
        with_resources(
            figures(stage, [sample for sample in run.samples if sample.stage == number], contract.slo), run, number
        )
        for number, stage in enumerate(run.stages)
    ]


def kinds_of(run: Run, contract: Contract) -> list[Figures]:
    """Figures of every class in every stage, where there are several."""
    names = sorted({sample.kind for sample in run.samples})
    if len(names) < 2:
        return []
    return [
        figures(stage, [sample for sample in run.samples if sample.stage == number], contract.slo, name)
        for number, stage in enumerate(run.stages)
        for name in names
    ]


def show(run: Run, contract: Contract) -> None:
    """A table, what bounds each stage, and whether the run is valid."""
    found = stages_of(run, contract)
    table = Table(*KINDS, box=None, padding=(0, 1, 0, 0))
    for each in found:
        table.add_row(*rows_of(each))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    for each in found:
        limit = bound(run, each)
        click.echo(f"{each.stage}: bound by {limit.what} ({limit.why})")
        if each.notice:
            click.echo(f"{each.stage}: {each.notice}")
    for stage_name, what, value in resource_rows(found):
        click.echo(f"{stage_name}: {what} {value}")
    for note in run.notes:
        click.echo(note)
    if run.client.invalid:
        click.echo(f"NOT VALID: {run.client.invalid}")


def summary(runs: RunSet) -> dict[str, Any]:
    """A set of runs for programs: figures and client, no samples."""
    return {
        "contract": msgspec.to_builtins(runs.contract),
        "fingerprint": runs.fingerprint,
        "made": runs.made,
        "runs": [
            {
                "began": run.began,
                "seed": run.seed,
                "client": msgspec.to_builtins(run.client),
                "notes": run.notes,
                "stages": msgspec.to_builtins(stages_of(run, runs.contract)),
            }
            for run in runs.runs
        ],
    }


def echo_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2))


def write_page(path: Path, runs: RunSet) -> None:
    """The last valid run of a set, or the last one, as a page."""
    chosen = last_valid(runs)
    page = run_page(chosen, stages_of(chosen, runs.contract), kinds_of(chosen, runs.contract))
    path.write_text(page, encoding="utf-8")


def last_valid(runs: RunSet) -> Run:
    """The last valid run of a set; the last one where none is. The set is not empty."""
    return next((run for run in reversed(runs.runs) if not run.client.invalid), runs.runs[-1])


def all_valid(runs: Sequence[Run]) -> bool:
    return not any(run.client.invalid for run in runs)
