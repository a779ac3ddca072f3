"""What one request that has started is charged, from its start to its end."""

from penstock.policy.fair.counters import Account, Counters
from penstock.policy.fair.measures import Served
from penstock.policy.fair.prices import Prices


class Turn:
    """Charges one tenant for one request. Every turn ends (law 6).

    Charges are totals so far, so a report that is late, repeated or corrected leaves nothing wrong behind.
    """

    __slots__ = ("_account", "_counters", "_prices", "_read", "_served", "charged", "ended", "tenant", "tokens")

    def __init__(
        self,
        counters: Counters,
        account: Account,
        prices: Prices,
        served: Served,
        read: int,
        charged: float,
        written: int = 0,
    ) -> None:
        """`read`: the input tokens expected, which were charged at the start with `charged`. `written`: the output."""
        self.tokens = read + written
        """Expected in all."""
        self._counters = counters
        self._account = account
        self._prices = prices
        self._served = served
        self._read = read
        self.tenant = account.tenant
        self.charged = charged
        """Cost so far."""
        self.ended = False
        served.cost += charged

    def charge(self, written: int, read: int = 0, cached: int = 0) -> None:
        """`written` output tokens so far. `read` input tokens with `cached` of them found in the cache, where the
        engine has reported them; else what was expected stands."""
        cost = self._prices.cost(read or self._read, written, cached if read else 0)
        more = cost - self.charged
        if more and not self.ended:
            self.charged = cost
            self._served.cost += more
            self._account.charge(more)

    def end(self) -> None:
        """The request is over; a second call changes nothing."""
        if not self.ended:
            self.ended = True
            self._counters.ended(self._account)
