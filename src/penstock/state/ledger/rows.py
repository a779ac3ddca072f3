"""Totals as programs read them, in the admin API and on the command line."""

from collections.abc import Sequence

from penstock.state.ledger.store import Total

NANO = 10**9
COUNTS = ("requests", "input", "cached", "output", "reasoning")
FLAWS = ("unpriced", "unknown", "counted")
"""Counts of requests whose cost or tokens say less than they seem to."""


def total_row(by: Sequence[str], total: Total) -> dict[str, str | int]:
    """A total by the names of its groups. `cost` is text: a float would round it."""
    counts = {name: getattr(total, name) for name in (*COUNTS, *FLAWS)}
    return {**dict(zip(by, total.group, strict=True)), "currency": total.currency, **counts, "cost": money(total.cost)}


def money(nano: int) -> str:
    """Nano-units as whole units, exactly."""
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")
