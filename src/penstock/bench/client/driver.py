"""Sends one process's part of a stage.

Open loop: every request is due at a moment of an absolute timetable and is sent then, whatever others do; a connection
that is not there yet is opened, and what that takes is part of its latency. Closed loop: a place sends its next request
when its last is answered. Nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator

import msgspec

from penstock.bench.client.link import Link
from penstock.bench.client.messages import Done, Lately, Task
from penstock.bench.sample import Ending, Planned, Sample
from penstock.core.clock import monotonic, spent
from penstock.core.tasks import Tasks

SWEEP_S = 0.1
"""Between two looks for requests that have taken too long."""


class Driver:
    """One Task. `run` ends when all of its requests have."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._begin = task.began + task.begin
        self._idle: list[Link] = []
        self._running: dict[Link, tuple[Planned, Sample]] = {}
        self._tasks = Tasks()
        self._tls = ssl.create_default_context() if task.server.tls else None
        self._heads: dict[tuple[str, int, str, tuple[tuple[str, str], ...]], bytes] = {}
        self._next: Iterator[tuple[int, Planned]] = iter(task.requests)
        self._left = 0
        self._over = asyncio.Event()
        self._samples: list[Sample] = []
        self._open = True
        self._stopped = False
        self._awake = asyncio.Event()
        self._failed = self._tokens = 0
        self._ttft: list[float] = []
        self._lag = 0.0

    async def run(self) -> Done:
        """Sends everything, and returns when the last request has ended."""
        self._tasks.spawn(self._sweep())
        used, since = spent(), monotonic()
        await self._until(self._begin)
        try:
            if self._task.concurrency:
                for _ in range(self._task.concurrency):
                    self._follow()
            else:
                await self._timetable()
            self._open = False
            self._settle()
            await self._over.wait()
        finally:
            await self._tasks.cancel()
            for link in [*self._idle, *self._running]:
                link.close()
        return Done(self._samples, spent() - used, monotonic() - since)

    def lately(self) -> Lately:
        """What has happened; what is told of a while begins anew."""
        told = Lately(
            self._left + len(self._samples), len(self._samples), self._failed, self._tokens, self._ttft, self._lag
        )
        self._ttft, self._lag = [], 0.0
        return told

    def stop(self) -> None:
        """Begins nothing more, and ends `run`; what runs is broken off and counts as cancelled."""
        self._stopped = True
        self._next = iter(())
        for link in list(self._running):
            link.leave(Ending.CANCELLED, "the run was stopped")
        self._awake.set()
        self._over.set()

    # -- when --------------------------------------------------------------------------------------------------------

    async def _timetable(self) -> None:
        for number, planned in self._next:
            due = self._begin + (planned.due or 0.0)
            if due > monotonic():
                await self._until(due)
            if self._stopped:
                return
            self._send(number, planned, due)

    async def _until(self, moment: float) -> None:
        """Sleeps until a monotonic moment, or `stop`. The loop's timers have a resolution of a millisecond; what that
        costs is in the schedule delay."""
        left = moment - monotonic()
        if left > 0 and not self._stopped:
            self._awake.clear()
            asyncio.get_running_loop().call_later(left, self._awake.set)
            await self._awake.wait()

    def _follow(self) -> None:
        """A place is free: the next request of the plan."""
        now = monotonic()
        if self._task.cut and now - self._begin > self._task.cut:
            self._next = iter(())
        found = next(self._next, None)
        if found is not None:
            self._send(*found, now)

    def _settle(self) -> None:
        if not self._open and not self._left:
            self._over.set()

    # -- one request -------------------------------------------------------------------------------------------------

    def _send(self, number: int, planned: Planned, due: float) -> None:
        self._left += 1
        sample = Sample(
            number, self._task.stage, due - self._task.began, 0.0, kind=planned.kind, tenant=planned.tenant,
            session=planned.session, turn=planned.turn, model=planned.model, input_tokens=0,
        )  # fmt: skip
        if self._idle:
            self._ask(self._idle.pop(), planned, sample)
        else:
            self._tasks.spawn(self._connect(planned, sample))

    async def _connect(self, planned: Planned, sample: Sample) -> None:
        server, began = self._task.server, self._task.began
        try:
            async with asyncio.timeout(self._task.patience.connect or None):
                _, link = await asyncio.get_running_loop().create_connection(
                    lambda: Link(began, self._idle.append, self._gone), server.host, server.port, ssl=self._tls
                )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            sample.sent = sample.ended = monotonic() - began
            sample.ending = Ending.TIMEOUT if isinstance(error, TimeoutError) else Ending.REFUSED
            sample.error = str(error)[:200] or "no connection in time"
            self._ended(planned, sample, "")
            return
        self._ask(link, planned, sample)

    def _ask(self, link: Link, planned: Planned, sample: Sample) -> None:
        place = (planned.path, len(planned.body), planned.tenant, planned.headers)
        head = self._heads.get(place)
        if head is None:
            if len(self._heads) > 4096:
                self._heads.clear()
            head = self._heads[place] = self._task.server.head(*place)

        def over(sample: Sample, text: str) -> None:
            self._running.pop(link, None)
            self._ended(planned, sample, text)

        self._running[link] = planned, sample
        link.ask(head, planned, sample, over, keep=bool(planned.turns))
        self._lag = max(self._lag, sample.sent - sample.due)
        if planned.cancel_after_s:
            asyncio.get_running_loop().call_later(planned.cancel_after_s, self._leave, link, sample)

    def _leave(self, link: Link, sample: Sample) -> None:
        running = self._running.get(link)
        if running is not None and running[1] is sample:
            link.leave(Ending.CANCELLED, "as planned")

    def _gone(self, link: Link) -> None:
        if link in self._idle:
            self._idle.remove(link)

    def _ended(self, planned: Planned, sample: Sample, text: str) -> None:
        if not sample.input_tokens:
            sample.input_tokens = planned.input_tokens
        self._samples.append(sample)
        self._left -= 1
        self._tokens += sample.output_tokens
        self._failed += sample.ending not in (Ending.OK, Ending.CANCELLED)
        if sample.first:
            self._ttft.append(sample.first - sample.due)
        if planned.turns and sample.ending is Ending.OK:
            self._left += 1  # the session goes on: its next turn is promised already
            asyncio.get_running_loop().call_later(planned.pause_s, self._turn, sample.index, planned, text)
            return
        if self._task.concurrency:
            self._follow()
        self._settle()

    def _turn(self, number: int, planned: Planned, answer: str) -> None:
        self._left -= 1
        if not self._stopped:
            self._send(number, following(planned, answer), monotonic())

    async def _sweep(self) -> None:
        most = self._task.patience.total
        while True:
            await asyncio.sleep(SWEEP_S)
            now = monotonic() - self._task.began
            if most:
                late = [link for link, (_, sample) in self._running.items() if now - sample.sent > most]
                for link in late:
                    link.leave(Ending.TIMEOUT, f"no whole answer within {most:g} s")


def following(planned: Planned, answer: str) -> Planned:
    """The next turn of a conversation: all that was said, the answer, and what the user says now."""
    body = json.loads(planned.body)
    said = planned.turns[0]
    if "messages" in body:
        body["messages"] += [{"role": "assistant", "content": answer}, {"role": "user", "content": said}]
    else:
        body["prompt"] = f"{body['prompt']}{answer}\n{said}"
    encoded = json.dumps(body, separators=(",", ":")).encode()
    return msgspec.structs.replace(
        planned, due=None, body=encoded, turn=planned.turn + 1, turns=planned.turns[1:], input_tokens=0
    )
