"""What `penstock doctor` says of KV events: whether an engine publishes them, and whether they come."""

import socket
from collections.abc import Iterator
from importlib.util import find_spec

import msgspec

from penstock.cli.checks import FAIL, OK, PROBE_S, WARN, Check
from penstock.cli.signals import running
from penstock.config.engines import Http
from penstock.config.schema import Config
from penstock.gateway.fleet import at_host

SWITCH = (
    "start vLLM with --enable-prefix-caching and "
    '--kv-events-config \'{"enable_kv_cache_events": true, "endpoint": "tcp://*:5557", "replay_endpoint": "tcp://*:5558"}\''
)
GREETING = b"\xff"
"""What a ZeroMQ socket says first, unasked."""
MANY = 2048
"""Prompt tokens that no engine reads without filling a block."""


def caches(config: Config) -> Iterator[Check]:
    """Nothing where prefixes are approximate. A running Penstock is asked what has come."""
    if config.routing.prefixes != "precise":
        return
    if find_spec("zmq") is None:
        yield Check("KV events", FAIL, "pyzmq is not installed", "pip install 'penstock[kv-events]'")
    for index, engine in enumerate(config.engines):
        if isinstance(engine, Http):
            for field in ("kv_events", "kv_replay"):
                if address := at_host(getattr(engine, field), engine.url):
                    yield _listens(f"{field} of {engine.name}", address, f"engines.{index}.{field}")
    yield from (_told(row) for row in running(config, _Row) if row.state == "ready" and (row.kv_events or row.managed))


class _Load(msgspec.Struct):
    prompt_tokens: float | None = None


class _Cache(msgspec.Struct):
    events: int = 0
    blocks: int = 0
    gaps: int = 0
    whole: bool = False
    error: str | None = None


class _Row(msgspec.Struct):
    """What is looked at of a row of /admin/engines."""

    name: str
    kind: str = ""
    state: str = ""
    kv_events: str | None = None
    cache: _Cache | None = None
    load: _Load | None = None

    @property
    def managed(self) -> bool:
        return self.kind == "vllm"


def _listens(name: str, address: str, path: str) -> Check:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    fix = f"{SWITCH}, or correct {path}"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_S) as connection:
            connection.settimeout(PROBE_S)
            said = connection.recv(1)
    except OSError as error:
        return Check(name, FAIL, f"{address} does not answer: {error}", fix)
    if said != GREETING:
        return Check(name, FAIL, f"{address} is no ZeroMQ socket", f"correct {path}")
    return Check(name, OK, f"{address} answers")


def _told(row: _Row) -> Check:
    """What has come of one engine."""
    name, cache = f"KV events of {row.name}", row.cache
    if cache is None:
        fix = "start it again if it ran before routing.prefixes was precise; otherwise update vLLM"
        return Check(name, WARN, "it publishes none, so its prefixes are guessed", fix)
    if cache.error:
        return Check(name, WARN, f"they cannot be read: {cache.error}", "correct its kv_events")
    read = (row.load.prompt_tokens if row.load is not None else None) or 0
    if not cache.events and read >= MANY:
        return Check(name, WARN, f"none has come, though it has read {read:.0f} prompt tokens", SWITCH)
    if not cache.events:
        return Check(name, OK, "none yet: it has had nothing to tell")
    if not cache.whole:
        fix = "set kv_replay, and a larger buffer_steps in --kv-events-config; until it starts again the guess stays"
        return Check(name, WARN, f"{cache.gaps} batches are lost, so its prefixes are partly guessed", fix)
    return Check(name, OK, f"{cache.events} have come, {cache.blocks} blocks are known")
