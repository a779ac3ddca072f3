"""Loop lag and collections of a process, as its metrics tell them."""

import asyncio
import gc
import time
from collections.abc import Iterator

import pytest

from penstock.telemetry import pulse
from penstock.telemetry.catalogue import COLLECTOR, LOOP, SHEETS
from penstock.telemetry.meter import LAG, MOST_LAG, PAUSE, Meter
from penstock.telemetry.pulse import Pulse
from penstock.telemetry.series import SeriesReader, SeriesWriter, Totals
from tests.telemetry.test_series import file

BUCKETS = len(LOOP.metrics[0].bounds) + 1


class Clock:
    """Time that a test sets, and a loop that only keeps what it was asked to call."""

    now = 100.0

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: object) -> "Clock":
        assert delay == pulse.EVERY_S
        return self

    def cancel(self) -> None: ...


@pytest.fixture
def writer() -> Iterator[SeriesWriter]:
    with file() as descriptor:
        yield SeriesWriter(descriptor, SHEETS)


def test_lag_is_what_passes_beyond_the_time_asked_for(writer: SeriesWriter) -> None:
    clock = Clock()
    watch = Pulse(Meter(writer), "7", clock)
    watch.start(clock)  # type: ignore[arg-type]
    numbers = writer.row(LOOP, ("7",)).numbers
    for late in (0.0, 0.3, -0.001):
        clock.now += pulse.EVERY_S + late
        watch.look()
    assert sum(numbers[LAG : LAG + BUCKETS]) == 3
    assert numbers[LAG + BUCKETS] == pytest.approx(0.3), "waking too early is no lag"
    assert numbers[MOST_LAG] == pytest.approx(0.3)
    watch.stop()


def test_the_largest_lag_is_forgotten_after_two_windows_and_not_before_one(writer: SeriesWriter) -> None:
    clock = Clock()
    watch = Pulse(Meter(writer), "7", clock)
    watch.start(clock)  # type: ignore[arg-type]
    clock.now += pulse.EVERY_S + 0.5
    watch.look()
    shown = []
    for _ in range(int(2.5 * pulse.WINDOW_S / pulse.EVERY_S)):
        clock.now += pulse.EVERY_S
        watch.look()
        shown.append(writer.row(LOOP, ("7",)).numbers[MOST_LAG])
    watch.stop()
    within = int(pulse.WINDOW_S / pulse.EVERY_S) - 1
    assert all(most == pytest.approx(0.5) for most in shown[:within])
    assert shown[-1] == pytest.approx(0.0, abs=1e-6)


def test_collections_are_counted_by_generation(writer: SeriesWriter) -> None:
    clock = Clock()
    watch = Pulse(Meter(writer), "7", clock)
    watch.start(clock)  # type: ignore[arg-type]
    gc.collect(2)
    gc.collect(0)
    watch.look()
    watch.stop()
    assert watch.collected not in gc.callbacks
    assert sum(writer.row(COLLECTOR, ("7", "2")).numbers[PAUSE : PAUSE + BUCKETS]) == 1
    assert sum(writer.row(COLLECTOR, ("7", "0")).numbers[PAUSE : PAUSE + BUCKETS]) >= 1


@pytest.mark.anyio
async def test_a_loop_that_is_blocked_lags(writer: SeriesWriter) -> None:
    watch = Pulse(Meter(writer), "7", time.monotonic)
    watch.start(asyncio.get_running_loop())
    await asyncio.sleep(0.05)
    time.sleep(0.4)  # noqa: ASYNC251 - the fault that is to be seen
    await asyncio.sleep(0.05)
    watch.stop()
    assert writer.row(LOOP, ("7",)).numbers[MOST_LAG] >= 0.3


def test_series_of_a_worker_end_with_it() -> None:
    with file() as descriptor:
        writer = SeriesWriter(descriptor, SHEETS)
        Meter(writer).add_lag("7", 0.1, 0.1)
        writer.flush()
        reader, living, dead = SeriesReader(descriptor, SHEETS), Totals(), Totals()
        living.add(reader, gauges=True)
        dead.add(reader, gauges=False)
    assert ("loop", ("7",)) in living.rows
    assert not any(sheet == "loop" for sheet, _ in dead.rows)
