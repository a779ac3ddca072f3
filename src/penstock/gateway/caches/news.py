"""What workers are told of an engine's KV cache."""

import msgspec


class Cached(msgspec.Struct, tag=True):
    """What came into an engine's KV cache and what left it, as entries of token chains."""

    engine: str
    stored: list[int] = []
    removed: list[int] = []
    void: bool = False
    """What was told before counts no more."""
    empty: bool = False
    """The cache itself was emptied; said with `void`."""
    whole: bool = False
    """With what was told before, this is all that is in the cache."""
    block_tokens: int = 0
    """Tokens of a block; 0 while unknown."""
