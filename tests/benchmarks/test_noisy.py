"""The noisy neighbour's figures and bars, from waits and services made by hand, and its clients against a socket."""

import asyncio
import json
import random
from pathlib import Path

import pytest

from benchmarks.limits.noisy import Raw, bars, figures, service_of, tenants
from benchmarks.limits.platform import Platform
from benchmarks.limits.tenants import Load, Tenant, always, at_times, poisson

EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
LAST = b'data: {"choices":[],"usage":{"prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":30}}}\n\n'


def made(flood_s: float, jain_of: list[float]) -> Raw:
    names = [tenant.name for tenant in tenants()]
    waits = {name: [0.1 * number for number in range(100)] for name in names[:3]}
    return Raw(
        rates=[8.0],
        share=[waits],
        flood=[{name: [flood_s * wait for wait in own] for name, own in waits.items()}],
        refused=[dict.fromkeys(names, 0)],
        offered=[dict(zip(names, (20, 20, 20, 1000), strict=True))],
        greedy=[dict(zip(names, jain_of, strict=True))],
        open=[dict(zip(names, (5.0, 5.0, 5.0, 85.0), strict=True))],
    )


def test_bars_hold_when_the_modest_wait_no_longer_and_all_get_the_same() -> None:
    found = figures(made(1.2, [25.0, 25.0, 24.0, 25.0]))
    assert found["flood_over_modest"] == 50
    assert found["throughput"] == [0.99]
    assert all(own["ratio"] == pytest.approx(1.2) for own in found["tenants"].values())
    assert [bar.holds for bar in bars(found)] == [True] * 4


def test_bars_are_missed_when_they_are_not() -> None:
    held = {bar.name: bar.holds for bar in bars(figures(made(1.6, [10.0, 10.0, 10.0, 60.0])))}
    assert held == {
        "noisy_p95_wait_over_fair_share": False,
        "noisy_modest_refused": True,
        "noisy_jain_index": False,
        "noisy_throughput_over_no_queue": False,
    }


def test_arrivals_come_at_the_rate() -> None:
    times = poisson(random.Random(1), 5.0, 1000.0)
    assert len(times) == pytest.approx(5000, rel=0.1)
    assert times == sorted(times)


@pytest.mark.anyio
async def test_clients_count_what_arrives_and_keep_their_bounds() -> None:
    now = most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        asked = json.loads(await reader.readexactly(length))
        await asyncio.sleep(0.005)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + EVENT * asked["max_tokens"] + LAST)
        writer.close()
        now -= 1

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        load = Load(server.sockets[0].getsockname()[1], random.Random(1))
        tenant = Tenant("t", "k", tokens=5)
        begun = asyncio.get_running_loop().time()
        await at_times(load, tenant, begun, [0.0] * 6, at_once=2)
        assert most == 2
        assert {row.status for row in load.rows} == {200}
        load.begin()
        left = iter(range(3))
        await always(load, tenant, 1, lambda: next(left, None) is not None)
        assert (load.written, load.read, load.cached) == ({"t": 15}, {"t": 30}, {"t": 90})
        assert service_of(load, "t") == pytest.approx(30 + 9 + 30)
    failed = await Load(1, random.Random(1)).ask(tenant, 0.0)
    assert failed.status == 0


def test_records_are_read_up_to_the_last_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_bytes(b'{"id":"a","queue_s":0.5}\n{"id":"b"')
    assert list(Platform(0, 0, log).records()) == [{"id": "a", "queue_s": 0.5}]
