"""Law 3. What the ledger bills equals what engines reported, to the token."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import IO, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.record import Usage
from penstock.policy.price.book import Book, Rate
from penstock.state.ledger.charge import Charge, settled
from penstock.state.ledger.entries import RECONCILED, Closed, Opened
from penstock.state.ledger.follow import writers
from penstock.state.ledger.journal import Journal, journal_folder
from penstock.state.ledger.shipper import Shipper
from penstock.state.ledger.store import Batch, Span, Store, StoreAway
from penstock.state.ledger.stores import open_store, store_of

BOOK = Book((Rate("m", 0.0, 3_000_000, 1_000_000, 5_000_000, 7_000_000),))
"""3, 1, 5 and 7 nano-units per token."""


class Served(NamedTuple):
    """What the engine reported of one request."""

    input: int
    cached: int
    output: int
    reasoning: int

    @property
    def cost(self) -> int:
        return 3 * (self.input - self.cached) + self.cached + 5 * (self.output - self.reasoning) + 7 * self.reasoning


@st.composite
def served(draw: st.DrawFn) -> Served:
    given, made = draw(st.integers(0, 5_000)), draw(st.integers(0, 5_000))
    return Served(given, draw(st.integers(0, given)), made, draw(st.integers(0, made)))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 2), served()),
        st.tuples(st.just("end"), st.integers(0, 50), st.booleans()),
        st.tuples(st.just("die"), st.integers(0, 2), st.none()),
        st.tuples(st.just("ship"), st.sampled_from(["well", "well", "away", "before", "after"]), st.none()),
    ),
    max_size=80,
)


class Died(BaseException):
    """Stands for the end of the shipper's process: nothing after it runs."""


class Fragile:
    """A store whose next `ship` fails in a chosen way."""

    def __init__(self, store: Store, how: str) -> None:
        self._store, self._how = store, how
        self.open, self.place, self.close = store.open, store.place, store.close

    def ship(self, batch: Batch) -> int:
        if self._how == "away":
            raise StoreAway("ledger: gone")
        if self._how == "before":
            raise Died
        done = self._store.ship(batch)
        if self._how == "after":
            raise Died
        return done


class Platform:
    """Three workers, an engine that counts, a shipper that dies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers = [self.worker() for _ in range(3)]
        self.running: list[tuple[int, int, Served]] = []
        self.reported: dict[str, Served] = {}
        """By request id: the engine's own log."""

    def worker(self) -> Journal:
        return Journal(journal_folder(self.folder), 16 * 1024)

    def begin(self, worker: int, what: Served) -> None:
        journal = self.workers[worker]
        number = journal.number()
        assert journal.opened(Opened(number, self.name(journal, number), 1.7e9, "o", "t", "k", "m", "e"))
        self.running.append((worker, number, what))

    def name(self, journal: Journal, number: int) -> str:
        return f"{journal.writer}/{number}"

    def end(self, index: int, *, stream: bool) -> None:
        if self.running:
            worker, number, what = self.running.pop(index % len(self.running))
            journal = self.workers[worker]
            name = self.name(journal, number)
            self.reported[name] = what
            assert journal.closed(
                Closed(number, name, 1.7e9, "o", "t", "k", "m", "e", "success", 200, *what, "usage", stream, 0.1)
            )
            journal.prepare()

    def die(self, worker: int) -> None:
        """The worker is killed; the engine goes on and finishes what it began."""
        journal = self.workers[worker]
        for _, number, what in [each for each in self.running if each[0] == worker]:
            self.reported[self.name(journal, number)] = what
        self.running = [each for each in self.running if each[0] != worker]
        journal.close()  # what the system does with a dead process: the lock goes
        self.workers[worker] = self.worker()

    def ship(self, how: str) -> None:
        shipper = Shipper(
            self.folder,
            lambda: Fragile(store_of("", self.folder), how),
            lambda: BOOK,
            sync_s=0,  # type: ignore[arg-type, return-value]
        )
        try:
            while shipper.step():
                pass
        except Died:
            pass
        finally:
            shipper.close()

    def settle(self) -> list[Charge]:
        """Everything ends, is shipped, and the engine's log settles what was interrupted."""
        for worker in range(3):
            self.die(worker)
            self.workers[worker].close()
        self.ship("well")
        assert not writers(journal_folder(self.folder)), "all is shipped"
        store = open_store("", self.folder)
        unknown = [charge for charge in store.charges(Span()) if charge.outcome == "interrupted"]
        log = self.reported
        store.settle(
            [
                settled(charge, Usage(what.input, what.output, what.cached, what.reasoning), RECONCILED, BOOK)
                for charge in unknown
                for what in [log[charge.request_id]]
            ],
            BOOK,
        )
        found = list(store.charges(Span()))
        store.close()
        return found


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_the_ledger_equals_the_engines_log(
    steps: list[tuple[str, int | str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    platform = Platform(tmp_path_factory.mktemp("platform"))
    for what, which, more in steps:
        match what, which, more:
            case "begin", int(), Served():
                platform.begin(which, more)
            case "end", int(), bool():
                platform.end(which, stream=more)
            case "die", int(), _:
                platform.die(which)
            case "ship", str(), _:
                platform.ship(which)
    found = platform.settle()
    assert Counter(charge.request_id for charge in found) == Counter(list(platform.reported))
    for charge in found:
        what = platform.reported[charge.request_id]
        assert (charge.input, charge.cached, charge.output, charge.reasoning) == what
        assert charge.cost == what.cost


WORKER = """
import os, sys
from pathlib import Path
from penstock.state.ledger.entries import Closed, Opened
from penstock.state.ledger.journal import Journal
while os.fork():  # each child is one worker; this process has paid for the imports
    os.wait()
    os.write(1, b"X%7x" % 0)
    if sys.stdin.readline() != "again\\n":
        sys.exit()
journal = Journal(Path(sys.argv[1]), 64 * 1024)
os.write(1, b"P%7x" % os.getpid())
while True:
    number = journal.number()
    name = f"{journal.writer}/{number}"
    assert journal.opened(Opened(number, name, 1.7e9, "o", "t", "k", "m", "e"))
    tokens = number, 0, 2 * number, 0
    assert journal.closed(
        Closed(number, name, 1.7e9, "o", "t", "k", "m", "e", "success", 200, *tokens, "usage", True, 0.1)
    )
    os.write(1, b"A%7x" % number)  # the last byte of the answer
    journal.prepare()
"""


def message(stream: IO[bytes]) -> tuple[bytes, int]:
    """P: a worker's pid; A: the number of an answer it gave; X: it is gone. One write each, hence whole."""
    said = stream.read(8)
    return said[:1], int(said[1:], 16)


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Fifty workers are killed at random moments while they write, and a shipper follows them all along."""
    chance = random.Random(3)
    answered: Counter[int] = Counter()
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(journal_folder(tmp_path))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        shipper = Shipper(tmp_path, lambda: store_of("", tmp_path), lambda: BOOK, sync_s=0)
        for kill in range(50):
            _, pid = message(parent.stdout)
            for _ in range(chance.randrange(400)):
                answered[message(parent.stdout)[1]] += 1
            os.kill(pid, signal.SIGKILL)
            shipper.step()
            while (said := message(parent.stdout))[0] == b"A":
                answered[said[1]] += 1
            parent.stdin.write(b"again\n" if kill < 49 else b"enough\n")
            parent.stdin.flush()
    while shipper.step():
        pass
    shipper.close()
    store = open_store("", tmp_path)
    found = list(store.charges(Span()))
    store.close()
    assert len({charge.writer for charge in found}) == 50
    billed = Counter(charge.number for charge in found if charge.outcome == "success")
    assert not answered - billed, "an answer that a client has is not in the ledger"
    assert sum((billed - answered).values()) <= 50, "at most the one that each was answering"
    assert Counter((charge.writer, charge.number) for charge in found).most_common(1)[0][1] == 1
    assert all((charge.input, charge.output) == (charge.number, 2 * charge.number) for charge in found if charge.input)
