"""Meters of energy, on a tree of files and on a stand-in for NVML."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from penstock.bench.meters import Meter, meters
from penstock.bench.watch import Watch
from penstock.core.clock import monotonic


def domain(folder: Path, place: str, name: str, joules: float, bound: float = 1000.0) -> Path:
    own = folder / place
    own.mkdir(parents=True)
    (own / "name").write_text(f"{name}\n")
    (own / "max_energy_range_uj").write_text(f"{int(bound * 1e6)}\n")
    (own / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    return own / "energy_uj"


def none(name: str) -> ModuleType:
    raise ModuleNotFoundError(name)


class Broken(Exception):
    """What the stand-in raises."""


def nvml(*millijoules: int | None) -> Any:
    """A module with one GPU per value; None: it has no such counter."""
    found: Any = ModuleType("pynvml")

    def total(handle: int) -> int:
        if (value := millijoules[handle]) is None:
            raise Broken("not supported")
        return value

    found.NVMLError = Broken
    found.nvmlInit = lambda: None
    found.nvmlDeviceGetCount = lambda: len(millijoules)
    found.nvmlDeviceGetHandleByIndex = lambda number: number
    found.nvmlDeviceGetTotalEnergyConsumption = total
    return found


def sources(found: list[Meter]) -> list[str]:
    return [meter.source for meter in found]


def test_a_domain_counts_on_when_its_counter_begins_anew(tmp_path: Path) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 990.0)
    (meter,) = meters(tmp_path, none)
    assert meter.joules() == 0.0
    counter.write_text("995000000")
    assert meter.joules() == pytest.approx(5.0)
    counter.write_text("3000000")
    assert meter.joules() == pytest.approx(13.0)


def test_no_energy_is_counted_twice(tmp_path: Path) -> None:
    for place, name in (
        ("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "dram"),
        ("intel-rapl:1", "psys"), ("intel-rapl:2", "package-1"),
    ):  # fmt: skip
        domain(tmp_path, place, name, 1.0)
    assert sources(meters(tmp_path, none)) == [
        "package-0 (intel-rapl:0)", "dram (intel-rapl:0:1)", "package-1 (intel-rapl:2)",
    ]  # fmt: skip


def test_what_cannot_be_read_is_not_there(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 1.0).unlink()
    (tmp_path / "intel-rapl:1").mkdir()
    assert meters(tmp_path, none) == []
    assert meters(tmp_path / "nowhere", none) == []


def test_gpus_that_count_their_energy() -> None:
    found = meters(Path("/nowhere"), lambda name: nvml(2500, None, 4000))
    assert sources(found) == ["GPU 0", "GPU 2"]
    assert [meter.joules() for meter in found] == [2.5, 4.0]


def test_a_machine_whose_driver_does_not_answer() -> None:
    broken = nvml(1)

    def fail() -> None:
        raise Broken("no driver")

    broken.nvmlInit = fail
    assert meters(Path("/nowhere"), lambda name: broken) == []


def test_readings_become_a_series(tmp_path: Path) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 1.0)
    watch = Watch(monotonic(), (), (), meters(tmp_path, none))
    watch.meter()
    counter.write_text("4500000")
    watch.meter()
    (series,) = watch.series
    assert (series.name, series.source, series.unit) == ("energy", "package-0 (intel-rapl:0)", "J")
    assert series.values == [0.0, 3.5]
    counter.unlink()
    watch.meter()
    assert len(series.values) == 2
