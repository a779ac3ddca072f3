"""The token ids of a prompt, asked of an engine before the decision where the engines tell what they have cached.

A request waits for them no longer than `routing.token_wait`. Without them it goes by what was sent where.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import StrEnum
from hashlib import blake2b

import msgspec

from penstock.core.clock import monotonic
from penstock.core.endpoint import Endpoint
from penstock.core.engine import Exchange, Flow, ResponseHead
from penstock.core.errors import RequestError
from penstock.core.request import Request
from penstock.gateway.life import Wait
from penstock.gateway.view import FleetView
from penstock.policy.route.facts import Ask
from penstock.policy.route.tokens import token_chain
from penstock.wire.tokenize import PATH, Question, question, read_ids

REMEMBERED = 512
"""Prompts whose chains are kept: those that come again unchanged. One of 8k tokens takes about 20 KB."""
LATE_S = 5.0
"""An answer that comes within this time is still kept, for the next request with that prompt."""
SPARED_S = 1.0
"""After a late answer no prompt as long is asked for: the engine would work for nothing."""
MOST_ANSWERED = 16 * 1024 * 1024
"""Bytes of an answer; a longer one is nobody's token ids."""
CREDENTIALS = (b"authorization", b"x-api-key")


class Outcome(StrEnum):
    """How the token ids of a prompt were found, or why not."""

    PRECISE = "precise"
    REMEMBERED = "remembered"
    LATE = "late"
    SPARED = "spared"
    FAILED = "failed"
    SHORT = "short"
    """Its tokens fill no block."""
    UNFIT = "unfit"
    """The prompt is not text alone, or salted, or of an endpoint that `/tokenize` does not know."""
    MUTE = "mute"
    """No engine that serves the model has told anything of its cache yet."""


class Found(msgspec.Struct, frozen=True):
    """A prompt's chain, and how many tokens it has."""

    chain: tuple[int, ...]
    tokens: int


class Tokens:
    """Looks up the token ids of prompts, in one worker. `count` hears of each look-up: outcome, seconds waited."""

    def __init__(self, wait_s: float, fleet: FleetView, count: Callable[[str, float], None]) -> None:
        self._wait_s = wait_s
        self._fleet = fleet
        self._count = count
        self._known: OrderedDict[bytes, Found] = OrderedDict()
        self._turns = itertools.count()
        self._spared = 0
        """Bytes of a prompt from which none is asked for until `_spared_until`."""
        self._spared_until = 0.0

    async def add(self, ask: Ask, request: Request, serving: Sequence[Endpoint]) -> Ask:
        """`ask` with the token chain of its prompt if that is to be had. A prompt too short to be hashed stays as it
        is."""
        if not ask.chain:
            return ask
        began = monotonic()
        found, outcome = await self._find(ask, request, serving, began)
        if found is not None and not found.chain:
            found, outcome = None, Outcome.SHORT
        self._count(outcome, monotonic() - began)
        if found is None:
            return msgspec.structs.replace(ask, lookup=outcome.value)
        return msgspec.structs.replace(ask, lookup=outcome.value, tokens=found.chain, prompt_tokens=found.tokens)

    async def _find(
        self, ask: Ask, request: Request, serving: Sequence[Endpoint], now: float
    ) -> tuple[Found | None, Outcome]:
        sizes = self._fleet.block_tokens
        telling = [endpoint for endpoint in serving if endpoint.name in sizes]
        if not telling:
            return None, Outcome.MUTE
        asked = question(request.path, request.body, ask.model)
        if asked is None:
            return None, Outcome.UNFIT
        endpoint = telling[next(self._turns) % len(telling)]
        # Engines of one model have blocks of one size. Where they do not, the others' prompts are not found.
        size, adapter = sizes[telling[0].name], ask.model if ask.model in endpoint.adapters else ""
        if asked.ids is not None:
            found = _found(asked.ids, size, adapter)
            return found, Outcome.PRECISE if found is not None else Outcome.UNFIT
        key = blake2b(asked.body, digest_size=16, salt=size.to_bytes(8, "little")).digest()
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known, Outcome.REMEMBERED
        if now < self._spared_until and len(asked.body) >= self._spared:
            return None, Outcome.SPARED
        answer = _Answer(lambda ids: self._take(key, ids, size, adapter), self._wait_s)
        answer.ask(self._fleet, endpoint.name, _request(request, asked))
        outcome = await answer.wait
        if outcome is Outcome.LATE:
            self._spared, self._spared_until = len(asked.body), monotonic() + SPARED_S
        return self._known.get(key) if outcome is Outcome.PRECISE else None, outcome

    def _take(self, key: bytes, ids: list[int], size: int, adapter: str) -> bool:
        found = _found(ids, size, adapter)
        if found is None:
            return False
        self._known[key] = found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return True


class _Answer:
    """The sink of one answer of `/tokenize`. `wait` ends with it, or when the time is up."""

    def __init__(self, take: Callable[[list[int]], bool], wait_s: float) -> None:
        self.flow: Flow | None = None
        self.wait: Wait[Outcome] = Wait()
        self._take = take
        self._pieces: list[bytes] = []
        self._size = 0
        self._status = 0
        self._exchange: Exchange | None = None
        loop = asyncio.get_running_loop()
        self._timers = (
            loop.call_later(wait_s, self.wait.set, Outcome.LATE),
            loop.call_later(max(wait_s, LATE_S), self._give_up),
        )

    def ask(self, fleet: FleetView, engine: str, request: Request) -> None:
        """Sends the request; an engine that has just gone has failed."""
        client = fleet.engines.get(engine)
        if client is None:
            self._over(Outcome.FAILED)
        else:
            self._exchange = client.send(request, self, b"tokenize")

    def head(self, head: ResponseHead) -> None:
        self._status = head.status

    def data(self, piece: bytes, last: bool) -> None:
        self._size += len(piece)
        if self._size > MOST_ANSWERED:
            self._give_up()
        else:
            self._pieces.append(piece)

    def end(self) -> None:
        try:
            well = self._status == 200 and self._take(read_ids(b"".join(self._pieces)))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            well = False
        self._over(Outcome.PRECISE if well else Outcome.FAILED)

    def failed(self, error: RequestError) -> None:
        self._over(Outcome.FAILED)

    def _give_up(self) -> None:
        if self._exchange is not None:
            self._exchange.cancel()
        self._over(Outcome.FAILED)

    def _over(self, outcome: Outcome) -> None:
        for timer in self._timers:
            timer.cancel()
        self.wait.set(outcome)


def _found(ids: list[int], size: int, adapter: str) -> Found | None:
    """None for what is no token id."""
    try:
        return Found(token_chain(ids, size, adapter), len(ids))
    except OverflowError:
        return None


def _request(request: Request, asked: Question) -> Request:
    """To the engine, with the client's own credentials, which pass where the gateway has none."""
    made = Request(monotonic())
    made.method, made.target, made.path = b"POST", PATH, PATH
    made.headers = [b"content-type: application/json"]
    made.special = {name: value for name, value in request.special.items() if name in CREDENTIALS}
    made.body, made.bytes_in = asked.body, len(asked.body)
    return made
