"""`penstock doctor` on engines' metrics: what is missing is named, with what it is read from and the fix."""

import json

from penstock.cli.checks import Check
from penstock.cli.signals import signals
from penstock.config.load import load
from tests.cli.conftest import Gateway

LLAMACPP = b"""\
llamacpp:requests_processing 1
llamacpp:requests_deferred 0
llamacpp:prompt_tokens_total 7
llamacpp:prompt_tokens_cached_total 2
llamacpp:tokens_predicted_total 9
"""


def found(*sets: str) -> dict[str, Check]:
    return {check.name: check for check in signals(load(None, {}, ("admin.port=1", *sets)).config)}


def engine(gateway: Gateway, more: str = "") -> str:
    return f"engines=[{{kind: http, name: far, url: {gateway.url}/v1{more}}}]"


def test_all_signals_there(gateway: Gateway) -> None:
    gateway.reads["/metrics"] = LLAMACPP
    check = found(engine(gateway))["metrics of far"]
    assert (check.level, check.message) == ("ok", "every signal of llamacpp is there")


def test_a_missing_signal_is_named_with_its_metric_and_the_switch(gateway: Gateway) -> None:
    gateway.reads["/metrics"] = LLAMACPP.replace(b"llamacpp:requests_deferred 0\n", b"")
    check = found(engine(gateway))["metrics of far"]
    assert check.level == "warn"
    assert check.message == "without waiting (llamacpp:requests_deferred): unknown to routing"
    assert check.fix == "start it with --metrics"


def test_metrics_that_do_not_answer_or_are_nobodys(gateway: Gateway) -> None:
    check = found(engine(gateway))["metrics of far"]
    assert (check.level, check.message) == ("warn", f"{gateway.url}/metrics answers 404")
    assert check.fix == "name their URL in engines.0.metrics, or set it to off"
    check = found(engine(gateway, ", dialect: sglang"))["metrics of far"]
    assert check.fix.startswith("start it with --enable-metrics, or name their URL")
    gateway.reads["/other"] = b"go_goroutines 3\n"
    check = found(engine(gateway, f", metrics: {gateway.url}/other"))["metrics of far"]
    assert (check.level, check.message) == ("warn", f"{gateway.url}/other holds no metrics of a known dialect")
    check = found(engine(gateway, ", metrics: http://127.0.0.1:1/metrics"))["metrics of far"]
    assert "does not answer" in check.message
    assert check.fix


def test_whose_metrics_nobody_reads_is_left_alone(gateway: Gateway) -> None:
    assert found(engine(gateway, ", metrics: 'off'")) == {}
    assert found(engine(gateway, ", dialect: none")) == {}


def test_a_running_penstock_is_asked_of_engines_without_a_url(gateway: Gateway) -> None:
    rows = [
        {"name": "a", "state": "ready", "load": {"dialect": "vllm", "missing": ["running"]}},
        {"name": "b", "state": "ready", "load": None},
        {"name": "c", "state": "starting", "load": None},
        {"name": "d", "state": "ready", "load": {"dialect": "vllm", "missing": []}},
    ]
    gateway.reads["/admin/engines"] = json.dumps({"engines": rows}).encode()
    port = gateway.url.rpartition(":")[2]
    checks = found("engines=[{kind: dns, name: far, host: engines.internal}]", f"admin.port={port}")
    assert {name: check.level for name, check in checks.items()} == {
        "metrics of a": "warn",
        "metrics of b": "warn",
        "metrics of d": "ok",
    }
    assert checks["metrics of a"].message == "without running (vllm:num_requests_running): unknown to routing"
    assert checks["metrics of a"].fix == "start it without --disable-log-stats"
