"""A prompt's token ids as a chain of entries, one per block of an engine's KV cache.

The hashes that engines give their blocks are theirs: salted per process, and another function in the next version. So
what engines tell and what is asked of the index are both counted in entries of this chain.
"""

from array import array
from collections.abc import Sequence
from zlib import crc32

END = 32
"""An entry is the number of tokens up to its end, shifted by so many bits, and a CRC-32 over them all."""
_CRC = (1 << END) - 1


def root(adapter: str) -> int:
    """What the first block of a prompt follows. The blocks of a LoRA adapter are no others'; empty: the base model."""
    return crc32(adapter.encode())


def following(entry: int, tokens: Sequence[int], block_tokens: int) -> list[int]:
    """Entries of the whole blocks of `tokens`, which come after `entry`. Raises OverflowError for what is no token id.

    Two prompts are confused once in four billion, which costs a routing decision its affinity and nothing else.
    """
    packed = array("I", tokens)
    data, width = memoryview(packed).cast("B"), block_tokens * packed.itemsize
    value, end = entry & _CRC, entry >> END
    entries = []
    for start in range(0, len(tokens) // block_tokens * width, width):
        value = crc32(data[start : start + width], value)
        end += block_tokens
        entries.append(end << END | value)
    return entries


def token_chain(tokens: Sequence[int], block_tokens: int, adapter: str = "") -> tuple[int, ...]:
    """Entries of the whole blocks of a prompt; a rest has none. Equal in every process."""
    return tuple(following(root(adapter), tokens, block_tokens))


def covered(entry: int) -> int:
    """Tokens from the beginning of the prompt to the end of the entry."""
    return entry >> END
