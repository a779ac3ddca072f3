"""`penstock queue` without a broker: bad input, and what it makes of the listener's answers."""

import json
from collections.abc import Callable

import pytest

from tests.cli.conftest import Gateway, Run

METRICS = b"""# HELP penstock_durable_queue_waiting x
penstock_durable_queue_waiting 3.0
penstock_durable_queue_oldest_seconds 1.5
penstock_durable_queue_events_total{event="accepted"} 9.0
"""


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("serve", "--broker", "kafka://x"), "unknown broker 'kafka'; known: nats, redis, rediss, tls"),
        (("serve", "--expires", "100", "--keep", "99"), "--expires: 100 s is more than --keep, 99 s"),
        (("pull", "--concurrency", "0"), "--concurrency: 0 runs nothing"),
        (("serve", "--silent", "1"), "--silent"),
        (("result",), "ID"),
        (("status", "--queue", "http://127.0.0.1:1"), "no queue answers on http://127.0.0.1:1"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: tuple[str, ...], part: str) -> None:
    assert part in run("queue", *arguments).refusal


@pytest.mark.parametrize("scheme", ["redis", "nats"])
def test_a_broker_that_is_away_is_one_line(run: Run, scheme: str, free_port: Callable[[], int]) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}"
    assert "the broker: " in run("queue", "serve", "--broker", url, "--port", "0").refusal


def test_status_of_the_queue(run: Run, gateway: Gateway) -> None:
    gateway.reads["/metrics"] = METRICS
    ran = run("queue", "status", "--queue", gateway.url)
    assert (ran.code, ran.out) == (0, "waiting           3\noldest_seconds    1.5\n")
    ran = run("queue", "status", "--queue", gateway.url, "--json")
    assert json.loads(ran.out) == {"waiting": 3.0, "oldest_seconds": 1.5}


def test_status_of_a_request(run: Run, gateway: Gateway) -> None:
    gateway.reads["/v1/queue/q-1/status"] = b'{"id":"q-1","status":"running","finished":null}'
    ran = run("queue", "status", "q-1", "--queue", gateway.url)
    assert ran.out == "id                q-1\nstatus            running\n"
    ran = run("queue", "status", "q-1", "--queue", gateway.url, "--json")
    assert json.loads(ran.out)["status"] == "running"
    assert "it answered 404" in run("queue", "status", "q-2", "--queue", gateway.url).refusal


def test_a_result_that_is_none_is_exit_1(run: Run, gateway: Gateway) -> None:
    """What the listener says without its own header is the state, or an error."""
    gateway.reads["/v1/queue/q-1?wait=0"] = b'{"id":"q-1","status":"waiting"}'
    ran = run("queue", "result", "q-1", "--queue", gateway.url)
    assert (ran.code, ran.out) == (1, '{"id":"q-1","status":"waiting"}')
