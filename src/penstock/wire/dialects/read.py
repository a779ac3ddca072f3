"""An engine's metrics text to a Load."""

from typing import Any

from penstock.core.load import Load
from penstock.core.registry import Registry
from penstock.wire.dialects.dialect import Dialect
from penstock.wire.dialects.exposition import samples
from penstock.wire.dialects.llamacpp import LLAMACPP
from penstock.wire.dialects.sglang import SGLANG
from penstock.wire.dialects.tgi import TGI
from penstock.wire.dialects.triton import TRITON
from penstock.wire.dialects.trtllm import TRTLLM
from penstock.wire.dialects.vllm import VLLM

AUTO = "auto"
DIALECTS: Registry[Dialect] = Registry(
    "dialect", {each.name: each for each in (VLLM, SGLANG, TRTLLM, TRITON, TGI, LLAMACPP)}
)
NAMED = ("dialect", "version", "at", "missing")
SIGNALS = tuple(name for name in Load.__struct_fields__ if name not in NAMED)
"""The fields of Load that say something of the load."""
WHOLE = ("kv_capacity_tokens", "adapter_slots")
"""Signals that are whole numbers."""


def read_load(text: bytes, now: float, *, dialect: str = AUTO, version: str = "") -> Load:
    """What an engine says of its load. Whatever the text, it raises nothing: what cannot be read is missing.

    `now` is CLOCK_MONOTONIC in seconds. `version` is the engine's, where it is known (no engine tells it in its
    metrics); without it the range of versions is chosen by the names that are there. A text of no known dialect has
    every signal missing.
    """
    written = text.decode("utf-8", "replace")
    spoken = _dialect(written, dialect)
    if spoken is None:
        return Load(at=now, version=version, missing=SIGNALS)
    readings = samples(written, spoken.lines)
    chosen = spoken.range_of(version)
    chosen, values = spoken.fitting(readings) if chosen is None else (chosen, chosen.values(readings))
    return Load(
        at=now,
        dialect=spoken.name,
        version=version,
        missing=chosen.missing(values, readings),
        **_fields(values),
    )


def expected(dialect: str, version: str = "") -> tuple[tuple[str, str], ...]:
    """(signal, metric) of all that a dialect should export; a signal from several metrics has an entry for each.

    Without a version, of its newest range. Raises ConfigError for an unknown dialect.
    """
    spoken = DIALECTS[dialect]
    chosen = spoken.range_of(version) or spoken.ranges[0]
    return tuple((rule.signal, metric) for rule in chosen.rules if not rule.only for metric in rule.formula.metrics)


def detect(text: str) -> str:
    """The name of the dialect that a text is in; "" for none."""
    text = f"\n{text}"
    for name in DIALECTS:
        if any(f"\n{prefix}" in text for prefix in DIALECTS[name].prefixes):
            return name
    return ""


def _dialect(text: str, name: str) -> Dialect | None:
    if name == AUTO:
        name = detect(text)
    return next((DIALECTS[known] for known in DIALECTS if known == name), None)


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    found = {signal: value for signal, value in values.items() if value is not None}
    return {signal: round(value) if signal in WHOLE else value for signal, value in found.items()}
