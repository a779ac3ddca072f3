"""One profile: readings before and after, and stacks in between."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from penstock.cli.profile import procfs, pyspy
from penstock.cli.profile.runtime import WorkerRuntime, runtime
from penstock.cli.profile.stacks import Function, Stack, hottest, parse, samples, under
from penstock.cli.profile.target import Process
from penstock.cli.profile.usage import Usage, between
from penstock.core.errors import PenstockError


class How(msgspec.Struct, frozen=True):
    """How it is done."""

    seconds: int
    rate: int
    """Stacks per second."""
    program: str
    """py-spy; empty: no stacks."""
    functions: int
    """Of the table, at most."""


class ProcessProfile(msgspec.Struct, frozen=True):
    pid: int
    role: str
    command: str
    usage: Usage
    samples: int | None
    """Stacks in which it was on a CPU; None: not asked."""


class Profile(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    seconds: int
    rate: int
    processes: list[ProcessProfile]
    functions: list[Function]
    """The hottest of all these processes together."""
    workers: list[WorkerRuntime]
    """Of those that are workers, as the platform tells."""
    objects: list[Any] | None
    """Rows of /admin/memory; None: not asked."""
    notes: list[str]


def measure(
    processes: Sequence[Process], how: How, scrape: Callable[[], str], objects: Callable[[], list[Any]] | None
) -> tuple[Profile, list[Stack]]:
    """Takes `how.seconds`, and what py-spy needs to start. Raises PenstockError when nothing can be measured."""
    text = scrape()
    before = {each.pid: _reading(each.pid) for each in processes}
    found, notes = _stacks(processes, how)
    text_after = scrape()
    profiles = []
    for each in processes:
        try:
            usage = between(before[each.pid], procfs.read(each.pid))
        except ProcessLookupError:
            notes.append(f"{each.pid}: it ended meanwhile")
            continue
        seen = samples(found[each.pid]) if each.pid in found else None
        profiles.append(ProcessProfile(each.pid, each.role, each.command, usage, seen))
    if not profiles:
        raise PenstockError("; ".join(notes))
    several = len(found) > 1
    all_stacks = [
        stack for pid, own in found.items() for stack in (under(_name(processes, pid), own) if several else own)
    ]
    pids = {each.pid for each in processes}
    rows = None
    if objects is not None:
        try:
            rows = [row for row in objects() if row["worker"] in pids]
        except PenstockError as error:  # the rest has been measured and is worth showing
            notes.append(str(error))
    profile = Profile(
        how.seconds,
        how.rate,
        profiles,
        hottest([stack for own in found.values() for stack in own], how.functions),
        [each for each in runtime(text, text_after) if each.worker in pids],
        rows,
        notes,
    )
    return profile, all_stacks


def _stacks(processes: Sequence[Process], how: How) -> tuple[dict[int, list[Stack]], list[str]]:
    """Stacks by process id, and why some have none. Raises PenstockError when none has any."""
    if not how.program:
        time.sleep(how.seconds)
        return {}, []
    found: dict[int, list[Stack]] = {}
    failures: list[PenstockError] = []
    with tempfile.TemporaryDirectory(prefix="penstock-profile-") as folder:
        running: list[tuple[int, Path, subprocess.Popen[str]]] = []
        try:
            for each in processes:
                out = Path(folder) / str(each.pid)
                start = pyspy.start(how.program, each.pid, how.seconds, how.rate, out)
                running.append((each.pid, out, start))
            for pid, out, process in running:
                try:
                    found[pid] = parse(pyspy.finish(process, pid, how.seconds, out))
                except (pyspy.Denied, pyspy.Unreadable) as error:
                    failures.append(error)
        finally:
            for _, _, process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    if not found:
        raise failures[0]
    return found, [str(error) for error in failures]


def _reading(pid: int) -> procfs.Reading:
    try:
        return procfs.read(pid)
    except ProcessLookupError:
        raise PenstockError(f"PID: there is no process {pid} any more") from None


def _name(processes: Sequence[Process], pid: int) -> str:
    return next((f"{each.role or 'process'} {pid}" for each in processes if each.pid == pid), str(pid))
