"""One run of a queued request: sent to the gateway, its answer appended to the broker piece by piece."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import msgspec

from penstock.gateway.durable.answer import Asked, Head, Piece, kept, pack, raw

UNARY_BYTES = 256 * 1024
"""An answer that is no stream is written when it is whole, or when so much has come."""


class Answered(msgspec.Struct, frozen=True):
    """The answer is whole, and with the broker."""

    status: int


class Refused(msgspec.Struct, frozen=True):
    """The gateway took nothing of it: it is full, starting, or away."""

    retry_after_s: float | None = None


class Broken(msgspec.Struct, frozen=True):
    """The gateway broke it off."""

    why: str


class TooLong(msgspec.Struct, frozen=True):
    """The answer is larger than is kept."""


Outcome = Answered | Refused | Broken | TooLong
Append = Callable[[int, bytes], Awaitable[None]]
"""Keeps piece number n, from 1."""


async def run(client: httpx.AsyncClient, request_id: str, asked: Asked, append: Append, most: int) -> Outcome:
    """Runs it. Raises what `append` raises. `most`: bytes of the answer. Cancelling it closes the connection."""
    request = client.build_request(
        "POST", asked.target, headers=raw([*asked.headers, ("x-request-id", request_id)]), content=asked.body
    )
    try:
        response = await client.send(request, stream=True)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
        return Refused()
    except httpx.TransportError as error:
        return Broken(str(error) or type(error).__name__)
    try:
        if turned_away(response):
            return Refused(_retry_after(response))
        head = Head(response.status_code, kept(response.headers.raw))
        pieces = Pieces(head, append)
        try:
            async for data in response.aiter_raw():
                if pieces.size + len(data) > most:
                    return TooLong()
                await pieces.add(data)
            await pieces.end()
        finally:
            await pieces.close()
        return Answered(response.status_code)
    except httpx.TransportError as error:
        return Broken(str(error) or type(error).__name__)
    finally:
        await response.aclose()


def turned_away(response: httpx.Response) -> bool:
    """Whether the same request is welcome later. A budget that is spent says `x-should-retry: false`."""
    return response.status_code in (429, 503) and response.headers.get("x-should-retry") != "false"


def _retry_after(response: httpx.Response) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return float(response.headers[name]) * unit
        except (KeyError, ValueError):
            continue
    return None


class Pieces:
    """Appends an answer: one piece at a time, and in it all that came while the one before was on its way."""

    def __init__(self, head: Head, append: Append) -> None:
        self._head: Head | None = head
        self._append = append
        self._waiting = bytearray()
        self._eager = head.streams
        self._number = 0
        self._writing: asyncio.Future[None] | None = None
        self._last = False
        self.size = 0

    async def add(self, data: bytes) -> None:
        """Returns at once unless the broker is slow."""
        self._waiting += data
        self.size += len(data)
        if self._eager or len(self._waiting) >= UNARY_BYTES:
            self._write()
            if len(self._waiting) >= 4 * UNARY_BYTES:
                await self._written()

    async def end(self) -> None:
        """Returns when the broker has all of it."""
        await self._written()
        self._last = True
        self._write()
        await self._written()

    async def close(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait((self._writing,))

    def _write(self) -> None:
        if self._writing is not None and self._writing.done():
            self._writing.result()
            self._writing = None
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._drain())

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None

    async def _drain(self) -> None:
        while self._waiting or self._head is not None or self._last:
            last = self._last and len(self._waiting) <= UNARY_BYTES
            body = bytes(self._waiting[:UNARY_BYTES])
            del self._waiting[: len(body)]
            head, self._head = self._head, None
            self._number += 1
            await self._append(self._number, pack(Piece(body, head, self.size if last else -1)))
            if last:
                self._last = False
