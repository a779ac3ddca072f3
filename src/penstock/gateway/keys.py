"""Who may use the API. Keys are held as digests; a look-up tells nothing about how much of a key was right."""

import hashlib

from penstock.core.errors import Unauthenticated
from penstock.core.request import Request


class Keys:
    """The configured API keys. None means the API is open, and clients' own credentials pass through to engines."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        digests = (hashlib.sha256(key.encode()).digest() for key in keys)
        self._names = {digest: digest.hex()[:8] for digest in digests}
        # Authorization values that were found right. Looked up by a seeded hash, so a guess learns nothing from time.
        self._right: dict[bytes, str] = {}

    @property
    def open(self) -> bool:
        return not self._names

    def authenticate(self, request: Request) -> str:
        """Short name of the key a request shows in `Authorization: Bearer` or `x-api-key`; "" when the API is open."""
        if not self._names:
            return ""
        special = request.special
        value = special.get(b"authorization")
        if value is not None:
            known = self._right.get(value)
            if known is not None:
                return known
            scheme, _, key = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise Unauthenticated("Send the API key as `Authorization: Bearer KEY`.")
            key = key.strip()
        else:
            key = special.get(b"x-api-key", b"")
        if not key:
            raise Unauthenticated("No API key was sent; send `Authorization: Bearer KEY`.")
        name = self._names.get(hashlib.sha256(key).digest())
        if name is None:
            raise Unauthenticated("The API key is not known here.")
        if value is not None and len(self._right) < 4 * len(self._names):
            self._right[value] = name
        return name
