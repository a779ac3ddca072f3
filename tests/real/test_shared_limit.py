"""Two replicas with two workers each share one limit on a real Redis, and use it up."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.limits.exact import Plan, figures_of, run
from tests.real.servers import Server

pytestmark = [pytest.mark.real, pytest.mark.anyio]

PLAN = Plan(limit=3_000, window_s=10, windows=2, clients=60, workers=2)


async def test_replicas_on_redis_let_through_what_the_limit_says(tmp_path: Path, redis_server: Server) -> None:
    unary, streams = await asyncio.gather(
        run(PLAN, redis_server.url, tmp_path / "unary", key="sk-shared-0123456789-unary", stream=False),
        run(PLAN, redis_server.url, tmp_path / "streams", key="sk-shared-0123456789-streams", stream=True),
    )
    for each in (unary, streams):
        found = figures_of(each, PLAN)
        assert found["by_arrival"] <= 1.02, found
        assert found["total_over_allowed"] >= 0.95, found
