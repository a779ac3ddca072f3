"""How a run goes, on a terminal: a few lines that change. Elsewhere a line per stage."""

import sys
from collections.abc import Sequence

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.bench.client.run import Progress
from penstock.bench.measure.quantile import quantile
from penstock.bench.report.units import digits, seconds
from penstock.bench.traffic.workload import Stage
from penstock.cli.bench.window import Window, offered, part_done, run_left, stage_left

BAR = 32


class Screen:
    """Shows progress on stderr: live in a terminal, a line per stage elsewhere, nothing if `quiet`."""

    def __init__(
        self, *, quiet: bool, stages: Sequence[Stage] = (), gap: float = 0.0, runs: int = 1, servers: int = 1
    ) -> None:
        self._quiet = quiet
        self._stages, self._gap = stages, gap
        self._runs, self._servers = runs, servers
        self._window = Window()
        self._live = (
            Live(console=Console(stderr=True), transient=True, refresh_per_second=4)
            if sys.stderr.isatty() and not quiet
            else None
        )
        self.finished = 0
        """Runs, of all servers."""

    def __enter__(self) -> "Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, progress: Progress) -> None:
        self._window.add(progress)
        if self._live is not None:
            self._live.update(picture(progress, self._window, self._stages, self._gap, self._title()))
        elif progress.over and progress.stage >= 0 and not self._quiet:
            click.echo(line_of(progress, self._title()), err=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live is not None:
            self._live.console.print(text, highlight=False)
        elif not self._quiet:
            click.echo(text, err=True)

    def _title(self) -> str:
        number, which = divmod(self.finished, self._servers)
        server = f"server {which + 1}, " if self._servers > 1 else ""
        return server + (f"run {number + 1}/{self._runs}, " if self._runs > 1 else "")


def line_of(progress: Progress, title: str) -> str:
    """A stage that is over, in one line."""
    taken = max(1e-9, progress.elapsed_s)
    values = sorted(progress.ttft)
    first = f", TTFT p50 {seconds(quantile(values, 0.5))} p95 {seconds(quantile(values, 0.95))}" if values else ""
    return (
        f"{title}stage {progress.stage + 1}/{progress.stages} ({progress.label}): {progress.done} answered in "
        f"{seconds(taken)}, {progress.failed} failed, {digits(progress.done / taken)} req/s, "
        f"{digits(progress.tokens / taken)} tok/s{first}"
    )


def picture(progress: Progress, window: Window, stages: Sequence[Stage], gap: float, title: str) -> Group:
    """What a terminal shows of a run under way."""
    stage = stages[progress.stage] if 0 <= progress.stage < len(stages) else None
    rates = window.rates()
    name = f"stage {progress.stage + 1}/{progress.stages}  {progress.label}" if progress.stage >= 0 else "warm-up"
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=1.0, completed=part_done(progress), width=BAR),
        Text(f"{progress.done}/{progress.planned}"),
        Text(f"{clock(progress.elapsed_s)} gone, {clock(stage_left(progress, stage))} left"),
    )
    due = offered(progress, stage)
    sending = f"{digits(due)}/s due, {digits(rates.sent)}/s sent, " if due else ""
    values = Table.grid(padding=(0, 2))
    cells = (
        ("in flight", str(progress.sent - progress.done)),
        ("requests", sending + f"{digits(rates.done)}/s answered"),
        ("TTFT", f"p50 {_time(rates.ttft_p50)}  p95 {_time(rates.ttft_p95)}"),
        ("tokens", f"{digits(rates.tokens)}/s"),
        ("failed", str(progress.failed)),
        ("sent late", f"{progress.lag_s * 1e3:.1f} ms at most"),
    )  # fmt: skip
    for label, value in cells:
        bad = label == "failed" and progress.failed
        values.add_row(Text(label, style="dim"), Text(value, style="bold red" if bad else "bold"))
    total = run_left(progress, stages, gap)
    head = Text(f"{title}{name}", style="bold")
    if total is not None and progress.stages > 1:
        head.append(f"  run: about {clock(total)} left", style="dim")
    return Group(head, bar, values, Text("rates and TTFT of the last 10 s", style="dim"))


def clock(value: float | None) -> str:
    """1:05; -:-- while nothing is known."""
    if value is None:
        return "-:--"
    whole = max(0, round(value))
    return (
        f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    )


def _time(value: float | None) -> str:
    return "-" if value is None else seconds(value)
