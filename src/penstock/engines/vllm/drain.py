"""Whether a vLLM still has work. Pure."""

import re

_UNFINISHED = re.compile(r"^vllm:num_requests_(running|waiting)(?:\{[^}\n]*\})? ([0-9.eE+-]+)", re.MULTILINE)


def unfinished(metrics: str) -> float | None:
    """Requests running and waiting, from the text of `/metrics`; None when it does not say."""
    found = _UNFINISHED.findall(metrics)
    if {kind for kind, _ in found} != {"running", "waiting"}:
        return None
    return sum(float(value) for _, value in found)
