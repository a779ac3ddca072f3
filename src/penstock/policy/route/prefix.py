"""A prompt as a chain of hashes, and where the chain is known.

Blocks grow with the depth: eight of `block_bytes`, eight of twice that, and so on. A match is known to about an eighth
of its length, and a prompt of any size has few entries.
"""

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

PER_SIZE = 8
"""Blocks of one size before the size doubles."""


def block_size(index: int, block_bytes: int) -> int:
    """Bytes of block `index`, from 0."""
    return block_bytes << index // PER_SIZE


def covered(depth: int, block_bytes: int) -> int:
    """Bytes in the first `depth` blocks."""
    doublings, rest = divmod(depth, PER_SIZE)
    return block_bytes * (PER_SIZE * ((1 << doublings) - 1) + (rest << doublings))


def prompt_chain(prompt: bytes, block_bytes: int, seed: str) -> tuple[int, ...]:
    """Hashes of the whole blocks of `prompt`, each over all bytes before its end; a rest has none.

    Equal in every process, so workers and replicas agree. `seed` separates what may not share a cache (model, tenant).
    An entry is XXH3 in 64 bits of its block, seeded with the entry before it. Two prompts of one hash, made on purpose,
    cost a routing decision its affinity and nothing else.
    """
    value = xxh3_64_intdigest(seed.encode())
    total = len(prompt)
    view = memoryview(prompt)
    chain: list[int] = []
    start, size = 0, block_bytes
    while start + size <= total:
        stop = min(start + PER_SIZE * size, total)
        for end in range(start + size, stop + 1, size):
            value = xxh3_64_intdigest(view[end - size : end], value)
            chain.append(value)
        start += PER_SIZE * size
        size *= 2
    return tuple(chain)


def longest(masks: Sequence[int], wanted: int) -> tuple[int, int]:
    """Greatest depth at which an engine in `wanted` has the prefix, and those engines; (0, 0) when none has any."""
    low, high = 0, len(masks)
    while low < high:
        middle = (low + high) // 2
        if masks[middle] & wanted:
            low = middle + 1
        else:
            high = middle
    return (low, masks[low - 1] & wanted) if low else (0, 0)
