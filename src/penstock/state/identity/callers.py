"""Everyone who may use the API: the config's plain keys, the keys of the directory, and token bearers."""

from hashlib import sha256

from penstock.core.errors import Unauthenticated
from penstock.core.tenant import Principal, Tenant
from penstock.policy.identity.access import ANYBODY
from penstock.policy.identity.directory import UNKNOWN_KEY, Directory
from penstock.policy.identity.key import PREFIX
from penstock.state.identity.jwt import Tokens


class Callers:
    """One per worker. With neither keys nor directory nor tokens the API is open."""

    __slots__ = ("_plain", "_right", "directory", "open", "tokens")

    def __init__(
        self, plain: tuple[str, ...] = (), directory: Directory | None = None, tokens: Tokens | None = None
    ) -> None:
        digests = (sha256(key.encode()).digest() for key in plain)
        # Found by digest: where in a table a digest of the guess leads says nothing of the key.
        self._plain = {digest: Principal(Tenant(key=digest.hex()[:8])) for digest in digests}
        # Authorization values with a plain key that were found right: they are in the config in clear as well.
        self._right: dict[bytes, Principal] = {}
        self.directory = directory
        self.tokens = tokens
        self.open = not self._plain and directory is None and tokens is None
        """Everybody is let in."""

    def authenticate(self, authorization: bytes | None, api_key: bytes | None, now: float) -> Principal:
        """Whose credential `Authorization: Bearer` holds, or `x-api-key` where that is absent. Raises Unauthenticated.

        `now` is the wall clock's.
        """
        if self.open:
            return ANYBODY
        if authorization is not None and (known := self._right.get(authorization)) is not None:
            return known
        credential = _credential(authorization, api_key)
        if self._plain:
            found = self._plain.get(sha256(credential).digest())
            if found is not None:
                if authorization is not None and len(self._right) < 4 * len(self._plain):
                    self._right[authorization] = found
                return found
        if self.directory is not None and credential.startswith(PREFIX):
            return self.directory.authenticate(credential, now)
        if self.tokens is not None and credential.startswith(b"eyJ"):
            return self.tokens.authenticate(credential, now)
        raise Unauthenticated(UNKNOWN_KEY)


def _credential(authorization: bytes | None, api_key: bytes | None) -> bytes:
    """What was shown. Raises Unauthenticated when nothing was."""
    credential = api_key or b""
    if authorization is not None:
        scheme, _, credential = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated("Send the API key as `Authorization: Bearer KEY`.")
    credential = credential.strip()
    if not credential:
        raise Unauthenticated("No API key was sent; send `Authorization: Bearer KEY`.")
    return credential
