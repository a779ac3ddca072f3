"""From raw rows to figures with bootstrap intervals, and from figures to bars."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.gateway.stats import median, percentile
from benchmarks.routing import workloads
from benchmarks.routing.session import ON_VLLM
from benchmarks.routing.spread import Spread, spread

Raw = Mapping[str, Any]
Key = tuple[str, str, str]
"""Fleet, workload, gateway."""

DEFAULT, IN_TURN = "penstock", "penstock-round_robin"
RESAMPLES = 4000
FAIR = 1.3
"""So many times its part of the load is a hot spot, if another engine has nothing to do."""
STATISTICS = ("ttft_p50_s", "ttft_p95_s", "ttft_p99_s", "request_mean_s")
GATEWAY_FILE = Path(__file__).resolve().parents[2] / "results" / "gateway" / "latest.json"


@dataclass(slots=True)
class Group:
    """All that one gateway did with one workload on one fleet. Requests keep their round."""

    ttft: list[list[float]] = field(default_factory=list)
    total: list[list[float]] = field(default_factory=list)
    cells: list[Raw] = field(default_factory=list)
    spreads: list[Spread] = field(default_factory=list)
    """Of the cells whose gateway tells which engine answered."""
    failed: int = 0
    out_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def requests(self) -> int:
        return sum(map(len, self.ttft))


def flat(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [value for each in rounds for value in each]


def groups(raw: Raw) -> dict[Key, Group]:
    """Rows of `raw["requests"]`: cell, due_s, ttft_s, total_s, prompt, cached and output tokens, engine, error."""
    rows: dict[int, list[Sequence[Any]]] = {}
    for row in raw["requests"]:
        rows.setdefault(row[0], []).append(row)
    found: dict[Key, Group] = {}
    steady = {name: each.steady_from for name, each in workloads.known().items()}
    for number, cell in enumerate(raw["cells"]):
        group = found.setdefault((cell["fleet"], cell["workload"], cell["gateway"]), Group())
        own = rows.get(number, [])
        done = [row for row in own if row[2] is not None]
        group.cells.append(cell)
        told = spread(own, len(cell["served"]), steady.get(cell["workload"], 0.0), FAIR)
        group.spreads += [told] if told else []
        group.ttft.append([row[2] for row in done])
        group.total.append([row[3] for row in done])
        group.failed += len(own) - len(done)
        group.prompt_tokens += sum(row[4] for row in done)
        group.cached_tokens += sum(row[5] for row in done)
        group.out_tokens += sum(row[6] for row in done)
    return found


def statistics(ttft: Sequence[float], total: Sequence[float]) -> dict[str, float]:
    return {
        "ttft_p50_s": median(ttft),
        "ttft_p95_s": percentile(ttft, 0.95),
        "ttft_p99_s": percentile(ttft, 0.99),
        "request_mean_s": sum(total) / len(total),
    }


def resampled(group: Group, seed: str, times: int = RESAMPLES) -> list[dict[str, float]]:
    """`statistics` of rounds drawn with replacement, and in each of requests drawn with replacement.

    Requests of one round share its weather. Which rounds are drawn is the same for every gateway, since all had the
    same requests in a round, one after the other: what a round did to all of them is in no ratio.
    """
    rng, of_rounds = random.Random(seed), random.Random("rounds")
    rounds = [list(zip(ttft, total, strict=True)) for ttft, total in zip(group.ttft, group.total, strict=True)]
    rounds = [each for each in rounds if each]
    found = []
    for _ in range(times):
        chosen = of_rounds.choices(rounds, k=len(rounds))
        drawn = [pair for each in chosen for pair in rng.choices(each, k=len(each))]
        found.append(statistics([ttft for ttft, _ in drawn], [total for _, total in drawn]))
    return found


def interval(values: Iterable[float], others: int = 1) -> list[float]:
    """The middle 95 %; wider by Bonferroni when it is one of so many that were looked at."""
    ranked, tail = list(values), 0.025 / others
    return [round(percentile(ranked, tail), 4), round(percentile(ranked, 1 - tail), 4)]


def share_over_fair(served: Sequence[float]) -> float | None:
    """The busiest engine's requests by the mean of all; None without requests."""
    whole = sum(served)
    return round(max(served) * len(served) / whole, 4) if whole else None


class Figures:
    """Everything that follows from the raw rows."""

    def __init__(self, raw: Raw, resamples: int = RESAMPLES) -> None:
        self.raw = raw
        self.groups = groups(raw)
        answered = {key: group for key, group in self.groups.items() if group.requests}
        self._point = {key: statistics(flat(group.ttft), flat(group.total)) for key, group in answered.items()}
        self._draws = {key: resampled(group, "/".join(key), resamples) for key, group in answered.items()}

    def table(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """Fleet -> workload -> gateway -> figures."""
        found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        for key, group in self.groups.items():
            fleet, workload, gateway = key
            found.setdefault(fleet, {}).setdefault(workload, {})[gateway] = self._own(key, group)
        return found

    def _own(self, key: Key, group: Group) -> dict[str, Any]:
        own: dict[str, Any] = {"requests": group.requests, "failed": group.failed, "rounds": len(group.cells)}
        if not group.requests:
            return own
        own |= {name: round(value, 4) for name, value in self._point[key].items()}
        for name in STATISTICS:
            own[f"{name}_95"] = interval(draw[name] for draw in self._draws[key])
        seconds = sum(float(cell["seconds"]) for cell in group.cells)
        counted = sum(float(cell["prompt_tokens"]) for cell in group.cells)
        shares = [share for cell in group.cells if (share := share_over_fair(cell["served"])) is not None]
        own |= {
            "requests_per_s": round(group.requests / seconds, 4),
            "out_tokens_per_s": round(group.out_tokens / seconds, 3),
            "hit_rate": round(group.cached_tokens / max(1, group.prompt_tokens), 4),
            "hit_rate_of_engines": round(sum(cell["cached_tokens"] for cell in group.cells) / max(1.0, counted), 4),
            "share": [cell["served"] for cell in group.cells],
            "max_share_over_fair": round(median(shares), 4) if shares else None,
            "max_load_over_fair": max((each.load_over_fair for each in group.spreads), default=None),
            "uneven_while_idle": max((each.uneven_while_idle for each in group.spreads), default=None),
        }
        if (ratio := self.ratio(key, (*key[:2], DEFAULT), "ttft_p50_s")) is not None and key[2] != DEFAULT:
            own["ttft_p50_over_default"], own["ttft_p50_over_default_95"] = ratio
        return own

    def ratio(self, over: Key, under: Key, name: str, others: int = 1) -> tuple[float, list[float]] | None:
        """`over`'s statistic by `under`'s and its interval, see `interval`; None when one of them did not run."""
        if over not in self._point or under not in self._point:
            return None
        pairs = zip(self._draws[over], self._draws[under], strict=True)
        value = self._point[over][name] / self._point[under][name]
        return round(value, 4), interval((top[name] / low[name] for top, low in pairs), others)

    def against_best(self, fleet: str, workload: str, name: str) -> tuple[str, float, list[float]] | None:
        """The best other gateway, the default's statistic by its, and the interval of that ratio.

        Which of them is best is seen in the same figures: the interval allows for that.
        """
        here = [key for key in self._point if key[:2] == (fleet, workload)]
        others = [key for key in here if key[2] != DEFAULT]
        if not others:
            return None
        best = min(others, key=lambda key: self._point[key][name])
        found = self.ratio((fleet, workload, DEFAULT), best, name, len(others))
        return (best[2], *found) if found else None


def planned() -> list[tuple[str, str, str]]:
    """Fleet, workload and loop of every cell of a full run."""
    every = workloads.known()
    return [
        (fleet, name, each.loop)
        for fleet in ("llamacpp", "vllm")
        for name, each in every.items()
        if fleet == "llamacpp" or name in ON_VLLM
    ]


def bars(figures: Figures) -> list[Bar]:
    """One bar per demanded figure.

    `_vs_best` holds when the default is best or within noise of best: its value is the low end of the 95 % interval
    of (the default's figure / the best other gateway's), at most 1 unless the default is slower beyond noise.
    """
    found = []
    for fleet, workload, loop in planned():
        names = ["ttft_p50_s", "ttft_p95_s", *(["request_mean_s"] if loop == "closed" else [])]
        found += [_versus_best(figures, fleet, workload, name) for name in names]
    found += _skewed(figures)
    found += [_hot_spot(figures), _failed(figures)]
    return [*found, *_gateway(GATEWAY_FILE)]


def _why(raw: Raw, fleet: str, *gateways: str) -> str:
    absent = raw["absent"]
    if fleet in absent:
        return f"{fleet}: {absent[fleet]}"
    told = [f"{name}: {absent[where]}" for name in gateways if (where := f"{name} on {fleet}") in absent]
    return "; ".join(told)[:300] or "not in this run"


def _versus_best(figures: Figures, fleet: str, workload: str, name: str) -> Bar:
    bar = f"{fleet}_{workload}_{name.removesuffix('_s')}_vs_best"
    found = figures.against_best(fleet, workload, name)
    if found is None:
        return Bar(bar, None, 1, "ratio, low end of 95 %", why=_why(figures.raw, fleet, DEFAULT))
    best, value, (low, high) = found
    return Bar(bar, low, 1, "ratio, low end of 95 %", why=f"{value:.2f} [{low:.2f}, {high:.2f}] of {best}")


def _skewed(figures: Figures) -> list[Bar]:
    own, other = (("llamacpp", "skewed_prefix", name) for name in (DEFAULT, IN_TURN))
    gain, tail = figures.ratio(other, own, "ttft_p50_s"), figures.ratio(own, other, "ttft_p99_s")
    missing = _why(figures.raw, "llamacpp", DEFAULT, IN_TURN)

    def told(found: tuple[float, list[float]] | None) -> str:
        return missing if found is None else f"95 %: [{found[1][0]:.2f}, {found[1][1]:.2f}]"

    return [
        Bar("skewed_p50_round_robin_over_default", gain and gain[0], 1.5, "ratio", "higher", why=told(gain)),
        Bar("skewed_p99_default_over_round_robin", tail and tail[0], 1, "ratio", why=told(tail)),
    ]


def _hot_spot(figures: Figures) -> Bar:
    """The worst round counts."""
    group = figures.groups.get(("llamacpp", "hot_spot", DEFAULT), Group())
    worst = max((each.load_over_fair for each in group.spreads), default=None)
    why = _why(figures.raw, "llamacpp", DEFAULT)
    if worst is not None:
        idle = max(each.uneven_while_idle for each in group.spreads)
        why = f"beyond it while another engine idled: {idle:.0%} of the time, in the worst round"
    return Bar("hot_spot_max_load_over_fair", worst, FAIR, "ratio", why=why)


def _failed(figures: Figures) -> Bar:
    own = [group for key, group in figures.groups.items() if key[2] == DEFAULT]
    value = sum(group.failed for group in own) if own else None
    return Bar("default_requests_failed", value, 0, "requests", why="" if own else "not in this run")


def _gateway(path: Path) -> list[Bar]:
    """The gateway's own bars with routing on: row `penstock-routing` of its benchmark."""
    try:
        row = json.loads(path.read_text())["figures"].get("penstock-routing", {})
    except (OSError, ValueError, KeyError, AttributeError):
        row = {}
    why = "" if row else "no row penstock-routing in results/gateway: run make bench"
    return [
        Bar("routing_unary_vs_nginx", row.get("unary_vs_nginx"), 3.5, "ratio", why=why or _spent(row, "unary_us")),
        Bar("routing_chunk_vs_nginx", row.get("chunk_vs_nginx"), 1.3, "ratio", why=why or _spent(row, "chunk_us")),
    ]


def _spent(row: Raw, name: str) -> str:
    return f"{row[name]:.1f} us of CPU" if name in row else ""
