"""Contracts run against servers, and results written where nothing is."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from penstock.bench.client.session import Session, in_turn
from penstock.bench.contract.compare import Verdict
from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.contract.looks import looked_at
from penstock.bench.sample import Run
from penstock.cli.bench import options
from penstock.cli.bench.live import Screen
from penstock.core.errors import ConfigError


def measure(
    contract: Contract, urls: Sequence[str], given: dict[str, Any], *, runs: int, quiet: bool, first: int = 0,
    after: Sequence[int] = (),
) -> list[RunSet]:  # fmt: skip
    """Runs a contract against servers in turn. `first`: the first run's number. `after`: how many runs of each of two
    servers may be enough, the last of them `runs`.

    Ctrl-C ends the run under way and those to come; the sets are `stopped` then, and have what was measured. Raises
    click.Abort where that is nothing, and at a second Ctrl-C."""
    labels = options.pairs("--label", given["labels"])
    workload = contract.workload
    with Screen(quiet=quiet, stages=workload.stages, gap=workload.gap, runs=runs, servers=len(urls)) as screen:
        sessions = [
            Session(
                contract, options.server(url, given["keys"]), processes=given["processes"],
                patience=options.patience(given["timeout"]), beside=options.beside(given["metrics"], given["pids"]),
                labels=labels, tell=screen.tell,
            )
            for url in urls
        ]  # fmt: skip

        def told(which: int, number: int, run: Run) -> None:
            screen.finished += 1

        def enough(sets: Sequence[RunSet]) -> bool:
            if len(sets[0].runs) not in after:
                return False
            verdict = looked_at(*sets, looks=len(after))
            screen.say(f"{len(sets[0].runs)} runs of each: {verdict}")
            return verdict is not Verdict.INCONCLUSIVE

        async def work() -> list[RunSet]:
            loop = asyncio.get_running_loop()

            def stop() -> None:
                for session in sessions:
                    session.stop()
                loop.remove_signal_handler(signal.SIGINT)

            loop.add_signal_handler(signal.SIGINT, stop)
            return await in_turn(sessions, runs, told, first, enough)

        try:
            sets = asyncio.run(work())
        finally:
            for session in sessions:
                session.close()
    if sets[0].stopped:
        whole = min(sum(not run.stopped for run in each.runs) for each in sets)
        click.echo(f"stopped: {whole} of {runs} runs are whole", err=True)
    if not sets[0].runs:
        raise click.Abort
    return sets


def require_new(path: Path) -> None:
    """Before the work. Raises ConfigError."""
    if path.exists():
        raise ConfigError(f"--out: {path} is there already; results are not overwritten")
    if not path.parent.is_dir():
        raise ConfigError(f"--out: there is no folder {path.parent}")


def require_folder(path: Path) -> None:
    """Before the work. Raises ConfigError."""
    if not path.parent.is_dir():
        raise ConfigError(f"--report: there is no folder {path.parent}; make it, or give a file elsewhere")


def write_new(path: Path, data: bytes) -> None:
    """Writes a file that must not be there yet. Raises ConfigError."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise ConfigError(f"--out: {path} is there already; results are not overwritten") from None
    except OSError as error:
        raise ConfigError(f"--out: cannot write {path}: {error.strerror}") from None
