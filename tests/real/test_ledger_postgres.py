"""The ledger in a real PostgreSQL: the contract of every store, and what happens when the server goes away."""

import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import psycopg
import pytest

from penstock.policy.price.book import Book
from penstock.state.ledger.journal import Journal, journal_folder
from penstock.state.ledger.shipper import Shipper
from penstock.state.ledger.store import Span, Store
from penstock.state.ledger.stores import open_store, store_of
from tests.real.servers import Server, postgres_server
from tests.state.ledger.contract import StoreContract
from tests.state.ledger.entries import closed, opened

__all__ = ["postgres_server"]

pytestmark = pytest.mark.real


@pytest.fixture
def url(postgres_server: Server) -> str:
    """The server, without tables of a ledger."""
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        for table in ("charges", "opened", "places", "rates", "schema"):
            connection.execute(f"DROP TABLE IF EXISTS ledger_{table}".encode())
    return postgres_server.url


class TestPostgres(StoreContract):
    @pytest.fixture
    def store(self, url: str, tmp_path: Path) -> Iterator[Store]:
        store = open_store(url, tmp_path)
        yield store
        store.close()


def numbers(url: str, folder: Path) -> list[int]:
    store = open_store(url, folder)
    found = [charge.number for charge in store.charges(Span())]
    store.close()
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_an_outage_only_delays(how: str, url: str, postgres_server: Server, tmp_path: Path) -> None:
    journal = Journal(journal_folder(tmp_path), 64 * 1024)
    shipper = Shipper(tmp_path, lambda: store_of(url, tmp_path), Book, interval_s=0.02, pass_s=0.5)
    total = 0

    async def serve(seconds: float) -> float:
        """Requests for a while; the longest that the event loop was held up."""
        nonlocal total
        end, longest = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < end:
            total += 1
            assert journal.opened(opened(total))
            assert journal.closed(closed(total))
            journal.prepare()
            await anyio.sleep(0.002)
            longest = max(longest, time.monotonic() - now)
        return longest

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shipper.run)
        await serve(0.5)
        postgres_server.stop() if how == "stopped" else postgres_server.freeze()
        try:
            assert await serve(2.0) < 0.3
            assert shipper.lag()[0] > 100
            assert shipper.shipping.problem.startswith("ledger: PostgreSQL")
        finally:
            await anyio.to_thread.run_sync(postgres_server.start if how == "stopped" else postgres_server.thaw)
        with anyio.fail_after(30):
            while shipper.lag()[0]:
                await serve(0.05)
                await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()
    journal.close()
    assert await shipper.finish(10)
    shipper.close()
    assert numbers(url, tmp_path) == list(range(1, total + 1))


@pytest.mark.anyio
async def test_replicas_share_a_database(url: str, tmp_path: Path) -> None:
    """Each has its own data folder; they make the tables at the same time and ship at the same time."""
    shippers = []
    for replica in range(3):
        folder = tmp_path / str(replica)
        journal = Journal(journal_folder(folder), 64 * 1024)
        for number in range(1, 201):
            journal.closed(closed(number))
            journal.prepare()
        journal.close()
        shippers.append(Shipper(folder, lambda folder=folder: store_of(url, folder), Book))  # type: ignore[misc]
    async with anyio.create_task_group() as tasks:
        for shipper in shippers:
            tasks.start_soon(shipper.finish, 30)
    assert sorted(numbers(url, tmp_path)) == sorted(list(range(1, 201)) * 3)
    for shipper in shippers:
        shipper.close()
