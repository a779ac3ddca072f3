"""Meters of energy in this machine: NVIDIA's GPUs by NVML, processors and memory by RAPL.

What cannot be read is not there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")
PART_OF_ANOTHER = ("core", "uncore", "psys")
"""Domains whose energy another one holds, or that hold others'."""


class Meter(Protocol):
    """Counts what one device uses."""

    @property
    def source(self) -> str: ...

    def joules(self) -> float | None:
        """Since some moment that stays the same; None where it cannot be read now."""


class Rapl:
    """One domain of the kernel's powercap interface. Its counter begins anew at a bound, which is accounted for as long
    as it is read often enough: a minute is."""

    def __init__(self, source: str, counter: Path, bound_uj: int) -> None:
        self.source = source
        self._counter = counter
        self._bound_uj = bound_uj
        self._last: int | None = None
        self._sum = 0

    def joules(self) -> float | None:
        try:
            now = int(self._counter.read_text())
        except (OSError, ValueError):
            return None
        if self._last is not None:
            self._sum += now - self._last if now >= self._last else now - self._last + self._bound_uj
        self._last = now
        return self._sum / 1e6


class Gpu:
    """One GPU, by the library `nvidia-ml-py`."""

    def __init__(self, source: str, nvml: ModuleType, handle: object) -> None:
        self.source = source
        self._nvml = nvml
        self._handle = handle

    def joules(self) -> float | None:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except self._nvml.NVMLError:
            return None


def meters(folder: Path = POWERCAP, load: Callable[[str], ModuleType] = importlib.import_module) -> list[Meter]:
    """All that can be read. Reading RAPL needs root on most machines."""
    found: list[Meter] = [*_rapl(folder), *_gpus(load)]
    return [meter for meter in found if meter.joules() is not None]


def _rapl(folder: Path) -> list[Rapl]:
    found = []
    for place in sorted(folder.glob("intel-rapl:*")):
        try:
            name = (place / "name").read_text().strip()
            bound = int((place / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        if name not in PART_OF_ANOTHER:
            found.append(Rapl(f"{name} ({place.name})", place / "energy_uj", bound))
    return found


def _gpus(load: Callable[[str], ModuleType]) -> list[Gpu]:
    try:
        nvml = load("pynvml")
    except ImportError:
        return []
    try:
        nvml.nvmlInit()
        count = int(nvml.nvmlDeviceGetCount())
        return [Gpu(f"GPU {number}", nvml, nvml.nvmlDeviceGetHandleByIndex(number)) for number in range(count)]
    except nvml.NVMLError:
        return []
