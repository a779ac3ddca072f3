"""From raw rounds to figures per gateway, and from figures to bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.bars import Bar
from benchmarks.gateway.stats import median

Raw = Mapping[str, Any]


def by_gateway(rows: Sequence[Raw]) -> dict[str, list[Raw]]:
    found: dict[str, list[Raw]] = {}
    for row in rows:
        found.setdefault(str(row["gateway"]), []).append(row)
    return found


def medians(rows: Sequence[Raw]) -> dict[str, float]:
    """The median of each number over the rounds that have it."""
    names = dict.fromkeys(
        name
        for row in rows
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    return {name: round(median([row[name] for row in rows if name in row]), 4) for name in names}


def ratio(rows: Sequence[Raw], over: str, under: str, figure: str) -> float | None:
    """Median over the rounds of `over`'s figure by `under`'s in the same round; None without a common round."""
    each: dict[int, dict[str, float]] = {}
    for row in rows:
        if row.get(figure):
            each.setdefault(int(row["round"]), {})[str(row["gateway"])] = float(row[figure])
    found = [pair[over] / pair[under] for pair in each.values() if over in pair and under in pair]
    return round(median(found), 4) if found else None


def figures(raw: Raw) -> dict[str, dict[str, float]]:
    """Medians per gateway with what follows from them: added latency, capacity, ratios to nginx."""
    rounds, streams = by_gateway(raw["rounds"]), by_gateway(raw["streams"])
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys([*rounds, *streams, *raw["starts"]]):
        own = medians(rounds.get(name, []))
        own |= {f"many_{key}": value for key, value in medians(streams.get(name, [])).items()}
        own |= raw["starts"].get(name, {})
        own.pop("round", None)
        found[name] = own
    direct = found.get("direct", {})
    for name, own in found.items():
        if name == "direct":
            continue
        _derive(raw, name, own, direct)
    return found


def _derive(raw: Raw, name: str, own: dict[str, float], direct: Mapping[str, float]) -> None:
    """Adds what follows from the medians of one gateway and of direct."""
    if own.get("unary_us"):
        own["capacity_rps"] = round(1e6 / own["unary_us"], 0)
    slow = own.get("open_rate") != direct.get("open_rate")
    for share in ("p50", "p99"):
        base = direct.get(f"open_slow_{share}_ms" if slow else f"open_{share}_ms")
        if base is not None and f"open_{share}_ms" in own:
            own[f"added_{share}_ms"] = round(own[f"open_{share}_ms"] - base, 4)
    if "many_itl_p99_ms" in own and "many_itl_p99_ms" in direct:
        own["itl_p99_added_ms"] = round(own["many_itl_p99_ms"] - direct["many_itl_p99_ms"], 3)
    for figure in ("unary_us", "unary_8k_us", "chunk_us", "open_us"):
        found_ratio = ratio(raw["rounds"], name, "nginx", figure)
        if found_ratio is not None:
            own[f"{figure.removesuffix('_us')}_vs_nginx"] = found_ratio
    found_ratio = ratio(raw["streams"], name, "nginx", "paced_chunk_us")
    if found_ratio is not None:
        own["paced_chunk_vs_nginx"] = found_ratio


def _worst(rows: Sequence[Raw], name: str) -> float | None:
    values = [float(row[name]) for row in rows if name in row]
    return max(values) if values else None


CAUSES = {
    "unary_vs_nginx": "about 190,000 instructions a request, in more code than a shared core's caches hold: the ratio "
    "was 2.4 on the same machine while its neighbours were quiet",
    "chunk_vs_nginx": "kernel time is the same for both; what is ours is about 40 bytecodes and uvloop's transports",
    "itl_p99_added_1000_streams": "50,000 chunks/s keep the gateway's core above 90 % busy on this machine, so any "
    "pause takes long to work off",
}
"""Why a bar is missed, as far as profiles tell."""


def bars(raw: Raw) -> list[Bar]:
    """One bar per demanded figure, with the cause where it is missed."""
    return [
        replace(bar, why=CAUSES[bar.name]) if not bar.holds and not bar.why and bar.name in CAUSES else bar
        for bar in _bars(raw)
    ]


def _bars(raw: Raw) -> list[Bar]:
    """Drops and memory take the worst round, the others the median."""
    rounds = raw["rounds"]
    own = by_gateway(raw["streams"]).get("penstock", [])
    streams = max((int(row["streams"]) for row in own), default=0)
    full = own if streams >= 1000 else []
    added = figures(raw).get("penstock", {}).get("itl_p99_added_ms") if full else None
    drops = [float(row["dropped"]) + float(row["asked"] < row["streams"]) for row in full]
    checkout = raw.get("checkout", {})

    def versus(
        name: str,
        over: str,
        under: str,
        figure: str,
        limit: float,
        *,
        higher: bool = False,
        strict: bool = False,
    ) -> Bar:
        value = ratio(rounds, over, under, figure)
        return Bar(
            name,
            value,
            limit,
            "ratio",
            "higher" if higher else "lower",
            strict,
            _absent(raw, value, over, under),
        )

    why = "" if full else _absent(raw, None, "penstock") or "1,000 streams were not run"
    return [
        versus("unary_vs_nginx", "penstock", "nginx", "unary_us", 3.5),
        versus("unary_below_envoy", "penstock", "envoy", "unary_us", 1, strict=True),
        versus("chunk_vs_nginx", "penstock", "nginx", "chunk_us", 1.3),
        versus("chunk_below_envoy", "penstock", "envoy", "chunk_us", 1, strict=True),
        versus("unary_litellm_over_penstock", "litellm", "penstock", "unary_us", 100, higher=True),
        versus("chunk_litellm_over_penstock", "litellm", "penstock", "chunk_us", 30, higher=True),
        Bar("itl_p99_added_1000_streams", added, 20, "ms", strict=True, why=why),
        Bar("streams_dropped", max(drops) if drops else None, 0, "streams", why=why),
        Bar("rss_1000_streams", _worst(full, "rss_worker_mb"), 120, "MB", strict=True, why=why),
        Bar("import_time_s", checkout.get("import_time_s"), 0.3, "s", strict=True),
        Bar("direct_core_dependencies", checkout.get("direct_core_dependencies"), 15, "packages"),
    ]


def _absent(raw: Raw, value: float | None, *names: str) -> str:
    if value is not None:
        return ""
    return "; ".join(
        f"{name}: {raw['absent'].get(name, 'not in this run')}" for name in names if name not in raw["starts"]
    )
