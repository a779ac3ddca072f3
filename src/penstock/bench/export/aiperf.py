"""AIPerf's profile_export_aiperf.json (0.13.0, schema 1.4): metrics by tag, each with unit and statistics.

Not there: what AIPerf reads from GPUs, its own configuration, and tokens of reasoning, which are part of the output.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from math import inf

from penstock.bench.export.interpolated import deviation, mean, percentile
from penstock.bench.export.part import Part, first_from_sent, last_from_sent
from penstock.bench.measure.moments import e2e, lag, tpot
from penstock.bench.sample import Sample

SCHEMA = "1.4"
PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
MILLI = 1e3


def aiperf(part: Part) -> dict[str, object]:
    """Latencies are of whole answers; a request that failed only counts."""
    begin = part.run.began
    found: dict[str, object] = {"schema_version": SCHEMA} | _records(part) | _totals(part)
    if part.whole:
        first = min(sample.sent for sample in part.whole)
        last = max(sample.sent + last_from_sent(sample) for sample in part.whole)
        found |= {
            "start_time": datetime.fromtimestamp(begin + first, UTC).isoformat(),
            "end_time": datetime.fromtimestamp(begin + last, UTC).isoformat(),
        }
    return found


def _records(part: Part) -> dict[str, object]:
    """What has a value per request, and the gaps of all answers pooled."""
    wanted: tuple[tuple[str, str, list[float]], ...] = (
        ("time_to_first_token", "ms", _each(part.streamed, lambda sample: first_from_sent(sample) * MILLI)),
        ("time_to_second_token", "ms", [sample.gaps[0] * MILLI for sample in part.streamed if sample.gaps]),
        ("inter_token_latency", "ms", _each(part.streamed, lambda sample: _milli(tpot(sample)))),
        ("inter_chunk_latency", "ms", [gap * MILLI for sample in part.streamed for gap in sample.gaps]),
        ("decode_duration", "ms", _each(part.streamed, lambda sample: (sample.last - sample.first) * MILLI)),
        ("request_latency", "ms", _each(part.whole, lambda sample: last_from_sent(sample) * MILLI)),
        ("effective_latency", "ms", _each(part.whole, lambda sample: _milli(e2e(sample)))),
        ("credit_to_start_latency", "ms", _each(part.whole, lambda sample: lag(sample) * MILLI)),
        ("output_token_throughput_per_user", "tokens/sec/user", _each(part.streamed, lambda s: _over(1.0, tpot(s)))),
        (
            "e2e_output_token_throughput",
            "tokens/sec/user",
            _each(part.whole, lambda sample: _over(sample.output_tokens, last_from_sent(sample))),
        ),
        (
            "prefill_throughput_per_user",
            "tokens/sec/user",
            _each(part.streamed, lambda sample: _over(sample.input_tokens, first_from_sent(sample))),
        ),
        ("output_sequence_length", "tokens", _each(part.whole, lambda sample: sample.output_tokens)),
        ("input_sequence_length", "tokens", _each(part.whole, lambda sample: sample.input_tokens)),
    )
    return {tag: _statistics(unit, values) for tag, unit, values in wanted if values}


def _totals(part: Part) -> dict[str, object]:
    """Counts and rates. Rates are over the time from the first sending to the last content, not over the stage."""
    whole, failed = len(part.whole), part.failed
    given = sum(sample.input_tokens for sample in part.whole)
    made = sum(sample.output_tokens for sample in part.whole)
    values: list[tuple[str, str, float]] = [("request_count", "requests", whole)] if whole else []
    if failed:
        values.append(("error_request_count", "requests", failed))
    if whole + failed:
        values += [
            ("completed_request_count", "requests", whole + failed),
            ("request_error_rate", "%", 100 * failed / (whole + failed)),
        ]
    if whole:
        begin = min(sample.sent for sample in part.whole)
        seconds = max(1e-9, max(sample.sent + last_from_sent(sample) for sample in part.whole) - begin)
        values += [
            ("benchmark_duration", "sec", seconds),
            ("request_throughput", "requests/sec", whole / seconds),
            ("output_token_throughput", "tokens/sec", made / seconds),
            ("input_token_throughput", "tokens/sec", given / seconds),
            ("total_token_throughput", "tokens/sec", (given + made) / seconds),
            ("total_isl", "tokens", given),
            ("total_osl", "tokens", made),
        ]
        if part.contract.slo.asks:
            good = sum(_good(part, sample) for sample in part.whole)
            values += [
                ("good_request_count", "requests", good),
                ("goodput", "requests/sec", good / seconds),
                ("good_request_fraction", "ratio", good / (whole + failed)),
            ]
    return {tag: {"unit": unit, "avg": value} for tag, unit, value in values}


def _good(part: Part, sample: Sample) -> bool:
    """Latencies from sending. Whoever lacks a quantity that has an objective is not good: an answer of one token has no
    inter-token latency."""
    slo = part.contract.slo
    first = first_from_sent(sample) if sample.events else None
    wanted = ((slo.ttft, first), (slo.tpot, tpot(sample)), (slo.e2e, last_from_sent(sample)))
    return all((inf if found is None else found) <= most for most, found in wanted if most)


def _each(samples: Iterable[Sample], of: Callable[[Sample], float | None]) -> list[float]:
    return [value for sample in samples if (value := of(sample)) is not None]


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * MILLI


def _over(above: float, below: float | None) -> float | None:
    return above / below if below else None


def _statistics(unit: str, values: list[float]) -> dict[str, object]:
    ordered = sorted(values)
    return {
        "unit": unit,
        "avg": mean(ordered),
        **{f"p{p}": percentile(ordered, p) for p in PERCENTILES},
        "min": ordered[0],
        "max": ordered[-1],
        "std": deviation(ordered),
        "count": len(ordered),
        "sum": sum(ordered),
    }
