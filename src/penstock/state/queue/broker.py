"""What a broker must do: keep records that change only from what was read, hand out ids, hold answers.

An id may be handed out twice. Whether that starts anything is decided by the job's record.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from penstock.core.errors import PenstockError


class BrokerAway(PenstockError):
    """The broker did not do it, or nobody knows whether it did. All calls may be repeated.

    Client libraries repeat calls as well, without a word.
    """


class Kept(msgspec.Struct, frozen=True):
    """A value as it was read. It can be replaced while it is still the same."""

    value: bytes
    revision: int = 0


class Held(msgspec.Struct, frozen=True):
    """An id that was handed out and is handed out again unless its holder says something in time."""

    id: str
    receipt: str
    """What the broker knows it by."""


class Depth(msgspec.Struct, frozen=True):
    """What is in the queue."""

    waiting: int = 0
    held: int = 0
    oldest: float | None = None
    """When the one at the head was pushed, seconds since the epoch; None for an empty queue."""


class BrokerSettings(msgspec.Struct, frozen=True):
    """What is the same for every broker."""

    url: str
    prefix: str = "penstock"
    """Of every key, stream and subject."""
    keep_s: float = 86_400.0
    """Records and answers are kept this long after their last change."""
    silent_s: float = 30.0
    """A holder that was silent for so long has lost what it held."""
    most: int = 100_000
    """Requests in the queue, those that run included."""
    replicas: int = 1
    """Copies of each message (JetStream)."""


class Broker(Protocol):
    """All methods raise BrokerAway."""

    piece_bytes: int
    """Largest value and piece it takes."""

    async def open(self) -> list[str]:
        """Connects and makes what is missing. Returns what stands against calling it durable. Raises ConfigError."""

    async def close(self) -> None: ...

    # -- records -----------------------------------------------------------------------------------------------------

    async def create(self, key: str, value: bytes) -> bool:
        """Keeps a value under a new key, on disk when this returns. False when there is one already."""

    async def get(self, key: str) -> Kept | None:
        """None when it was never there, was deleted, or has expired: a time after its last change."""

    async def swap(self, key: str, old: Kept, value: bytes) -> Kept | None:
        """Replaces a value; what is kept then. None when it is no longer the old one."""

    async def delete(self, key: str) -> None: ...

    # -- queue -------------------------------------------------------------------------------------------------------

    async def push(self, id_: str) -> bool:
        """Adds an id at the end, on disk when this returns. False when the queue is full."""

    async def enqueue(self, id_: str, values: Mapping[str, bytes]) -> bool:
        """Keeps values under new keys and then adds the id, on disk when this returns. False when the queue is full.

        Doing it again changes nothing, whatever became of the values meanwhile.
        """

    async def pull(self, most: int, wait_s: float) -> list[Held]:
        """Hands out ids, first those whose holder was silent for too long; waits for the first one."""

    async def extend(self, held: Held) -> None:
        """Its holder is alive."""

    async def give_back(self, held: Held, delay_s: float) -> None:
        """It is handed out again, not before the delay where the broker knows delays."""

    async def done(self, held: Held) -> None:
        """It is never handed out again."""

    async def depth(self) -> Depth: ...

    # -- answers -----------------------------------------------------------------------------------------------------

    async def append(self, log: str, number: int, piece: bytes) -> None:
        """Adds piece `number`, from 1, to a log. Adding the same number again does nothing."""

    async def pieces(self, log: str, after: int, wait_s: float) -> list[bytes]:
        """Pieces behind number `after`, some or all of them, in order; waits for the first."""

    async def forget(self, log: str) -> None:
        """Deletes a log that nobody will read."""
