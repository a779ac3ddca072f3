"""How fairly tenants shared: what a worker tells, and what its supervisor makes of it."""

import pytest

from penstock.core.clock import monotonic
from penstock.gateway.fairness import Shares
from penstock.gateway.waiting import Share
from penstock.telemetry import buckets
from penstock.telemetry.catalogue import TENANTS
from tests.gateway.test_fair_queue import KEYS, NAMES, A, B, in_turn, occupy, send
from tests.gateway.test_queue import Floor
from tests.gateway.world import World


def told(tenant: str, cost: float, waited: bool = True, **more: float | list[float]) -> Share:
    """As if it waited for as many seconds as it cost units, at weight 1."""
    return Share(tenant, cost=cost, backlog_s=10.0 * waited, backlog_cost=cost, **more)  # type: ignore[arg-type]


def test_workers_are_added_up_and_a_minute_is_looked_at() -> None:
    shares = Shares()
    shares.take(100.0, [])
    shares.take(110.0, [told("a", 30, waiting=2, waits=[1.0, 3.0]), told("b", 20), told("a", 10, waits=[2.0])])
    found = shares.tell()
    assert [(row["tenant"], row["waiting"]) for row in found.rows] == [("a", 2), ("b", 0)]
    assert [row["share"] for row in found.rows] == pytest.approx([2 / 3, 1 / 3])
    assert (found.rows[0]["wait_p50_s"], found.rows[0]["wait_p95_s"]) == (2.0, 3.0)
    assert found.rows[1]["wait_p50_s"] is None
    assert found.window_s == 10.0
    # By second of waiting a got 40 / 20 and b 20 / 10: even.
    assert found.index == pytest.approx(1.0)


def test_uneven_service_lowers_the_index_and_one_tenant_has_none() -> None:
    shares = Shares()
    shares.take(0.5, [])
    shares.take(30.5, [told("a", 90), told("b", 30)])
    assert shares.tell().index == pytest.approx(120**2 / (2 * (90**2 + 30**2)))
    alone = Shares()
    alone.take(0.5, [])
    alone.take(30.5, [told("a", 90), told("b", 30, waited=False)])
    assert alone.tell().index is None


def test_a_worker_that_is_gone_takes_no_share_along() -> None:
    shares = Shares()
    shares.take(1.0, [told("a", 50), told("b", 50)])
    shares.take(5.0, [told("a", 50), told("b", 10)])
    found = shares.tell()
    assert (found.rows, found.index, found.window_s) == ([], None, 0.0)
    shares.take(7.0, [told("a", 55), told("b", 25)])
    assert [(row["tenant"], row["share"]) for row in shares.tell().rows] == [("b", 0.75), ("a", 0.25)]


def test_nobody_is_told_before_anything_is_known() -> None:
    found = Shares().tell()
    assert (found.rows, found.index, found.window_s) == ([], None, 0.0)


@pytest.mark.anyio
async def test_a_worker_tells_who_waits_and_who_waited() -> None:
    async with World(auth={"keys": KEYS}) as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0, A)]
        clients += [await send(world, 1, A), await send(world, 11, B), await send(world, 12, B)]
        now = {share.tenant: share for share in world.app.waiting.shares(monotonic())}
        assert [now[name].waiting for name in NAMES] == [1, 2]
        assert now[NAMES[0]].waits == [0.0], "the first found room"
        await in_turn(world, floor, clients)
        now = {share.tenant: share for share in world.app.waiting.shares(monotonic())}
        assert [now[name].waiting for name in NAMES] == [0, 0]
        assert [len(now[name].waits) for name in NAMES] == [2, 2]
        assert min(now[NAMES[1]].waits) > 0
        assert all(now[name].cost > 0 for name in NAMES)
        later = world.app.waiting.shares(monotonic() + 61)
        assert all(not share.waits for share in later)


def test_shares_and_index_become_metrics_and_tenants_beyond_the_bound_one_row() -> None:
    shares = Shares()
    shares.take(0.5, [])
    shares.take(30.5, [told("a", 90), told("b", 30)])
    rows = shares.rows()
    assert rows["tenant_shares", ("a",)] == [0.75]
    assert rows["fairness", ()] == pytest.approx([120**2 / (2 * (90**2 + 30**2))])
    many = Shares()
    many.take(0.5, [])
    many.take(30.5, [told(f"t{number}", 1.0, waited=False) for number in range(1003)])
    found = many.rows()
    assert ("fairness", ()) not in found
    assert found["tenant_shares", ("other",)] == pytest.approx([3 / 1003])
    assert sum(share for [share] in found.values()) == pytest.approx(1.0)


@pytest.mark.anyio
async def test_a_worker_counts_waits_service_and_backlog_of_each_tenant() -> None:
    async with World(auth={"keys": KEYS}) as world:
        floor = Floor(world, 1)
        clients = [await occupy(world, floor, 0, A), await send(world, 1, B)]
        await world.until(lambda: (row := world.app.waiting.served.get(("default", NAMES[1]))) and row.backlog_s > 0.05)
        await in_turn(world, floor, clients)
        await world.quiet()
        await world.until(lambda: tenants(world).keys() >= set(NAMES))
        await world.until(lambda: tenants(world)[NAMES[1]][SERVICE] == served(world, NAMES[1]))
        a, b = (tenants(world)[name] for name in NAMES)
        assert (sum(a[:SUM]), a[0], a[BACKLOG]) == (1, 1, 0), "it did not wait"
        assert (sum(b[:SUM]), b[0]) == (1, 0)
        assert b[SUM] >= b[BACKLOG] > 0.05
        assert a[SERVICE] == served(world, NAMES[0])


SUM = len(buckets.FIRST_TOKEN) + 1
SERVICE = TENANTS.offset("penstock_tenant_service")
BACKLOG = TENANTS.offset("penstock_tenant_backlog_seconds")


def tenants(world: World) -> dict[str, list[float]]:
    return {labels[0]: row for sheet, labels, row in world.series.rows() if sheet is TENANTS}


def served(world: World, tenant: str) -> float:
    return world.app.waiting.served["default", tenant].cost
