"""CPU time and memory of a process tree, from /proc and the processes' own CPU clocks (Linux)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def _parents() -> dict[int, int]:
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            # The name in brackets may hold spaces and brackets of its own: split after the last one.
            found[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    return found


def tree(root: int) -> list[int]:
    """Process ids of `root` and all its living descendants, `root` first."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_seconds(pid: int) -> float:
    """User plus system seconds of all threads of `pid`, ended threads included; 0.0 when it is gone.

    The clock is the kernel's CPUCLOCK_SCHED of that process (what clock_getcpuclockid(3) returns): nanoseconds,
    where /proc/PID/stat counts ticks of 10 ms.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of a tree over a window: the whole, and its busiest process (the data path)."""

    total: float
    busiest: float
    busiest_pid: int


class Meter:
    """CPU time of the tree below `root` from construction to `spent()`. `root` 0 stands for no process."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.before = self._read()

    def _read(self) -> dict[int, float]:
        return {pid: cpu_seconds(pid) for pid in tree(self.root)} if self.root else {}

    def spent(self) -> Spent:
        """A process born inside the window counts from its birth."""
        used = {pid: now - self.before.get(pid, 0.0) for pid, now in self._read().items()}
        if not used:
            return Spent(0.0, 0.0, 0)
        pid = max(used, key=lambda each: used[each])
        return Spent(sum(used.values()), used[pid], pid)
