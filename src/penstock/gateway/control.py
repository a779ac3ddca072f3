"""Messages between the supervisor and a worker, over a socket pair: msgpack behind a 4-byte length.

The end of the channel is a message too: a worker whose supervisor is gone drains and exits.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import msgspec

from penstock.config.schema import Config
from penstock.core.endpoint import Endpoint
from penstock.core.load import Load
from penstock.gateway.caches.news import Cached
from penstock.policy.identity.resolve import Changes
from penstock.policy.limit.messages import Grants, Wants
from penstock.policy.route.router import Sent
from penstock.state.identity.jwks import PublicKey


class Start(msgspec.Struct, tag=True):
    """First message to a worker."""

    config: Config
    endpoints: tuple[Endpoint, ...]
    identity: Changes | None = None
    """All keys and tenants, where they are used."""
    provider: tuple[PublicKey, ...] = ()
    """Public keys of the OpenID provider."""


class Fleet(msgspec.Struct, tag=True):
    """The engines as they are now."""

    endpoints: tuple[Endpoint, ...]


class Loads(msgspec.Struct, tag=True):
    """What the engines last said of their load, by name."""

    loads: dict[str, Load]


class Prompts(msgspec.Struct, tag=True):
    """Prompts that one worker has sent to engines, for the others."""

    sent: list[Sent]


class Ask(msgspec.Struct, tag=True):
    """A question: `live` (requests under way), `recent` (finished ones, at most `limit`), `why` (how the request
    `about` was routed), `health` (of the engines, as this worker sees it), `shares` (of tenants) or `memory` (live
    objects, the `limit` most frequent types)."""

    id: int
    what: str
    limit: int = 0
    about: str = ""


class Drain(msgspec.Struct, tag=True):
    """Accept nothing more, finish what runs, exit."""


class Up(msgspec.Struct, tag=True):
    """The worker takes requests."""


class Failed(msgspec.Struct, tag=True):
    """The worker cannot start; it exits after this."""

    reason: str


class Answer(msgspec.Struct, tag=True):
    """The answer to an Ask."""

    id: int
    rows: list[Any]
    """Mappings; what they hold depends on the question."""


class Identity(msgspec.Struct, tag=True):
    """Keys and tenants that came, changed or went."""

    changes: Changes


class ProviderKeys(msgspec.Struct, tag=True):
    """The public keys of the OpenID provider, as they are now."""

    keys: tuple[PublicKey, ...]


ToWorker = Start | Fleet | Loads | Cached | Prompts | Ask | Drain | Identity | ProviderKeys | Grants
ToSupervisor = Up | Failed | Answer | Wants | Prompts
In = TypeVar("In")


class Channel(Generic[In]):
    """One end of the pair. Iterating yields messages until the other side is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incoming: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._decode = msgspec.msgpack.Decoder(incoming).decode
        self._encode = msgspec.msgpack.Encoder().encode

    def send(self, message: ToWorker | ToSupervisor) -> None:
        """Queues a message; a dead peer is noticed by the reading side."""
        if not self._writer.is_closing():
            data = self._encode(message)
            self._writer.write(struct.pack("<I", len(data)) + data)

    async def __aiter__(self) -> AsyncIterator[In]:
        try:
            while True:
                (size,) = struct.unpack("<I", await self._reader.readexactly(4))
                yield self._decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def close(self) -> None:
        self._writer.close()
