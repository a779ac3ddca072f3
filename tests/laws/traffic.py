"""Random traffic for the laws: what each client does, and what the engines do with its request.

A request says in its own headers what is to become of it (`X-Do`), so any number of them can run at once.
"""

from __future__ import annotations

import asyncio
import re

import msgspec
from hypothesis import strategies as st

from tests.gateway.world import CHAT, SSE_HEAD, Client, Seen, Truncated, Wire, World, chunked, get, post, response

TAG = re.compile(rb"tag-(\w+)-(\d+)-")


class Play(msgspec.Struct, frozen=True):
    """One request. `engine`: what engines do, attempt after attempt. `client`: what its client does."""

    engine: tuple[str, ...]
    client: str
    pipelined: int = 1


ANSWERS = ("unary", "chunked", "stream", "500", "429", "204")
FAULTS = ("reset", "close", "garbage", "half head", "held line", "cut stream", "cut unary", "stall", "stall in stream")
CLIENTS = ("stay", "stay", "stay", "leave at once", "leave at first byte", "leave soon", "half a request", "not HTTP")

PLAYS = st.builds(
    Play,
    engine=st.lists(st.sampled_from(ANSWERS + FAULTS), min_size=3, max_size=3).map(tuple),
    client=st.sampled_from(CLIENTS),
    pipelined=st.integers(1, 3),
)
TRAFFIC = st.lists(PLAYS, min_size=1, max_size=8)


class Stage:
    """The engines' side: does what a request asks for, and remembers each attempt."""

    def __init__(self) -> None:
        self.attempts: dict[str, list[str]] = {}
        """Request id -> what was done, attempt after attempt."""

    async def script(self, seen: Seen, wire: Wire) -> None:
        number = seen.header(b"x-request-id").decode()
        made = self.attempts.setdefault(number, [])
        wanted = seen.header(b"x-do").decode().split("|")
        deed = wanted[min(len(made), len(wanted) - 1)]
        made.append(deed)
        await _do(deed, b"tag-%b-%d-" % (number.encode(), len(made)), wire)


async def _do(deed: str, tag: bytes, wire: Wire) -> None:
    event = b"data: " + tag + b"\n\n"
    stream = SSE_HEAD, b"%x\r\n%b\r\n" % (len(event), event)
    pieces: dict[str, tuple[bytes, ...]] = {
        "unary": (response(tag),),
        "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(tag, tag),),
        "stream": (*stream, chunked(event)),
        "500": (response(tag, status="500 Internal Server Error"),),
        "429": (response(tag, status="429 Too Many Requests"),),
        "204": (b"HTTP/1.1 204 No Content\r\nX-Tag: %b\r\n\r\n" % tag,),
        "garbage": (b"garbage " + tag,),
        "half head": (b"HTTP/1.1 200 OK\r\nX-Tag: " + tag,),
        "held line": (SSE_HEAD, b"%x\r\n%b" % (len(event), event[:-2])),
        "cut stream": (*stream, b"ff\r\ndata"),
        "cut unary": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + tag,),
        "stall in stream": stream,
    }
    await wire.trickle(*pieces.get(deed, ()))
    if deed in ("stall", "stall in stream"):
        await wire.gone()
    if deed in ("reset", "cut stream"):
        wire.reset()
    elif deed not in ANSWERS and deed != "garbage":
        wire.close()


class Seat(msgspec.Struct):
    """What one client saw."""

    play: Play
    ids: list[str]
    answered: dict[str, tuple[int, bytes]] = {}
    """Request id -> status, every byte of the answer (headers' tags included)."""
    broken: bool = False


async def perform(world: World, plays: list[Play], first: int = 0) -> list[Seat]:
    """All plays at once, each on a connection of its own."""
    stage_numbers = iter(range(first, first + 100))
    seats = [Seat(play, [f"r{next(stage_numbers)}x{place}" for place in range(play.pipelined)]) for play in plays]
    await asyncio.gather(*(_sit(world, seat) for seat in seats))
    return seats


async def _sit(world: World, seat: Seat) -> None:
    client = await world.client()
    do = "|".join(seat.play.engine)
    whole = b"".join(
        post("/v1/chat/completions", CHAT, f"X-Do: {do}", f"X-Request-ID: {number}") for number in seat.ids
    )
    match seat.play.client:
        case "stay":
            await client.send(whole)
            await _listen(client, seat)
        case "leave at once":
            await client.send(whole)
        case "leave soon":
            await client.send(whole)
            await asyncio.sleep(0.003)
        case "leave at first byte":
            await client.send(whole)
            await client.read()
        case "half a request":
            await client.send(whole[: -len(CHAT) // 2])
            await asyncio.sleep(0.001)
        case "not HTTP":
            await client.send(get("/v1/models", f"X-Request-ID: {seat.ids[0]}") + b"NOT HTTP\r\n\r\n")
            await client.rest()
    client.leave()


async def _listen(client: Client, seat: Seat) -> None:
    for _ in seat.ids:
        try:
            answer = await client.answer()
        except Truncated:
            seat.broken = True
            return
        seat.answered[answer.id] = answer.status, answer.body + answer.header(b"x-tag")
