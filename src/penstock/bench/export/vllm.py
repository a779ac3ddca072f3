"""The JSON of `vllm bench serve --save-result` (vllm/benchmarks/serve.py, 0.32.0).

Not there: the texts of answers, which are not kept, and what only vLLM's own options make (speculation, probes, audio).
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from math import inf

from penstock.bench.export.interpolated import deviation, mean, percentile
from penstock.bench.export.part import Part, first_from_sent, last_from_sent
from penstock.bench.measure.moments import lag, tpot
from penstock.bench.sample import Ending, Sample
from penstock.bench.traffic.workload import Open

BACKENDS = {"chat": "openai-chat", "completions": "openai"}
PERCENTILES = (50, 90, 95, 99)
"""As with `--metric-percentiles 50,90,95,99`; its own default is 99 alone."""


def vllm(part: Part, detailed: bool) -> dict[str, object]:
    """`detailed`: with the arrays of `--save-detailed`, one entry per request in the order of sending."""
    tokens_in = sum(sample.input_tokens for sample in part.whole)
    tokens_out = sum(sample.output_tokens for sample in part.whole)
    seconds = part.seconds
    found: dict[str, object] = {
        **_load(part),
        "duration": seconds,
        "completed": len(part.whole),
        "failed": part.failed,
        "total_input_tokens": tokens_in,
        "total_output_tokens": tokens_out,
        "request_throughput": len(part.whole) / seconds,
        "request_goodput": _goodput(part),
        "output_throughput": tokens_out / seconds,
        "total_token_throughput": (tokens_in + tokens_out) / seconds,
        **_peaks(part),
        **_spread("ttft", map(first_from_sent, part.streamed)),
        **_spread("tpot", (value for sample in part.streamed if (value := tpot(sample)) is not None)),
        **_spread("itl", (gap for sample in part.streamed for gap in sample.gaps)),
        **_spread("e2el", map(last_from_sent, part.whole)),
    }
    return found | (_arrays(part) if detailed else {})


def _load(part: Part) -> dict[str, object]:
    api = BACKENDS[part.contract.workload.api]
    rate: float | str = "inf"
    burstiness: float | str = 1.0
    if isinstance(part.load, Open):
        rate, burstiness = part.stage.rate, 1 / part.load.cv**2 if part.load.cv else "inf"
    return {
        "date": datetime.fromtimestamp(part.run.began, UTC).strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": api,
        "backend": api,
        "label": part.contract.name,
        "model_id": part.model,
        "num_prompts": len(part.samples),
        "request_rate": rate,
        "burstiness": burstiness,
        "max_concurrency": part.stage.concurrency or None,
    }


def _goodput(part: Part) -> float | None:
    """Good answers per second, latencies from sending. An answer of one token has TPOT 0 and meets that objective."""
    slo = part.contract.slo
    if not slo.asks:
        return None

    def good(sample: Sample) -> bool:
        return (
            first_from_sent(sample) <= (slo.ttft or inf)
            and (tpot(sample) or 0.0) <= (slo.tpot or inf)
            and last_from_sent(sample) <= (slo.e2e or inf)
        )

    return sum(map(good, part.whole)) / part.seconds


def _peaks(part: Part) -> dict[str, object]:
    """Of the busiest second, counted from the first sending: events with content, and requests under way in it."""
    if not part.streamed:
        return {}
    begin = min(sample.sent for sample in part.streamed)
    tokens: Counter[int] = Counter()
    running: Counter[int] = Counter()
    for sample in part.streamed:
        at = sample.first - begin
        tokens[int(at)] += 1
        for gap in sample.gaps:
            at += gap
            tokens[int(at)] += 1
        running.update(range(int(sample.sent - begin), int(sample.last - begin) + 1))
    return {
        "max_output_tokens_per_s": float(max(tokens.values())),
        "max_concurrent_requests": max(running.values()),
    }


def _spread(name: str, seconds: Iterable[float]) -> dict[str, float]:
    """Milliseconds; nothing of nothing."""
    ordered = sorted(value * 1e3 for value in seconds)
    if not ordered:
        return {}
    return {
        f"mean_{name}_ms": mean(ordered),
        f"median_{name}_ms": percentile(ordered, 50),
        f"std_{name}_ms": deviation(ordered),
        **{f"p{p}_{name}_ms": percentile(ordered, p) for p in PERCENTILES},
    }


def _arrays(part: Part) -> dict[str, object]:
    """Seconds. Requests that failed have latency and output length 0 and their error, as there."""

    return {
        "input_lens": [sample.input_tokens for sample in part.samples],
        "output_lens": [sample.output_tokens if sample.ending is Ending.OK else 0 for sample in part.samples],
        "ttfts": [first_from_sent(sample) if sample.first else 0.0 for sample in part.samples],
        "itls": [sample.gaps for sample in part.samples],
        "latencies": [last_from_sent(each) if each.ending is Ending.OK else 0.0 for each in part.samples],
        "start_times": [sample.sent for sample in part.samples],
        "queue_times": [lag(sample) for sample in part.samples],
        "errors": ["" if each.ending is Ending.OK else each.error or each.ending.value for each in part.samples],
    }
