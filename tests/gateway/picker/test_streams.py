"""One stream per request: what Envoy is told in each mode, and that every claim returns."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from penstock.config.routing import Resilience, Routing
from penstock.core.load import Load
from penstock.gateway.picker.desk import Desk
from penstock.gateway.picker.server import PickerServer, Settings
from tests.faults.world import until
from tests.gateway.picker.conftest import (
    BUFFERED,
    FULL_DUPLEX,
    LONGEST_BODY,
    NONE,
    STREAMED,
    A,
    B,
    C,
    World,
    facts,
    header,
)

pytestmark = pytest.mark.anyio
DESTINATION = "x-gateway-destination-endpoint"
HEAD = {":path": "/v1/chat/completions?x=1", ":method": "POST"}
OK = {":status": "200", "content-type": "text/event-stream; charset=utf-8"}
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
USAGE = b'data: {"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":5}}}\n\n'


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


def metadata(answer: Any) -> str:
    value: str = answer.dynamic_metadata["envoy.lb"][DESTINATION]
    return value


async def test_a_buffered_request_is_sent_to_an_engine(world: World) -> None:
    async with world.conversation() as told:
        answer = await told.request()
        to = header(answer, "request_body")[DESTINATION]
        assert to in (A, B)
        assert metadata(answer) == to
        assert world.in_flight() == {to: 1}
        assert (await told.ask("response_headers", headers=OK)).WhichOneof("one") == "response_headers"
        assert (await told.ask("response_body", body=EVENT)).WhichOneof("one") == "response_body"
        assert world.in_flight() == {to: 1}
        await told.ask("response_body", body=b"data: [DONE]\n\n", end_of_stream=True)
        assert world.in_flight() == {}
        await told.hang_up()


async def test_a_full_duplex_request_comes_back_whole_behind_its_destination(world: World) -> None:
    body = b'{"model": "m", "prompt": "' + b"x" * 150_000 + b'"}'
    async with world.conversation(FULL_DUPLEX, FULL_DUPLEX) as told:
        await told.tell("request_headers", headers=HEAD)
        for start in range(0, len(body), 40_000):
            await told.tell("request_body", body=body[start : start + 40_000])
        await told.tell("request_body", body=b"", end_of_stream=True)
        first = await told.told()
        to = header(first, "request_headers")[DESTINATION]
        assert metadata(first) == to
        back, ended = b"", False
        while not ended:
            streamed = (await told.told()).request_body.response.body_mutation.streamed_response
            assert 0 < len(streamed.body) <= 65_536
            back, ended = back + streamed.body, streamed.end_of_stream
        assert back == body
        await told.ask("response_headers", headers=OK)
        for piece, last in ((EVENT, False), (b"", True)):
            said = await told.ask("response_body", body=piece, end_of_stream=last)
            streamed = said.response_body.response.body_mutation.streamed_response
            assert (streamed.body, streamed.end_of_stream) == (piece, last)
        assert world.in_flight() == {}


async def test_trailers_end_a_full_duplex_request(world: World) -> None:
    async with world.conversation(FULL_DUPLEX, FULL_DUPLEX) as told:
        await told.tell("request_headers", headers=HEAD)
        await told.tell("request_body", body=b'{"model": "m"}')
        assert DESTINATION in header(await told.ask("request_trailers"), "request_headers")
        streamed = (await told.told()).request_body.response.body_mutation.streamed_response
        assert (streamed.body, streamed.end_of_stream) == (b'{"model": "m"}', False)
        assert (await told.told()).WhichOneof("one") == "request_trailers"
        await told.ask("response_headers", headers=OK)
        assert (await told.ask("response_trailers")).WhichOneof("one") == "response_trailers"
        assert world.in_flight() == {}


@pytest.mark.parametrize("mode", [NONE, STREAMED, FULL_DUPLEX, BUFFERED])
async def test_a_request_without_a_body_is_sent_on_its_headers(world: World, mode: int) -> None:
    async with world.conversation(mode) as told:
        answer = await told.ask("request_headers", headers={":path": "/v1/models"}, end_of_stream=True)
        assert header(answer, "request_headers")[DESTINATION] in (A, B)


async def test_where_headers_must_decide_the_body_passes(world: World) -> None:
    async with world.conversation(STREAMED) as told:
        assert DESTINATION in header(await told.ask("request_headers", headers=HEAD), "request_headers")
        answer = await told.ask("request_body", body=b"{}", end_of_stream=True)
        assert not header(answer, "request_body")


@pytest.mark.parametrize("as_list", [True, False], ids=["list", "text"])
async def test_only_engines_of_the_subset_are_picked(world: World, as_list: bool) -> None:
    world.engines(facts(A), facts(B), facts(C))
    for only in ([B], [B, C], [C, "10.9.9.9:1"]):
        for _ in range(3):
            async with world.conversation() as told:
                answer = await told.request(subset=only if as_list else ", ".join(only))
                assert metadata(answer) in only


@pytest.mark.parametrize("subset", [[], ["10.9.9.9:1"], ""], ids=str)
async def test_an_empty_subset_is_a_503(world: World, subset: object) -> None:
    async with world.conversation() as told:
        answer = await told.request(subset=subset)
    assert answer.immediate_response.status.code == 503
    assert json.loads(answer.immediate_response.body)["error"]["code"] == "engine_unavailable"
    assert header(answer, "immediate_response")["content-type"] == "application/json"


async def test_no_engine_is_a_503_and_an_unknown_model_a_404(world: World) -> None:
    async with world.conversation() as told:
        answer = await told.request(b'{"model": "other"}')
    assert answer.immediate_response.status.code == 404
    world.engines()
    async with world.conversation() as told:
        answer = await told.request()
    assert answer.immediate_response.status.code == 503
    assert int(header(answer, "immediate_response")["retry-after"]) >= 1


async def test_only_what_may_be_shed_is_shed_and_only_under_load(world: World) -> None:
    busy, calm = Load(0.0, waiting=9.0), Load(0.0, waiting=0.0)
    for loads, objective, expected in (
        ((busy, busy), "batch", 429),
        ((busy, busy), "chat", 0),
        ((busy, calm), "batch", 0),
        ((busy, None), "batch", 0),
    ):
        world.engines(*(facts(name, load) for name, load in zip((A, B), loads, strict=True)))
        async with world.conversation() as told:
            answer = await told.request(x_llm_d_inference_objective=objective)
        assert answer.immediate_response.status.code == expected


async def test_an_unreadable_body_is_a_400_and_a_large_one_a_413(world: World) -> None:
    async with world.conversation() as told:
        answer = await told.request(b'{"model": 1}')
    assert answer.immediate_response.status.code == 400
    async with world.conversation(FULL_DUPLEX) as told:
        await told.tell("request_headers", headers=HEAD)
        answer = await told.ask("request_body", body=b"x" * (LONGEST_BODY + 1))
        assert answer.immediate_response.status.code == 413
        await told.tell("request_body", body=b"y", end_of_stream=True)
        await told.hang_up()
    assert world.in_flight() == {}


@pytest.mark.parametrize("answered", [False, True], ids=["before_the_answer", "inside_the_answer"])
async def test_a_client_that_leaves_frees_the_engine(world: World, answered: bool) -> None:
    async with world.conversation() as told:
        await told.request()
        if answered:
            await told.ask("response_headers", headers=OK)
            await told.ask("response_body", body=EVENT)
        assert world.in_flight()
    await until(lambda: world.in_flight() == {})


async def test_the_engine_that_served_carries_the_request(world: World) -> None:
    async with world.conversation() as told:
        to = metadata(await told.request())
        other = B if to == A else A
        await told.ask("response_headers", headers=OK, served=other)
        assert world.in_flight() == {other: 1}
        assert world.doubted == [to]
        await told.ask("response_body", body=EVENT, end_of_stream=True)
    assert world.in_flight() == {}


@pytest.mark.parametrize(("status", "doubted"), [("200", False), ("400", False), ("500", False), ("503", True)])
async def test_an_engine_that_is_gone_is_looked_at(world: World, status: str, doubted: bool) -> None:
    async with world.conversation() as told:
        to = metadata(await told.request())
        await told.ask("response_headers", headers={":status": status}, end_of_stream=True)
    assert world.doubted == [to] * doubted
    assert world.in_flight() == {}


async def test_what_the_answer_says_is_learnt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[Any, Any]] = []
    end = world.desk.end

    def noted(lease: Any, now: float, verdict: Any, usage: Any) -> None:
        ends.append((verdict, usage))
        end(lease, now, verdict, usage)

    monkeypatch.setattr(world.desk, "end", noted)
    async with world.conversation() as told:
        await told.request()
        await told.ask("response_headers", headers=OK)
        await asyncio.sleep(0.02)
        for piece in (EVENT, EVENT, EVENT):
            await told.ask("response_body", body=piece)
            await asyncio.sleep(0.02)
        await told.ask("response_body", body=USAGE, end_of_stream=True)
    [(verdict, usage)] = ends
    assert (usage.input_tokens, usage.cached_tokens, verdict.ok) == (7, 5, True)
    assert 0.02 <= verdict.ttft_s < 1
    assert 0.01 < verdict.tpot_s < 0.5


@pytest.mark.parametrize(("status", "left"), [("500", [B]), ("400", [A, B]), ("200", [A, B])])
async def test_an_engine_that_keeps_failing_is_left_alone(world: World, status: str, left: list[str]) -> None:
    async def one(answered: str = "200", subset: object = None) -> str:
        async with world.conversation() as told:
            to = metadata(await told.request(subset=subset))
            await told.ask("response_headers", headers={":status": answered}, end_of_stream=True)
            return to

    for _ in range(Resilience().breaker_failures):
        await one(status, [A])
    assert {await one() for _ in range(6)} <= set(left)
    world.engines(facts(A))
    assert await one() == A, "one that may fail is better than none"


async def test_fallbacks_follow_the_first(world: World) -> None:
    world.desk = Desk(Routing(), Resilience(), lambda: 0.5, fallbacks=2)
    world.engines(facts(A), facts(B))
    async with world.conversation() as told:
        named = metadata(await told.request()).split(",")
    assert sorted(named) == [A, B], "as many as there are"


async def test_health_speaks_of_readiness_and_life_apart(world: World) -> None:
    processor = "envoy.service.ext_proc.v3.ExternalProcessor"
    assert [await world.health(name) for name in ("", "liveness", "readiness", processor)] == [1, 1, 1, 1]
    world.ready = False
    assert [await world.health(name) for name in ("", "liveness", "readiness", processor)] == [2, 1, 2, 2]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.health("other")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_tls_is_spoken_where_it_is_configured(world: World, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = (key.read_bytes(), certificate.read_bytes())
    settings = Settings(host="127.0.0.1", port=0, body_bytes=LONGEST_BODY, streams=10, drain_s=0.1, tls=tls)
    server = PickerServer(settings, world.exchange, lambda: True)
    port = await server.start()
    try:
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(tls[1])) as world.channel:
            assert await world.health("") == 1
    finally:
        await server.stop()


async def test_no_claim_is_left_after_any_mix_of_endings(world: World) -> None:
    async def one(number: int) -> None:
        async with world.conversation(*((BUFFERED, NONE) if number % 4 == 3 else (BUFFERED, STREAMED))) as told:
            await told.request()
            if number % 4 == 0:
                return
            await told.ask("response_headers", headers=OK)
            if number % 4 == 1:
                await told.ask("response_body", body=EVENT, end_of_stream=True)
            await told.hang_up()

    await asyncio.gather(*map(one, range(40)))
    await until(lambda: world.in_flight() == {})
