"""How fairly tenants share the engines of a replica, from what its workers tell."""

from collections.abc import Iterable
from math import ceil

from penstock.gateway.admin.state import Fairness
from penstock.gateway.waiting import LATELY_S, Share
from penstock.policy.fair import Served, Window
from penstock.telemetry.catalogue import FAIRNESS, SHARES
from penstock.telemetry.series import LABEL_VALUES, OTHER

LOOK_S = 2.0
"""Between two looks at the workers."""


class Shares:
    """Adds up what workers say and keeps the last minute of it. `take` often, `tell` when somebody asks."""

    def __init__(self) -> None:
        self._window = Window(LATELY_S)
        self._since = 0.0
        self._now = 0.0
        self._totals: dict[str, Served] = {}
        self._last: dict[str, Share] = {}

    def take(self, now: float, told: Iterable[Share]) -> None:
        """What all workers say now. When one of them is gone its totals are too: the window begins anew."""
        last: dict[str, Share] = {}
        for share in told:
            sum_of = last.setdefault(share.tenant, Share(share.tenant))
            sum_of.weight = share.weight
            sum_of.cost += share.cost
            sum_of.backlog_s += share.backlog_s
            sum_of.backlog_cost += share.backlog_cost
            sum_of.waiting += share.waiting
            sum_of.waits += share.waits
        totals = {name: Served(share.cost, share.backlog_s, share.backlog_cost) for name, share in last.items()}
        none = Served()
        fell = any(
            totals.get(name, none).cost < before.cost or totals.get(name, none).backlog_s < before.backlog_s
            for name, before in self._totals.items()
        )
        if fell or not self._since:
            self._window, self._since = Window(LATELY_S), now
        self._window.take(now, totals)
        self._now, self._totals, self._last = now, totals, last

    def tell(self) -> Fairness:
        """See `AdminState.fairness`."""
        shares = self._window.shares()
        rows = [
            {
                "tenant": name,
                "weight": share.weight,
                "waiting": share.waiting,
                "wait_p50_s": _quantile(share.waits, 0.5),
                "wait_p95_s": _quantile(share.waits, 0.95),
                "share": shares.get(name, 0.0),
            }
            for name, share in self._last.items()
            if share.waiting or share.waits or shares.get(name)
        ]
        rows.sort(key=lambda row: (-float(str(row["share"])), str(row["tenant"])))
        return Fairness(min(LATELY_S, self._now - self._since), self._window.index(), rows)

    def rows(self) -> dict[tuple[str, tuple[str, ...]], list[float]]:
        """For metrics: (sheet, label values) -> numbers. Tenants beyond the bound of labels add up in one row."""
        shares = sorted(self._window.shares().items(), key=lambda item: -item[1])
        rows: dict[tuple[str, tuple[str, ...]], list[float]] = {
            (SHARES.name, (name,)): [share] for name, share in shares[:LABEL_VALUES]
        }
        if rest := sum(share for _, share in shares[LABEL_VALUES:]):
            rows[SHARES.name, (OTHER,)] = [rest]
        index = self._window.index()
        if index is not None:
            rows[FAIRNESS.name, ()] = [index]
        return rows


def _quantile(values: list[float], q: float) -> float | None:
    """The smallest value that at least `q` of all are not above; None of none."""
    return sorted(values)[ceil(q * len(values)) - 1] if values else None
