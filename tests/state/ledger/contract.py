"""What every store of the ledger must do. A module of tests subclasses `StoreContract` and gives it a `store`."""

import msgspec
import pytest

from penstock.core.errors import ConfigError
from penstock.core.record import Usage
from penstock.policy.price.book import Book, EngineRate, Rate, id_of
from penstock.state.ledger.charge import Charge, charge_of, settled, unknown
from penstock.state.ledger.entries import RECONCILED, Closed, Opened
from penstock.state.ledger.follow import Place
from penstock.state.ledger.store import Batch, Span, Store, Total
from tests.state.ledger.entries import closed, opened

RATE = Rate("m", 0.0, 2_000_000, 1_000_000, 5_000_000, 7_000_000, request=100)
BOOK = Book((RATE,))
COST = 6 * 2 + 4 * 1 + 5 * 5 + 2 * 7 + 100
"""Of `closed()`: input 10, cached 4, output 7, reasoning 2."""


def batch(
    entries: list[Closed],
    *,
    writer: str = "w",
    still: list[Opened] | None = None,
    closes: list[int] | None = None,
    place: Place | None = None,
    over: bool = False,
    book: Book = BOOK,
) -> Batch:
    charges = [charge_of(entry, writer, book) for entry in entries]
    return Batch(writer, charges, still or [], closes or [], place or Place(1, 100, len(entries)), over, book)


def all_of(store: Store) -> list[Charge]:
    return list(store.charges(Span()))


class StoreContract:
    def test_a_charge_comes_back_as_it_was(self, store: Store) -> None:
        sent = charge_of(closed(1), "w", BOOK)
        store.ship(batch([closed(1)]))
        assert all_of(store) == [sent]
        assert sent.cost == COST
        assert store.rates() == {id_of(rate): rate for rate in BOOK.ids}

    def test_a_batch_shipped_again_changes_nothing(self, store: Store) -> None:
        sent = batch([closed(1), closed(2)], still=[opened(3)])
        for _ in range(3):
            store.ship(sent)
        assert [charge.number for charge in all_of(store)] == [1, 2]
        assert store.ship(batch([], over=True)) == 1, "one request is open, once"

    def test_a_closed_request_is_never_changed(self, store: Store) -> None:
        store.ship(batch([closed(1)]))
        store.ship(batch([closed(1, tokens=(999, 0, 999, 0))]))
        (charge,) = all_of(store)
        assert (charge.input, charge.output) == (10, 7)
        assert store.settle([settled(charge, Usage(1, 1), RECONCILED, BOOK)], BOOK) == 0
        assert all_of(store) == [charge]

    def test_the_place_moves_with_its_batch_and_goes_with_its_writer(self, store: Store) -> None:
        assert store.place("w") == Place()
        store.ship(batch([closed(1)], place=Place(3, 4567, 89)))
        assert store.place("w") == Place(3, 4567, 89)
        assert store.place("other") == Place()
        store.ship(batch([], over=True))
        assert store.place("w") == Place()

    def test_what_a_dead_writer_left_open_is_interrupted(self, store: Store) -> None:
        store.ship(batch([closed(1)], still=[opened(2), opened(3)]))
        store.ship(batch([], writer="lives", still=[opened(2)]))
        assert store.ship(batch([closed(2)], closes=[2], over=True)) == 1
        found = {charge.number: charge for charge in all_of(store)}
        assert [found[number].outcome for number in (1, 2, 3)] == ["success", "success", "interrupted"]
        assert unknown(found[3])
        assert (found[3].request_id, found[3].org, found[3].model, found[3].engine) == ("req-3", "acme", "m", "e0")
        assert (found[3].cost, found[3].input, found[3].output) == (0, 0, 0)

    def test_an_interrupted_request_is_settled_once(self, store: Store) -> None:
        store.ship(batch([], still=[opened(1)], over=True))
        (charge,) = all_of(store)
        assert store.settle([settled(charge, Usage(10, 7, 4, 2), RECONCILED, BOOK)], BOOK) == 1
        assert store.settle([settled(charge, Usage(99, 99), RECONCILED, BOOK)], BOOK) == 0
        (after,) = all_of(store)
        assert after == msgspec.structs.replace(
            charge, source=RECONCILED, input=10, cached=4, output=7, reasoning=2, cost=COST - 100,
            rate=id_of(RATE),
        )  # fmt: skip
        assert set(store.rates()) == {after.rate}, "its rate is kept too"

    @pytest.mark.parametrize("source", ["counted", "none"])
    def test_a_request_whose_engine_told_nothing_is_settled_once(self, store: Store, source: str) -> None:
        """It pays for the request and for time as well: its client had an answer until it left."""
        left = msgspec.structs.replace(closed(1, tokens=(3, 0, 2, 0)), outcome="client_left", source=source)
        store.ship(batch([left]))
        (charge,) = all_of(store)
        assert store.settle([settled(charge, Usage(10, 7, 4, 2), RECONCILED, BOOK)], BOOK) == 1
        assert store.settle([settled(charge, Usage(99, 99), RECONCILED, BOOK)], BOOK) == 0
        store.ship(batch([left]))
        (after,) = all_of(store)
        assert (after.outcome, after.source, after.cost) == ("client_left", RECONCILED, COST)

    def test_a_request_that_no_engine_saw_is_not_settled(self, store: Store) -> None:
        refused = msgspec.structs.replace(closed(1, tokens=(0, 0, 0, 0)), engine="", outcome="rejected", source="none")
        store.ship(batch([refused]))
        (charge,) = all_of(store)
        assert store.settle([settled(charge, Usage(10, 7), RECONCILED, BOOK)], BOOK) == 0

    def test_a_late_end_completes_an_interrupted_request(self, store: Store) -> None:
        store.ship(batch([], still=[opened(1)], over=True))
        store.ship(batch([closed(1)]))
        assert all_of(store) == [charge_of(closed(1), "w", BOOK)]

    def test_requests_that_share_an_id_are_charged_each(self, store: Store) -> None:
        """A client may choose the id: it must not buy two answers for one."""
        store.ship(batch([closed(1, "mine"), closed(2, "mine")]))
        store.ship(batch([closed(1, "mine")], writer="w2"))
        assert len(list(store.charges(Span(), request_id="mine"))) == 3

    def test_a_batch_is_shipped_whole_or_not_at_all(self, store: Store) -> None:
        broken = batch([closed(1)], still=[opened(2)])
        broken.charges.append(msgspec.structs.replace(broken.charges[0], number=2, cost=Unstorable()))  # type: ignore[arg-type]
        with pytest.raises(Exception):  # noqa: B017 - each driver has its own
            store.ship(broken)
        assert all_of(store) == []
        assert store.place("w") == Place()
        assert store.ship(batch([], over=True)) == 0

    def test_totals_are_sums_by_what_is_asked(self, store: Store) -> None:
        day = 86_400.0
        store.ship(
            batch(
                [
                    closed(1, received=day * 20_000),
                    closed(2, received=day * 20_000 + 86_399.999, engine="e1"),
                    closed(3, received=day * 20_001, model="free", tokens=(1, 0, 0, 0)),
                    closed(4, received=day * 20_001, outcome="upstream_failed"),
                ],
                still=[Opened(5, "req-5", day * 20_001, "", "", "", "m", "e0")],
                over=True,
            )
        )
        assert store.totals((), Span()) == [
            Total((), "USD", 5, 31, 12, 21, 6, 3 * COST - 100, 1, 1, 0, int(day * 20_001 * 1e6))
        ]
        rows = {(*row.group, row.currency): row for row in store.totals(("day", "engine"), Span())}
        assert rows["2024-10-04", "e0", "USD"].cost == COST
        assert rows["2024-10-04", "e1", "USD"].cost == COST
        assert rows["2024-10-05", "e0", "USD"].unpriced == 1
        assert rows["2024-10-05", "e0", "USD"].requests == 3
        assert rows["2024-10-05", "e0", "USD"].unknown == 1
        assert [row.group for row in store.totals(("org",), Span())] == [("",), ("acme",)]
        first_day = Span(int(day * 20_000 * 1e6), int(day * 20_001 * 1e6))
        assert [row.requests for row in store.totals((), first_day)] == [2]
        with pytest.raises(ConfigError, match="known: org, team"):
            store.totals(("org; DROP TABLE ledger_charges",), Span())

    def test_usage_is_by_day_tenant_and_price(self, store: Store) -> None:
        book = Book((Rate("m", 0.0, 2_000_000, 1_000_000, 5_000_000, 7_000_000, request=100),),
                    (EngineRate("e0", 0.0, 3_600_000_000, slots=1),))  # fmt: skip
        store.ship(
            batch([closed(1), closed(2), closed(3, outcome="timed_out")], still=[opened(4)], over=True, book=book)
        )
        (row,) = store.usage(Span())
        assert (row.requests, row.served, row.input, row.cached, row.output, row.reasoning) == (3, 2, 30, 12, 21, 6)
        assert row.served_us == 500_000
        assert row.cost == 3 * (COST - 100) + 2 * 100 + 2 * 250_000
        kinds = store.rates()
        assert isinstance(kinds[row.rate], Rate)
        assert isinstance(kinds[row.engine_rate], EngineRate)

    def test_nonsense_of_engines_and_clients_is_stored(self, store: Store) -> None:
        odd = closed(1, "nul\0", tokens=(2**62, 2**62, 2**62, 2**62), received=float("1e300"))
        never = msgspec.structs.replace(closed(3), duration_s=float("nan"), received=float("nan"), cached=99, status=-1)
        store.ship(batch([odd, never], still=[opened(2, "nul\0")], over=True))
        found = {charge.number: charge for charge in all_of(store)}
        assert found[1].input == found[1].cached == 2**53
        assert (found[3].received_us, found[3].duration_us, found[3].cached, found[3].status) == (0, 0, 10, 0)
        assert found[2].request_id == "nul\ufffd"
        assert found[1].request_id == "nul\ufffd"

    def test_text_is_only_text(self, store: Store) -> None:
        name = "'); DROP TABLE ledger_charges; -- %s ? %(x)s"
        store.ship(batch([closed(1, name, model=name, engine=name)]))
        assert [charge.model for charge in store.charges(Span(), engine=name, request_id=name)] == [name]


class Unstorable:
    """No driver knows how to write it."""

    def __repr__(self) -> str:
        return "Unstorable"
