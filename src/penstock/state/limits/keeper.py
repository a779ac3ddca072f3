"""The supervisor's side of limits: workers' reports to the broker, the broker's batches to the store and back.

At most one exchange is under way, and it is given up after a bounded time: a store that is slow or gone holds nobody up
longer than that. Then rules decide by themselves (`fail_open`) until it answers again.
"""

import asyncio
import logging
from collections.abc import Callable

from penstock.core.clock import monotonic
from penstock.policy.limit.broker import Broker, Use
from penstock.policy.limit.messages import Grants, Wants
from penstock.policy.limit.statement import Answers, Batch
from penstock.state.limits.store import LimitStore, StoreAway

log = logging.getLogger("penstock.limits")

TICK_S = 0.1
"""Between two looks at what the store has to be told."""
PATIENCE_S = 0.5
"""How long one exchange may take."""
GREETING_S = 2.0
"""How long the first may take, which nobody waits for: it loads a client, connects, and may make tables."""
NOTHING = Batch("", 0, 0, ())
RETRY_S = 0.25
"""Between two tries at a store that did not answer."""


class Keeper:
    """One per replica. `tell`: hands grants to a worker, by its number."""

    def __init__(
        self,
        broker: Broker,
        store: LimitStore,
        tell: Callable[[int, Grants], None],
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._broker = broker
        self._store = store
        self._tell = tell
        self._patience_s = patience_s
        self._soon = asyncio.Event()
        self.exchanges = 0
        self.failures = 0
        """Exchanges that the store did not answer in time."""
        self.problem = ""
        """Why the store cannot be asked now; empty while it answers."""

    def heard(self, worker: int, wants: Wants) -> None:
        """A worker's report. Answered at once where that needs no store."""
        grants = self._broker.heard(worker, wants, monotonic())
        if grants.grants:
            self._tell(worker, grants)
        if self._broker.asked:
            self._soon.set()

    def left(self, worker: int) -> None:
        """A worker has ended, however: what it had counts as spent."""
        self._broker.left(worker)

    def uses(self) -> list[Use]:
        """The counts that were lately in use, for people."""
        return self._broker.uses()

    async def run(self) -> None:
        """Exchanges with the store when somebody waits, and a few times a second. Runs until it is cancelled."""
        await self._ask(NOTHING, GREETING_S)
        while True:
            batch = self._broker.batch(monotonic())
            if batch is not None:
                await self._exchange(batch)
                if self.problem:
                    await asyncio.sleep(RETRY_S)
                    continue
                if self._broker.asked:
                    continue
            self._soon.clear()
            if self._broker.asked:
                continue
            try:
                async with asyncio.timeout(TICK_S):
                    await self._soon.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """After the workers have ended: tells what was spent and gives back what is left, if the store listens."""
        batch = self._broker.farewell()
        while batch is not None and not self.problem:
            await self._exchange(batch)
            batch = self._broker.batch(monotonic())
        await self._store.close()

    async def _exchange(self, batch: Batch) -> None:
        answers = await self._ask(batch, self._patience_s)
        replies = self._broker.failed() if answers is None else self._broker.answered(answers, monotonic())
        for worker, grants in replies.items():
            self._tell(worker, grants)

    async def _ask(self, batch: Batch, patience_s: float) -> Answers | None:
        """What the store answers; None when it does not."""
        self.exchanges += 1
        try:
            async with asyncio.timeout(patience_s):
                answers = await self._store.exchange(batch)
        except (StoreAway, TimeoutError) as error:
            self.failures += 1
            problem = str(error) or f"no answer within {patience_s:g} s"
            if not self.problem:
                log.warning("the store of limits is away: %s; rules decide by themselves", problem)
            self.problem = problem
            return None
        if self.problem:
            log.info("the store of limits answers again")
        self.problem = ""
        return answers
