"""Whether a vLLM still has work. Pure."""

from penstock.wire.dialects import read_load


def unfinished(metrics: str, now: float) -> float | None:
    """Requests running and waiting, from the text of `/metrics`; None when it does not say."""
    load = read_load(metrics.encode(), now, dialect="vllm")
    if load.running is None or load.waiting is None:
        return None
    return load.running + load.waiting
