"""What `penstock doctor` says of engines' metrics: whether they answer, and whether they tell what routing asks."""

from collections.abc import Iterator
from typing import TypeVar

import httpx
import msgspec

from penstock.cli.checks import OK, PROBE_S, WARN, Check, admin_url, base_of
from penstock.config.engines import Http
from penstock.config.schema import Config
from penstock.core.clock import monotonic
from penstock.wire.dialects import expected, read_load

SWITCHES = {
    "vllm": "start it without --disable-log-stats",
    "sglang": "start it with --enable-metrics",
    "trtllm": "set enable_iter_perf_stats and return_perf_metrics in its config",
    "llamacpp": "start it with --metrics",
}
"""Dialect -> what makes an engine export its load."""


def signals(config: Config) -> Iterator[Check]:
    """Each engine's metrics. Those by URL are read now; of the others a running Penstock is asked."""
    for index, engine in enumerate(config.engines):
        if isinstance(engine, Http) and engine.metrics != "off" and engine.dialect != "none":
            yield _read(engine, f"engines.{index}")
    by_url = {engine.name for engine in config.engines if isinstance(engine, Http)}
    yield from (_told(row) for row in running(config, _Row) if row.name not in by_url and row.state == "ready")


R = TypeVar("R")


class _Load(msgspec.Struct):
    dialect: str = ""
    missing: tuple[str, ...] = ()


class _Row(msgspec.Struct):
    """What is looked at of a row of /admin/engines."""

    name: str
    state: str = ""
    load: _Load | None = None


def _read(engine: Http, path: str) -> Check:
    name, url = f"metrics of {engine.name}", engine.metrics or f"{base_of(engine.url)}/metrics"
    otherwise = f"name their URL in {path}.metrics, or set it to off"
    if switch := SWITCHES.get(engine.dialect):
        otherwise = f"{switch}, or {otherwise}"
    try:
        response = httpx.get(url, headers=_bearer(engine.api_key), timeout=PROBE_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Check(name, WARN, f"{url} does not answer: {str(error) or type(error).__name__}", otherwise)
    if response.status_code != 200:
        return Check(name, WARN, f"{url} answers {response.status_code}", otherwise)
    load = read_load(response.content, monotonic(), dialect=engine.dialect)
    if not load.dialect:
        return Check(name, WARN, f"{url} holds no metrics of a known dialect", otherwise)
    return _judged(name, load.dialect, load.missing)


def _told(row: _Row) -> Check:
    name = f"metrics of {row.name}"
    if row.load is None:
        return Check(name, WARN, "it tells nothing of its load", "see docs/dialects.md for what it should export")
    return _judged(name, row.load.dialect, row.load.missing)


def _judged(name: str, dialect: str, missing: tuple[str, ...]) -> Check:
    if not missing:
        return Check(name, OK, f"every signal of {dialect} is there")
    fix = SWITCHES.get(dialect, f"compare its metrics with docs/dialects.md, section {dialect or 'of its engine'}")
    metrics: dict[str, list[str]] = {}
    for signal, metric in expected(dialect) if dialect else ():
        metrics.setdefault(signal, []).append(metric)
    lacking = [f"{signal} ({', '.join(metrics[signal])})" if signal in metrics else signal for signal in missing]
    return Check(name, WARN, f"without {'; '.join(lacking)}: unknown to routing", fix)


def running(config: Config, row: type[R]) -> list[R]:
    """The rows of /admin/engines of a Penstock that runs with this config; none when there is none."""
    try:
        with httpx.Client(trust_env=False, timeout=PROBE_S) as client:
            response = client.get(f"{admin_url(config)}/admin/engines", headers=_bearer(config.admin.token))
        rows = msgspec.json.decode(response.content, type=dict[str, list[msgspec.Raw]])["engines"]
        return [msgspec.json.decode(each, type=row) for each in rows]
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError, KeyError):
        return []


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}
