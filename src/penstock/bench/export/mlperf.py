"""The results of MLPerf LoadGen's detail log (loadgen/results.cc, 6.0.17), key by key. Times in nanoseconds.

LoadGen counts from the moment of its timetable, in its Server scenario, as this package does. A closed loop with one
client is its SingleStream; one with more has no scenario there, and gives only what every scenario has. Whether a run
is valid by MLPerf's rules is not said: that needs its data sets, durations and early stopping.
"""

from collections.abc import Sequence

from penstock.bench.export.part import Part
from penstock.bench.measure.moments import tpot, ttft
from penstock.bench.sample import Sample
from penstock.bench.traffic.workload import Closed

PERCENTILES = (0.50, 0.90, 0.95, 0.97, 0.99, 0.999)
NANO = 1e9


def mlperf(part: Part) -> dict[str, object]:
    found: dict[str, object] = {"result_query_count": len(part.samples), "num_errors": part.failed}
    if not part.whole:
        return found
    latencies = _nano([_latency(sample) for sample in part.whole])
    found |= _scenario(part, latencies) | _least_most_mean("result", "_latency_ns", latencies)
    found |= {f"result_{p * 100:.2f}_percentile_latency_ns": _at(latencies, p) for p in PERCENTILES}
    tokens = sum(sample.output_tokens for sample in part.whole)
    found["result_completed_tokens_per_second"] = tokens / _done(part)
    firsts = _nano([value for sample in part.streamed if (value := ttft(sample)) is not None])
    if firsts:
        found |= _least_most_mean("result_first_token", "_latency_ns", firsts)
        found |= {f"result_first_token_{p * 100:.2f}_percentile_latency_ns": _at(firsts, p) for p in PERCENTILES}
    each = _nano([value for sample in part.streamed if (value := tpot(sample)) is not None])
    if each:
        found |= _least_most_mean("result_time_to_output_token", "", each)
        found |= {f"result_time_per_output_token_{p * 100:.2f}_percentile_ns": _at(each, p) for p in PERCENTILES}
    return found


def _scenario(part: Part, latencies: Sequence[int]) -> dict[str, object]:
    """Rates. One is taken off the number of samples: the last one opens an interval that is not counted."""
    gaps = len(part.whole) - 1
    if not isinstance(part.load, Closed):
        due = max(sample.due for sample in part.whole) - part.stage.begin
        return {
            "effective_scenario": "Server",
            "result_scheduled_samples_per_sec": gaps / max(1e-9, due),
            "result_completed_samples_per_sec": gaps / _done(part),
        }
    if part.load.concurrency == 1:
        issued = max(sample.sent for sample in part.whole) - part.stage.begin
        return {
            "effective_scenario": "SingleStream",
            "result_qps_with_loadgen_overhead": gaps / max(1e-9, issued),
            "result_qps_without_loadgen_overhead": NANO * len(latencies) / max(1, sum(latencies)),
        }
    return {}


def _latency(sample: Sample) -> float:
    """Seconds from due to the last content; of an answer in one piece, to its last byte."""
    return (sample.last if sample.events else sample.ended) - sample.due


def _done(part: Part) -> float:
    """Seconds from the stage's beginning until the request that was due last was answered."""
    final = max(part.whole, key=lambda sample: sample.due)
    return max(1e-9, final.due + _latency(final) - part.stage.begin)


def _nano(seconds: Sequence[float]) -> list[int]:
    return sorted(round(value * NANO) for value in seconds)


def _at(ordered: Sequence[int], p: float) -> int:
    """As there: the value at place n * p, counted from 0; of a hundred values the 99th percentile is the largest."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * p))]


def _least_most_mean(name: str, unit: str, ordered: Sequence[int]) -> dict[str, object]:
    return {
        f"{name}_min{unit}": ordered[0],
        f"{name}_max{unit}": ordered[-1],
        f"{name}_mean{unit}": sum(ordered) // len(ordered),
    }
