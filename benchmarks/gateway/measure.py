"""What is measured of one gateway in one round. CPU is that of its whole process tree over the window."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.cpu import Meter, rss_bytes, tree
from benchmarks.gateway.load import Tally, closed_loop, open_loop
from benchmarks.gateway.plan import Plan, request_bytes
from benchmarks.gateway.stats import percentile
from benchmarks.gateway.streams import StreamRun, StreamTally, run_streams

Figures = dict[str, float | int | str]
PACE = 50
SHORT_EVENTS = 4


@dataclass(frozen=True, slots=True)
class Dose:
    """How much load a round gives. Seconds, connections, requests/s, streams, events."""

    unary_s: float = 1.2
    connections: int = 32
    open_rate: float = 1000.0
    open_s: float = 1.5
    short_s: float = 0.8
    long_streams: int = 64
    long_events: int = 512
    long_rate: int = 300


NORMAL = Dose()
SLOW = Dose(
    unary_s=1.5,
    connections=4,
    open_rate=20.0,
    open_s=2.0,
    short_s=1.5,
    long_streams=8,
    long_events=128,
    long_rate=100,
)


@dataclass(frozen=True, slots=True)
class Target:
    """`pid` 0: the mock itself, with no gateway between."""

    name: str
    port: int
    pid: int
    dose: Dose
    core: int

    def request(self, plan: Plan, *, stream: bool = False) -> bytes:
        return request_bytes(f"127.0.0.1:{self.port}", plan, stream=stream)


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _core_busy_s(core: int) -> float:
    """Seconds the core has spent on anything since boot."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _wait, irq, soft, *_ = (int(each) for each in line.split()[1:])
            return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _micros(seconds: float, count: int) -> float:
    return round(seconds * 1e6 / count, 3) if count else 0.0


async def _unary(target: Target, prefix: str, size: int, into: Figures) -> None:
    meter, start, busy = Meter(target.pid), time.perf_counter(), _core_busy_s(target.core)
    tally = await closed_loop(
        target.port, target.request(Plan(size=size)), target.dose.connections, target.dose.unary_s
    )
    spent, wall = meter.spent(), time.perf_counter() - start
    into[f"{prefix}_us"] = _micros(spent.total, tally.done)
    into[f"{prefix}_rps"] = round(tally.done / tally.seconds, 1)
    into[f"{prefix}_core_share"] = round(spent.total / wall, 3)
    into[f"{prefix}_others_share"] = round(max(0.0, _core_busy_s(target.core) - busy - spent.total) / wall, 3)
    _note_errors(into, prefix, tally)


def _note_errors(into: Figures, prefix: str, tally: Tally) -> None:
    if tally.errors:
        into[f"{prefix}_errors"] = tally.errors
        into[f"{prefix}_first_error"] = tally.first_error[:1000]


async def _open(target: Target, rate: float, seconds: float, prefix: str, into: Figures) -> None:
    meter = Meter(target.pid)
    tally = await open_loop(target.port, target.request(Plan()), rate, seconds)
    into[f"{prefix}_us"] = _micros(meter.spent().total, tally.done)
    into[f"{prefix}_rate"] = rate
    if tally.latency:
        into[f"{prefix}_p50_ms"] = round(percentile(tally.latency, 0.5) * 1e3, 4)
        into[f"{prefix}_p99_ms"] = round(percentile(tally.latency, 0.99) * 1e3, 4)
        into[f"{prefix}_lag_p99_ms"] = round(percentile(tally.lag, 0.99) * 1e3, 4)
    _note_errors(into, prefix, tally)


async def _chunks(target: Target, into: Figures) -> None:
    """CPU per chunk: long streams minus what as many streams of few chunks cost."""
    dose = target.dose
    meter = Meter(target.pid)
    request = target.request(Plan(events=SHORT_EVENTS, rate=dose.long_rate), stream=True)
    short = await run_streams(
        StreamRun(
            target.port,
            request,
            SHORT_EVENTS,
            min(dose.connections, dose.long_streams),
            repeat_s=dose.short_s,
        )
    )
    fixed = meter.spent().total / max(1, short.complete)
    meter = Meter(target.pid)
    request = target.request(Plan(events=dose.long_events, rate=dose.long_rate), stream=True)
    long = await run_streams(StreamRun(target.port, request, dose.long_events, dose.long_streams))
    spent = meter.spent().total
    into["short_stream_us"] = round(fixed * 1e6, 2)
    into["chunk_us"] = _micros(spent - fixed * long.asked, long.events - SHORT_EVENTS * long.asked)
    into["chunk_rate"] = round(long.events / long.seconds, 1)
    into["chunk_segments_share"] = round(long.segments / max(1, long.events), 3)
    for name, tally in (("short", short), ("long", long)):
        _note_drops(into, name, tally)


def _note_drops(into: Figures, prefix: str, tally: StreamTally) -> None:
    if tally.dropped:
        into[f"{prefix}_dropped"] = tally.dropped
        into[f"{prefix}_first_error"] = tally.first_error[:1000]


async def one_round(target: Target) -> Figures:
    """Unary (small, 8 KiB), fixed offered rate, and chunks of one gateway."""
    into: Figures = {"gateway": target.name}
    with _no_collector():
        await closed_loop(target.port, target.request(Plan()), target.dose.connections, 0.2)
        await _unary(target, "unary", 300, into)
        await _unary(target, "unary_8k", 8192, into)
        await _open(target, target.dose.open_rate, target.dose.open_s, "open", into)
        if not target.pid:
            await _open(target, SLOW.open_rate, SLOW.open_s, "open_slow", into)
        await _chunks(target, into)
    return into


async def many_streams(target: Target, count: int, seconds: float) -> Figures:
    """`count` streams at `PACE` events/s each: gaps, drops, memory while all are open, CPU per chunk meanwhile."""
    ramp = min(2.0, seconds / 2)
    events = round(PACE * seconds)
    into: Figures = {"gateway": target.name, "streams": count, "events_each": events, "pace": PACE}
    request = target.request(Plan(events=events, rate=PACE), stream=True)
    run = StreamRun(target.port, request, events, count, ramp_s=ramp, patience_s=seconds + 20, sampled=100)
    with _no_collector():
        await run.start()
        await asyncio.sleep(0.3)
        meter, seen, start = Meter(target.pid), sum(each.seen for each in run.listeners), time.perf_counter()
        await asyncio.sleep(max(0.5, seconds - ramp - 0.8))
        spent, wall = meter.spent(), time.perf_counter() - start
        relayed = sum(each.seen for each in run.listeners) - seen
        into["open_at_once"] = sum(each.open for each in run.listeners)
        if target.pid:
            into |= memory(target.pid, spent.busiest_pid)
        into["paced_chunk_us"] = _micros(spent.total, relayed)
        into["core_share"] = round(spent.total / wall, 3)
        tally = await run.wait()
    into |= {
        "asked": tally.asked,
        "complete": tally.complete,
        "dropped": tally.dropped,
        "events": tally.events,
    }
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)):
        into[f"itl_{name}_ms"] = round(percentile(tally.itl, share) * 1e3, 3) if tally.itl else 0.0
    into["ttft_p50_ms"] = round(percentile(tally.ttft, 0.5) * 1e3, 3) if tally.ttft else 0.0
    into["ttft_p99_ms"] = round(percentile(tally.ttft, 0.99) * 1e3, 3) if tally.ttft else 0.0
    if tally.first_error:
        into["first_error"] = tally.first_error[:1000]
    return into


def memory(root: int, worker: int = 0) -> Figures:
    """Resident MB (10^6 bytes) of the tree, and of the process that carries the data."""
    sizes = {pid: rss_bytes(pid) for pid in tree(root)}
    return {
        "rss_tree_mb": round(sum(sizes.values()) / 1e6, 2),
        "rss_worker_mb": round(sizes.get(worker, max(sizes.values())) / 1e6, 2),
        "processes": len(sizes),
    }
