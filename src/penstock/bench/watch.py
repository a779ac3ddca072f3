"""What happens beside the load: processes' CPU and memory, energy, and what a gateway or engine says in its metrics."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from penstock.bench.measure.resources import ENERGY
from penstock.bench.meters import Meter
from penstock.bench.sample import Series
from penstock.core.clock import monotonic

EVERY_S = 0.5
WATCHED: Mapping[str, tuple[str, str]] = {
    "penstock_engine_requests_running": ("running", "requests"),
    "penstock_engine_requests_waiting": ("waiting", "requests"),
    "penstock_engine_kv_utilisation": ("kv_utilisation", "share"),
    "penstock_queue_requests": ("queue", "requests"),
    "vllm:num_requests_running": ("running", "requests"),
    "vllm:num_requests_waiting": ("waiting", "requests"),
    "vllm:kv_cache_usage_perc": ("kv_utilisation", "share"),
    "vllm:gpu_cache_usage_perc": ("kv_utilisation", "share"),
    "sglang:num_running_reqs": ("running", "requests"),
    "sglang:num_queue_reqs": ("waiting", "requests"),
    "sglang:token_usage": ("kv_utilisation", "share"),
    "llamacpp:requests_processing": ("running", "requests"),
    "llamacpp:requests_deferred": ("waiting", "requests"),
}
"""Metric -> (quantity, unit). Penstock's own are of all its engines, whatever they are."""
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Looks until it is cancelled. `urls`: addresses of metrics; `pids`: processes of this machine;
    `meters`: of energy."""

    def __init__(self, began: float, urls: Sequence[str], pids: Sequence[int], meters: Sequence[Meter] = ()) -> None:
        self._began = began
        self._urls = urls
        self._pids = pids
        self._meters = meters
        self._series: dict[tuple[str, str], Series] = {}
        self._cpu: dict[int, tuple[float, float]] = {}
        self.failures = 0
        """Readings that did not come."""

    @property
    def series(self) -> list[Series]:
        return list(self._series.values())

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            while True:
                self.meter()
                for url in self._urls:
                    await self._read(client, url)
                for pid in self._pids:
                    self._look(pid)
                await asyncio.sleep(EVERY_S)

    async def _read(self, client: httpx.AsyncClient, url: str) -> None:
        try:
            answer = await client.get(url)
            answer.raise_for_status()
            families = list(text_string_to_metric_families(answer.text))
        except (httpx.HTTPError, ValueError):
            self.failures += 1
            return
        for family in families:
            if family.name in WATCHED:
                name, unit = WATCHED[family.name]
                for sample in family.samples:
                    source = sample.labels.get("engine") or sample.labels.get("model_name") or url
                    self._note(name, source, unit, float(sample.value))

    def meter(self) -> None:
        """Reads every meter of energy."""
        for meter in self._meters:
            if (joules := meter.joules()) is not None:
                self._note(ENERGY, meter.source, "J", joules)

    def _look(self, pid: int) -> None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        now, spent = monotonic(), (int(fields[11]) + int(fields[12])) / TICKS
        before = self._cpu.get(pid)
        self._cpu[pid] = now, spent
        if before is not None and now > before[0]:
            self._note("cpu", f"process {pid}", "cores", (spent - before[1]) / (now - before[0]))
        self._note("memory", f"process {pid}", "MB", int(fields[21]) * PAGE / 1e6)

    def _note(self, name: str, source: str, unit: str, value: float) -> None:
        series = self._series.setdefault((name, source), Series(name, source, unit))
        series.at.append(round(monotonic() - self._began, 3))
        series.values.append(value)
