"""An engine's KV cache as vLLM keeps it: blocks under hashes of its own, several copies of one when prompts meet."""

import msgspec

from penstock.engines.kv_batches import Cleared, Event, Removed, Stored
from penstock.policy.route.tokens import token_chain

pack = msgspec.msgpack.encode


class EngineCache:
    """Tells in events what changes. `salt`: of its hashes, another one in every process."""

    def __init__(self, size: int, salt: int = 0) -> None:
        self._size = size
        self._salt = salt
        self._blocks: list[tuple[int, int]] = []
        """(hash, entry) of each block that is held, a block twice when it is held twice."""

    @property
    def entries(self) -> set[int]:
        return {entry for _, entry in self._blocks}

    def compute(self, tokens: list[int], adapter: str = "", *, twice: bool = True) -> list[Event]:
        """A prompt is computed: its blocks from the first that is not there. With `twice`, a block before it that is
        there is computed again every third time, as when two requests come at once."""
        chain = token_chain(tokens, self._size, adapter)
        names = [hash((self._salt, adapter, tuple(tokens[: (i + 1) * self._size]))) for i in range(len(chain))]
        there = self.entries
        start = next((i for i, entry in enumerate(chain) if entry not in there), len(chain))
        if twice and start and len(self._blocks) % 3 == 0:
            start -= 1
        if start == len(chain):
            return []
        self._blocks += zip(names[start:], chain[start:], strict=True)
        ids = tuple(tokens[start * self._size : len(chain) * self._size])
        return [Stored(tuple(names[start:]), names[start - 1] if start else None, ids, self._size, adapter, "GPU")]

    def evict(self, which: int) -> list[Event]:
        """Any block leaves."""
        if not self._blocks:
            return []
        name, _ = self._blocks.pop(which % len(self._blocks))
        return [Removed((name,), "GPU")]

    def reset(self) -> list[Event]:
        self._blocks.clear()
        return []

    def all_gone(self) -> list[Event]:
        self._blocks.clear()
        return [Cleared()]


def raw(event: Event) -> dict[str, object]:
    """The event as vLLM sends it."""
    match event:
        case Stored():
            return {
                "type": "BlockStored", "block_hashes": list(event.hashes), "parent_block_hash": event.parent,
                "token_ids": list(event.tokens), "block_size": event.block_tokens, "lora_id": None,
                "medium": event.medium, "lora_name": event.adapter or None,
            }  # fmt: skip
        case Removed():
            return {"type": "BlockRemoved", "block_hashes": list(event.hashes), "medium": event.medium}
        case _:
            return {"type": "AllBlocksCleared"}
