"""Virtual token counters: how much service each tenant has had, and from where one begins who comes to wait.

After Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024 (arXiv 2401.00588). A tenant's counter grows
by cost / weight as service is given; of those who wait, the tenant with the least counter is served next. Who has not
waited has no claim to what it left unused, so a tenant that begins to wait is lifted to the level of those it competes
with.

The paper lifts to the least counter of those who wait, or of the last that did. Here the level is the counter of the
last that was started, before it was charged (the virtual time of start-time fair queueing: Goyal et al., SIGCOMM 1996):
never above the least of those who wait but for what is given back, never falling, and known without a search. It is
kept per engine, as requests that can use several sets of engines would else be lifted to the level of engines that
they cannot use.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

SPARE = 64
"""Accounts a set of counters may hold before those that say nothing are looked for."""


class Waits(Protocol):
    """Where an account's requests wait in order of its counter."""

    engines: Sequence[str]
    """What they wait for."""

    def lowered(self) -> None:
        """The counter has fallen; that it rises is seen when it matters."""


class Account:
    """One tenant among its rivals of one priority."""

    __slots__ = ("counter", "running", "tenant", "waits", "weight")

    def __init__(self, tenant: str, weight: float, counter: float) -> None:
        self.tenant = tenant
        self.weight = weight
        self.counter = counter
        """Cost of its service by its weight, and what it was lifted by."""
        self.running = 0
        self.waits: list[Waits] = []

    def charge(self, cost: float) -> None:
        """Service was given; a negative cost takes back what was charged too much."""
        self.counter += cost / self.weight
        if cost < 0:
            for each in self.waits:
                each.lowered()


class Counters:
    """The accounts of all who compete in one priority, and the levels of their engines."""

    __slots__ = ("_accounts", "_floor", "_levels", "_spare", "passed", "running", "waiting")

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._floor = 0.0
        """Level of every engine while nobody waits."""
        self._levels: dict[str, float] = {}
        """Engine -> counter of who was last started there while others waited."""
        self._spare = SPARE
        self.waiting = 0
        """Lines of single tenants that wait."""
        self.running = 0
        self.passed = 0.0
        """Since when this priority has waiters and has started none."""

    def __len__(self) -> int:
        return len(self._accounts)

    def account(self, tenant: str, weight: float) -> Account:
        """The tenant's account, with that weight from now on. Raises ValueError for a weight that is not positive."""
        account = self._accounts.get(tenant)
        if account is None:
            if not weight > 0:
                raise ValueError(f"weight of {tenant!r} is {weight}; it must be above 0")
            if len(self._accounts) >= self._spare:
                self._forget()
            account = self._accounts[tenant] = Account(tenant, weight, self._floor)
        elif weight > 0:
            account.weight = weight
        return account

    def level(self, engines: Iterable[str]) -> float:
        """From where a tenant begins that can use these engines: the highest of their levels.

        At that engine it is equal to those who are served there; a lower one would let it starve them.
        """
        level, levels = self._floor, self._levels
        if levels:
            for engine in engines:
                if levels.get(engine, level) > level:
                    level = levels[engine]
        return level

    def lift(self, account: Account, engines: Iterable[str]) -> None:
        """A tenant begins to compete for these engines."""
        level = self.level(engines)
        if account.counter < level:
            account.counter = level

    def started(self, account: Account, free: Iterable[str], now: float) -> None:
        """A request of the tenant begins on one of the `free` engines. Before it is charged."""
        counter = account.counter
        if not self.waiting:
            self._floor = max(self._floor, counter)
        else:
            levels = self._levels
            for engine in free:
                if levels.get(engine, 0.0) < counter:
                    levels[engine] = counter
        account.running += 1
        self.running += 1
        self.passed = now

    def begin(self, account: Account, engines: Iterable[str], free: Iterable[str], at_start: float, now: float) -> None:
        """A request that can use `engines` begins on one of the `free` ones and is charged for what is expected."""
        if not account.waits:
            self.lift(account, engines)
        self.started(account, free, now)
        account.counter += at_start / account.weight

    def ended(self, account: Account) -> None:
        """A request of the tenant has ended. When the last has, the past is forgotten: nobody is owed anything."""
        account.running -= 1
        self.running -= 1
        if not self.running and not self.waiting:
            self._accounts.clear()
            self._levels.clear()
            self._floor, self._spare = 0.0, SPARE
        elif not account.running and not account.waits and account.counter <= self._floor:
            self._accounts.pop(account.tenant, None)

    def _forget(self) -> None:
        """Drops accounts that would be lifted anyway."""
        least = max(self._floor, min(self._levels.values(), default=0.0))
        kept = {
            tenant: account
            for tenant, account in self._accounts.items()
            if account.running or account.waits or account.counter > least
        }
        self._accounts = kept
        self._spare = 2 * len(kept) + SPARE


class Shares:
    """The counters of those who compete for the same engines: one set per priority, as priorities do not share."""

    __slots__ = ("_counters",)

    def __init__(self) -> None:
        self._counters: dict[int, Counters] = {}

    def of(self, priority: int) -> Counters:
        """The counters of one priority."""
        counters = self._counters.get(priority)
        if counters is None:
            counters = self._counters[priority] = Counters()
        return counters

    def counters(self) -> dict[int, Counters]:
        """By priority, those that were ever used."""
        return self._counters
