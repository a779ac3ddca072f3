"""The shipper: each entry once, whatever dies or goes away."""

import asyncio
import threading
from pathlib import Path

import anyio
import pytest

from penstock.core.tasks import Tasks
from penstock.policy.price.book import Book
from penstock.state.ledger.charge import Charge
from penstock.state.ledger.journal import Journal, journal_folder
from penstock.state.ledger.shipper import Shipper
from penstock.state.ledger.store import Span, Store, StoreAway
from penstock.state.ledger.stores import open_store, store_of
from tests.state.ledger.contract import BOOK
from tests.state.ledger.dying import killed_at_line
from tests.state.ledger.entries import closed, opened

SMALL = 16 * 1024


def shipper_of(folder: Path, book: Book = BOOK) -> Shipper:
    return Shipper(folder, lambda: store_of("", folder), lambda: book, sync_s=0.001)


def charges(folder: Path) -> list[Charge]:
    store = open_store("", folder)
    found = list(store.charges(Span()))
    store.close()
    return found


def drain(shipper: Shipper) -> None:
    while shipper.step():
        pass


def test_live_journals_are_shipped_and_dead_ones_removed(tmp_path: Path) -> None:
    folder = journal_folder(tmp_path)
    one, two = Journal(folder, SMALL), Journal(folder, SMALL)
    for number in range(1, 400):
        for journal in (one, two):
            journal.opened(opened(number))
            journal.closed(closed(number))
            journal.prepare()
    shipper = shipper_of(tmp_path)
    drain(shipper)
    assert len(charges(tmp_path)) == 2 * 399
    assert len(list(folder.glob("*.jnl"))) == 4, "each writer keeps the segment it writes and the next"
    one.close()
    two.opened(opened(1000))
    two.close()
    drain(shipper)
    assert not list(folder.glob("*.jnl"))
    found = charges(tmp_path)
    assert [(charge.number, charge.outcome) for charge in found if charge.outcome != "success"] == [
        (1000, "interrupted")
    ]
    assert (shipper.shipping.shipped, shipper.shipping.interrupted, shipper.shipping.damaged) == (798, 1, 0)
    shipper.close()


def test_a_request_that_is_still_open_is_no_charge_yet(tmp_path: Path) -> None:
    journal = Journal(journal_folder(tmp_path), SMALL)
    shipper = shipper_of(tmp_path)
    journal.opened(opened(1))
    drain(shipper)
    assert charges(tmp_path) == []
    shipper.close()
    other = shipper_of(tmp_path)
    journal.closed(closed(1))
    journal.close()
    drain(other)
    (charge,) = charges(tmp_path)
    assert charge.outcome == "success"
    other.close()


def test_while_the_store_is_away_journals_wait(tmp_path: Path) -> None:
    away = True

    def opening() -> Store:
        if away:
            raise StoreAway("ledger: nobody answers")
        return store_of("", tmp_path)

    journal = Journal(journal_folder(tmp_path), SMALL)
    shipper = Shipper(tmp_path, opening, lambda: BOOK, sync_s=0.0)
    for number in range(1, 301):
        assert journal.closed(closed(number))
        journal.prepare()
        if number % 100 == 0:
            assert not shipper.step()
    entries, seconds = shipper.lag()
    assert entries == 300
    assert seconds > 0
    assert shipper.shipping.failures == 3
    assert shipper.shipping.problem == "ledger: nobody answers"
    away = False
    drain(shipper)
    assert shipper.lag()[0] == 0
    assert shipper.shipping.problem == ""
    assert [charge.number for charge in charges(tmp_path)] == list(range(1, 301))
    journal.close()
    shipper.close()


def test_a_damaged_segment_is_kept_and_the_rest_shipped(tmp_path: Path) -> None:
    folder = journal_folder(tmp_path)
    journal = Journal(folder, SMALL)
    for number in range(1, 300):
        journal.closed(closed(number))
        journal.prepare()
    journal.close()
    first = sorted(folder.glob("*.jnl"))[0]
    data = bytearray(first.read_bytes())
    data[8_000] ^= 1
    first.write_bytes(data)
    shipper = shipper_of(tmp_path)
    drain(shipper)
    assert shipper.shipping.damaged == 1
    assert [path.name for path in folder.glob("*.damaged")] == [first.name + ".damaged"]
    assert not list(folder.glob("*.jnl"))
    numbers = [charge.number for charge in charges(tmp_path)]
    assert numbers[0] == 1
    assert numbers[-1] == 299
    shipper.close()


def test_two_shippers_do_not_meet(tmp_path: Path) -> None:
    journal = Journal(journal_folder(tmp_path), SMALL)
    journal.closed(closed(1))
    first, second = shipper_of(tmp_path), shipper_of(tmp_path)
    first.step()
    journal.closed(closed(2))
    assert not second.step()
    assert second.shipping.problem.startswith("another process ships")
    assert len(charges(tmp_path)) == 1
    first.close()
    second.step()
    assert len(charges(tmp_path)) == 2
    journal.close()
    second.close()


@pytest.mark.anyio
async def test_it_runs_beside_the_event_loop(tmp_path: Path) -> None:
    journal = Journal(journal_folder(tmp_path), SMALL)
    shipper = Shipper(tmp_path, lambda: store_of("", tmp_path), lambda: BOOK, interval_s=0.01)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shipper.run)
        for number in range(1, 51):
            journal.closed(closed(number))
            await anyio.sleep(0.001)
        with anyio.fail_after(10):
            while shipper.shipping.shipped < 50:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    journal.opened(opened(99))
    journal.close()
    assert await shipper.finish(10)
    assert len(charges(tmp_path)) == 51
    shipper.close()


@pytest.mark.anyio
async def test_a_pass_that_outlives_its_runner_is_the_next_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was cancelled twice no longer waits for the thread; another pass beside it would share its connection."""
    shipper = Shipper(tmp_path, lambda: store_of("", tmp_path), lambda: BOOK, interval_s=0.01)
    begun, go_on, passes = threading.Event(), threading.Event(), 0

    def step() -> bool:
        nonlocal passes
        passes += 1
        begun.set()
        go_on.wait(10)
        return False

    monkeypatch.setattr(shipper, "step", step)
    tasks = Tasks()
    running = tasks.spawn(shipper.run())
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0.01)
    assert running.done()
    finishing = tasks.spawn(shipper.finish(10))
    await asyncio.sleep(0.05)
    assert passes == 1
    go_on.set()
    assert await finishing
    assert passes == 1
    shipper.close()


def test_a_shipper_killed_at_any_line_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills land in reading, in transactions, and between a commit and the removal of its segment."""
    monkeypatch.setattr("penstock.state.ledger.shipper.PART_BYTES", 2048)
    journal = Journal(journal_folder(tmp_path), SMALL)
    number, line, kills, ended = 0, 1, 0, False
    while number < 1_200 or not ended:
        for _ in range(12 if number < 1_200 else 0):
            number += 1
            assert journal.opened(opened(number))
            if number % 10:
                assert journal.closed(closed(number))
            journal.prepare()
        if number == 1_200:
            journal.close()
        ended = killed_at_line(line, lambda: drain(shipper_of(tmp_path)))
        kills += not ended
        line = 1 + (line + 22) % 397 if number < 1_200 else line + 23
    assert kills > 50
    shipper = shipper_of(tmp_path)
    drain(shipper)
    shipper.close()
    found = sorted(charges(tmp_path), key=lambda charge: charge.number)
    assert [charge.number for charge in found] == list(range(1, number + 1))
    assert all((charge.outcome == "interrupted") == (charge.number % 10 == 0) for charge in found)
    assert not list(journal_folder(tmp_path).glob("*.jnl"))
