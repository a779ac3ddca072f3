"""The ledger in SQL that SQLite and PostgreSQL both read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from penstock.core.errors import ConfigError
from penstock.core.record import TokenSource
from penstock.policy.price.book import Book, EngineRate, Rate
from penstock.policy.price.cost import MILLION
from penstock.state.ledger.charge import COLUMNS, LATEST, Charge, day_of, text
from penstock.state.ledger.entries import INTERRUPTED, SERVED, UNTOLD, Opened
from penstock.state.ledger.follow import Place
from penstock.state.ledger.store import GROUPS, Batch, Rates, Span, Total, Usage

VERSION = 1
DAY_US = 86_400_000_000
TEXT = ("writer", "request_id", "org", "team", "key", "model", "engine", "outcome", "source", "currency", "rate",
        "engine_rate", "version")  # fmt: skip
OPENED = ("writer", "number", "request_id", "received_us", "org", "team", "key", "model", "engine")

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS ledger_charges ("
    + ", ".join(f"{name} {'TEXT' if name in TEXT else 'BIGINT'} NOT NULL" for name in COLUMNS)
    + ", PRIMARY KEY (writer, number))",
    "CREATE INDEX IF NOT EXISTS ledger_charges_received ON ledger_charges (received_us)",
    "CREATE TABLE IF NOT EXISTS ledger_opened ("
    + ", ".join(f"{name} {'TEXT' if name in TEXT else 'BIGINT'} NOT NULL" for name in OPENED)
    + ", PRIMARY KEY (writer, number))",
    "CREATE TABLE IF NOT EXISTS ledger_places (writer TEXT PRIMARY KEY, segment BIGINT NOT NULL, "
    "position BIGINT NOT NULL, entries BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS ledger_rates (id TEXT PRIMARY KEY, kind TEXT NOT NULL, document TEXT NOT NULL)",
)
SCHEMA_VERSION = "CREATE TABLE IF NOT EXISTS ledger_schema (version BIGINT NOT NULL)"

IS_SERVED = f"engine <> '' AND outcome IN ({', '.join(repr(outcome) for outcome in SERVED)})"
IS_UNKNOWN = f"outcome = '{INTERRUPTED}' AND source = '{TokenSource.NONE}'"
IS_UNTOLD = f"engine <> '' AND source IN ({', '.join(repr(source) for source in UNTOLD)})"
SETTLED = ("source", "input", "cached", "output", "reasoning", "cost", "currency", "rate", "engine_rate", "version")
"""Columns that may change once, when the tokens of a request become known."""


class Cursor(Protocol):
    """What both drivers' cursors can do."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """A connection to a database."""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor: ...
    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None: ...
    def stream(self, statement: str, values: Sequence[Any]) -> Iterator[Any]:
        """Rows as they come, for answers that may not fit in memory."""

    def transaction(self) -> AbstractContextManager[object]:
        """Commits at its end, or undoes everything when it is left by an exception."""

    def lock_schema(self) -> None:
        """Inside a transaction: keeps others from making the tables too."""

    def abort(self) -> None: ...
    def close(self) -> None: ...


class Sql:
    """A Store on a Connection. `mark` is how the driver writes a value's place: `?` or `%s`."""

    def __init__(self, connection: Connection, mark: str) -> None:
        self._connection = connection
        marks = ", ".join([mark] * len(COLUMNS))
        columns = ", ".join(COLUMNS)
        updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in ("writer", "number"))
        self._mark = mark
        self._add = (
            f"INSERT INTO ledger_charges ({columns}) VALUES ({marks}) ON CONFLICT (writer, number) DO UPDATE SET "
            f"{updates} WHERE ledger_charges.outcome = '{INTERRUPTED}' AND ledger_charges.source = '{TokenSource.NONE}'"
        )
        self._settle = (
            f"UPDATE ledger_charges SET {', '.join(f'{name} = {mark}' for name in SETTLED)} "
            f"WHERE writer = {mark} AND number = {mark} AND {IS_UNTOLD}"
        )
        self._open = (
            f"INSERT INTO ledger_opened ({', '.join(OPENED)}) VALUES ({', '.join([mark] * len(OPENED))}) "
            "ON CONFLICT (writer, number) DO NOTHING"
        )
        defaults: Mapping[str, str] = {
            "outcome": f"'{INTERRUPTED}'", "source": f"'{TokenSource.NONE}'", "currency": mark, "version": mark,
        }  # fmt: skip
        values = ", ".join(
            name if name in OPENED else defaults.get(name, "''" if name in TEXT else "0") for name in COLUMNS
        )
        self._interrupt = (
            f"INSERT INTO ledger_charges ({columns}) SELECT {values} FROM ledger_opened WHERE writer = {mark} "
            "ON CONFLICT (writer, number) DO NOTHING"
        )

    def open(self) -> None:
        with self._connection.transaction():
            self._connection.lock_schema()
            self._create()

    def abort(self) -> None:
        self._connection.abort()

    def place(self, writer: str) -> Place:
        row = self._connection.execute(
            f"SELECT segment, position, entries FROM ledger_places WHERE writer = {self._mark}", (writer,)
        ).fetchone()
        return Place() if row is None else Place(*row)

    def ship(self, batch: Batch) -> int:
        connection, mark, writer = self._connection, self._mark, batch.writer
        interrupted = 0
        with connection.transaction():
            self._note_rates(batch.charges, batch.book)
            if batch.charges:
                connection.executemany(self._add, map(msgspec.structs.astuple, batch.charges))
            if batch.closes:
                connection.executemany(
                    f"DELETE FROM ledger_opened WHERE writer = {mark} AND number = {mark}",
                    [(writer, number) for number in batch.closes],
                )
            if batch.opened:
                connection.executemany(self._open, [_opened_row(writer, entry) for entry in batch.opened])
            if batch.over:
                interrupted = connection.execute(
                    self._interrupt, (batch.book.currency, batch.book.version, writer)
                ).rowcount
                connection.execute(f"DELETE FROM ledger_opened WHERE writer = {mark}", (writer,))
                connection.execute(f"DELETE FROM ledger_places WHERE writer = {mark}", (writer,))
            else:
                connection.execute(
                    f"INSERT INTO ledger_places (writer, segment, position, entries) "
                    f"VALUES ({mark}, {mark}, {mark}, {mark}) ON CONFLICT (writer) DO UPDATE SET "
                    "segment = excluded.segment, position = excluded.position, entries = excluded.entries",
                    (writer, batch.place.segment, batch.place.offset, batch.place.entries),
                )
        return interrupted

    def settle(self, charges: Sequence[Charge], book: Book) -> int:
        changed = 0
        with self._connection.transaction():
            self._note_rates(charges, book)
            for charge in charges:
                values = [getattr(charge, name) for name in SETTLED]
                changed += self._connection.execute(self._settle, (*values, charge.writer, charge.number)).rowcount
        return changed

    def totals(self, by: Sequence[str], span: Span) -> list[Total]:
        for name in by:
            if name not in GROUPS:
                raise ConfigError(f"totals by {name!r}; known: {', '.join(GROUPS)}")
        groups = [*(f"received_us / {DAY_US}" if name == "day" else name for name in by), "currency"]
        listed = ", ".join(groups)
        ordinals = ", ".join(str(index + 1) for index in range(len(groups)))
        rows = self._connection.execute(
            f"SELECT {listed}, count(*), sum(input), sum(cached), sum(output), sum(reasoning), sum(cost), "
            "sum(CASE WHEN rate = '' AND engine_rate = '' AND input + output > 0 THEN 1 ELSE 0 END), "
            f"sum(CASE WHEN {IS_UNKNOWN} THEN 1 ELSE 0 END), "
            f"sum(CASE WHEN source = '{TokenSource.COUNTED}' THEN 1 ELSE 0 END), max(received_us) "
            f"FROM ledger_charges WHERE {self._within()} GROUP BY {ordinals} ORDER BY {ordinals}",
            (span.since, span.until),
        ).fetchall()
        totals = []
        for row in rows:
            values = [day_of(value) if name == "day" else value for name, value in zip(by, row, strict=False)]
            totals.append(Total(tuple(values), row[len(by)], *map(int, row[len(groups) :])))
        return totals

    def usage(self, span: Span) -> Iterator[Usage]:
        groups = f"received_us / {DAY_US}, org, team, key, model, engine, currency, rate, engine_rate"
        rows = self._connection.stream(
            f"SELECT {groups}, count(*), sum(CASE WHEN {IS_SERVED} THEN 1 ELSE 0 END), sum(input), sum(cached), "
            f"sum(output), sum(reasoning), sum(CASE WHEN {IS_SERVED} THEN duration_us ELSE 0 END), sum(cost) "
            f"FROM ledger_charges WHERE {self._within()} AND NOT ({IS_UNKNOWN}) "
            "GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9",
            (span.since, span.until),
        )
        return (Usage(*row[:9], *map(int, row[9:])) for row in rows)

    def charges(self, span: Span, engine: str = "", request_id: str = "") -> Iterator[Charge]:
        where = self._within()
        values: list[int | str] = [span.since, span.until]
        for name, value in (("engine", engine), ("request_id", request_id)):
            if value:
                where += f" AND {name} = {self._mark}"
                values.append(value)
        rows = self._connection.stream(
            f"SELECT {', '.join(COLUMNS)} FROM ledger_charges WHERE {where} ORDER BY received_us, writer, number",
            values,
        )
        return (Charge(*row) for row in rows)

    def rates(self) -> Rates:
        kinds: Mapping[str, type[Rate] | type[EngineRate]] = {"model": Rate, "engine": EngineRate}
        rows = self._connection.execute("SELECT id, kind, document FROM ledger_rates").fetchall()
        return {name: msgspec.json.decode(document, type=kinds[kind]) for name, kind, document in rows}

    def close(self) -> None:
        self._connection.close()

    def _create(self) -> None:
        self._connection.execute(SCHEMA_VERSION)
        found = self._connection.execute("SELECT max(version) FROM ledger_schema").fetchone()[0]
        if found is not None and found > VERSION:
            raise ConfigError(
                f"ledger.url: the store has schema version {found}, and this Penstock knows {VERSION}; "
                "run the Penstock that wrote it, or choose another database"
            )
        for statement in SCHEMA:
            self._connection.execute(statement)
        if found is None:
            self._connection.execute(f"INSERT INTO ledger_schema (version) VALUES ({self._mark})", (VERSION,))

    def _within(self) -> str:
        return f"received_us >= {self._mark} AND received_us < {self._mark}"

    def _note_rates(self, charges: Sequence[Charge], book: Book) -> None:
        used = {charge.rate for charge in charges} | {charge.engine_rate for charge in charges}
        rows = [
            (name, "model" if type(rate) is Rate else "engine", msgspec.json.encode(rate).decode())
            for rate, name in book.ids.items()
            if name in used
        ]
        if rows:
            marks = ", ".join([self._mark] * 3)
            self._connection.executemany(
                f"INSERT INTO ledger_rates (id, kind, document) VALUES ({marks}) ON CONFLICT (id) DO NOTHING", rows
            )


def _opened_row(writer: str, entry: Opened) -> tuple[str | int, ...]:
    names = (entry.request_id, entry.org, entry.team, entry.key, entry.model, entry.engine)
    request_id, *rest = map(text, names)
    received = min(LATEST, max(0.0, entry.received))
    return (writer, entry.number, request_id, round(received * MILLION), *rest)
