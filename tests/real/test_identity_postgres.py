"""The store of tenants and keys in a real PostgreSQL: the same contract, and a server that stops or freezes."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest

from penstock.core.errors import ConfigError, Unavailable
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.resolve import Changes
from penstock.state.identity import postgres as module
from penstock.state.identity.fields import KeyFields, OrgFields
from penstock.state.identity.follow import Follower
from penstock.state.identity.open import open_store
from penstock.state.identity.store import Store
from tests.real.servers import Server, postgres_server
from tests.state.identity.contract import NOW, StoreContract

pytestmark = pytest.mark.real
__all__ = ["postgres_server"]  # a fixture


@pytest.fixture
def url(postgres_server: Server) -> str:
    """A database without tables of ours."""
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        for table in ("state", "org", "team", "key"):
            connection.execute(f"DROP TABLE IF EXISTS identity_{table}")
    return postgres_server.url


class TestPostgres(StoreContract):
    @pytest.fixture
    def again(self, url: str) -> Callable[[], Store]:
        return lambda: open_store(url)


@pytest.mark.anyio
async def test_replicas_that_start_together_make_the_tables_once(url: str) -> None:
    stores = [open_store(url) for _ in range(8)]
    assert await asyncio.gather(*(store.version() for store in stores)) == [0] * 8
    for store in stores:
        await store.close()


@pytest.mark.anyio
async def test_a_frozen_server_is_given_up_and_found_again(
    url: str, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 1.0)
    store = open_store(url)
    steps: list[Changes] = []
    follower = Follower(store, steps.append, interval_s=0.05, clock=lambda: NOW)
    issued = await store.create_key("", "", KeyFields(), NOW)
    await follower.read()
    running = asyncio.ensure_future(follower.run())
    postgres_server.freeze()
    try:
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await store.create_org("acme", OrgFields(), NOW)
        # Its turn, a connection and the work: a deadline for each.
        assert time.monotonic() - begun < 4
        async with asyncio.timeout(4):
            while not follower.error:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
        directory = Directory(follower.snapshot)
        assert directory.authenticate(issued.secret.reveal().encode(), NOW).tenant.key == issued.key.id
    finally:
        postgres_server.thaw()
    async with asyncio.timeout(10):
        while follower.error:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)
    await store.create_org("globex", OrgFields(), NOW)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await store.close()


@pytest.mark.anyio
async def test_a_stopped_server_is_unavailable_at_once_and_found_again(url: str, postgres_server: Server) -> None:
    store = open_store(url)
    await store.create_org("acme", OrgFields(), NOW)
    await asyncio.to_thread(postgres_server.stop)
    try:
        for _ in range(2):
            begun = time.monotonic()
            with pytest.raises(Unavailable) as refused:
                await store.version()
            assert time.monotonic() - begun < 1
            assert "penstock@" not in str(refused.value)
    finally:
        await asyncio.to_thread(postgres_server.start)
    assert (await store.org("acme")).name == "acme"
    await store.close()


@pytest.mark.anyio
async def test_a_caller_that_gives_up_leaves_the_store_usable(url: str) -> None:
    store = open_store(url)
    await store.create_org("acme", OrgFields(), NOW)
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (module.WRITER,))
        waiting = asyncio.ensure_future(store.create_org("globex", OrgFields(), NOW))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert [org.name for org in await store.orgs(9)] == ["acme"]
    await store.create_org("globex", OrgFields(), NOW)
    await store.close()


@pytest.mark.anyio
async def test_a_malformed_url_is_bad_input() -> None:
    with pytest.raises(ConfigError, match="malformed"):
        await open_store("postgresql://u:hush@/x y z=1").version()
