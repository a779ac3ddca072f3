"""What vLLM publishes of its KV cache: batches of events, numbered from 0 by each publisher. Pure.

Two shapes are read: events as mappings with a `type`, and, of older versions, as arrays that begin with the type.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

BlockHash = int | bytes


class Stored(msgspec.Struct, frozen=True):
    """Blocks that are in the cache now, in the order of the prompt."""

    hashes: tuple[BlockHash, ...]
    parent: BlockHash | None
    """The block before the first one; None at the start of a prompt."""
    tokens: tuple[int, ...]
    """Token ids of all blocks together."""
    block_tokens: int
    """Tokens of one block."""
    adapter: str = ""
    """LoRA adapter they were computed with."""
    medium: str = ""
    """Where they lie: `GPU` (on any device), `CPU`, `STORAGE`; empty when it does not tell."""
    group: int = 0
    """Group of layers with a cache of its own; models with one kind of attention have one."""
    kind: str = ""
    """Kind of attention of the group, e.g. `full_attention`; empty when it does not tell."""
    own: tuple[bool, ...] = ()
    """For each block, whether more than its tokens and its adapter went into it: an image, a salt. Empty: none."""


class Removed(msgspec.Struct, frozen=True):
    """Blocks that are no longer there."""

    hashes: tuple[BlockHash, ...]
    medium: str = ""
    group: int = 0


class Cleared(msgspec.Struct, frozen=True):
    """The cache is empty: it was reset, or the publisher is a new one."""


class Gap(msgspec.Struct, frozen=True):
    """Batches were lost for good: what is believed of this cache may be wrong from here on."""

    batches: int


Event = Stored | Removed | Cleared | Gap


class Batch(msgspec.Struct, frozen=True):
    """One numbered message."""

    number: int
    at: float
    """Seconds since the epoch, by the publisher's clock."""
    events: tuple[Event, ...]


class _Stored(msgspec.Struct):
    block_hashes: list[int | bytes]
    parent_block_hash: int | bytes | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: Any = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None


class _Removed(msgspec.Struct):
    block_hashes: list[int | bytes]
    medium: str | None = None
    group_idx: int | None = None


ARRAYS = {
    "BlockStored": (
        "block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name",
        "extra_keys",
    ),
    "BlockRemoved": ("block_hashes", "medium"),
    "AllBlocksCleared": (),
}  # fmt: skip
"""Events as arrays: the fields after the type, in order. What follows them is not used."""


def read_batch(number: int, payload: bytes) -> Batch:
    """Reads one message. Unknown events are left out; a message that cannot be read is a batch lost."""
    try:
        at, events, *_ = msgspec.msgpack.decode(payload, type=list)
        return Batch(number, float(at), tuple(_events(events)))
    except (msgspec.MsgspecError, TypeError, ValueError):
        return Batch(number, 0.0, (Gap(1),))


def _events(raw: Iterable[object]) -> Iterator[Event]:
    for item in raw:
        fields = _fields(item)
        match fields.get("type"):
            case "BlockStored":
                yield _stored(msgspec.convert(fields, _Stored))
            case "BlockRemoved":
                gone = msgspec.convert(fields, _Removed)
                yield Removed(tuple(gone.block_hashes), gone.medium or "", gone.group_idx or 0)
            case "AllBlocksCleared":
                yield Cleared()


def _fields(item: object) -> dict[str, object]:
    """An event as a mapping, whichever shape it has."""
    if isinstance(item, dict):
        return item
    if isinstance(item, list) and item:
        return {"type": item[0], **dict(zip(ARRAYS.get(str(item[0]), ()), item[1:], strict=False))}
    return {}


def _stored(read: _Stored) -> Stored:
    adapter = read.lora_name or (str(read.lora_id) if read.lora_id is not None else "")
    return Stored(
        hashes=tuple(read.block_hashes),
        parent=read.parent_block_hash,
        tokens=tuple(read.token_ids),
        block_tokens=read.block_size,
        adapter=adapter,
        medium=read.medium or "",
        group=read.group_idx or 0,
        kind=read.kv_cache_spec_kind or "",
        own=_own(read.extra_keys, adapter),
    )


def _own(extra_keys: object, adapter: str) -> tuple[bool, ...]:
    """Which blocks have keys besides the adapter's name, from one list of keys (or None) per block."""
    if not isinstance(extra_keys, list):
        return ()
    own = tuple(any(key != adapter for key in keys) if isinstance(keys, list) else bool(keys) for keys in extra_keys)
    return own if any(own) else ()


class Order:
    """Puts batches in order. Live ones come as published, with losses; a replay brings what was missed.

    A number that comes again, and is no echo of a replay, is a new publisher's.
    """

    def __init__(self) -> None:
        self.expected = 0
        """The next number to deliver; what to ask a replay for."""
        self._replayed: dict[int, float] = {}

    def missing(self, batch: Batch) -> bool:
        """Whether a replay should be asked for before this live batch is taken."""
        if batch.number < self.expected and not self._echo(batch):
            return batch.number > 0  # a new publisher, whose beginning was missed
        return batch.number > self.expected

    def restarted(self, batch: Batch) -> bool:
        """Whether this live batch is a new publisher's; then everything before it is forgotten."""
        if batch.number >= self.expected or self._echo(batch):
            return False
        self.expected = 0
        self._replayed.clear()
        return True

    def replayed(self, batches: Iterable[Batch]) -> Iterator[Event]:
        """The events of a replay that were not delivered before."""
        self._replayed = {}
        for batch in batches:
            self._replayed[batch.number] = batch.at
            yield from self._deliver(batch)

    def live(self, batch: Batch) -> Iterator[Event]:
        """The events of a live batch, after a Gap where some before it are lost; none for an echo."""
        yield from self._deliver(batch)

    def _deliver(self, batch: Batch) -> Iterator[Event]:
        if batch.number < self.expected:
            return
        if batch.number > self.expected:
            yield Gap(batch.number - self.expected)
        self.expected = batch.number + 1
        yield from batch.events

    def _echo(self, batch: Batch) -> bool:
        return self._replayed.get(batch.number) == batch.at
