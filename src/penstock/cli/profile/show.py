"""A profile for people."""

import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from penstock.cli.profile.measure import ProcessProfile, Profile
from penstock.cli.profile.runtime import WorkerRuntime
from penstock.cli.profile.usage import ThreadUsage, Usage

MOST_THREADS = 6
LEAST_THREAD = 0.001
"""Of a core; quieter threads are not named."""


def show(profile: Profile) -> None:
    lags = {each.worker: each for each in profile.workers}
    objects = {row["worker"]: row for row in profile.objects or []}
    for process in profile.processes:
        _process(process, lags.get(process.pid), objects.get(process.pid))
    if any(each.samples is not None for each in profile.processes):
        _functions(profile)
    for note in profile.notes:
        click.echo(note)


def _process(process: ProcessProfile, lag: WorkerRuntime | None, objects: dict[str, Any] | None) -> None:
    usage = process.usage
    click.echo(f"{process.role or 'process'} {process.pid}, {usage.seconds:.1f} s: {process.command:.100}")
    _line(
        "CPU",
        f"{_share(usage.user + usage.system)} of a core: {_share(usage.user)} user, {_share(usage.system)} system",
    )
    _line("threads", _threads(usage.threads))
    pss = "" if usage.pss is None else f", PSS {_size(usage.pss)}"
    _line("memory", f"RSS {_size(usage.rss)} ({usage.rss_growth / 1e6:+.2f} MB meanwhile){pss}")
    _line("files", _files(usage))
    _line("switches", f"{usage.gave_way:.0f}/s because it waited, {usage.made_way:.0f}/s because others were to run")
    if lag is not None:
        most = f"the latest lately {lag.lag_max_s * 1e3:.1f} ms"
        _line("loop lag", f"p50 {_bound(lag.lag_p50_s)}, p99 {_bound(lag.lag_p99_s)}, {most}; {lag.looks} looks")
        ran = [
            f"{each.runs} of generation {each.generation} in {each.seconds * 1e3:.1f} ms"
            for each in lag.collections
            if each.runs
        ]
        _line("GC", ", ".join(ran) or "did not run")
    if objects is not None:
        _line("objects", f"{objects['objects']} since it took requests, counted in {objects['took_s'] * 1e3:.1f} ms")
        for kind in objects["types"]:
            click.echo(f"  {'':<9} {kind['count']:>9} {kind['type']}")
    click.echo("")


def _functions(profile: Profile) -> None:
    seen = sum(each.samples or 0 for each in profile.processes)
    taken = profile.rate * profile.seconds * sum(each.samples is not None for each in profile.processes)
    click.echo(f"Hottest functions: {seen} stacks ran, of {taken} looks")
    if not profile.functions:
        return
    table = Table("self", "total", "function", "where", box=None, padding=(0, 1, 0, 0))
    for each in profile.functions:
        table.add_row(f"{each.self_share:.1%}", f"{each.total_share:.1%}", each.name, each.where)
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)


def _threads(threads: list[ThreadUsage]) -> str:
    busy = [each for each in threads if each.user + each.system >= LEAST_THREAD]
    named = [f"{each.name} {_share(each.user + each.system)}" for each in busy[:MOST_THREADS]]
    return f"{len(threads)}: {', '.join(named)}" if named else f"{len(threads)}, all quiet"


def _files(usage: Usage) -> str:
    if usage.files is None:
        return "not known: they are another user's"
    return f"{usage.files} open{f' of {usage.most_files}' if usage.most_files else ''}, {usage.sockets} of them sockets"


def _bound(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"≤ {seconds * 1e3:g} ms"


def _share(share: float) -> str:
    return f"{share:.1%}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _line(name: str, text: str) -> None:
    click.echo(f"  {name:<9} {text}")
