"""Whether two releases of vLLM with other metric names give the same load, and whether a series that is gone is missed.

The old release's text was written in the names of its source; the new one's was recorded from the engine; and an engine
that runs now is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.bars import Bar
from benchmarks.gateway.gateways import ROOT
from penstock.wire.dialects import SIGNALS, expected, read_load

RECORDED = ROOT / "tests" / "wire" / "dialects" / "recorded"
NEW, OLD = "0.32.0", "0.8.5"


def read(text: str, version: str) -> dict[str, Any]:
    """`text`: metrics of a vLLM that has had requests for adapters."""
    new, old = (read_load((RECORDED / f"vllm-{of}.txt").read_bytes(), 0.0) for of in (NEW, OLD))
    live = read_load(text.encode(), 0.0, dialect="vllm", version=version)
    needed = {metric.partition("{")[0] for _, metric in expected("vllm", version)}
    return {
        "version": version,
        "apart": [signal for signal in SIGNALS if getattr(new, signal) != getattr(old, signal)],
        "missing": list(live.missing),
        "dropped": len(needed),
        "unflagged": [metric for metric in sorted(needed) if not _flagged(text, version, metric)],
    }


def _flagged(text: str, version: str, metric: str) -> bool:
    """Whether a reading without a series says which signals it misses, and gives none of them."""
    hurt = {signal for signal, of in expected("vllm", version) if of.partition("{")[0] == metric}
    left = "\n".join(line for line in text.splitlines() if line.replace("{", " ").split(" ")[0] != metric)
    found = read_load(left.encode() + b"\n", 0.0, dialect="vllm", version=version)
    return set(found.missing) == hurt and all(getattr(found, signal) is None for signal in hurt)


def bars(found: Mapping[str, Any]) -> list[Bar]:
    """`found`: as `read` says."""
    apart, missing, unflagged = found["apart"], found["missing"], found["unflagged"]
    return [
        Bar("vllm_releases_apart", len(apart), 0, "signals", why=f"{NEW} and {OLD}" + _named(apart)),
        Bar(
            "vllm_signals_missing", len(missing), 0, "signals", why=f"of a running {found['version']}{_named(missing)}"
        ),
        Bar(
            "vllm_dropped_series_unflagged",
            len(unflagged),
            0,
            "series",
            why=f"of {found['dropped']}{_named(unflagged)}",
        ),
    ]


def _named(names: list[str]) -> str:
    return f": {', '.join(names)}" if names else ""
