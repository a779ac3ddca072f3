"""The durable queue over a real Redis and a real NATS: a spike, killed pullers, restarted brokers."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio

from tests.faults.upstream import DONE, Call, Upstream, delta
from tests.faults.world import until
from tests.real.brokers import Child, nats, queue
from tests.real.brokers import redis as redis_server

pytestmark = [pytest.mark.real, pytest.mark.anyio]

SPIKE = 10_000
HEADERS = {"authorization": "Bearer somebody"}


@dataclass
class Broker:
    url: str
    child: Child
    kind: str


@pytest.fixture(params=["redis", "nats"])
def broker(request: pytest.FixtureRequest, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Broker]:
    kind: str = request.param
    url, child = {"redis": redis_server, "nats": nats}[kind](tmp_path / kind, free_port())
    child.start()
    yield Broker(url, child, kind)
    child.kill()


@dataclass
class World:
    """Broker, upstream, and the queue's processes."""

    broker: Broker
    upstream: Upstream
    folder: Path
    port: int
    client: httpx.AsyncClient
    children: list[Child] = field(default_factory=list)

    def start(self, command: str, *options: str) -> Child:
        folder = self.folder / f"{command}-{len(self.children)}"
        listen = ("--port", str(self.port)) if command == "serve" else ()
        child = queue(folder, command, self.broker.url, self.upstream.url, *listen, *options)
        self.children.append(child)
        return child

    async def begin(self, command: str, *options: str) -> Child:
        return await asyncio.to_thread(self.start(command, *options).start)

    async def post(self, number: int, **more: Any) -> str:
        body = {"model": "m", "n": number} | more.pop("body", {})
        answer = await self.client.post("/v1/chat/completions", json=body, headers=HEADERS | more.pop("headers", {}))
        assert answer.status_code == 202, answer.text
        id_: str = answer.json()["id"]
        return id_

    async def get(self, id_: str, wait: float = 30.0) -> httpx.Response:
        return await self.client.get(f"/v1/queue/{id_}?wait={wait:g}", headers=HEADERS)

    async def status(self, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(f"/v1/queue/{id_}/status", headers=HEADERS)).json()
        return found

    async def gauge(self, name: str) -> float:
        text = (await self.client.get("/metrics")).text
        return next(
            float(line.split()[1]) for line in text.splitlines() if line.startswith(f"penstock_durable_{name} ")
        )

    async def until_empty(self, within: float) -> None:
        deadline = time.monotonic() + within
        while await self.gauge("queue_waiting") + await self.gauge("queue_held"):
            assert time.monotonic() < deadline, (await self.client.get("/metrics")).text
            await asyncio.sleep(0.25)

    def runs(self) -> Counter[bytes]:
        """Request id -> how often it reached the upstream."""
        return Counter(call.header(b"x-request-id") or b"" for call in self.upstream.calls if call.method == b"POST")


@asynccontextmanager
async def world(broker: Broker, tmp_path: Path, port: int, answer: Any) -> AsyncIterator[World]:
    async def script(call: Call) -> None:
        await (answer(call) if call.method == b"POST" else call.json({"object": "list", "data": []}))

    limits = httpx.Limits(max_connections=100)
    async with (
        Upstream(script) as upstream,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120, limits=limits, trust_env=False) as client,
    ):
        made = World(broker, upstream, tmp_path, port, client)
        try:
            yield made
        finally:
            for child in made.children:
                child.kill()
            for child in made.children:
                assert "Traceback" not in child.log.read_text(), child.log.read_text()[-3000:]


async def told(call: Call) -> None:
    """Every run is told apart from every other."""
    await call.json({"for": (call.header(b"x-request-id") or b"").decode(), "body": call.body.decode()})


async def volley(port: int, requests: list[tuple[str, str, bytes]], connections: int = 100) -> list[tuple[int, bytes]]:
    """(status, body) of each request, sent over connections that are kept: httpx would be slower than the queue."""
    answers: list[tuple[int, bytes]] = [(0, b"")] * len(requests)
    numbers = iter(range(len(requests)))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            method, path, body = requests[number]
            auth = HEADERS["authorization"]
            head = (
                f"{method} {path} HTTP/1.1\r\nhost: q\r\nauthorization: {auth}\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            answers[number] = int(answer.split(b" ", 2)[1]), await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return answers


async def command(*arguments: str) -> tuple[int | None, bytes]:
    """Exit code and output of `penstock queue ...`."""
    program = (sys.executable, "-m", "penstock", "queue", *arguments)
    ran = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await ran.communicate()
    return ran.returncode, out


async def all_of(work: list[Any], at_once: int = 100) -> list[Any]:
    room = asyncio.Semaphore(at_once)

    async def one(each: Any) -> Any:
        async with room:
            return await each

    return await asyncio.gather(*map(one, work))


@pytest.mark.timeout(900)
async def test_a_spike_is_absorbed(broker: Broker, tmp_path: Path, free_port: Callable[[], int]) -> None:
    """All 10,000 are accepted while hardly any is run, and each is answered once."""
    async with world(broker, tmp_path, free_port(), told) as here:
        await here.begin("serve", "--concurrency", "64")
        begun = time.monotonic()
        posts = [("POST", "/v1/chat/completions", b'{"model":"m","n":%d}' % number) for number in range(SPIKE)]
        accepted = await volley(here.port, posts)
        accepted_s = time.monotonic() - begun
        await here.until_empty(within=600)
        answered_s = time.monotonic() - begun
        assert Counter(status for status, _ in accepted) == {202: SPIKE}
        ids = [json.loads(body)["id"] for _, body in accepted]
        assert len(set(ids)) == SPIKE
        assert here.runs() == Counter({id_.encode(): 1 for id_ in ids})
        answers = await volley(here.port, [("GET", f"/v1/queue/{id_}", b"") for id_ in ids])
        assert Counter(status for status, _ in answers) == {200: SPIKE}
        assert [json.loads(body)["for"] for _, body in answers] == ids
        assert [json.loads(body)["body"] for _, body in answers] == [body.decode() for _, _, body in posts]
        print(f"\n{broker.kind}: {SPIKE} accepted in {accepted_s:.1f} s, answered after {answered_s:.1f} s")


async def test_a_killed_puller_is_stood_in_for_once(
    broker: Broker, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    slow = asyncio.Event()

    async def answer(call: Call) -> None:
        if slow.is_set():
            await asyncio.sleep(0.05)
        else:
            await asyncio.wait({asyncio.ensure_future(slow.wait()), asyncio.ensure_future(call.left())},
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        if not call.over:
            await told(call)

    async with world(broker, tmp_path, free_port(), answer) as here:
        await here.begin("serve", "--concurrency", "0", "--silent", "3")
        victim = await here.begin("pull", "--concurrency", "8", "--silent", "3")
        ids = await all_of([here.post(number) for number in range(40)])
        await until(lambda: sum(here.runs().values()) == 8)
        victim.kill()
        lost = set(here.runs())
        assert len(lost) == 8
        slow.set()
        await here.begin("pull", "--concurrency", "8", "--silent", "3")
        answers = await all_of([here.get(id_) for id_ in ids])
        assert [answer.json()["for"] for answer in answers] == ids
        runs = here.runs()
        assert {id_: runs[id_] for id_ in runs if runs[id_] != 1} == dict.fromkeys(lost, 2)
        for id_ in ids:
            status = await here.status(id_)
            assert (status["status"], status["attempts"]) == ("done", 2 if id_.encode() in lost else 1)
        await here.until_empty(within=20)


async def test_a_request_that_kills_its_pullers_is_given_up(
    broker: Broker, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with world(broker, tmp_path, free_port(), Call.left) as here:
        await here.begin("serve", "--concurrency", "0", "--silent", "2")
        id_ = await here.post(1)
        for times in (1, 2):
            victim = await here.begin("pull", "--silent", "2")
            await until(lambda times=times: here.runs()[id_.encode()] == times, within=20)  # type: ignore[misc]
            victim.kill()
        await here.begin("pull", "--silent", "2")
        answer = await here.get(id_)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "request_abandoned")
        assert here.runs()[id_.encode()] == 2


async def test_a_sleeping_puller_wakes_to_nothing(broker: Broker, tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Paused until it is taken for dead; its answer comes second and is thrown away."""
    go = asyncio.Event()

    async def answer(call: Call) -> None:
        await go.wait()
        await call.json({"run": here.runs()[call.header(b"x-request-id") or b""]})

    async with world(broker, tmp_path, free_port(), answer) as here:
        await here.begin("serve", "--concurrency", "0", "--silent", "2")
        sleeper = await here.begin("pull", "--silent", "2")
        id_ = await here.post(1)
        await until(lambda: here.runs()[id_.encode()] == 1, within=20)
        sleeper.signal(signal.SIGSTOP)
        await here.begin("pull", "--silent", "2")
        await until(lambda: here.runs()[id_.encode()] == 2, within=20)
        go.set()
        first = await here.get(id_)
        sleeper.signal(signal.SIGCONT)
        await asyncio.sleep(3)
        again = await here.get(id_)
        assert first.content == again.content == b'{"run": 2}'
        assert (await here.status(id_))["attempts"] == 2
        await here.until_empty(within=20)


async def test_a_long_run_is_not_taken_for_dead(broker: Broker, tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def long(call: Call) -> None:
        await asyncio.sleep(7)
        await told(call)

    async with world(broker, tmp_path, free_port(), long) as here:
        await here.begin("serve", "--silent", "2")
        await here.begin("pull", "--silent", "2")
        id_ = await here.post(1)
        assert (await here.get(id_)).json()["for"] == id_
        assert here.runs()[id_.encode()] == 1
        assert (await here.status(id_))["attempts"] == 1


async def test_a_broker_that_crashes_loses_nothing(
    broker: Broker, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async def slowly(call: Call) -> None:
        await asyncio.sleep(0.05)
        await told(call)

    accepted: list[str] = []

    async def persist(number: int) -> None:
        """As a careful client: the same key until it is accepted."""
        while True:
            try:
                accepted.append(await here.post(number, headers={"idempotency-key": f"key-{number}"}))
            except (AssertionError, httpx.TransportError):
                await asyncio.sleep(0.2)
            else:
                return

    async with world(broker, tmp_path, free_port(), slowly) as here:
        await here.begin("serve", "--concurrency", "8", "--silent", "10")
        posting = asyncio.ensure_future(all_of([persist(number) for number in range(400)], 8))
        for _ in range(3):
            await asyncio.sleep(0.7)
            broker.child.kill()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(broker.child.start)
        await posting
        assert len(set(accepted)) == 400
        deadline = time.monotonic() + 60
        for id_ in accepted:
            while (answer := await here.get(id_, wait=5)).status_code in (202, 503):
                assert time.monotonic() < deadline
            assert answer.json()["for"] == id_
        assert set(here.runs()) == {id_.encode() for id_ in accepted}
        assert max(here.runs().values()) <= 2


async def test_streams_calls_off_and_once_only(broker: Broker, tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def answer(call: Call) -> None:
        if b"stream" not in call.body:
            await call.left()
            return
        await call.sse(*(delta(f"word{number}") for number in range(50)))
        await asyncio.sleep(0.3)
        await call.chunk(DONE)
        await call.finish()

    whole = b"".join(delta(f"word{number}") for number in range(50)) + DONE
    async with world(broker, tmp_path, free_port(), answer) as here:
        server = await here.begin("serve")
        once = {"idempotency-key": "once"}
        ids = {await here.post(1, body={"stream": True}, headers=once) for _ in range(3)}
        (id_,) = ids
        for _ in range(2):
            streamed = await here.client.get(f"/v1/queue/{id_}/stream", headers=HEADERS)
            assert streamed.content == whole
        assert (await here.get(id_)).content == whole
        assert here.runs()[id_.encode()] == 1

        endless = await here.post(2)
        await until(lambda: here.runs()[endless.encode()])
        assert (await here.client.delete(f"/v1/queue/{endless}", headers=HEADERS)).json()["status"] == "cancelled"
        call = next(call for call in here.upstream.calls if call.header(b"x-request-id") == endless.encode())
        await until(lambda: call.over, within=2)
        assert (await here.get(endless)).json()["error"]["code"] == "request_cancelled"
        await here.until_empty(within=10)

        options = ("--queue", f"http://127.0.0.1:{here.port}", "--key", "somebody")
        assert await command("result", id_, *options) == (0, whole)
        code, shown = await command("result", endless, "--wait", "1", *options)
        assert (code, b"called off" in shown) == (1, True)
        assert b"done" in (await command("status", id_, *options))[1]
        assert b"waiting           0\n" in (await command("status", *options))[1]
        assert await asyncio.to_thread(server.stop) == 0


async def test_a_full_gateway_is_not_pressed(broker: Broker, tmp_path: Path, free_port: Callable[[], int]) -> None:
    """The gateway takes four at once; sixteen pullers have all answered without one lost attempt."""
    now, most = 0, 0

    async def four(call: Call) -> None:
        nonlocal now, most
        if now >= 4:
            await call.send(b"HTTP/1.1 429 Too Many Requests\r\nretry-after-ms: 200\r\ncontent-length: 0\r\n\r\n")
            return
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        await told(call)

    async with world(broker, tmp_path, free_port(), four) as here:
        await here.begin("serve", "--concurrency", "16")
        ids = await all_of([here.post(number) for number in range(100)])
        answers = await all_of([here.get(id_, wait=60) for id_ in ids])
        assert [answer.json()["for"] for answer in answers] == ids
        assert {(await here.status(id_))["attempts"] for id_ in ids} == {1}
        assert most == 4


async def test_a_full_queue(broker: Broker, tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with world(broker, tmp_path, free_port(), told) as here:
        await here.begin("serve", "--concurrency", "0", "--most", "20")
        answers = await all_of([here.client.post("/v1/x", content=b"{}", headers=HEADERS) for _ in range(60)])
        assert Counter(answer.status_code for answer in answers) == {202: 20, 429: 40}
        assert await here.gauge("queue_waiting") == 20
        assert 0 < await here.gauge("queue_oldest_seconds") < 30


async def test_redis_tells_scalers_its_lag(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """The lag of the group, which KEDA reads, counts what waits, through answers and what was given back."""
    url, child = redis_server(tmp_path / "redis", free_port())
    child.start()
    try:
        async with world(Broker(url, child, "redis"), tmp_path, free_port(), told) as here:
            server = await here.begin("serve", "--concurrency", "4")
            for number in range(10):
                await here.get(await here.post(number))
            await asyncio.to_thread(server.stop)
            await here.begin("serve", "--concurrency", "0")
            await all_of([here.post(number) for number in range(7)])
            async with redis.asyncio.Redis.from_url(url, protocol=2) as client:
                (group,) = await client.xinfo_groups("penstock:queue")
            assert group["lag"] == 7
    finally:
        child.kill()


async def test_a_redis_that_forgets_is_refused(tmp_path: Path, free_port: Callable[[], int]) -> None:
    url, child = redis_server(tmp_path / "redis", free_port(), durable=False)
    child.start()
    try:
        code, said = await command("serve", "--broker", url, "--port", "0")
        assert (code, b"set: appendonly yes" in said, b"--relaxed" in said) == (2, True, True)
    finally:
        child.kill()
