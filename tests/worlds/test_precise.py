"""Precise prefixes from end to end: engines with real ZeroMQ publishers and `/tokenize` behind the platform."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from tests.engines.cache import EngineCache, pack, raw
from tests.faults.upstream import Call, Upstream, completion
from tests.worlds.platform import Platform, refused, up

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
SIZE = 16
REMEMBERED = 4
"""Batches that a publisher sends again."""


def tokens_of(text: str) -> list[int]:
    return [sum(word.encode()) for word in text.split()]


class Teller:
    """An engine that answers with its name, and tells what is in its cache as vLLM does."""

    def __init__(self, name: str, context: zmq.asyncio.Context) -> None:
        self.name = name
        self.http = Upstream(self.answer)
        self.cache = EngineCache(SIZE)
        self.tokenised = 0
        self._context = context
        self._ports = (0, 0)
        self.bind()

    def bind(self) -> None:
        """A new publisher, at the same addresses if there was one before."""
        self._live, self._router = self._context.socket(zmq.PUB), self._context.socket(zmq.ROUTER)
        ports = []
        for socket, port in zip((self._live, self._router), self._ports, strict=True):
            bind(socket, f"tcp://127.0.0.1:{port or '*'}")
            ports.append(int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]))
        self._ports = (ports[0], ports[1])
        self._memory: list[tuple[int, bytes]] = []
        self._number = 0
        self._replaying = asyncio.ensure_future(self._replay())

    async def unbind(self) -> None:
        self._replaying.cancel()
        await asyncio.wait([self._replaying])
        self._live.close(linger=0)
        self._router.close(linger=0)

    def config(self, *, replay: bool = True) -> dict[str, Any]:
        events = {"kv_events": f"tcp://*:{self._ports[0]}"}
        if replay:
            events["kv_replay"] = f"tcp://127.0.0.1:{self._ports[1]}"
        return {
            "kind": "http", "name": self.name, "url": self.http.url, "probe_interval": 0.1, "metrics": "off", **events,
        }  # fmt: skip

    async def compute(self, text: str, *, lost: bool = False) -> None:
        """Somebody else's prompt. `lost`: what it tells does not arrive."""
        await self._publish([raw(event) for event in self.cache.compute(tokens_of(text), twice=False)], lost=lost)

    async def clear(self) -> None:
        await self._publish([raw(event) for event in self.cache.all_gone()])

    async def _publish(self, events: list[dict[str, object]], *, lost: bool = False) -> None:
        number = self._number.to_bytes(8, "big")
        payload = pack([float(self._number), events, 0])
        self._memory = [*self._memory, (self._number, payload)][-REMEMBERED:]
        self._number += 1
        if not lost:
            await self._live.send_multipart([b"", number, payload])

    async def _replay(self) -> None:
        while True:
            client, _, first = await self._router.recv_multipart()
            for number, payload in self._memory:
                if number >= int.from_bytes(first, "big"):
                    await self._router.send_multipart([client, b"", b"", number.to_bytes(8, "big"), payload])
            await self._router.send_multipart([client, b"", b"", (-1).to_bytes(8, "big", signed=True), b""])

    async def answer(self, call: Call) -> None:
        if call.target != b"/tokenize":
            await call.json(completion(self.name))
            return
        self.tokenised += 1
        text = " ".join(each["content"] for each in json.loads(call.body)["messages"])
        await call.json({"count": 0, "max_model_len": 4096, "tokens": tokens_of(text)})


@asynccontextmanager
async def tellers(*names: str) -> AsyncIterator[list[Teller]]:
    context = zmq.asyncio.Context()
    engines = [Teller(name, context) for name in names]
    try:
        async with engines[0].http, engines[1].http:
            yield engines
    finally:
        for engine in engines:
            await engine.unbind()
        context.term()


def bind(socket: zmq.asyncio.Socket, address: str) -> None:
    """The one before may still be closing."""
    for _ in range(200):
        try:
            return socket.bind(address)
        except zmq.ZMQError:
            time.sleep(0.02)
    raise AssertionError(f"{address} stays in use")


def words(subject: str) -> str:
    return f"A word on {subject}. " * 40


async def asked(platform: Platform, text: str) -> tuple[str, dict[str, Any]]:
    """The engine that answered, and why."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    async with platform.http() as client:
        answer = (await client.post("/v1/chat/completions", json=body)).raise_for_status()
    told = await platform.why(answer.headers["x-request-id"])
    return answer.json()["choices"][0]["message"]["content"], told["decisions"][-1]


async def cache_of(platform: Platform, name: str) -> dict[str, Any]:
    rows = (await platform.ask_admin("/admin/engines")).json()["engines"]
    cache: dict[str, Any] = next(row for row in rows if row["name"] == name)["cache"]
    return cache


async def known(platform: Platform, teller: Teller, *, whole: bool = True) -> dict[str, Any]:
    """Waits until the platform knows what is in the engine's cache."""
    async with asyncio.timeout(20):
        while True:
            cache = await cache_of(platform, teller.name)
            if cache["blocks"] == len(teller.cache.entries) and cache["whole"] is whole:
                await asyncio.sleep(0.1)  # the workers hear of it a moment later
                return cache
            await asyncio.sleep(0.02)


def config(engines: list[Teller], **routing: object) -> dict[str, Any]:
    return {
        "engines": [engine.config() for engine in engines],
        "routing": {"prefixes": "precise", "token_wait": 5, **routing},
        "resilience": {"slow_start": 0},
        "workers": 2,
    }


async def test_what_engines_tell_decides(tmp_path: Path) -> None:
    async with tellers("a", "b") as engines:
        a, b = engines
        await a.compute("before anybody listens " * 8)
        async with up(tmp_path, config(engines)) as platform:
            for index in range(2):
                await platform.engine_is("ready", index)
            cache = await known(platform, a)
            assert (cache["last_number"], cache["gaps"], cache["events"], cache["block_tokens"]) == (0, 0, 1, SIZE)
            for number in range(3):
                await b.compute(words(f"b and {number}"))
                await a.compute(words(f"a and {number}"))
            cache = await known(platform, b)
            assert 0 < cache["events_per_s"] < 10
            await known(platform, a)
            for number in range(3):
                for engine in engines:
                    text = words(f"{engine.name} and {number}")
                    name, decision = await asked(platform, text)
                    assert (name, decision["index"], decision["lookup"]) == (engine.name, "precise", "precise")
                    assert decision["matched_tokens"] == len(tokens_of(text)) // SIZE * SIZE
            await platform.metric_becomes(6.0, "penstock_prefix_lookup_total", outcome="precise")
            assert await platform.metric("penstock_engine_kv_events_total", engine="b") == 3
            assert await platform.metric("penstock_engine_cached_blocks", engine="b") == len(b.cache.entries)
            await b.clear()
            await known(platform, b)
            _, decision = await asked(platform, words("b and 0"))
            assert decision["matched_tokens"] == 0
            await platform.reload(platform.config | {"routing": {}}, taken=True)
            assert await cache_of(platform, "a") is None
            _, decision = await asked(platform, words("a and 1"))
            assert (decision["index"], decision["lookup"]) == ("approximate", None)
            await platform.reload(platform.config, taken=True)
            await known(platform, a)


async def test_a_loss_is_made_good_and_if_it_cannot_be_the_engine_begins_anew(tmp_path: Path) -> None:
    async with tellers("a", "b") as engines:
        _, b = engines
        async with up(tmp_path, config(engines)) as platform:
            await platform.engine_is("ready", 1)
            await b.compute(words("first"))
            await known(platform, b)
            await b.compute(words("lost"), lost=True)
            await b.compute(words("found"))
            assert (await known(platform, b))["gaps"] == 0
            assert (await asked(platform, words("lost")))[0] == "b"
            for number in range(2 * REMEMBERED):
                await b.compute(words(f"lost {number}"), lost=True)
            await b.compute(words("last"))
            async with asyncio.timeout(20):
                while (cache := await cache_of(platform, "b"))["gaps"] == 0:  # noqa: ASYNC110 - another process's news
                    await asyncio.sleep(0.02)
            assert not cache["whole"]
            await asyncio.sleep(0.2)
            name, decision = await asked(platform, words("last"))
            assert (name, decision["index"]) == ("b", "precise"), "what came after the loss counts"
            _, decision = await asked(platform, words("found"))
            assert decision["matched_tokens"] == 0, "what came before it does not"
            await b.clear()
            await known(platform, b)


async def test_a_restarted_engine_has_nothing(tmp_path: Path) -> None:
    async with tellers("a", "b") as engines:
        _, b = engines
        async with up(tmp_path, config(engines)) as platform:
            await platform.engine_is("ready", 1)
            for number in range(3):
                await b.compute(words(f"old {number}"))
            await known(platform, b)
            await b.unbind()
            b.cache.reset()
            b.bind()
            async with asyncio.timeout(20):
                number = 0
                while (await cache_of(platform, "b"))["last_number"] not in range(number - 1, number):
                    number += 1
                    await b.compute(words(f"new {number}"))
                    await asyncio.sleep(0.3)
            await known(platform, b)
            _, decision = await asked(platform, words("old 1"))
            assert decision["matched_tokens"] == 0
            assert (await asked(platform, words(f"new {number}")))[0] == "b"


async def test_a_config_that_nobody_can_follow_is_refused(tmp_path: Path) -> None:
    engines = [{"kind": "http", "name": "far", "url": "http://127.0.0.1:9"}]
    code, said = await refused(tmp_path, {"engines": engines, "routing": {"prefixes": "precise"}})
    assert code == 2
    assert said.startswith("penstock: ")
    assert "routing.prefixes: 'precise' needs an engine" in said
