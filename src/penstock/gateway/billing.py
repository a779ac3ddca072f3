"""Requests on their way into the ledger: written down before an engine is asked, and again before the last byte."""

from penstock.core.errors import RequestError, Unavailable
from penstock.core.record import TokenSource
from penstock.core.tenant import Principal
from penstock.gateway.relay import Relay
from penstock.gateway.verdict import outcome_of
from penstock.state.ledger.entries import Closed, Opened
from penstock.state.ledger.journal import Journal

FULL = "The ledger cannot be written: its disk is full. Requests are refused until it can."


class Billing:
    """One worker's. `refuse`: nothing is served that could not be written down."""

    def __init__(self, journal: Journal, *, refuse: bool) -> None:
        self._journal = journal
        self._refuse = refuse
        self.epoch = 0.0
        """Wall-clock time of monotonic zero, seconds. Brought up to date with every sweep."""

    def admit(self, relay: Relay, principal: Principal) -> None:
        """Takes a request on. Raises Unavailable when the journal has no room for it."""
        if self._refuse and not self._journal.has_room:
            raise Unavailable(FULL, code="ledger_full", retry_after_s=10.0)
        relay.bill = Bill(self, principal)

    def opened(self, relay: Relay, bill: "Bill") -> None:
        """An engine is about to be asked. Only the first attempt counts: retries are one request."""
        if bill.number:
            return
        bill.number = self._journal.number()
        tenant = bill.principal.tenant
        self._journal.opened(
            Opened(
                bill.number,
                relay.request_id.decode("ascii"),
                self.epoch + relay.request.received,
                tenant.org,
                tenant.team,
                tenant.key,
                relay.model,
                relay.engine,
            )
        )

    def closed(self, relay: Relay, bill: "Bill", failure: RequestError | None, now: float) -> None:
        """The answer is whole, or there will be none."""
        usage, source = relay.tokens()
        tenant = bill.principal.tenant
        self._journal.closed(
            Closed(
                bill.number or self._journal.number(),
                relay.request_id.decode("ascii"),
                self.epoch + relay.request.received,
                tenant.org,
                tenant.team,
                tenant.key,
                relay.model,
                relay.engine if bill.number else "",
                outcome_of(failure, relay.status),
                relay.status,
                usage.input_tokens,
                usage.cached_tokens,
                usage.output_tokens,
                usage.reasoning_tokens,
                source if usage.input_tokens or usage.output_tokens else TokenSource.NONE,
                relay.streaming,
                now - relay.request.received,
            )
        )

    def sweep(self, epoch: float) -> None:
        """A few times a second: keeps a segment ready."""
        self.epoch = epoch
        self._journal.prepare()

    @property
    def dropped(self) -> int:
        """Entries that were lost because the disk was full."""
        return self._journal.dropped

    def shut(self) -> None:
        """The worker ends."""
        self._journal.close()


class Bill:
    """One request's place in the ledger."""

    __slots__ = ("_billing", "_done", "number", "principal")

    def __init__(self, billing: Billing, principal: Principal) -> None:
        self._billing = billing
        self._done = False
        self.principal = principal
        self.number = 0
        """In the journal; 0 before an engine was asked."""

    def open(self, relay: Relay) -> None:
        self._billing.opened(relay, self)

    def close(self, relay: Relay, failure: RequestError | None, now: float) -> None:
        """Once; later calls change nothing."""
        if not self._done:
            self._done = True
            self._billing.closed(relay, self, failure, now)
