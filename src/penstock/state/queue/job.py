"""The life of one queued request. Pure: each change takes the record and the time, and returns the new record.

    waiting -> running -> done
       |  ^      |  |
       |  +------+  +--> failed
       +--> failed, cancelled

Each run has a number of its own and a time until which its puller is believed to be alive (`lease`). Whoever writes an
answer must name its run: a puller that was away and comes back finds another number, and is refused.
"""

from enum import StrEnum

import msgspec

MOST_ATTEMPTS = 2
"""The first, and once again after its puller was lost."""
CLOCKS_S = 2.0
"""Clocks of the machines that run pullers may differ by as much."""


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    """The gateway answered, whatever the status."""
    FAILED = "failed"
    """No answer will come; `error` says why."""
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        return self not in (State.WAITING, State.RUNNING)


class Failure(StrEnum):
    """Why no answer will come; the code of the error."""

    ABANDONED = "request_abandoned"
    """Its pullers were lost, twice."""
    EXPIRED = "request_expired"
    """It waited too long."""
    TOO_LARGE = "answer_too_large"


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record of a request. Times in seconds since the epoch."""

    id: str
    owner: str
    """SHA-256 of the credential it came with: who may see it."""
    path: str
    """Path and query."""
    created: float
    expires: float
    """Not started after it."""
    state: State = State.WAITING
    run: int = 0
    """Number of the present or last run; never given twice."""
    attempts: int = 0
    """Runs that count: those that the gateway turned away do not."""
    lease: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    status: int = 0
    """HTTP status of the answer."""
    error: str = ""
    """A Failure."""
    digest: str = ""
    """SHA-256 of the request, where an idempotency key stands for it."""
    queued: bool = True
    """False until it is certain that the queue has it."""

    @property
    def log(self) -> str:
        """Where the answer of the present run is."""
        return f"{self.id}.{self.run}"


class Start(msgspec.Struct, frozen=True):
    """Run it."""

    job: Job


class Fail(msgspec.Struct, frozen=True):
    """It ends here; write this down."""

    job: Job


class Drop(msgspec.Struct, frozen=True):
    """Nothing is left to do for it."""


class Leave(msgspec.Struct, frozen=True):
    """Somebody runs it: the broker handed it out twice. Look again when their lease has ended."""

    seconds: float


def start(job: Job, now: float, lease_s: float) -> Start | Fail | Drop | Leave:
    """What to do with a job that was handed out."""
    if job.state.over:
        return Drop()
    if job.state is State.RUNNING and now < job.lease + CLOCKS_S:
        return Leave(job.lease + CLOCKS_S - now)
    if job.attempts >= MOST_ATTEMPTS:
        return Fail(fail(job, Failure.ABANDONED, now))
    if now > job.expires:
        return Fail(fail(job, Failure.EXPIRED, now))
    return Start(
        msgspec.structs.replace(
            job,
            state=State.RUNNING,
            run=job.run + 1,
            attempts=job.attempts + 1,
            lease=now + lease_s,
            started=job.started or now,
        )
    )


def holds(job: Job, run: int) -> bool:
    """Whether this run is still the one that goes on."""
    return job.state is State.RUNNING and job.run == run


def renew(job: Job, now: float, lease_s: float) -> Job:
    """Its puller is alive."""
    return msgspec.structs.replace(job, lease=now + lease_s)


def give_back(job: Job, *, counts: bool) -> Job:
    """It waits again. `counts`: the run was a real attempt, and not turned away by a gateway without room."""
    return msgspec.structs.replace(job, state=State.WAITING, attempts=job.attempts - (not counts), lease=0.0)


def finish(job: Job, status: int, now: float) -> Job:
    """Its answer is complete."""
    return msgspec.structs.replace(job, state=State.DONE, status=status, finished=now)


def fail(job: Job, failure: Failure, now: float) -> Job:
    return msgspec.structs.replace(job, state=State.FAILED, error=failure, finished=now)


def cancel(job: Job, now: float) -> Job:
    """Unchanged when it is over already."""
    return job if job.state.over else msgspec.structs.replace(job, state=State.CANCELLED, finished=now)
