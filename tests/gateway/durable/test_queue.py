"""Requests in, answers out: accepted once, run when there is room, answered exactly as the gateway answered."""

import asyncio
import itertools
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.gateway import durable
from penstock.gateway.durable.answer import read_piece
from penstock.telemetry.catalogue import Kind
from penstock.telemetry.durable import DURABLE, DURABLE_ANSWERS, DURABLE_EVENTS
from penstock.telemetry.exposition import CONTENT_TYPE
from tests.faults.upstream import DONE, Call, completion, delta
from tests.faults.world import until
from tests.gateway.durable.conftest import AUTH, Service, service
from tests.state.queue.memory import MemoryBroker

pytestmark = pytest.mark.anyio


async def never(call: Call) -> None:
    await call.left()


def started(running: Service) -> bool:
    return any(call.method == b"POST" for call in running.upstream.calls)


def posts(running: Service) -> list[Call]:
    return [call for call in running.upstream.calls if call.method == b"POST"]


async def test_an_answer_is_that_of_the_gateway() -> None:
    async def odd(call: Call) -> None:
        body = b'{"exactly": 2.50 }'
        await call.send(
            b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nx-mine: a\r\nX-Mine: \xfc\r\n"
            b"connection: keep-alive\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )

    async with service(odd) as running:
        id_ = await running.queued(content=b'{"model" : "m"}', headers=AUTH | {"X-Mine": "1", "expect": "100-continue"})
        answer = await running.get(id_)
        assert (answer.status_code, answer.content) == (201, b'{"exactly": 2.50 }')
        assert [value for name, value in answer.headers.raw if name == b"x-mine"] == [b"a", b"\xfc"]
        assert answer.headers["x-penstock-queue"] == id_
        assert "connection" not in answer.headers
        (call,) = posts(running)
        assert call.body == b'{"model" : "m"}'
        assert (call.target, call.header(b"x-request-id")) == (b"/v1/chat/completions", id_.encode())
        assert (call.header(b"authorization"), call.header(b"x-mine")) == (b"Bearer k", b"1")
        assert call.header(b"expect") is None
        assert call.header(b"user-agent") == running.client.headers["user-agent"].encode()
        status = await running.status(id_)
        assert (status["status"], status["attempts"], status["answer_status"]) == ("done", 1, 201)


async def test_the_path_and_odd_headers_go_as_they_came() -> None:
    async with service() as running:
        path = "/v1/a%2Fb/c%20d?x=%C3%BC&y=1"
        headers = [(b"authorization", b"Bearer k"), (b"x-odd", b"\xfc")]
        request = httpx.Request(
            "POST", httpx.URL("http://queue", raw_path=path.encode()), headers=headers, content=b"{}"
        )
        answer = await running.client.send(request)
        assert answer.status_code == 202
        await running.get(answer.json()["id"])
        (call,) = posts(running)
        assert call.target == path.encode()
        assert call.header(b"x-odd") == b"\xfc"


async def test_the_request_with_its_credential_goes_when_it_is_answered() -> None:
    async with service() as running:
        id_ = await running.queued()
        await running.get(id_)
        await until(lambda: not running.broker.held)
        assert not [key for key, kept in running.broker.values.items() if b"Bearer" in kept.value]
        assert list(running.broker.values) == [id_]


async def test_nobody_else_sees_it() -> None:
    async with service() as running:
        id_ = await running.queued()
        for headers in ({}, {"authorization": "Bearer other"}, {"x-api-key": "k"}):
            for path in (f"/v1/queue/{id_}", f"/v1/queue/{id_}/status", f"/v1/queue/{id_}/stream"):
                answer = await running.client.get(path, headers=headers)
                assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
            assert (await running.client.delete(f"/v1/queue/{id_}", headers=headers)).status_code == 404
        assert (await running.get("q-../../x")).status_code == 404
        assert (await running.get(id_ + ".request")).status_code == 404
        assert (await running.get(id_)).status_code == 200


async def test_an_unknown_key_is_not_kept() -> None:
    async with service(pull=False) as running:
        answer = await running.post(headers={"authorization": "Bearer bad"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert not running.broker.values
        await running.upstream.stop()
        assert (await running.post(headers={"authorization": "Bearer later"})).status_code == 202


async def test_a_stream_comes_as_it_is_made_and_later_from_the_start() -> None:
    go = asyncio.Event()

    async def slowly(call: Call) -> None:
        await call.sse(delta("one"))
        await go.wait()
        await call.chunk(delta("two") + DONE)
        await call.finish()

    async with service(slowly) as running:
        id_ = await running.queued(json={"model": "m", "stream": True})
        await until(lambda: running.broker.logs)
        first = asyncio.ensure_future(running.client.get(f"/v1/queue/{id_}/stream", headers=AUTH))
        (log,) = running.broker.logs.values()
        assert read_piece(log[1]).body in (b"", delta("one"))
        await until(lambda: sum(len(read_piece(piece).body) for piece in log.values()) == len(delta("one")))
        go.set()
        whole = delta("one") + delta("two") + DONE
        streamed = await first
        assert (streamed.content, streamed.headers["content-type"]) == (whole, "text/event-stream; charset=utf-8")
        assert (await running.client.get(f"/v1/queue/{id_}/stream", headers=AUTH)).content == whole
        answer = await running.get(id_)
        assert (answer.content, answer.headers["content-type"]) == (whole, "text/event-stream")


async def test_a_stream_of_what_is_no_stream_is_one_event() -> None:
    async with service() as running:
        id_ = await running.queued()
        streamed = await running.client.get(f"/v1/queue/{id_}/stream", headers=AUTH)
        assert json.loads(streamed.content.removeprefix(b"data: ")) == completion("hello")


async def test_a_large_answer_is_kept_in_pieces() -> None:
    text = "x" * 3_000_000

    async with service(lambda call: call.json({"text": text})) as running:
        id_ = await running.queued()
        assert (await running.get(id_)).json() == {"text": text}
        assert len(running.broker.logs[f"{id_}.1"]) > 5


async def test_an_error_of_the_gateway_is_an_answer() -> None:
    async def no(call: Call) -> None:
        await call.json({"error": {"message": "no such model"}}, b"404 Not Found")

    async with service(no) as running:
        id_ = await running.queued()
        answer = await running.get(id_)
        assert (answer.status_code, answer.json()) == (404, {"error": {"message": "no such model"}})
        assert (await running.status(id_))["status"] == "done"


# -- room -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"503 Service Unavailable"])
async def test_a_full_gateway_is_asked_again_and_no_attempt_is_counted(status: bytes) -> None:
    seen: list[float] = []

    async def full(call: Call) -> None:
        seen.append(time.monotonic())
        if len(seen) <= 5:
            await call.send(b"HTTP/1.1 %b\r\nretry-after-ms: 100\r\ncontent-length: 0\r\n\r\n" % status)
        else:
            await call.answer()

    async with service(full) as running:
        id_ = await running.queued()
        assert (await running.get(id_)).json() == completion("hello")
        assert (await running.status(id_))["attempts"] == 1
        assert running.counts.of("given_back") == 5
        assert min(after - before for before, after in itertools.pairwise(seen)) > 0.09


async def test_a_spent_budget_is_an_answer() -> None:
    async def spent(call: Call) -> None:
        await call.send(b"HTTP/1.1 429 Too Many Requests\r\nx-should-retry: false\r\ncontent-length: 2\r\n\r\n{}")

    async with service(spent) as running:
        assert (await running.get(await running.queued())).status_code == 429


async def test_a_gateway_that_is_away_costs_no_attempt() -> None:
    async with service() as running:
        await running.queued()  # so that the key is known
        port = running.upstream.port
        await running.upstream.stop()
        id_ = await running.queued()
        await until(lambda: running.counts.of("given_back") >= 2)
        running.upstream.port = port
        await running.upstream.__aenter__()
        assert (await running.get(id_)).status_code == 200
        assert (await running.status(id_))["attempts"] == 1


async def test_no_more_run_at_once_than_may() -> None:
    running_now, most = 0, 0

    async def slowly(call: Call) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0.02)
        running_now -= 1
        await call.answer()

    async with service(slowly, concurrency=3) as running:
        ids = [await running.queued() for _ in range(20)]
        for id_ in ids:
            assert (await running.get(id_)).status_code == 200
    assert most == 3


# -- loss -------------------------------------------------------------------------------------------------------------


async def test_a_broken_answer_is_run_once_more() -> None:
    async def twice(call: Call) -> None:
        if len(posts(running)) == 1:
            await call.sse(delta("half"))
            await asyncio.sleep(0.1)
            call.reset()
        else:
            await call.answer("whole")

    async with service(twice) as running:
        id_ = await running.queued(json={"model": "m", "stream": True})
        streamed = await running.client.get(f"/v1/queue/{id_}/stream", headers=AUTH)
        assert b"half" not in streamed.content or b'"answer_restarted"' in streamed.content
        answer = await running.get(id_)
        assert b"whole" in answer.content
        assert b"half" not in answer.content
        assert (await running.status(id_))["attempts"] == 2
        assert len(posts(running)) == 2


async def test_an_answer_that_breaks_twice_is_a_typed_error() -> None:
    async def broken(call: Call) -> None:
        call.reset()

    async with service(broken) as running:
        id_ = await running.queued()
        answer = await running.get(id_)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "request_abandoned")
        assert len(posts(running)) == 2
        streamed = await running.client.get(f"/v1/queue/{id_}/stream", headers=AUTH)
        assert b'"request_abandoned"' in streamed.content


async def test_a_puller_that_is_taken_for_dead_writes_nothing_down() -> None:
    """Somebody else has started the request meanwhile; the sleeper's answer is thrown away."""
    broker = MemoryBroker(time.time)
    go = asyncio.Event()

    async def slowly(call: Call) -> None:
        await go.wait()
        await call.answer("late")

    async with service(slowly, broker=broker) as running:
        id_ = await running.queued()
        await until(lambda: started(running))
        kept = await broker.get(id_)
        assert kept is not None
        fields = json.loads(kept.value) | {"run": 2, "attempts": 2}
        assert await broker.swap(id_, kept, json.dumps(fields).encode())
        go.set()
        await until(lambda: running.counts.of("lost"))
        assert (await running.status(id_))["status"] == "running"
        assert running.counts.of("lost") == 1


async def test_what_the_queue_hands_out_twice_runs_once() -> None:
    async def slowly(call: Call) -> None:
        await asyncio.sleep(0.2)
        await call.answer()

    async with service(slowly) as running:
        id_ = await running.queued()
        await running.broker.push(id_)
        await running.broker.push(id_)
        assert (await running.get(id_)).status_code == 200
        assert len(posts(running)) == 1


async def test_a_broker_that_is_away_for_a_while_loses_nothing() -> None:
    async def slowly(call: Call) -> None:
        await asyncio.sleep(0.3)
        await call.answer()

    async with service(slowly) as running:
        id_ = await running.queued()
        await until(lambda: started(running))
        running.broker.away = True
        refused = await running.post()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "broker_unavailable")
        assert (await running.get(id_)).status_code == 503
        assert (await running.client.get("/healthz")).status_code == 503
        assert "\npenstock_durable_queue_waiting " not in (await running.client.get("/metrics")).text
        await asyncio.sleep(0.8)
        running.broker.away = False
        assert (await running.get(id_)).status_code == 200
        assert len(posts(running)) == 1


async def test_what_runs_at_the_end_is_given_back() -> None:
    broker = MemoryBroker(time.time)
    async with service(never, broker=broker) as running:
        id_ = await running.queued()
        await until(lambda: started(running))
    assert [waiting for waiting, _ in broker.waiting] == [id_]
    async with service(broker=broker) as again:
        assert (await again.get(id_)).status_code == 200
        assert (await again.status(id_))["attempts"] == 1


# -- calling off, once only, bounds -----------------------------------------------------------------------------------


async def test_calling_off_what_waits_and_what_runs() -> None:
    async with service(never, concurrency=1) as running:
        first, second = await running.queued(), await running.queued()
        await until(lambda: started(running))
        for id_ in (second, first):
            answer = await running.client.delete(f"/v1/queue/{id_}", headers=AUTH)
            assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        await until(lambda: posts(running)[0].over, within=3)
        await until(lambda: not running.broker.held and not running.broker.waiting, within=3)
        assert len(posts(running)) == 1
        for id_ in (first, second):
            answer = await running.get(id_)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "request_cancelled")
        assert set(running.broker.values) == {first, second}


async def test_calling_off_what_is_over_changes_nothing() -> None:
    async with service() as running:
        id_ = await running.queued()
        await running.get(id_)
        assert (await running.client.delete(f"/v1/queue/{id_}", headers=AUTH)).json()["status"] == "done"
        assert (await running.get(id_)).status_code == 200


async def test_the_same_key_never_runs_twice() -> None:
    async with service() as running:
        headers = AUTH | {"Idempotency-Key": "once"}
        ids = await asyncio.gather(*(running.queued(headers=headers) for _ in range(10)))
        ids.append(await running.queued(headers=headers))
        assert len(set(ids)) == 1
        assert (await running.get(ids[0])).status_code == 200
        assert await running.queued(headers=headers) == ids[0]
        assert len(posts(running)) == 1
        assert posts(running)[0].header(b"idempotency-key") is None
        other = await running.post(headers=headers, json={"model": "other"})
        assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")
        assert await running.queued(headers=AUTH | {"idempotency-key": "twice"}) != ids[0]


async def test_a_key_that_was_taken_in_and_not_queued_is_queued_by_the_next() -> None:
    async with service() as running:
        headers = AUTH | {"idempotency-key": "once"}
        push, running.broker.push = running.broker.push, _fails  # type: ignore[method-assign]
        assert (await running.post(headers=headers)).status_code == 503
        running.broker.push = push  # type: ignore[method-assign]
        id_ = await running.queued(headers=headers)
        assert (await running.get(id_)).status_code == 200


async def _fails(id_: str) -> bool:
    raise_away = MemoryBroker(time.time, away=True)
    return await raise_away.push(id_)


async def test_a_full_queue_says_so_and_keeps_nothing() -> None:
    async with service(pull=False, broker=MemoryBroker(time.time, most=2)) as running:
        ids = [await running.queued(), await running.queued()]
        answer = await running.post()
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
        assert answer.headers["retry-after"] == "5"
        assert {key.partition(".")[0] for key in running.broker.values} == set(ids)


async def test_bounds_of_size() -> None:
    async with service(body_bytes=2000, answer_bytes=10) as running:
        answer = await running.post(content=b"x" * 2001)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        answer = await running.get(await running.queued())
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "answer_too_large")
    async with service(broker=MemoryBroker(time.time, piece_bytes=1500)) as running:
        assert (await running.post(content=b"x" * 1500)).status_code == 413


async def test_what_waited_too_long_is_a_typed_error() -> None:
    async with service(pull=False, expires_s=0.0) as running:
        id_ = await running.queued()
        await asyncio.sleep(0.01)
        pulling = asyncio.ensure_future(running.puller.run())
        answer = await running.get(id_)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "request_expired")
        running.puller.stop()
        await pulling
        assert not posts(running)


async def test_waiting_for_an_answer_is_bounded() -> None:
    async with service(never) as running:
        id_ = await running.queued()
        answer = await running.get(id_, wait=0.3)
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
        assert answer.headers["retry-after"] == "1"
        for wait in ("61", "-1", "x"):
            refused = await running.client.get(f"/v1/queue/{id_}?wait={wait}", headers=AUTH)
            assert refused.json()["error"]["code"] == "invalid_request"
        await running.client.delete(f"/v1/queue/{id_}", headers=AUTH)


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/v1/a/%2e%2e/b", "/v1/..%2Fx"])
async def test_paths_that_the_gateway_refuses_are_not_taken_in(path: str) -> None:
    async with service(pull=False) as running:
        answer = await running.client.post(path, headers=AUTH, content=b"{}")
        assert answer.json()["error"]["code"] in ("not_found", "invalid_request")
        assert not running.broker.values


async def test_other_paths_are_not_served() -> None:
    async with service() as running:
        assert (await running.client.post("/admin/reload")).status_code == 404
        assert (await running.client.get("/v1/models", headers=AUTH)).status_code == 405


async def test_metrics_tell_depth_age_and_events() -> None:
    async with service(never, concurrency=1) as running:
        first = await running.queued()
        await running.queued()
        await until(lambda: started(running))
        answer = await running.client.get("/metrics")
        assert answer.headers["content-type"] == CONTENT_TYPE
        lines: dict[str, Any] = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#")
        assert float(lines["penstock_durable_queue_waiting"]) == 1
        assert float(lines["penstock_durable_queue_held"]) == 1
        assert 0 <= float(lines["penstock_durable_queue_oldest_seconds"]) < 5
        assert float(lines["penstock_durable_queue_running"]) == 1
        assert float(lines['penstock_durable_queue_events_total{event="accepted"}']) == 2
        await running.client.delete(f"/v1/queue/{first}", headers=AUTH)


def test_the_documents_name_every_metric_and_event() -> None:
    page = (Path(__file__).parents[3] / "docs" / "durable-queue.md").read_text()
    for sheet in (DURABLE, DURABLE_EVENTS, DURABLE_ANSWERS):
        for metric in sheet.metrics:
            name = f"{metric.name}_total" if metric.kind is Kind.COUNTER else metric.name
            assert f"| `{name}` | {metric.kind} |" in page
    source = "".join(path.read_text() for path in Path(durable.__file__).parent.glob("*.py"))
    for event in set(re.findall(r'counts\.add\("(\w+)"', source)) | {"redelivered"}:
        assert f"`{event}`" in page
