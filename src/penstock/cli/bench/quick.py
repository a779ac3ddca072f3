"""Options of a load that is not worth a file -> a contract."""

import re
from collections.abc import Mapping
from typing import Any

from penstock.bench.contract.contract import Contract
from penstock.bench.measure.figures import Slo
from penstock.bench.traffic.arrivals import Constant, Ramp
from penstock.bench.traffic.lengths import PRESETS, Fixed, Length, Preset, Uniform
from penstock.bench.traffic.workload import Closed, Kind, Open, Prefix, Replay, Stage, Workload
from penstock.core.errors import ConfigError

SLO = re.compile(r"(ttft|tpot|e2e)=([0-9.]+)(ms|s)?")


def length_of(option: str, text: str) -> Length:
    """`256`, `100-400`, or the name of a preset. Raises ConfigError."""
    if text.isdigit() and int(text):
        return Fixed(int(text))
    low, sign, high = text.partition("-")
    if sign and low.isdigit() and high.isdigit() and 0 < int(low) <= int(high):
        return Uniform(int(low), int(high))
    if text in PRESETS:
        return Preset(text)
    raise ConfigError(f"{option}: {text!r:.60} is no length; write 256, 100-400, or one of {', '.join(PRESETS)}")


def slo_of(texts: tuple[str, ...], share: float) -> Slo:
    """`ttft=200ms tpot=50ms e2e=5s`. Raises ConfigError."""
    found: dict[str, float] = {}
    for text in texts:
        match = SLO.fullmatch(text)
        if match is None:
            raise ConfigError(f"--slo: {text!r:.60} is no objective; write ttft=200ms, tpot=50ms or e2e=5s")
        found[match[1]] = float(match[2]) / (1000 if match[3] == "ms" else 1)
    return Slo(share=share, **found)


def stages_of(
    concurrency: tuple[int, ...],
    requests: int,
    rates: tuple[float, ...],
    ramp: str,
    seconds: float,
    cv: float,
    replays: tuple[Replay, ...] = (),
) -> tuple[Stage, ...]:
    """Closed stages, then open ones, then traces. Raises ConfigError."""
    stages: list[Stage] = [Closed(each, max(each, requests)) for each in concurrency]
    stages += [Open(Constant(each), seconds, cv) for each in rates]
    if ramp:
        try:
            first, last = map(float, ramp.split("-", 1))
        except ValueError:
            raise ConfigError(f"--ramp: {ramp!r:.40} is no ramp; write FIRST-LAST in requests per second") from None
        stages.append(Open(Ramp(first, last, seconds), seconds, cv, f"{first:g} to {last:g}/s"))
    stages += replays
    return tuple(stages) or (Closed(1, max(1, requests)),)


def quick_contract(stages: tuple[Stage, ...], slo: Slo, given: Mapping[str, Any], seed: int) -> Contract:
    """`given`: the options `--input`, `--output`, `--prefix`, `--model`, `--api`. Raises ConfigError."""
    read, written = length_of("--input", given["given"]), length_of("--output", given["wanted"])
    kind = Kind("default", read, written, prefix=Prefix(given["prefix"]))
    workload = Workload((kind,), stages, given["model"], given["api"], seed=seed)
    return Contract("adhoc", workload, runs=1, slo=slo)
