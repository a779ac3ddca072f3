"""Keys with known secrets, for tests."""

from penstock.policy.identity.key import digest, written
from penstock.policy.identity.tree import Key

SECRET = "s" * 40
OTHER = "t" * 40


def key(number: int = 0, **fields: object) -> Key:
    """A key whose id ends in `number` and whose secret is SECRET."""
    return Key(key_id(number), digest(SECRET), **fields)  # type: ignore[arg-type]


def key_id(number: int = 0) -> str:
    return f"{'a' * 11}{chr(ord('b') + number)}"


def presented(number: int = 0, secret: str = SECRET) -> bytes:
    """What a client sends."""
    return written(key_id(number), secret).reveal().encode()
