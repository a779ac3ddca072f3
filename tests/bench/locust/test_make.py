"""A contract as a file for Locust: what is in it, what is refused, and how its reading of answers agrees with ours.

That Locust itself sees the same as `bench run` is shown by benchmarks/bench/locust_same.py.
"""

import ast
import base64
import json
import sys
import types
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.bench.locust.make import locustfile
from penstock.bench.traffic.arrivals import Constant
from penstock.bench.traffic.lengths import Fixed, Uniform
from penstock.bench.traffic.plan import Planner
from penstock.bench.traffic.prompts import Prompts
from penstock.bench.traffic.workload import Closed, Kind, Open, Workload
from tests.bench.conftest import Thread
from tests.cli.conftest import Run, run

__all__ = ["run"]

KIND = Kind("k", Uniform(8, 20), Fixed(3))
WORKLOAD = Workload((KIND,), (Closed(2, 5), Open(Constant(5), 2), Closed(4, 6)), warmup=2, gap=0.5)


def made(workload: Workload = WORKLOAD) -> str:
    return locustfile(Planner(workload, "tiny", Prompts(None)), workload, "http://127.0.0.1:1")


def plan_of(text: str) -> dict[str, Any]:
    (packed,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PLAN"
    )
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def test_it_holds_the_bytes_that_bench_run_sends() -> None:
    plan = plan_of(made())
    planner = Planner(WORKLOAD, "tiny", Prompts(None))
    warmup = [each.body.decode() for each in planner.warmup()]
    first, _, second = planner.stages()
    assert [body for _, body in plan["warmup"]] == warmup
    assert [(each["label"], each["concurrency"]) for each in plan["stages"]] == [("2 at once", 2), ("4 at once", 4)]
    for told, meant in zip(plan["stages"], (first, second), strict=True):
        assert told["requests"] == [[each.path, each.body.decode()] for each in meant.requests]
    assert (plan["url"], plan["gap"]) == ("http://127.0.0.1:1", 0.5)


class Fired:
    """Stands for Locust's events: keeps what is fired."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.clients: list[Any] = []
        self.request = self.test_start = self

    def fire(self, **event: Any) -> None:
        self.seen.append(event)

    def add_listener(self, listener: Any) -> Any:
        return listener


@pytest.fixture
def fired(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fired]:
    """Modules named locust and gevent with as much as the file takes from them."""
    found = Fired()
    locust: Any = types.ModuleType("locust")
    locust.User = locust.LoadTestShape = object
    locust.constant, locust.task, locust.events = float, lambda function: function, found
    gevent: Any = types.ModuleType("gevent")
    gevent.sleep = lambda seconds: None
    monkeypatch.setitem(sys.modules, "locust", locust)
    monkeypatch.setitem(sys.modules, "gevent", gevent)
    yield found
    for each in found.clients:
        each.on_stop()


def loaded(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "made"}
    exec(compile(text, "made.py", "exec"), names)
    return names


def client(names: dict[str, Any], url: str, users: int, fired: Fired) -> Any:
    found = names["Client"]()
    found.host = url
    found.environment = types.SimpleNamespace(runner=types.SimpleNamespace(user_count=users), events=fired)
    found.on_start()
    fired.clients.append(found)
    return found


def test_it_sends_every_stage_with_its_clients_and_tells_each_answer(backend: Thread, fired: Fired) -> None:
    names = loaded(made(Workload((KIND,), (Closed(1, 3), Closed(2, 2)), warmup=0, gap=0.0)))
    one, shape = client(names, backend.url, 1, fired), names["Stages"]()
    assert shape.tick() == (1, 1.0)
    for _ in range(5):
        one.next_request()
    assert [(event["request_type"], event["name"]) for event in fired.seen] == [
        ("ttft", "1 at once"), ("tpot", "1 at once"), ("e2e", "1 at once"),
    ] * 3  # fmt: skip
    assert all(event["exception"] is None for event in fired.seen)
    first, _, whole = (event["response_time"] for event in fired.seen[:3])
    assert 0 < first <= whole < 5000
    assert shape.tick() == (2, 2.0)
    one.next_request()
    assert len(fired.seen) == 9, "it waits for the second client"
    one.environment.runner.user_count = 2
    one.next_request()
    one.next_request()
    assert fired.seen[-1]["name"] == "2 at once"
    assert shape.tick() is None
    asked = [each.body for each in backend.server.asked]
    assert len(asked) == 5
    assert all(body["stream"] and body["model"] == "tiny" for body in asked)


def test_the_warm_up_is_sent_and_told_to_nobody(backend: Thread, fired: Fired) -> None:
    names = loaded(made())
    names["warm_up"](types.SimpleNamespace(host=backend.url))
    assert len(backend.server.asked) == 2
    assert fired.seen == []


def test_answers_that_failed_are_failures_there(backend: Thread, fired: Fired) -> None:
    names = loaded(made(Workload((KIND,), (Closed(1, 3),), warmup=0)))

    async def torn(asked: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 10\r\n\r\ndata: {}\n\n")

    async def refused(asked: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 503 Unavailable\r\ncontent-length: 2\r\n\r\n{}")

    one = client(names, backend.url, 1, fired)
    for script in (torn, refused):
        backend.script = script
        one.next_request()
    away = client(names, "http://127.0.0.1:1", 1, fired)
    away.next_request()
    assert [event["request_type"] for event in fired.seen] == ["e2e"] * 3
    problems = [str(event["exception"]) for event in fired.seen]
    assert "without [DONE]" in problems[0]
    assert problems[1] == "status 503"
    assert "refused" in problems[2]


def test_pieces_of_events_are_put_together(fired: Fired) -> None:
    stream = (
        b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[{"delta":{"content":"b"}}]}\n\n'
        b'data: {"choices":[],"usage":{"completion_tokens":3}}\n\ndata: [DONE]\n\n'
    )
    for size in (1, 7, 64, len(stream)):
        answer = loaded(made())["Answer"](200)
        for number, at in enumerate(range(0, len(stream), size)):
            answer.feed(stream[at : at + size], 1.0 + number)
        assert (answer.tokens, answer.failure(), answer.size) == (3, "", len(stream))
        assert answer.tpot() == pytest.approx((answer.last - answer.first) / 2)
        assert answer.first >= 1.0


def test_the_command(run: Run, backend: Thread, tmp_path: Path) -> None:
    contract = tmp_path / "c.yaml"
    contract.write_text(
        "name: c\nworkload:\n  kinds: [{name: k, input: {law: fixed, tokens: 12}, output: {law: fixed, tokens: 3}}]\n"
        "  stages:\n    - {loop: closed, concurrency: 2, requests: 3}\n"
        "    - {loop: open, seconds: 1, arrivals: {shape: constant, rate: 2}}\n"
    )
    done = run("bench", "locust", "-f", str(contract), "--url", f"{backend.url}/v1")
    assert done.code == 0, done.err
    assert done.err == "left out: 2/s, an open loop\n"
    plan = plan_of(done.out)
    assert plan["url"] == backend.url
    bodies = [json.loads(body) for _, body in plan["stages"][0]["requests"]]
    assert [len(body["messages"][0]["content"].split()) for body in bodies] == [12, 12, 12]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("closed, concurrency: 2, requests: 3", "open, seconds: 1, arrivals: {shape: constant, rate: 2}"), "stages"),
        (("name: k,", "name: k, turns: 3,"), "workload.kinds[0].turns: 3"),
        (("name: k,", "name: k, cancel_share: 0.5,"), "workload.kinds[0].cancel_share: 0.5"),
        (("name: k,", "name: k, tenant: gold,"), "workload.kinds[0].tenant"),
        (("workload:\n", "workload:\n  stream: false\n"), "workload.stream"),
    ],
)
def test_what_locust_cannot_send_is_refused(
    run: Run, backend: Thread, tmp_path: Path, change: tuple[str, str], named: str
) -> None:
    text = (
        "name: c\nworkload:\n  kinds: [{name: k, input: {law: fixed, tokens: 12}, output: {law: fixed, tokens: 3}}]\n"
        "  stages: [{loop: closed, concurrency: 2, requests: 3}]\n"
    )
    contract = tmp_path / "c.yaml"
    assert change[0] in text
    contract.write_text(text.replace(*change, 1))
    assert named in run("bench", "locust", "-f", str(contract), "--url", backend.url).refusal
