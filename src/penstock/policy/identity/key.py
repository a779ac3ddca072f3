"""The form of an API key: `sk-ps-<id>-<secret>`. The id is public, the secret is kept by nobody but its owner.

Id and secret are base32 in lower case (RFC 4648): 12 characters, 60 bits, and 40 characters, 200 bits. What is stored
of a secret is its SHA-256. A slow hash (argon2, bcrypt) protects secrets that people choose, by making each guess
dear. 200 random bits cannot be guessed at any price: a slow hash would only cost time per request, and help who wants
to exhaust us.
"""

from hashlib import sha256

PREFIX = b"sk-ps-"
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID_CHARS = 12
SECRET_CHARS = 40
LENGTH = len(PREFIX) + ID_CHARS + 1 + SECRET_CHARS
DIGEST_BYTES = 32
NO_DIGEST = bytes(DIGEST_BYTES)
"""Stands where there is no secret: nobody knows what hashes to it."""


class Secret:
    """A whole key, shown only when it is asked for. It cannot be encoded, logged or printed by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, to hand to its owner."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled or copied; reveal() it where it is shown")


def written(key_id: str, secret: str) -> Secret:
    """The key as its owner uses it."""
    return Secret(f"{PREFIX.decode()}{key_id}-{secret}")


def digest(secret: str) -> bytes:
    """What is stored of the secret part: 32 bytes."""
    return sha256(secret.encode()).digest()
