"""A picker in this process, spoken to over a real gRPC channel as Envoy speaks."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from penstock.config.routing import Resilience, Routing
from penstock.core.clock import monotonic
from penstock.core.load import Load
from penstock.gateway.picker.desk import Desk
from penstock.gateway.picker.exchange import Exchange
from penstock.gateway.picker.messages import (
    HealthCheckRequest,
    HealthCheckResponse,
    ProcessingRequest,
    ProcessingResponse,
)
from penstock.gateway.picker.server import PROCESSOR, PickerServer, Settings
from penstock.policy.route.facts import EngineFacts

A, B, C = "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"
NONE, STREAMED, BUFFERED, FULL_DUPLEX = 0, 1, 2, 4
LONGEST_BODY = 1_000_000


def serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def facts(name: str, load: Load | None = None, **more: Any) -> EngineFacts:
    return EngineFacts(name, frozenset({"m"}), load=load, **more)


def header(answer: Any, part: str) -> dict[str, str]:
    """Headers that an answer sets."""
    mutation = (
        answer.immediate_response.headers
        if part == "immediate_response"
        else (getattr(answer, part).response.header_mutation)
    )
    return {option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}


class Conversation:
    """One stream: one HTTP request and its answer."""

    def __init__(self, call: Any, modes: tuple[int, int]) -> None:
        self.call = call
        self._modes: tuple[int, int] | None = modes

    async def tell(self, part: str, *, subset: object = None, served: str = "", **fields: Any) -> None:
        message = ProcessingRequest()
        if self._modes is not None:
            message.protocol_config.request_body_mode, message.protocol_config.response_body_mode = self._modes
            self._modes = None
        spaces = message.metadata_context.filter_metadata
        if subset is not None:
            spaces["envoy.lb.subset_hint"].update({"x-gateway-destination-endpoint-subset": subset})
        if served:
            spaces["envoy.lb"].update({"x-gateway-destination-endpoint-served": served})
        inner = getattr(message, part)
        inner.SetInParent()
        headers: Mapping[str, str] = fields.pop("headers", {})
        for key, value in headers.items():
            inner.headers.headers.add(key=key, raw_value=value.encode())
        for key, value in fields.items():
            setattr(inner, key, value)
        await self.call.write(message)

    async def told(self) -> Any:
        answer = await self.call.read()
        assert answer is not grpc.aio.EOF
        return answer

    async def ask(self, part: str, **fields: Any) -> Any:
        await self.tell(part, **fields)
        return await self.told()

    async def request(self, body: bytes = b'{"model": "m"}', subset: object = None, **headers: str) -> Any:
        """A whole buffered request; the answer to its body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        first = await self.ask(
            "request_headers", headers={":path": "/v1/chat/completions", ":method": "POST", **named}, subset=subset
        )
        assert first.WhichOneof("one") == "request_headers"
        return await self.ask("request_body", body=body, end_of_stream=True)

    async def hang_up(self) -> None:
        """What Envoy does when nothing is left to ask."""
        await self.call.done_writing()
        assert await self.call.read() is grpc.aio.EOF


class World:
    """A desk, its server, and a channel to it."""

    def __init__(self) -> None:
        self.desk = Desk(Routing(), Resilience(), lambda: 0.0, objectives={"batch": -1, "chat": 1})
        self.doubted: list[str] = []
        self.ready = True
        settings = Settings(host="127.0.0.1", port=0, body_bytes=LONGEST_BODY, streams=100, drain_s=0.5)
        self.server = PickerServer(settings, self.exchange, lambda: self.ready)
        self.channel: Any = None

    def exchange(self) -> Exchange:
        return Exchange(self.desk, monotonic, self.doubted.append, body_bytes=LONGEST_BODY)

    def engines(self, *engines: EngineFacts) -> None:
        self.desk.view(engines, frozenset(model for engine in engines for model in engine.models), monotonic())

    def in_flight(self) -> dict[str, int]:
        return {name: count for name in (A, B, C) if (count := self.desk.in_flight(name))}

    @asynccontextmanager
    async def conversation(self, request: int = BUFFERED, response: int = STREAMED) -> AsyncIterator[Conversation]:
        call = self.channel.stream_stream(
            f"/{PROCESSOR}/Process",
            request_serializer=serialized,
            response_deserializer=ProcessingResponse.FromString,
        )()
        try:
            yield Conversation(call, (request, response))
        finally:
            call.cancel()

    async def health(self, service: str) -> int:
        check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=serialized,
            response_deserializer=HealthCheckResponse.FromString,
        )
        status: int = (await check(HealthCheckRequest(service=service))).status
        return status


@pytest.fixture(scope="module", autouse=True)
async def one_loop() -> AsyncIterator[None]:
    """All tests of a module on one event loop: grpc hands late events of a closed one to the next."""
    yield  # noqa: PT022 - what keeps the loop is that this fixture has not ended


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    made.engines(facts(A), facts(B))
    port = await made.server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as made.channel:
        yield made
    await made.server.stop()
