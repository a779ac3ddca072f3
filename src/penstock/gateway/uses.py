"""What tenants use, for people: limits from the counts of the broker, costs from the ledger."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from penstock.core.errors import ConfigError, Unavailable
from penstock.core.limit import Measure
from penstock.gateway.admin.state import Row
from penstock.policy.limit.broker import Use
from penstock.policy.limit.bucket import meaning_of
from penstock.policy.price.cost import MILLION
from penstock.state.ledger.rows import money, total_row
from penstock.state.ledger.store import Span, StoreAway, Total

DAY_S = 86_400
PATIENCE_S = 20.0
"""How long the ledger may take to add up: it reads every charge of the days asked for."""
KEEP_S = 10.0
"""How long an answer serves who asks the same, and how many are kept: several consoles cost what one does."""
KEEP = 16
GROUPS = {
    "day": ("day",),
    "org": ("org",),
    "team": ("org", "team"),
    "key": ("org", "team", "key"),
    "model": ("model",),
}
"""A name alone is not enough where others may have it too."""


def limit_row(use: Use) -> Row:
    """One count; see `AdminState.limits`."""
    bucket, meaning = use.bucket, meaning_of(use.bucket)
    amounts: dict[str, int] = {"limit": bucket.limit, "used": use.used, "held": use.here}
    spend = meaning.measure is Measure.SPEND
    return {
        "rule": meaning.rule,
        "level": meaning.level,
        "subject": "/".join(meaning.subject),
        "own": meaning.own,
        "measure": meaning.measure,
        "model": meaning.model or None,
        "window_s": bucket.window_us / MILLION or None,
        "span": bucket.span,
        **{name: money(amount) if spend else amount for name, amount in amounts.items()},
        "part": use.used / bucket.limit if bucket.limit else 1.0,
    }


class Totals(Protocol):
    """What is asked of a ledger's store here."""

    def open(self) -> None: ...

    def abort(self) -> None: ...

    def totals(self, by: Sequence[str], span: Span) -> list[Total]: ...

    def close(self) -> None: ...


class Costs:
    """Reads totals from a ledger of its own connection, in a thread of its own, one question at a time."""

    def __init__(self, store: Totals, patience_s: float = PATIENCE_S) -> None:
        self._store = store
        self._patience_s = patience_s
        self._one = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "costs")
        self._open = False
        self._kept: dict[tuple[str, int], tuple[float, list[Row]]] = {}
        """What was answered, and when."""

    async def totals(self, by: str, days: int, now: float) -> list[Row]:
        """Totals of the last `days` days, in UTC, today included. Raises Unavailable."""
        groups = GROUPS[by]
        since = (int(now // DAY_S) - days + 1) * DAY_S
        span = Span(max(0, since) * MILLION)
        async with self._one:
            at, rows = self._kept.get((by, days), (float("-inf"), []))
            if not 0 <= now - at < KEEP_S:
                totals = await self._asked(groups, span)
                rows = [{**total_row(groups, total), "last": total.last_us / MILLION} for total in totals]
                if len(self._kept) >= KEEP:
                    self._kept.clear()
                self._kept[by, days] = now, rows
        return rows

    async def close(self) -> None:
        async with self._one:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._closed)
        self._thread.shutdown(wait=False)

    async def _asked(self, groups: Sequence[str], span: Span) -> list[Total]:
        asking = asyncio.get_running_loop().run_in_executor(self._thread, self._read, groups, span)
        try:
            while not (await asyncio.wait({asking}, timeout=self._patience_s))[0]:
                self._store.abort()
            return asking.result()
        except asyncio.CancelledError:
            self._store.abort()
            await asyncio.gather(asking, return_exceptions=True)
            raise
        except (StoreAway, ConfigError) as error:
            raise Unavailable(f"The ledger cannot be read: {error}", code="ledger_unavailable") from None

    def _closed(self) -> None:
        if self._open:
            self._store.close()
            self._open = False

    def _read(self, groups: Sequence[str], span: Span) -> list[Total]:
        try:
            if not self._open:
                self._store.open()
                self._open = True
            return self._store.totals(groups, span)
        except StoreAway:
            self._store.close()
            self._open = False
            raise
