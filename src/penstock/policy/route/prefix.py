"""A prompt as a chain of hashes, one per block, each over all bytes before it."""

from zlib import crc32


def prompt_chain(prompt: bytes, block_bytes: int, seed: str) -> tuple[int, ...]:
    """Hashes of the whole blocks of `prompt`; a rest shorter than a block has none.

    Equal in every process: workers and replicas agree. `seed` separates what may not share a cache (model, tenant).
    """
    value = crc32(seed.encode())
    chain = []
    for end in range(block_bytes, len(prompt) + 1, block_bytes):
        value = crc32(prompt[end - block_bytes : end], value)
        chain.append(end << 32 | value)
    return tuple(chain)
