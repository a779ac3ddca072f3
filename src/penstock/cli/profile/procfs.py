"""One reading of a process from /proc (proc(5))."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from penstock.core.clock import monotonic

ROOT = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


class Stat(msgspec.Struct, frozen=True):
    """/proc/PID/stat, and the same of a thread. CPU in seconds."""

    name: str
    ppid: int
    user_s: float
    system_s: float
    started: int
    """Clock ticks since boot: tells a process from a later one with the same id."""


class Thread(msgspec.Struct, frozen=True):
    name: str
    user_s: float
    system_s: float
    gave_way: int
    """Context switches because it waited."""
    made_way: int
    """Because another was to run."""


class Reading(msgspec.Struct, frozen=True):
    """Everything at one moment. Memory in bytes; None: this user may not know."""

    at: float
    stat: Stat
    threads: dict[int, Thread]
    rss: int
    pss: int | None
    files: int | None
    """Open ones, sockets and pipes included."""
    sockets: int | None
    most_files: int | None


def stat_of(text: str, ticks: int = TICKS) -> Stat:
    """The name stands in brackets and may hold any character, brackets too."""
    name, rest = text.partition("(")[2].rpartition(")")[::2]
    fields = rest.split()
    return Stat(name, int(fields[1]), int(fields[11]) / ticks, int(fields[12]) / ticks, int(fields[19]))


def numbers_of(text: str) -> Mapping[str, int]:
    """`Name: 12 kB` lines of status and smaps_rollup; kilobytes become bytes. Lines that are no number are left out."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        number, _, unit = value.strip().partition(" ")
        if number.isdigit():
            found[name] = int(number) * (1024 if unit == "kB" else 1)
    return found


def limit_of(text: str) -> int | None:
    """Soft limit of open files in /proc/PID/limits; None: no limit, or not told."""
    for line in text.splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else None
    return None


def read(pid: int, root: Path = ROOT) -> Reading:
    """Raises ProcessLookupError when it is gone."""
    place = root / str(pid)
    try:
        stat, status = stat_of((place / "stat").read_text()), numbers_of((place / "status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    files, sockets = _files(place / "fd")
    pss = most = None
    with suppress(OSError):
        pss = numbers_of((place / "smaps_rollup").read_text()).get("Pss")
    with suppress(OSError):
        most = limit_of((place / "limits").read_text())
    return Reading(
        monotonic(), stat, _threads(place / "task"), status.get("VmRSS", 0), pss, files, sockets, most
    )  # fmt: skip


def _threads(folder: Path) -> dict[int, Thread]:
    found = {}
    with suppress(OSError):
        for place in folder.iterdir():
            with suppress(OSError):  # it may end while we look
                stat, status = stat_of((place / "stat").read_text()), numbers_of((place / "status").read_text())
                gave_way, made_way = (status.get(f"{kind}_ctxt_switches", 0) for kind in ("voluntary", "nonvoluntary"))
                found[int(place.name)] = Thread(stat.name, stat.user_s, stat.system_s, gave_way, made_way)
    return found


def _files(folder: Path) -> tuple[int | None, int | None]:
    """(all, sockets); None without the right to look."""
    try:
        links = list(folder.iterdir())
    except OSError:
        return None, None
    count = 0
    for link in links:
        with suppress(OSError):
            count += os.readlink(link).startswith("socket:")
    return len(links), count
