"""The ledger in SQLite."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.errors import ConfigError
from penstock.state.ledger.store import Span, Store, StoreAway
from penstock.state.ledger.stores import open_store
from tests.state.ledger.contract import StoreContract, batch
from tests.state.ledger.entries import closed


class TestSqlite(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = open_store("", tmp_path)
        yield store
        store.close()


def test_it_lies_in_the_data_folder_and_survives(tmp_path: Path) -> None:
    store = open_store("", tmp_path)
    store.ship(batch([closed(1)]))
    store.close()
    path = tmp_path / "ledger" / "ledger.sqlite"
    assert path.stat().st_mode & 0o077 == 0, "others may not read who asked what"
    again = open_store(f"sqlite:{path}", tmp_path / "elsewhere")
    assert len(list(again.charges(Span()))) == 1
    again.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    open_store("", tmp_path).close()
    with sqlite3.connect(tmp_path / "ledger" / "ledger.sqlite") as connection:
        connection.execute("UPDATE ledger_schema SET version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="schema version 99"):
        open_store("", tmp_path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://x", "known: postgres, postgresql, sqlite"),
        ("nowhere", "no URL"),
        ("postgresql:x", "write postgresql://"),
    ],
)
def test_an_unknown_store_is_refused(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        open_store(url, tmp_path)


def test_a_store_that_cannot_be_opened_is_away(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("a file in the way")
    with pytest.raises(StoreAway, match="cannot open"):
        open_store("", tmp_path)


def test_a_reader_does_not_stop_the_writer(tmp_path: Path) -> None:
    writer, reader = open_store("", tmp_path), open_store("", tmp_path)
    writer.ship(batch([closed(number) for number in range(1, 50)]))
    rows = reader.charges(Span())
    next(rows)
    writer.ship(batch([closed(100)]))
    assert len(list(rows)) == 48
    writer.close()
    reader.close()
