"""Closes the books on ended requests: one Record each, then metrics, log and the list people look at.

An answer is on its way before its request is booked: requests that ended are booked together, a few times a second,
in one tight loop. What a worker killed by `kill -9` had not booked yet (a tenth of a second) is lost with it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from penstock.core.record import Outcome, Record
from penstock.core.tenant import Principal
from penstock.gateway.relay import Relay
from penstock.gateway.verdict import outcome_of
from penstock.policy.resilience.fallback import Step
from penstock.policy.route.disaggregate import Split
from penstock.policy.route.facts import Decision
from penstock.state.audit.log import AuditLog, Exchange
from penstock.telemetry.accesslog import RecordSink
from penstock.telemetry.meter import Meter
from penstock.telemetry.series import OTHER


class Choices(msgspec.Struct, frozen=True, gc=False):
    """Why a request went where it did."""

    steps: Sequence[Step] = ()
    """Models and pools in the order they were to be asked; empty where nothing stands in."""
    decisions: Sequence[Decision] = ()
    """Of each try; empty where there was no choice of engines."""
    split: Split | None = None
    """Whether it went in two legs; None where that was no question."""


NO_CHOICE = Choices()


def choices_of(relay: Relay) -> Choices:
    return Choices(relay.steps, relay.decisions, relay.split)


class Books:
    """`keep`: Records kept to show. `known_model`: whether a model's name may become a label value."""

    def __init__(
        self,
        meter: Meter,
        log: RecordSink,
        keep: int,
        known_model: Callable[[str], bool],
        audit: AuditLog | None = None,
    ) -> None:
        self._audit = audit
        self._meter = meter
        self._log = log
        self._known_model = known_model
        self.records: deque[Record] = deque(maxlen=keep)
        self._choices: deque[tuple[str, Sequence[Step], Sequence[Decision], Split | None]] = deque(maxlen=keep)

    def enter(self, ended: Iterable[Relay], epoch: float) -> None:
        """Books requests in the order they ended. `epoch`: wall-clock time of monotonic zero, seconds."""
        meter, log, records = self._meter, self._log, self.records
        exchanges: list[Exchange] = []
        for relay in ended:
            record = record_of(relay, epoch)
            model = record.model if self._known_model(record.model) else OTHER
            relay.mark(meter)
            meter.finish(record, meter.route(relay.request.path), model)
            relay.tries = relay.may_move = None  # they hold the relay: a ring is left to the collector, a chain is not
            records.append(record)
            log.write(record)
            if self._audit is not None:
                request, answer = relay.content()
                exchanges.append(Exchange(record, actor_of(relay.principal), request, answer))
            if relay.decisions or relay.steps:
                self._choices.append((record.id, relay.steps, relay.decisions, relay.split))
        if self._audit is not None:
            self._audit.requests(exchanges)

    def choices(self, request_id: str) -> Choices:
        """What was chosen for a finished request; nothing when there was no choice, or it is long ago."""
        for known, steps, decisions, split in reversed(self._choices):
            if known == request_id:
                return Choices(steps, decisions, split)
        return NO_CHOICE


def actor_of(principal: Principal) -> str:
    """Whom the audit log names: `org/team/key`; `-` for nobody."""
    tenant = principal.tenant
    return "/".join((tenant.org, tenant.team, tenant.key)) if tenant.key else "-"


def record_of(relay: Relay, epoch: float) -> Record:
    """The Record of an ended request."""
    request, failure = relay.request, relay.failure
    record = Record(  # by position as far as it goes: a name is looked for among all the fields of a Record
        relay.request_id.decode("ascii"),
        epoch + request.received,
        request.method.decode("latin-1"),
        request.path.decode("latin-1"),
        relay.model,
        relay.engine,
        relay.key,
        relay.streaming,
        relay.status,
        outcome_of(failure, relay.status),
        "" if failure is None else failure.code,
        relay.ended_at - request.received,
        bytes_in=request.bytes_in,
        attempts=relay.attempts,
        queue_s=relay.queue_s,
        prefill=relay.prefill,
    )
    relay.fill(record)
    if record.outcome is Outcome.CLIENT_LEFT:
        record.status = 499
    return record
