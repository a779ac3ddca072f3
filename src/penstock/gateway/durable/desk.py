"""Where queued requests are taken in, looked up and called off: what the listener does, without HTTP."""

import hmac
import secrets
from collections.abc import AsyncIterator
from hashlib import sha256

import anyio
import msgspec

from penstock.core.clock import monotonic, type_of_clock
from penstock.core.errors import (
    BadRequest,
    NotFound,
    Overloaded,
    RequestError,
    TooLarge,
    UpstreamFailed,
    UpstreamTimeout,
)
from penstock.gateway.durable.answer import Asked, Piece, pack, read_piece
from penstock.gateway.durable.counts import Counts
from penstock.state.queue.broker import Broker, Kept
from penstock.state.queue.job import Failure, Job, State, cancel

ROOM = 1024
"""Bytes of a broker's message that are not the request's."""
LOOK_S = 0.25
"""Between two looks at a request that does not run."""
FULL_RETRY_S = 5.0

_read_job = msgspec.json.Decoder(Job).decode
_write_job = msgspec.json.Encoder().encode


def read_job(value: bytes) -> Job:
    return _read_job(value)


def write_job(job: Job) -> bytes:
    return _write_job(job)


def request_key(id_: str) -> str:
    """Key of a request's own bytes; they go when it is over."""
    return f"{id_}.request"


class Desk:
    """`now`: the wall clock. All methods raise BrokerAway; what was accepted is with the broker, on disk."""

    def __init__(self, broker: Broker, now: type_of_clock, counts: Counts, expires_s: float) -> None:
        self._broker = broker
        self._now = now
        self._counts = counts
        self._expires_s = expires_s

    async def accept(self, asked: Asked, owner: str, idempotency_key: str = "") -> Job:
        """A new job, or the one that this owner's key stands for already.

        Raises TooLarge, Overloaded when the queue is full, and BadRequest when the key stands for another request.
        """
        data, now = pack(asked), self._now()
        if len(data) + ROOM > self._broker.piece_bytes:
            raise TooLarge(
                f"the broker takes messages of {self._broker.piece_bytes} bytes; this request has {len(data)}"
            )
        digest = sha256(data).hexdigest() if idempotency_key else ""
        job = Job(
            "q-" + secrets.token_hex(16), owner, asked.target, now, now + self._expires_s, digest=digest,
            queued=not idempotency_key,
        )  # fmt: skip
        if idempotency_key:
            await self._broker.create(request_key(job.id), data)
            await self._broker.create(job.id, write_job(job))
            name = f"idem.{sha256(f'{owner} {idempotency_key}'.encode()).hexdigest()}"
            job = await self._once(name, job)
        elif not await self._broker.enqueue(job.id, {request_key(job.id): data, job.id: write_job(job)}):
            raise self._full()
        self._counts.add("accepted")
        return job

    async def _once(self, name: str, job: Job) -> Job:
        """The first job under this name, put into the queue by whoever comes until it is certain that it is there."""
        first = job
        if not await self._broker.create(name, job.id.encode()):
            known = await self._broker.get(name)
            found = None if known is None else await self._broker.get(known.value.decode())
            if known is not None and found is not None:
                first = read_job(found.value)
            elif known is None or not await self._broker.swap(name, known, job.id.encode()):
                raise Overloaded("another request with this idempotency-key is under way", retry_after_s=1.0)
        if first.id != job.id:
            await self._remove(job)
            if not hmac.compare_digest(first.digest, job.digest):
                raise BadRequest(
                    "this idempotency-key was used with another request; use a new key",
                    code="idempotency_key_reused",
                    param="idempotency-key",
                )
        if not first.queued:
            if not await self._broker.push(first.id):
                raise self._full()
            await self._mark_queued(first.id)
        return first

    async def _mark_queued(self, id_: str) -> None:
        for _ in range(3):
            kept = await self._broker.get(id_)
            if kept is None or await self._broker.swap(
                id_, kept, write_job(msgspec.structs.replace(read_job(kept.value), queued=True))
            ):
                return

    def _full(self) -> Overloaded:
        self._counts.add("refused")
        return Overloaded("the queue has as many requests as it may hold", retry_after_s=FULL_RETRY_S)

    async def _remove(self, job: Job) -> None:
        await self._broker.delete(job.id)
        await self._broker.delete(request_key(job.id))

    async def find(self, id_: str, owner: str) -> Job:
        """Raises NotFound: unknown, expired, or somebody else's."""
        return (await self._find(id_, owner))[1]

    async def _find(self, id_: str, owner: str) -> tuple[Kept, Job]:
        kept = await self._broker.get(id_) if id_.startswith("q-") and id_[2:].isalnum() else None
        if kept is not None and hmac.compare_digest((job := read_job(kept.value)).owner, owner):
            return kept, job
        raise NotFound(f"no request {id_!r} is known with this key")

    async def cancel(self, id_: str, owner: str) -> Job:
        """The job, called off unless it is over. Its run is broken off within a second."""
        while True:
            kept, job = await self._find(id_, owner)
            changed = cancel(job, self._now())
            if changed is job:
                return job
            if await self._broker.swap(id_, kept, write_job(changed)):
                await self._broker.delete(request_key(id_))
                self._counts.add("cancelled")
                return changed

    async def until_over(self, id_: str, owner: str, wait_s: float) -> Job:
        """The job, when it is over or after the wait."""
        end = monotonic() + wait_s
        while True:
            job = await self.find(id_, owner)
            left = end - monotonic()
            if job.state.over or left <= 0:
                return job
            await anyio.sleep(min(left, LOOK_S))

    async def answer(self, job: Job) -> list[Piece]:
        """All of a finished answer. Raises NotFound when it is no longer kept."""
        pieces: list[Piece] = []
        while not pieces or not pieces[-1].last:
            found = await self._broker.pieces(job.log, len(pieces), LOOK_S)
            if not found:
                raise NotFound(f"the answer of {job.id!r} is no longer kept")
            pieces += map(read_piece, found)
        return pieces

    async def follow(self, id_: str, owner: str) -> AsyncIterator[Piece | None]:
        """Pieces of an answer as they come, from the first; None now and then while there is none.

        Raises what ended the request otherwise; UpstreamFailed when an answer that had begun was lost.
        """
        seen, run = 0, 0
        while True:
            job = await self.find(id_, owner)
            if seen and job.run != run:
                raise UpstreamFailed("the answer was lost and begins anew; ask for it again", code="answer_restarted")
            if job.state in (State.FAILED, State.CANCELLED):
                raise why(job)
            if job.state is State.WAITING:
                yield None
                await anyio.sleep(LOOK_S)
                continue
            run = job.run
            for piece in map(read_piece, await self._broker.pieces(job.log, seen, 1.0)):
                seen += 1
                yield piece
                if piece.last:
                    return
            yield None


def why(job: Job) -> RequestError:
    """What became of a request that has no answer."""
    match job.error:
        case Failure.ABANDONED:
            return UpstreamFailed("what ran the request was lost twice", code="request_abandoned")
        case Failure.EXPIRED:
            return UpstreamTimeout("the request waited too long and was not started", code="request_expired")
        case Failure.TOO_LARGE:
            return UpstreamFailed("the answer is larger than is kept", code="answer_too_large")
    return NotFound("the request was called off", code="request_cancelled")
