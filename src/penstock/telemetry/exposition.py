"""Series of all workers and the supervisor's own -> Prometheus text, rendered by prometheus_client."""

from collections.abc import Iterable, Iterator, Mapping
from math import isnan

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from penstock.telemetry.catalogue import Kind, Sheet
from penstock.telemetry.catalogue import Metric as Declared

Rows = Mapping[tuple[str, tuple[str, ...]], list[float]]
"""(sheet name, label values) -> numbers."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Snapshot(Collector):
    def __init__(self, sheets: Iterable[Sheet], rows: Rows) -> None:
        self._sheets = sheets
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        for sheet in self._sheets:
            rows = [(labels, numbers) for (name, labels), numbers in self._rows.items() if name == sheet.name]
            at = 0
            for metric in sheet.metrics:
                yield _family(metric, sheet.labels, rows, at)
                at += metric.slots


def _family(
    metric: Declared, labels: tuple[str, ...], rows: list[tuple[tuple[str, ...], list[float]]], at: int
) -> Metric:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
        for values, numbers in rows:
            counts = numbers[at : at + len(metric.bounds) + 1]
            if not any(counts):
                continue
            total, cumulative = 0.0, []
            for bound, count in zip([*map(repr, metric.bounds), "+Inf"], counts, strict=True):
                total += count
                cumulative.append((bound, total))
            histogram.add_metric(values, cumulative, numbers[at + len(metric.bounds) + 1])
        return histogram
    family = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    plain = family(metric.name, metric.help, labels=labels)
    for values, numbers in rows:
        if isnan(numbers[at]) or (not numbers[at] and values and set(values) == {"other"}):
            continue
        plain.add_metric(values, numbers[at])
    return plain


def render(sheets: Iterable[Sheet], rows: Rows) -> bytes:
    """Text of every metric of `sheets`. A histogram without observations is left out, and so is a number that nobody
    knows (NaN); HELP and TYPE stay.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(sheets, rows))
    return generate_latest(registry)
