"""One request in two legs: one engine reads the prompt, another answers with what the first has read.

Whatever becomes of the first leg, the engine chosen to answer does so; without the blocks it reads the prompt itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from penstock.core.clock import monotonic
from penstock.core.engine import Engine, Flow, ResponseHead
from penstock.core.errors import RequestError, UpstreamFailed, UpstreamTimeout
from penstock.core.record import Attempt, PrefillLeg, PrefillOutcome
from penstock.core.request import Request
from penstock.gateway.life import Wait
from penstock.gateway.tries import NOT_REACHED, Tries
from penstock.gateway.verdict import Verdict
from penstock.policy.route.disaggregate import Split, decode_parameters, indivisible, prefill_body, split
from penstock.policy.route.facts import Decision, Lease
from penstock.wire.openai import Call, find_usage

if TYPE_CHECKING:
    from penstock.gateway.app import App
    from penstock.gateway.relay import Relay

MOST_ANSWERED = 1024 * 1024
"""Bytes of a first leg's answer: one token, and the ids of a long prompt's blocks."""
ENDS_ALL = frozenset({"total_timeout", "drain_timeout"})
"""What ends the request and not only the leg."""
SPENT = frozenset({PrefillOutcome.REFUSED, PrefillOutcome.TIMED_OUT, PrefillOutcome.FAILED})
"""Ends of a first leg after which the work is done a second time, as in a retry."""
Fields = dict[str, msgspec.Raw]


class FirstAnswer:
    """The sink of a first leg: the whole answer, up to a bound."""

    def __init__(self, relay: Relay) -> None:
        self.flow: Flow | None = None
        self.status = 0
        self._relay = relay
        self._pieces: list[bytes] = []
        self._size = 0

    def head(self, head: ResponseHead) -> None:
        self.status = head.status

    def data(self, piece: bytes, last: bool) -> None:
        self._size += len(piece)
        if self._size <= MOST_ANSWERED:
            self._pieces.append(piece)
        elif not last:  # of one that is whole there is nothing to save any more
            reason = f"The engine answered a first leg with more than {MOST_ANSWERED} bytes."
            self._relay.expire(UpstreamFailed(reason, code="upstream_malformed"))

    def end(self) -> None:
        self._relay.ahead_ended(None)

    def failed(self, error: RequestError) -> None:
        self._relay.ahead_ended(error)

    @property
    def body(self) -> bytes:
        """b"" of an answer that was too long."""
        return b"".join(self._pieces) if self._size <= MOST_ANSWERED else b""


class _Told(msgspec.Struct):
    """What is read of a first leg's answer."""

    kv_transfer_params: object = None


class Legs:
    """The two legs of one request. `may_leave`: another engine could answer instead of the one chosen."""

    __slots__ = (
        "_app",
        "_blocks",
        "_due",
        "_first",
        "_may_leave",
        "_pool",
        "_reading",
        "_relay",
        "_tries",
        "_unread",
        "part",
    )

    def __init__(self, app: App, relay: Relay, tries: Tries, *, may_leave: bool) -> None:
        self._app = app
        self._relay = relay
        self._tries = tries
        self._may_leave = tries.may_leave = may_leave and tries.repeatable
        self._due = False
        self._first: Lease | None = None
        self._blocks: dict[str, object] | None = None
        """Where the prompt's blocks are, while an engine may be told to read them: they can be read once."""
        self._pool = ""
        self._reading = False
        """The engine under way has been told to read blocks."""
        self._unread = False
        self.part = ""
        """Which leg is under way or was the last, told apart in what timeouts learn; "" of a request in one leg."""

    def decide(self, decode: Decision, now: float) -> None:
        """An engine that could do the whole has been chosen: whether another reads the prompt for it. Asked again after
        a failure, nothing is split any more."""
        relay, app = self._relay, self._app
        if relay.split is not None:
            return
        self._pool = app.fleet.pools[decode.engine]
        decided = split(app.fleet, self._tries.ask, decode, self._pool, now, app.chance(), app.fleet.split_settings)
        if decided.prefill is not None:
            decided.prefill.seconds = monotonic() - now
            against = indivisible(relay.request.body)
            if against is None and app.budget(now).left(now) < 1:
                against = "no retry is left, should the first leg fail"
            if against is not None:
                decided = Split(decode, None, against)
        relay.split = decided
        self._due = decided.prefill is not None

    async def attempt(self, engine: str, call: Call, fresh: bool) -> RequestError | None:
        """As `Relay.attempt`, after the first leg where one is due. Raises what ends the request before an engine was
        asked to answer it."""
        app, relay = self._app, self._relay
        if self._due:
            self._due = False
            await self._read_ahead()
        client = app.fleet.engines.get(engine)
        if client is None:
            return UpstreamFailed("The engine left while its prompt was read.", code="upstream_refused")
        blocks = self._blocks if app.fleet.pools.get(engine) == self._pool else None
        if blocks is None:
            self.part = ""
            return await relay.attempt(client, app.meter, call, fresh)
        failure = await self._answer_from(client, blocks, call, fresh)
        if self._unread:
            self._unread = False
            relay.attempts.append(
                Attempt(engine, relay.sent_at - relay.request.received, relay.was_reused, "blocks_unread")
            )
            if relay.left:
                return failure
            self.part = ""
            self._lease_again(0)
            return await relay.attempt(client, app.meter, call, False)
        return failure

    def unread(self, status: int) -> bool:
        """Whether an answer with this status means that the blocks could not be read, so that the same engine is asked
        for the whole."""
        if not self._reading or status != 500 or self._app.draining or not self._app.may_retry():
            return False
        self._unread = True
        self._blocks = None
        first, leg = self._first, self._relay.prefill
        if first is not None and leg is not None:
            leg.outcome = PrefillOutcome.UNREAD
            self._app.fleet.observed(first, monotonic(), Verdict(False, "blocks_unread"))
        return True

    # -- the first leg ----------------------------------------------------------------------------------------------

    async def _read_ahead(self) -> None:
        """Has the prompt read elsewhere. Raises what ends the whole request."""
        app, relay, tries = self._app, self._relay, self._tries
        assert relay.split is not None
        assert relay.split.prefill is not None
        chosen = relay.split.prefill
        began = monotonic()
        leg = relay.prefill = PrefillLeg(chosen.engine, began - relay.request.received)
        relay.hedge_at = 0.0  # a copy of one leg would be of no use
        self.part, tries.may_leave = "\nprefill", tries.repeatable
        lease = self._first = app.fleet.lease(chosen.engine, relay.split.ask, began, chosen)
        answer = FirstAnswer(relay)
        failure: RequestError | None = UpstreamFailed("The first leg broke off inside the gateway.")
        outcome, verdict = PrefillOutcome.FAILED, Verdict(None)
        try:
            answer, failure = await self._ask(app.fleet.engines[chosen.engine], answer)
            outcome, verdict = self._judge(answer, failure, monotonic() - began)
        finally:
            now = monotonic()
            leg.seconds, leg.outcome = now - began, outcome
            app.fleet.release(lease, now)
            self._learn(lease, now, verdict, leg)
            self.part, tries.may_leave = "", self._may_leave
        if failure is not None and (relay.left or failure.code in ENDS_ALL):
            raise failure

    async def _ask(self, engine: Engine, answer: FirstAnswer) -> tuple[FirstAnswer, RequestError | None]:
        """Sends the first leg; once more where a kept-alive connection was closed as we wrote."""
        relay = self._relay
        request = _first_request(relay.request)
        failure = await relay.ahead(engine, request, answer, fresh=False)
        if failure is not None and failure.code == "upstream_reset" and relay.was_reused and not relay.left:
            answer = FirstAnswer(relay)
            failure = await relay.ahead(engine, request, answer, fresh=True)
        return answer, failure

    def _judge(
        self, answer: FirstAnswer, failure: RequestError | None, seconds: float
    ) -> tuple[PrefillOutcome, Verdict]:
        """How the first leg ended, and what that says of its engine."""
        if self._relay.left:
            return PrefillOutcome.CLIENT_LEFT, Verdict(None)
        if failure is not None:
            code = failure.code
            if code in ENDS_ALL:
                return PrefillOutcome.STOPPED, Verdict(None)
            return _outcome_of(failure), Verdict(False, code)
        status = answer.status
        if status >= 400:
            mine = status < 500 and status != 429
            return PrefillOutcome.REFUSED, Verdict(None if mine else False, f"status_{status}")
        body = answer.body
        try:
            told = msgspec.json.decode(body, type=_Told)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return PrefillOutcome.FAILED, Verdict(False, "upstream_malformed")
        self._blocks = decode_parameters(told.kv_transfer_params)
        usage = find_usage(body)
        read, cached = (usage.input_tokens, usage.cached_tokens) if usage is not None else (0, 0)
        verdict = Verdict(True, "", seconds, None, read, cached)
        return PrefillOutcome.NO_BLOCKS if self._blocks is None else PrefillOutcome.TRANSFERRED, verdict

    def _learn(self, lease: Lease, now: float, verdict: Verdict, leg: PrefillLeg) -> None:
        """Health, router and timeouts learn from the leg as from an answer; a failure spends a retry."""
        app = self._app
        app.book()  # failures in a row are in a row
        app.fleet.observed(lease, now, verdict)
        if verdict.ok:
            read, cached = verdict.prompt_tokens, verdict.cached_tokens
            app.fleet.router.learn(lease, now, ttft_s=verdict.ttft_s, prompt_tokens=read, cached_tokens=cached)
        if verdict.ok or verdict.code == "engine_slow":
            app.learned.learned(self._tries.kind, first_s=leg.seconds)
        if leg.outcome in SPENT:
            app.may_retry()

    # -- the second leg ---------------------------------------------------------------------------------------------

    async def _answer_from(
        self, client: Engine, blocks: dict[str, object], call: Call, fresh: bool
    ) -> RequestError | None:
        """The request itself, with word of where its prompt's blocks are."""
        relay, request = self._relay, self._relay.request
        self._lease_again(self._tries.ask.prompt_tokens)
        relay.hedge_at = 0.0  # blocks are read once
        self.part, self._reading = "\ndecode", True
        whole = request.body
        request.body = _with(whole, blocks)
        try:
            attempt: Wait[RequestError | None] = relay.attempt(client, self._app.meter, call, fresh)
        finally:
            request.body = whole  # it has been sent; other tries are of the client's own
        failure = await attempt
        self._reading = False
        if failure is not None and failure.code not in NOT_REACHED:
            self._blocks = None
        return failure

    def _lease_again(self, read: int) -> None:
        """Counts the request on the engine that answers anew, with `read` tokens of its prompt not to be read there."""
        relay, router, now = self._relay, self._app.fleet.router, monotonic()
        lease, decision = relay.lease, self._tries.decision
        if lease is not None and decision is not None and not lease.ended:
            matched = max(read, decision.matched_tokens)
            router.end(lease, now)
            known = msgspec.structs.replace(decision, matched_tokens=matched)
            relay.lease = router.begin(lease.engine, lease.ask, now, known)


def _outcome_of(failure: RequestError) -> PrefillOutcome:
    if failure.code in NOT_REACHED:
        return PrefillOutcome.REFUSED
    return PrefillOutcome.TIMED_OUT if isinstance(failure, UpstreamTimeout) else PrefillOutcome.FAILED


def _first_request(request: Request) -> Request:
    """The first leg, with the client's headers; its answer is read here, hence never compressed."""
    first = Request(request.received)
    first.method, first.target, first.path = request.method, request.target, request.path
    first.headers = [line for line in request.headers if line[:16].lower() != b"accept-encoding:"]
    first.special = request.special
    first.body = msgspec.json.encode(prefill_body(msgspec.json.decode(request.body, type=Fields)))
    first.bytes_in = len(first.body)
    return first


def _with(body: bytes, blocks: dict[str, object]) -> bytes:
    """The body with `kv_transfer_params`; every other field keeps its bytes."""
    fields = msgspec.json.decode(body, type=Fields)
    fields["kv_transfer_params"] = msgspec.Raw(msgspec.json.encode(blocks))
    return msgspec.json.encode(fields)
