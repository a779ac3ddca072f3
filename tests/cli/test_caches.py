"""`penstock doctor` on KV events: whether anybody publishes at the address, and whether they come."""

import json
import socket
from typing import Any

import pytest
import zmq

from penstock.cli import caches as module
from penstock.cli.checks import Check
from penstock.config.load import load
from tests.cli.conftest import Gateway


def found(address: str, admin_port: int = 1, more: str = "") -> dict[str, Check]:
    engine = f"{{kind: http, name: far, url: 'http://127.0.0.1:9', kv_events: '{address}'{more}}}"
    sets = (f"engines=[{engine}]", f"admin.port={admin_port}", "routing.prefixes=precise")
    return {check.name: check for check in module.caches(load(None, {}, sets).config)}


def test_a_publisher_answers() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher, context.socket(zmq.ROUTER) as router:
        ports = [each.bind_to_random_port("tcp://127.0.0.1") for each in (publisher, router)]
        checks = found(f"tcp://*:{ports[0]}", more=f", kv_replay: 'tcp://127.0.0.1:{ports[1]}'")
    assert {name: check.level for name, check in checks.items()} == {"kv_events of far": "ok", "kv_replay of far": "ok"}


def test_nobody_and_somebody_else_are_told_apart(gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    check = found(f"tcp://127.0.0.1:{port}")["kv_events of far"]
    assert (check.level, "does not answer" in check.message) == ("fail", True)
    assert "--kv-events-config" in check.fix
    assert check.fix.endswith("or correct engines.0.kv_events")


def test_another_server_is_no_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = found(f"tcp://127.0.0.1:{silent.getsockname()[1]}")["kv_events of far"]
    assert check.level == "fail"


def test_without_the_library_nothing_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    check = found("tcp://127.0.0.1:9")["KV events"]
    assert (check.level, check.fix) == ("fail", "pip install 'penstock[kv-events]'")


def test_where_prefixes_are_guessed_nothing_is_looked_at() -> None:
    assert list(module.caches(load(None, {}).config)) == []


def row(name: str, cache: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "http", "state": "ready", "kv_events": "tcp://h:1", "cache": cache, **more}


def test_a_running_penstock_is_asked_what_has_come(gateway: Gateway) -> None:
    whole = {"events": 5, "blocks": 40, "gaps": 0, "whole": True, "error": None}
    rows = [
        row("well", whole),
        row("idle", whole | {"events": 0}, load={"prompt_tokens": 90}),
        row("silent", whole | {"events": 0, "whole": False}, load={"prompt_tokens": 90_000.0}),
        row("lossy", whole | {"gaps": 7, "whole": False}),
        row("wrong", whole | {"error": "no such host"}),
        row("old", None, kind="vllm", kv_events=None),
        row("other", None, kv_events=None),
        row("away", None, state="unreachable"),
    ]
    gateway.reads["/admin/engines"] = json.dumps({"engines": rows}).encode()
    checks = found("tcp://127.0.0.1:9", int(gateway.url.rpartition(":")[2]))
    told = {name.removeprefix("KV events of "): check for name, check in checks.items() if name.startswith("KV")}
    assert {name: check.level for name, check in told.items()} == {
        "well": "ok", "idle": "ok", "silent": "warn", "lossy": "warn", "wrong": "warn", "old": "warn",
    }  # fmt: skip
    assert told["silent"].message == "none has come, though it has read 90000 prompt tokens"
    assert told["lossy"].message.startswith("7 batches are lost")
    assert all(check.fix for check in told.values() if check.level != "ok")
