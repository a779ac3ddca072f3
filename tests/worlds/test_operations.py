"""Signals, reloads, workers, listeners: the platform as a process before a scripted engine."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.faults.upstream import DONE, MODEL, Call, Upstream, delta
from tests.faults.world import CHAT, STREAM, until
from tests.worlds.platform import ANY_PORT, Platform, engine, refused, up

pytestmark = pytest.mark.anyio
KEYS = ("key-one-0123456789abcdef", "key-two-0123456789abcdef")


@asynccontextmanager
async def stream(platform: Platform) -> AsyncIterator[httpx.Response]:
    """A stream that is under way, on a connection of its own."""
    async with platform.http() as client, client.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        yield answer


class Gate(asyncio.Event):
    """An engine whose streams wait in the middle until the gate is opened."""

    async def __call__(self, call: Call) -> None:
        if b'"stream"' not in call.body:
            await call.answer()
            return
        await call.sse(delta("one"))
        opened, left = asyncio.ensure_future(self.wait()), asyncio.ensure_future(call.left())
        await asyncio.wait((opened, left), return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if left.done():
            return
        left.cancel()
        await call.chunk(delta("two") + DONE)
        await call.finish()
        call.close()


def sockets(pid: int) -> int:
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += os.readlink(link).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


async def test_two_workers_count_as_one_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    gate = Gate()
    async with (
        Upstream(gate) as far,
        up(tmp_path, {"engines": [engine(far)], "workers": 2}) as platform,
        AsyncExitStack() as streams,
    ):
        before = {pid: sockets(pid) for pid in platform.workers()}
        assert len(before) == 2
        opened = []
        while not all(sockets(pid) > count for pid, count in before.items()) or len(opened) < 10:
            assert len(opened) < 300, "one worker takes every connection"
            opened.append(await streams.enter_async_context(stream(platform)))
        await platform.metric_becomes(len(opened), "penstock_requests_in_flight")
        await platform.metric_becomes(len(opened), "penstock_engine_requests_in_flight", engine="far")
        gate.set()
        for answer in opened:
            assert (await answer.aread()).endswith(DONE)
        total = len(opened)
        finished = {"route": "/v1/chat/completions", "model": "m", "engine": "far", "outcome": "success"}
        await platform.metric_becomes(total, "penstock_requests_total", **finished)
        await platform.metric_becomes(total, "penstock_request_duration_seconds_count")
        await platform.metric_becomes(0, "penstock_requests_in_flight")

        gate.clear()
        running = [await streams.enter_async_context(stream(platform)) for _ in range(4)]
        await platform.metric_becomes(4, "penstock_requests_in_flight")
        victim = platform.workers()[0]
        os.kill(victim, signal.SIGKILL)
        await platform.metric_becomes(1, "penstock_worker_restarts_total")
        await platform.metric_becomes(2, "penstock_workers")
        assert victim not in platform.workers()
        gate.set()
        whole = 0
        for answer in running:
            try:
                whole += (await answer.aread()).endswith(DONE)
            except httpx.TransportError:
                continue  # it was with the victim: cut, and visibly so
        # Streams of the other worker went on; nothing that was counted is forgotten.
        await platform.metric_becomes(total + whole, "penstock_requests_total", **finished)
        await platform.metric_becomes(0, "penstock_requests_in_flight")
        async with platform.http() as client:
            for _ in range(10):
                assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        await platform.metric_becomes(total + whole + 10, "penstock_requests_total", **finished)
        records = await platform.ended(total + whole + 10)
        assert len({record["id"] for record in records}) == len(records)


async def test_sigterm_drains_what_ends_in_time_and_ends_the_rest(tmp_path: Path) -> None:
    gate = Gate()

    async def never(call: Call) -> None:
        await call.sse(delta("one"))
        await call.left()

    async def by_prompt(call: Call) -> None:
        await (never(call) if b"forever" in call.body else gate(call))

    config = {"timeouts": {"drain": 1.2}}
    async with Upstream(by_prompt) as far, up(tmp_path, config | {"engines": [engine(far)]}) as platform:
        endless: dict[str, Any] = STREAM | {"messages": [{"role": "user", "content": "forever"}]}
        async with platform.openai() as client, platform.http() as idle:
            assert (await idle.post("/v1/chat/completions", json=CHAT)).status_code == 200
            short = await client.chat.completions.create(**STREAM)
            long = await client.chat.completions.create(**endless)
            assert (await anext(aiter(short))).choices[0].delta.content == "one"
            assert (await anext(aiter(long))).choices[0].delta.content == "one"
            begun = time.monotonic()
            platform.process.send_signal(signal.SIGTERM)
            await nothing_listens(platform.api)
            await platform.metric_becomes(2, "penstock_requests_in_flight")
            assert (await platform.ask_admin("/readyz")).status_code == 503
            gate.set()
            assert [part.choices[0].delta.content async for part in short] == ["two"]
            assert time.monotonic() - begun < 1
            with pytest.raises(openai.APIError) as caught:
                async for _ in long:
                    pass
            assert caught.value.code == "drain_timeout"
            assert 1 < time.monotonic() - begun < 3
        assert await platform.process.wait() == 0
        outcomes = [(r["outcome"], r.get("error", "")) for r in await platform.ended(3)]
        assert outcomes == [("success", ""), ("success", ""), ("timed_out", "drain_timeout")]
        await until(lambda: all(call.over for call in far.calls[1:]))


async def test_sigterm_lets_a_slow_client_take_what_was_sent(tmp_path: Path) -> None:
    size = 8_000_000

    async def large(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: %d\r\n\r\n" % size)
        await call.send(b"x" * size)

    async with Upstream(large) as far, up(tmp_path, {"engines": [engine(far)]}) as platform:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            await asyncio.to_thread(slow.connect, ("127.0.0.1", int(platform.api.rpartition(":")[2])))
            await asyncio.to_thread(slow.sendall, b"GET /v1/files/f/content HTTP/1.1\r\nhost: g\r\n\r\n")
            head = await asyncio.to_thread(slow.recv, 4096)
            platform.process.send_signal(signal.SIGTERM)
            await nothing_listens(platform.api)
            taken = len(head.partition(b"\r\n\r\n")[2])
            while piece := await asyncio.to_thread(slow.recv, 65_536):
                taken += len(piece)
            assert taken == size
        assert await platform.process.wait() == 0
        assert [record["outcome"] for record in platform.records()] == ["success"]


async def nothing_listens(url: str) -> None:
    """Waits until new connections are refused."""
    port = int(url.rpartition(":")[2])
    async with asyncio.timeout(30):
        while True:
            with socket.socket() as probe:
                probe.settimeout(0.2)
                if probe.connect_ex(("127.0.0.1", port)):
                    return
            await asyncio.sleep(0.01)


async def test_sighup_swaps_under_load_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    async with (
        Upstream() as one,
        Upstream() as two,
        up(tmp_path, {"engines": [engine(one, "one")]}) as platform,
    ):
        statuses: list[int] = []
        stopping = asyncio.Event()

        async def load(client: httpx.AsyncClient) -> None:
            statuses.append((await client.post("/v1/chat/completions", json=CHAT)).status_code)
            statuses.append((await client.get("/v1/models")).status_code)

        async def on_new_connections() -> None:
            while not stopping.is_set():
                async with platform.http() as client:
                    await load(client)

        async def on_one_connection() -> None:
            async with platform.http() as client:
                while not stopping.is_set():
                    await load(client)

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(on_new_connections())
                group.create_task(on_one_connection())
            await until(lambda: len(statuses) > 10)
            old = platform.workers()
            for most in (8, 9):
                await platform.reload(platform.config | {"limits": {"pipelined": most}}, taken=True)
            await platform.reload(platform.config | {"engines": [engine(two, "two")]}, taken=True)
            await until(lambda: two.calls and len(platform.workers()) == 1)
            new = platform.workers()
            assert new != old
            seen, done = len(one.calls), len(statuses)

            for wrong in (
                {"workers": 0},
                {"engines": [engine(one), engine(two)]},
                {"listen": {"port": 0, "tls": {"certificate": "/absent", "key": "/absent"}}},
                {"listen": {"host": "192.0.2.1", "port": 0}, "auth": {"keys": list(KEYS)}},
                {"admin": {"port": 1}},
                {"log": {"access": "/absent/folder/file"}},
            ):
                await platform.reload(platform.config | wrong, taken=False)
            (platform.folder / "penstock.yaml").write_text("listen: [")
            before = await platform.metric("penstock_config_reload_failures_total")
            platform.process.send_signal(signal.SIGHUP)
            await platform.metric_becomes(before + 1, "penstock_config_reload_failures_total")

            assert platform.workers() == new
            await until(lambda: len(statuses) > done + 10)
            assert len(one.calls) == seen, "a refused config was used"
            stopping.set()
        assert set(statuses) == {200}
        assert (await platform.ask_admin("/admin/engines")).json()["engines"][0]["name"] == "two"
        assert "config not taken over" in platform.log


async def test_sighup_lets_a_running_stream_finish(tmp_path: Path) -> None:
    gate = Gate()
    async with (
        Upstream(gate) as one,
        Upstream() as two,
        up(tmp_path, {"engines": [engine(one)]}) as platform,
        stream(platform) as running,
    ):
        await platform.reload(platform.config | {"engines": [engine(two)], "auth": {"keys": KEYS}}, taken=True)
        async with platform.http() as client, platform.openai(KEYS[1]) as keyed:
            refusal = await client.post("/v1/chat/completions", json=CHAT)
            assert (refusal.status_code, refusal.json()["error"]["code"]) == (401, "invalid_api_key")
            await keyed.chat.completions.create(**CHAT)
        assert len(two.calls) == 1
        gate.set()
        assert (await running.aread()).endswith(delta("two") + DONE)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=test", "-addext",
         "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


async def test_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    listen = {"port": 0, "tls": {"certificate": str(certificate), "key": str(key)}}
    async with Upstream() as far, up(tmp_path, {"engines": [engine(far)], "listen": listen}) as platform:
        assert platform.api.startswith("https://")
        trust = ssl.create_default_context(cafile=certificate)
        async with platform.http(trust) as client:
            assert (await client.post("/v1/chat/completions", json=CHAT)).json()["object"] == "chat.completion"
            big = os.urandom(3_000_000)
            assert (await client.post("/v1/files", content=big)).status_code == 200
            assert far.calls[-1].body == big
            async with client.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
                assert (await answer.aread()).endswith(DONE)
        async with platform.http() as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.get("/v1/models")
        port = int(platform.api.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/models HTTP/1.1\r\nhost: g\r\n\r\n")
        assert not (await reader.read(100)).startswith(b"HTTP/1.1 200")
        writer.transport.abort()
        relayed = await relay(platform, CHAT)
        assert relayed.json()["object"] == "chat.completion", "the console does not trust the API's own certificate"
        assert len(await platform.ended(4)) == 4


async def relay(platform: Platform, body: dict[str, Any]) -> httpx.Response:
    """What the console's playground sends."""
    async with httpx.AsyncClient(base_url=platform.admin, trust_env=False, timeout=10.0) as client:
        return await client.post("/v1/chat/completions", json=body, headers={"origin": platform.admin})


async def test_admin_and_console(tmp_path: Path) -> None:
    gate = Gate()
    async with Upstream(gate) as far, up(tmp_path, {"engines": [engine(far)], "workers": 2}) as platform:
        assert (await platform.ask_admin("/healthz")).json() == {"status": "ok"}
        assert (await platform.ask_admin("/readyz")).json()["ready"] is True
        about = (await platform.ask_admin("/admin/about")).json()
        assert (about["models"], about["workers"], about["api"]) == (["m"], 2, platform.api)
        async with stream(platform) as running:
            live = (await platform.ask_admin("/admin/live")).json()["requests"]
            assert [(row["model"], row["engine"], row["first_byte"]) for row in live] == [("m", "far", True)]
            gate.set()
            await running.aread()
        answer = await relay(platform, STREAM)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text.endswith("data: [DONE]\n\n")
        await platform.metric_becomes(2, "penstock_requests_total")
        rows = (await platform.ask_admin("/admin/requests?limit=10")).json()["requests"]
        assert [row["outcome"] for row in rows] == ["success", "success"]
        assert "<title>" in (await platform.ask_admin("/")).text
        assert (await platform.ask_admin("/absent")).status_code == 404

        await far.stop()
        await platform.engine_is("unreachable")
        readiness = await platform.ask_admin("/readyz")
        assert readiness.status_code == 503
        assert "engine far is unreachable" in readiness.text
        async with platform.http() as client:
            refusal = await client.post("/v1/chat/completions", json=CHAT)
            assert (refusal.status_code, refusal.json()["error"]["code"]) == (503, "engine_unavailable")
            assert int(refusal.headers["retry-after"]) >= 1
            async with far:
                await platform.engine_is("ready")
                assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
                assert (await client.get("/v1/models")).json()["data"] == [MODEL]


async def test_what_must_not_start_says_why_in_one_line(tmp_path: Path) -> None:
    http = {"kind": "http", "name": "far", "url": "http://127.0.0.1:1"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases: list[tuple[dict[str, Any], str]] = [
            ({"listen": {"host": "0.0.0.0", "port": 0}}, "auth.keys"),
            ({"admin": {"host": "0.0.0.0", "port": 0}}, "admin.token"),
            ({"listen": {"port": port}}, str(port)),
            ({"admin": {"port": port}}, str(port)),
            ({"wrokers": 2}, "workers"),
            ({"listen": {"port": 0, "tls": {"certificate": "/absent", "key": "/absent"}}}, "listen.tls"),
            ({"log": {"access": "/absent/log"}}, "log.access"),
        ]
        sound = ANY_PORT | {"engines": [http]}
        ends = await asyncio.gather(
            *(refused(folder(tmp_path, str(n)), sound | case) for n, (case, _) in enumerate(cases))
        )
    for (case, named), (code, said) in zip(cases, ends, strict=True):
        assert code == 2, (case, said)
        assert named in said
        assert said.count("\n") == 1, said


def folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir()
    return made


async def test_the_access_log_tells_no_secret_and_no_content(tmp_path: Path) -> None:
    async with Upstream() as far, up(tmp_path, {"engines": [engine(far)], "auth": {"keys": KEYS}}) as platform:
        async with platform.openai(KEYS[0]) as client:
            await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "my prompt"}], extra_headers={"x-request-id": "mine-1"}
            )
        [record] = await platform.ended(1)
        assert (record["id"], record["model"], record["outcome"]) == ("mine-1", "m", "success")
        assert (record["input_tokens"], record["output_tokens"], record["tokens_source"]) == (3, 2, "usage")
        assert far.calls[0].header(b"x-request-id") == b"mine-1"
        assert far.calls[0].header(b"authorization") is None, "the gateway's own key went to the engine"
        said = json.dumps(record) + platform.log
        assert not any(content in said for content in ("my prompt", "hello"))
        assert not any(key in said + platform.banner for key in KEYS)


async def test_each_worker_tells_of_its_loop_its_collector_and_its_objects(tmp_path: Path) -> None:
    async with Upstream() as upstream, up(tmp_path, {"workers": 2, "engines": [engine(upstream)]}) as platform:
        pids = [str(pid) for pid in platform.workers()]
        async with asyncio.timeout(10):
            for pid in pids:
                while await platform.metric("penstock_loop_lag_seconds_count", worker=pid) < 5:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
        assert await platform.metric("penstock_loop_lag_max_seconds", worker=pids[0]) < 5
        told = (await platform.ask_admin("/admin/memory?limit=5")).json()["workers"]
        assert sorted(str(row["worker"]) for row in told) == sorted(pids)
        for row in told:
            assert len(row["types"]) == 5
            assert row["objects"] >= sum(kind["count"] for kind in row["types"]) > 0
        os.kill(int(pids[0]), signal.SIGKILL)
        async with asyncio.timeout(10):
            while f'worker="{pids[0]}"' in (await platform.ask_admin("/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
