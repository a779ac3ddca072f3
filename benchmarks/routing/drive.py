"""Jobs onto a gateway: closed loop with a number of them at a time, or open loop, each when it is due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.routing.client import Answer, ask
from benchmarks.routing.workloads import Job, Workload

Port = Callable[[], int]
"""Where the next request goes: the gateway's port, always the same, or engines in turn."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request. Seconds from the start of its cell; latencies from when it was due (open) or sent (closed)."""

    due_s: float
    ttft_s: float | None
    """None: failed."""
    total_s: float
    prompt_tokens: int
    cached_tokens: int
    out_tokens: int
    engine: str
    error: str = ""


@dataclass(slots=True)
class Run:
    """One workload under way."""

    port: Port
    model: str
    begun: float
    rows: list[Row]
    started: int = 0
    mark_at: int = 0
    on_mark: Callable[[], Awaitable[None]] | None = None

    async def job(self, job: Job, due: float | None) -> None:
        """All turns of one job; a turn that fails ends it."""
        messages = [{"role": "system", "content": job.system}]
        for turn in job.turns:
            await self._count()
            messages.append({"role": "user", "content": turn})
            answer = await ask(self.port(), self.model, messages)
            self.rows.append(row(answer, self.begun, due))
            if not answer.ok:
                return
            messages.append({"role": "assistant", "content": answer.text})

    async def _count(self) -> None:
        if self.started == self.mark_at and self.on_mark is not None:
            mark, self.on_mark = self.on_mark, None
            await mark()
        self.started += 1


def row(answer: Answer, begun: float, due: float | None) -> Row:
    """`due`: monotonic seconds; None counts from when it was sent."""
    since = answer.sent if due is None else due
    return Row(
        round(since - begun, 4),
        round(answer.first - since, 4) if answer.ok else None,
        round(answer.done - since, 4),
        answer.prompt_tokens,
        answer.cached_tokens,
        answer.out_tokens,
        answer.engine,
        "" if answer.ok else answer.error or f"status {answer.status}",
    )


async def drive(
    workload: Workload,
    jobs: Sequence[Job],
    port: Port,
    model: str,
    on_mark: Callable[[], Awaitable[None]] | None = None,
) -> tuple[list[Row], float]:
    """The rows in order of their start, and the seconds from the start to the last answer.

    `on_mark` is awaited when the warm-up share of the requests has been sent.
    """
    requests = sum(len(job.turns) for job in jobs)
    run = Run(port, model, time.monotonic(), [], mark_at=int(requests * workload.steady_from), on_mark=on_mark)
    if workload.loop == "open":
        async with asyncio.TaskGroup() as tasks:
            for job in jobs:
                due = run.begun + job.due_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                tasks.create_task(run.job(job, due))
    else:
        waiting = iter(jobs)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(workload.concurrency):
                tasks.create_task(_take(run, waiting))
    seconds = time.monotonic() - run.begun
    return sorted(run.rows, key=lambda each: each.due_s), seconds


async def _take(run: Run, waiting: Iterator[Job]) -> None:
    for job in waiting:
        await run.job(job, None)
