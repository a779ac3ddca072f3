"""Which processes are meant: found in /proc by their command line, named by what the platform tells."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path, PurePath

import msgspec

from penstock.cli.profile.procfs import ROOT, stat_of
from penstock.core.errors import PenstockError

MODULES = {
    "penstock.gateway.worker": ("worker", ""),
    "penstock.engines.llamacpp.child": ("engine", "llamacpp"),
    "penstock.engines.process.guard": ("engine", "vllm"),
}
"""Module that a child runs -> (role, kind)."""


class Process(msgspec.Struct, frozen=True):
    pid: int
    ppid: int
    role: str
    """supervisor, worker, engine, or empty for what is no part of Penstock."""
    kind: str
    """Of an engine: llamacpp or vllm."""
    command: str


class Told(msgspec.Struct, frozen=True):
    """What the platform that the config means says of itself; empty when none answers."""

    workers: frozenset[int] = frozenset()
    engines: tuple[tuple[str, str, int], ...] = ()
    """(name, kind, process id); 0 for an engine that it did not start."""


def classify(arguments: Sequence[str]) -> tuple[str, str]:
    """(role, kind) of a command line."""
    for module, (role, kind) in MODULES.items():
        if module in arguments:
            return role, kind
    for name, following in pairwise(arguments):
        if PurePath(name).name == "penstock" and following == "up":
            return "supervisor", ""
    return "", ""


def everything(root: Path = ROOT) -> list[Process]:
    """All processes that this user may see."""
    found = []
    for place in root.iterdir():
        if not place.name.isdigit():
            continue
        try:
            arguments = (place / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            stat = stat_of((place / "stat").read_text())
        except OSError:
            continue
        found.append(Process(int(place.name), stat.ppid, *classify(arguments), command=_shown(arguments) or stat.name))
    return sorted(found, key=lambda each: each.pid)


def by_pid(processes: Iterable[Process], pid: int) -> list[Process]:
    """Raises PenstockError."""
    found = [each for each in processes if each.pid == pid]
    if not found:
        raise PenstockError(f"PID: there is no process {pid}; without arguments penstock profile lists what it knows")
    return found


def gateway(processes: Sequence[Process], told: Told) -> list[Process]:
    """Supervisor and workers of the platform that told, else of the only one there is. Raises PenstockError."""
    all_workers = [each for each in processes if each.role == "worker"]
    # A platform in a container tells of ids that are others here.
    workers = [each for each in all_workers if each.pid in told.workers] or all_workers
    heads = {each.ppid for each in workers}
    supervisors = [each for each in processes if each.role == "supervisor" and (each.pid in heads or not workers)]
    if len(supervisors) > 1:
        pids = ", ".join(str(each.pid) for each in supervisors)
        raise PenstockError(f"--gateway: several platforms run ({pids}); give the config of one with -c, or a PID")
    if not supervisors and not workers:
        raise PenstockError("--gateway: no platform runs here that this user may see; start one: penstock up")
    return [*supervisors, *workers]


def engine(processes: Sequence[Process], name: str, told: Told) -> list[Process]:
    """An engine by its name, or by its kind, and all that it has started. Raises PenstockError."""
    named = [pid for known, kind, pid in told.engines if name == known] or [
        pid for known, kind, pid in told.engines if name == kind and pid
    ]
    if not named:
        named = [each.pid for each in processes if each.role == "engine" and each.kind == name]
    if named == [0]:
        raise PenstockError(f"--engine: {name} was not started by Penstock; give its PID on the machine where it runs")
    found = [each for each in processes if each.pid in family(processes, named)]
    if not found:
        known = ", ".join(known for known, _, pid in told.engines if pid) or "none"
        raise PenstockError(f"--engine: no engine {name!r:.60} runs here; running: {known}")
    return found


def family(processes: Iterable[Process], pids: Iterable[int]) -> set[int]:
    """Processes, their children, and theirs."""
    parents = {each.pid: each.ppid for each in processes}
    found, grown = set(pids), True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(more)
        found |= more
    return found


def candidates(processes: Iterable[Process], told: Told) -> str:
    """One line that names what could be profiled."""
    names = {pid: name for name, _, pid in told.engines if pid}
    parts = [
        f"{each.role} {names.get(each.pid, each.kind)}".strip() + f" {each.pid}" for each in processes if each.role
    ]
    return f"say which: PID, --gateway or --engine NAME; running: {', '.join(parts) or 'no Penstock'}"


def _shown(arguments: Sequence[str]) -> str:
    """A command line without the folders of its program."""
    return " ".join([PurePath(arguments[0]).name, *arguments[1:]])
